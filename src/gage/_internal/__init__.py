"""Implementation of Gage; everything public is in `gage` and `gage.plugins`."""
