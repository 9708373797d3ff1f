"""What a run needs of a system, and what there is."""
