"""What a project says: its Gage file, operations, source and config."""
