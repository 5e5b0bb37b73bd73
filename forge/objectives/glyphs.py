"""Losses that say where on a page each character is, beside the loss on what the page says.

They need `cell_labels` and `label_cells` in a batch, which `forge.tasks.ocr.glyphs` makes of the boxes of glyphs. With
them a page reader learns from nothing in minutes; next-token prediction alone stays where the decoder looks nowhere.

Shape letters: B pages, T labels, H heads, K = L cells, S sub-cells of a cell, V characters, D width, N chosen labels,
W cells that count as the right place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.models.capture import AttentionSite, HiddenSite
from forge.objectives.kd.masks import Masks
from forge.objectives.kd.terms import Comparison, Term, at_least_one
from forge.tasks.base import IGNORED_LABEL, Batch

CELL_LABELS = "cell_labels"
"""labels_BLS in a batch: the character in each sub-cell, or the blank, or IGNORED_LABEL."""
LABEL_CELLS = "label_cells"
"""cells_BT in a batch: the cell where each label's character is drawn, negative where it is drawn nowhere."""


@dataclass
class CellCharacters(Term):
    """Cross-entropy of the character in each sub-cell, in nats, from 0 to ∞: the mean over sub-cells by weight.

    −Σ w(c) · log softmax(logits)(c) / Σ w(c), where c is the character there and w is 1, or `blank_weight` for the
    blank. Most of a page is blank, and counted in full it hides what is not. Logits are a LayerNorm and a linear map of
    the encoder's last block, before positions are added to it.
    """

    name: str
    weight: float
    site: HiddenSite
    head: nn.Module  # (B, L, D) → (B, L, S·V)
    blank: int
    blank_weight: float = 0.3

    def __post_init__(self) -> None:
        self.projections = self.head

    def sites(self) -> list[tuple[HiddenSite, None]]:
        """The encoder's output; there is no teacher's beside it."""
        return [(self.site, None)]

    def counts(self, batch: Batch) -> dict[str, float]:
        """Σ w over the sub-cells of pages that count."""
        return {self.name: float(self._weights(self._labels(batch)).sum())}

    def share(self, seen: Comparison) -> Tensor:
        """The weighted sum over this micro-batch's sub-cells, over the global sum of weights."""
        labels_BLS = self._labels(seen.batch)
        logits_MV = self.logits(seen.student.hidden[self.site], labels_BLS.shape[-1]).flatten(0, 2)
        loss_M = functional.cross_entropy(logits_MV, labels_BLS.flatten(), ignore_index=IGNORED_LABEL, reduction="none")
        return (loss_M * self._weights(labels_BLS).flatten()).sum() / at_least_one(seen.totals[self.name])

    def logits(self, states_BLD: Tensor, sub_cells: int) -> Tensor:
        """logits_BLSV in fp32."""
        logits_BLX: Tensor = self.head(states_BLD.float())
        return logits_BLX.view(*logits_BLX.shape[:2], sub_cells, -1)

    def _labels(self, batch: Batch) -> Tensor:
        kept_B = Masks(batch, {}).examples_B
        return batch[CELL_LABELS].masked_fill(~kept_B[:, None, None], IGNORED_LABEL)

    def _weights(self, labels_BLS: Tensor) -> Tensor:
        weights_BLS = torch.where(labels_BLS == self.blank, self.blank_weight, 1.0)
        return weights_BLS.masked_fill(labels_BLS == IGNORED_LABEL, 0.0)


@dataclass
class GuidedAttention(Term):
    """−log of the attention that a character's prediction gives to where it is drawn, in nats, from 0 to ∞.

    The mean over drawn characters of −log mean_h Σ_k softmax_k(scores_h), k over its cell and `reach` cells to either
    side in the same row. All cells are keys, as they are for the model. Supervised attention: Liu et al. 2016 (arXiv
    1609.04186) for translation, Cheng et al. 2017 (arXiv 1709.02054) for text in images, there with other losses.

    With `to_last_written` the place is that of the last drawn character before: what is predicted need not be drawn,
    and what comes before the first drawn character does not count.
    """

    name: str
    weight: float
    site: AttentionSite  # of the decoder's cross-attention
    cell_width: int  # in pixels
    reach: int = 1
    to_last_written: bool = False

    def sites(self) -> list[tuple[AttentionSite, None]]:
        """One cross-attention of the decoder."""
        return [(self.site, None)]

    def counts(self, batch: Batch) -> dict[str, float]:
        """Labels that there is a right place for."""
        return {self.name: float(self._counted(batch, self._cells(batch)).sum())}

    def share(self, seen: Comparison) -> Tensor:
        """The sum over this micro-batch's labels with a place, over the global number of them."""
        scores_BHTK = seen.student.scores(self.site)
        cells_BT = self._cells(seen.batch)
        columns = seen.batch["pixel_values"].shape[-1] // self.cell_width
        places_BTW, inside_BTW = self._places(cells_BT, columns)
        wanted_BHTW = places_BTW[:, None].expand(-1, scores_BHTK.shape[1], -1, -1)
        near_BHTW = scores_BHTK.gather(-1, wanted_BHTW).masked_fill(~inside_BTW[:, None], -math.inf)
        log_mass_BHT = near_BHTW.logsumexp(-1) - scores_BHTK.logsumexp(-1)
        loss_BT = math.log(scores_BHTK.shape[1]) - log_mass_BHT.logsumexp(1)
        return torch.where(self._counted(seen.batch, cells_BT), loss_BT, 0.0).sum() / at_least_one(
            seen.totals[self.name]
        )

    def _counted(self, batch: Batch, cells_BT: Tensor) -> Tensor:
        return (cells_BT >= 0) & (batch["labels"] != IGNORED_LABEL)

    def _cells(self, batch: Batch) -> Tensor:
        """The right place for each label, negative where there is none."""
        cells_BT = batch[LABEL_CELLS]
        if not self.to_last_written:
            return cells_BT
        numbers_T = torch.arange(cells_BT.shape[1], device=cells_BT.device)
        drawn_BT = torch.where(cells_BT >= 0, numbers_T, -1).cummax(1).values
        before_BT = functional.pad(drawn_BT, (1, -1), value=-1)
        return cells_BT.gather(1, before_BT.clamp(min=0)).masked_fill(before_BT < 0, -1)

    def _places(self, cells_BT: Tensor, columns: int) -> tuple[Tensor, Tensor]:
        """Cells that count as the right one, and which of them are in its row."""
        around_W = torch.arange(-self.reach, self.reach + 1, device=cells_BT.device)
        cells_BT1 = cells_BT.clamp(min=0)[..., None]  # of what is drawn nowhere any will do
        column_BTW = cells_BT1 % columns + around_W
        inside_BTW = (column_BTW >= 0) & (column_BTW < columns)
        return torch.where(inside_BTW, cells_BT1 + around_W, cells_BT1), inside_BTW


def make_cell_head(width: int, sub_cells: int, characters: int, seed: int) -> nn.Sequential:
    """What reads characters off the encoder's states: LayerNorm and a linear map to sub-cells × characters."""
    linear = nn.Linear(width, sub_cells * characters)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.normal_(0.0, 0.02, generator=generator)
        linear.bias.zero_()
    return nn.Sequential(nn.LayerNorm(width), linear)
