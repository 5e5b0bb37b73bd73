"""The form of models that read a prompt with an image in it and go on writing: one sequence of tokens.

Shape letters: B pages, P tokens of the longest prompt, T tokens of the longest prompt and answer together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forge.core.errors import UserError
from forge.tasks.base import IGNORED_LABEL, PROMPT_TOKENS, Batch
from forge.tasks.encoding import pad
from forge.tasks.ocr.chat import Chat
from forge.tasks.ocr.pictures import Pictured, shrunk

_TEXT = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Prompted:
    """`most` are the tokens of the longest answer, its end included; a prompt is never cut, whatever an image takes."""

    processor: Any
    chat: Chat
    most: int
    ends: frozenset[int]  # at which the model stops
    accepted: Collection[str]  # names of what the model takes
    longest_edge: int | None = None  # of a page in pixels, before the processor's own resizing

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each answer and its end; what is longer is cut off, and has no end."""
        answers = [self.chat.lead + text for text in texts]
        found = self._tokens(answers)
        reserved = self.ends | {self.processor.tokenizer.pad_token_id} | image_tokens(self.processor)
        for place, ids in enumerate(found):
            if reserved.intersection(ids):  # a page about tokens: its words must be no commands
                found[place] = self._tokens([answers[place]], split_special_tokens=True)[0]
        return [[*ids, *self.chat.tail][: self.most] for ids in found]

    def collate(self, pages: Sequence[Pictured], labels: Sequence[Sequence[int]] | None) -> Batch:
        """input_ids_BT, attention_mask_BT and what the processor makes of images, padded on the right.

        labels_BT[t] is what position t is to say: nothing within the prompt but for its last token. `prompt_tokens_B`
        is how many tokens of each row are prompt; without labels there are no others.
        """
        images = [[shrunk(page.image(), self.longest_edge)] for page in pages]
        made = self._processed(images)
        shape = made["input_ids"].shape
        kept_B = [row.bool() for row in made["attention_mask"]]
        prompts = [row[kept].tolist() for row, kept in zip(made["input_ids"], kept_B, strict=True)]
        read = [list(one[:-1]) for one in labels] if labels is not None else [[] for _ in prompts]
        rows = [[*prompt, *one] for prompt, one in zip(prompts, read, strict=True)]
        batch = {
            "input_ids": pad(rows, int(self.processor.tokenizer.pad_token_id)),
            "attention_mask": pad([[1] * len(row) for row in rows], 0),
            PROMPT_TOKENS: torch.tensor([len(prompt) for prompt in prompts]),
        }
        for name in made.keys() - set(_TEXT):
            value = made[name]
            if not isinstance(value, Tensor) or name not in self.accepted:
                continue
            if value.shape == shape:  # of each token, for example whether it is of an image; an answer has none
                kinds = [row[kept].tolist() for row, kept in zip(value, kept_B, strict=True)]
                value = pad([[*kind, *[0] * len(one)] for kind, one in zip(kinds, read, strict=True)], 0)
            batch[name] = value
        if labels is not None:
            before = [[IGNORED_LABEL] * (len(prompt) - 1) for prompt in prompts]
            batch["labels"] = pad([[*skip, *one] for skip, one in zip(before, labels, strict=True)], IGNORED_LABEL)
        return batch

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Without special tokens, and without what the template puts before an answer."""
        bare = [[token for token in one if token not in self.ends] for one in ids]
        if not bare:  # of which transformers would make one text
            return []
        written = self.processor.tokenizer.batch_decode(
            bare, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [str(text).removeprefix(self.chat.lead) for text in written]

    def input_length(self) -> int:
        """One: pages take as many tokens as their sizes ask for."""
        return 1

    def _processed(self, images: list[list[Any]]) -> dict[str, Any]:
        prompts = [self.chat.prompt] * len(images)
        try:
            return dict(
                self.processor(
                    text=prompts,
                    images=images,
                    padding=True,
                    padding_side="right",
                    return_tensors="pt",
                    **self.chat.asked,
                )
            )
        except (ValueError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"model.name: its processor does not take these pages: {reason}") from error

    def _tokens(self, texts: Sequence[str], **asked: bool) -> list[list[int]]:
        ids: list[list[int]] = self.processor.tokenizer(list(texts), add_special_tokens=False, **asked)["input_ids"]
        return ids


def image_tokens(processor: Any) -> set[int]:
    """Tokens that stand for a part of an image."""
    found = {getattr(processor, name, None) for name in ("image_token_id", "video_token_id", "fake_image_token_id")}
    several = getattr(processor, "image_token_ids", None) or []
    return {int(token) for token in found | set(several) if isinstance(token, int)}
