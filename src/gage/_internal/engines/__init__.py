"""Where staged runs execute besides this process."""
