"""Remotes: where runs are kept besides the runs home, one kind a file."""
