"""The leak scan: what a staged run refers to that would not be there elsewhere."""
