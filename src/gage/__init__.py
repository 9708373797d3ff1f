"""Stage and run experiments."""

__version__ = "0.1.0"
