"""Command line: arguments in; exit status, stdout and stderr out."""
