"""Environments of Python: made once, kept by what they consist of, ready where a run starts."""
