"""Runtimes that a run can be staged with, one a file."""
