"""Pure functions from answers and truth to figures."""
