"""What the problem is: where examples come from, how they become tensors, how answers are scored."""
