"""One command a file; each defines `SUMMARY`, `add_arguments` and `run`."""
