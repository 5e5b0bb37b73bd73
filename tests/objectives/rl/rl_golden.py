"""The numbers of one worked example: TRL 1.16.0's loss, called on these tensors, gave every golden value."""

from __future__ import annotations

import torch

LOGP = torch.tensor(
    [
        [-0.10, -0.70, -1.20, -0.30],
        [-0.50, -0.20, -0.90, -2.00],
        [-1.50, -0.40, -0.60, -0.80],
        [-0.05, -2.20, -0.30, -0.10],
    ]
).double()
OLD = torch.tensor(
    [
        [-0.30, -0.50, -1.60, -0.35],
        [-0.45, -0.60, -0.80, -1.10],
        [-1.00, -0.42, -0.90, -0.80],
        [-0.20, -1.90, -0.35, -0.60],
    ]
).double()
REFERENCE = torch.tensor(
    [
        [-0.20, -0.60, -1.00, -0.50],
        [-0.60, -0.30, -1.10, -1.50],
        [-1.20, -0.50, -0.50, -0.90],
        [-0.10, -2.00, -0.40, -0.20],
    ]
).double()
LENGTHS = torch.tensor([3, 2, 4, 3])
MASK = torch.arange(4) < LENGTHS[:, None]
REWARDS = torch.tensor([[0.9, 0.3], [0.5, 0.6]]).double()
LONGEST = 8
