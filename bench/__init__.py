"""Benchmarks: Gage beside what a user would take instead; `python -m bench` prints the table."""
