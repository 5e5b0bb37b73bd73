"""What is faster than what, measured side by side. `make bench` writes its tables into docs/bench/."""
