"""Runs on their way: capsules, transfer, and their arrival in a runs home."""
