"""Readers and patchers of config values, one file format a module."""
