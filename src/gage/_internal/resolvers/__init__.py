"""Resolvers of dependencies, one a file."""
