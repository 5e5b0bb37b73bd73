"""The distillation losses: pure functions of tensors, one file each."""
