"""Fault injection: commands killed at every call, with calls failing, with the power cut.

`python -m faults` (see `scripts/faults`) sweeps all of it; the tests a part.
"""
