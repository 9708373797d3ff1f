"""What happens to a run, from making it to its end."""
