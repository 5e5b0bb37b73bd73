"""A control: the teacher's logits of another example in the place of each one's own.

What a student still gains from them is no knowledge of the examples: softer targets, the teacher's marginal
distribution, noise. Shape letters: B examples, T labels of an example, M = B·T, n rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from forge.objectives.kd.outputs import Outputs
from forge.objectives.rows import Rows


@dataclass(frozen=True)
class ElsewhereRows:
    """Rows that answer for other positions: for row m with row `places_M[m]`."""

    rows: Rows
    places_M: Tensor

    def at(self, positions_n: Tensor) -> Any:
        """What is said at the places that these positions are sent to."""
        return self.rows.at(self.places_M.index_select(0, positions_n))


def of_another(outputs: Outputs, valid_BT: Tensor | None) -> Outputs:
    """The same outputs with the logits of each example's neighbour in its batch; the last one's is the first.

    Batches are drawn anew in every epoch, so the neighbour is a random other example. Of texts, the label in place t
    gets the row of the neighbour's label t, counted round where the neighbour is shorter; `valid_BT` is where there are
    labels. Hidden states and attention stay. A batch of one example keeps its own logits.
    """
    if outputs.logits is not None:
        return replace(outputs, logits=outputs.logits.roll(-1, 0))
    if outputs.rows is None or valid_BT is None:
        return outputs
    return replace(outputs, rows=ElsewhereRows(outputs.rows, _places(valid_BT)))


def _places(valid_BT: Tensor) -> Tensor:
    """For each of the M rows, the row of the neighbour that it is sent to."""
    valid_BT = valid_BT.long()
    examples, width = valid_BT.shape
    columns_BT = (1 - valid_BT).argsort(dim=1, stable=True)  # columns with a label first, in order
    rank_BT = (valid_BT.cumsum(1) - 1).clamp(min=0)
    neighbour_B = torch.arange(examples, device=valid_BT.device).roll(-1)
    counts_B = valid_BT.sum(1).index_select(0, neighbour_B).clamp(min=1)
    column_BT = columns_BT.index_select(0, neighbour_B).gather(1, rank_BT % counts_B[:, None])
    return (neighbour_B[:, None] * width + column_BT).flatten()
