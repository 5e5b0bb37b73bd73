"""The form of vision-encoder-decoders (Donut, TrOCR): an image for the encoder, tokens for the decoder.

Shape letters: B pages, C channels, H and W in pixels, L places of the encoder, T labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from forge.tasks.base import IGNORED_LABEL, Batch
from forge.tasks.encoding import pad
from forge.tasks.ocr.pictures import Pictured, shrunk
from forge.tasks.written import decoded


@dataclass(frozen=True)
class Seen:
    """`most` are the tokens of the longest text, its end included."""

    processor: Any
    most: int
    start: int  # the token that the decoder reads first
    end: int
    ends: frozenset[int]  # at which the model stops
    padding: int
    places: int  # that the encoder makes of an image
    longest_edge: int | None = None  # of a page in pixels, before the processor's own resizing

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text and its end; what is longer is cut off, and has no end."""
        found: list[list[int]] = self.processor.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        reserved = self.ends | {self.start, self.padding}
        for place, ids in enumerate(found):
            if reserved.intersection(ids):  # a page about tokens: its words must be no commands
                found[place] = self.processor.tokenizer(
                    texts[place], add_special_tokens=False, split_special_tokens=True
                )["input_ids"]
        return [[*ids, self.end][: self.most] for ids in found]

    def collate(self, pages: Sequence[Pictured], labels: Sequence[Sequence[int]] | None) -> Batch:
        """pixel_values_BCHW, attention_mask_BL, and of labels decoder_input_ids_BT, labels_BT."""
        images = [shrunk(page.image(), self.longest_edge) for page in pages]
        batch = {
            "pixel_values": self.processor.image_processor(images, return_tensors="pt")["pixel_values"],
            "attention_mask": torch.ones(len(images), self.places, dtype=torch.long),
        }
        if labels is None:
            return batch
        batch["labels"] = pad(labels, IGNORED_LABEL)
        batch["decoder_input_ids"] = pad([[self.start, *one[:-1]] for one in labels], self.padding)
        return batch

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Without special tokens."""
        bare = [[token for token in one if token not in self.ends] for one in ids]
        return decoded(self.processor.tokenizer, bare)

    def input_length(self) -> int:
        """Places of the encoder."""
        return self.places
