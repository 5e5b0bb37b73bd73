"""Using a run: measure it on other data, predict with it. A file a task."""
