"""Runs as a collection: find, list and delete them."""
