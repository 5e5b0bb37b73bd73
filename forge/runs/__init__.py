"""The run directory: what a run leaves behind, and every way to look at it."""
