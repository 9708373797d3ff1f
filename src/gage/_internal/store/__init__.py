"""A run on disk: names, records and logs. Standard library only."""
