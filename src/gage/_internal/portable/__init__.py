"""Relocation: runs moved from one place to another."""
