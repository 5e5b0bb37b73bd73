"""The form of embedded readers: every page on one sheet of grey levels, its Markdown character by character.

Shape letters: B pages, H and W of the sheet in pixels, T labels, L cells, S sub-cells of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from forge.tasks.base import IGNORED_LABEL, Batch
from forge.tasks.encoding import pad
from forge.tasks.ocr.canvas import Laid, lay, places_of
from forge.tasks.ocr.glyphs import Grid, moved_cells, pad_places
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.written import decoded

STEP = 16  # T of a batch is a multiple: CPUs make kernels by shape, and making them anew was an eighth of a step


@dataclass(frozen=True)
class Sheet:
    """`places`: whether batches say where characters are, for losses on that."""

    tokenizer: PreTrainedTokenizerBase  # of characters
    grid: Grid
    most: int  # labels of a text, its end included
    start: int  # the token that the decoder reads first
    places: bool = False

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """A label a character, then the end; what is longer is cut off, and has no end."""
        encoded: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.most)["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            if len(text) >= self.most:
                ids[-1] = self.tokenizer.convert_tokens_to_ids(text[self.most - 1])
        return encoded

    def collate(self, pages: Sequence[Pictured], labels: Sequence[Sequence[int]] | None) -> Batch:
        """pixel_values_B1HW from 0 (black) to 1, attention_mask_BL, and of labels decoder_input_ids_BT, labels_BT.

        With places also cell_labels_BLS and label_cells_BT.
        """
        laid = [lay(page, self.grid.size) for page in pages]
        pixels_BHW = torch.from_numpy(np.stack([one.pixels_HW for one in laid]))
        cells = self.grid.rows * self.grid.columns
        batch = {
            "pixel_values": pixels_BHW[:, None].float() / 255,
            "attention_mask": torch.ones(len(laid), cells, dtype=torch.long),
        }
        if labels is None:
            return batch
        length = min(-(-max(map(len, labels)) // STEP) * STEP, self.most)
        batch["labels"] = pad(labels, IGNORED_LABEL, length)
        batch["decoder_input_ids"] = pad([[self.start, *one[:-1]] for one in labels], self._padding, length)
        return batch | self._places(pages, laid, labels, batch["labels"].shape[1]) if self.places else batch

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Without special tokens."""
        return decoded(self.tokenizer, ids)

    def input_length(self) -> int:
        """Cells of the sheet."""
        return self.grid.rows * self.grid.columns

    @property
    def _padding(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def _places(
        self, pages: Sequence[Pictured], laid: Sequence[Laid], labels: Sequence[Sequence[int]], length: int
    ) -> Batch:
        """Of pages whose characters' places are not known all cells are left out.

        What is in the cells is what the page says. Labels may be of another text, of a teacher's reading of it: then
        they have the places of the page's own labels that they agree with.
        """
        shape = (self.grid.rows * self.grid.columns, self.grid.sub_cells)
        nothing = np.full(shape, IGNORED_LABEL, np.int64), np.zeros(0, np.int64)
        found = []
        for page, one, ids, own in zip(
            pages, laid, labels, self.encode([page.markdown for page in pages]), strict=True
        ):
            cells, where = places_of(page, one, own, self.grid, self._padding) or nothing
            found.append((cells, where if list(ids) == own else moved_cells(ids, own, where)))
        return {
            "cell_labels": torch.from_numpy(np.stack([cells for cells, _ in found])),
            "label_cells": torch.from_numpy(pad_places([where.tolist() for _, where in found], length)),
        }
