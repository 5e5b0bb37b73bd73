"""Reading pages until they end: greedy first, then at rising temperatures where the end is missing or a loop was found.

olmOCR does so (arXiv 2510.19817, table 3: from 68.2 to 72.8 on its benchmark). Here a page that was read well the first
time is never read again, and what is drawn follows from the page: the same page gives the same text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from accelerate import Accelerator

from forge.building.ocr import Reading
from forge.core.hashing import derive_seed
from forge.models.generate import write_watched
from forge.models.watch import Watched
from forge.tasks.base import Batch, forward
from forge.tasks.metrics.ocr.loops import Loop, looping
from forge.tasks.ocr.asked import RETRIES, TEMPERATURES
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.written import end_tokens, nll


@dataclass(frozen=True)
class Try:
    """One way that a page was read."""

    text: str
    confidence: float  # exp of the mean log-probability of its tokens, 0 to 1
    ended: bool  # the model wrote the end of the page
    loop: Loop | None  # that the text ends in

    @property
    def good(self) -> bool:
        """Whether nothing asks for another try."""
        return self.ended and self.loop is None

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The best of several tries is the largest: without a loop, then ended, then most confident."""
        return self.loop is None, self.ended, self.confidence


@dataclass(frozen=True)
class Outcome:
    """The best try of a page, how many there were, and the page's share of the time."""

    best: Try
    tries: int
    seconds: float


def read_well(
    reading: Reading, accelerator: Accelerator, pages: Sequence[Pictured], seed: int, retries: int = RETRIES
) -> list[Outcome]:
    """The best of at most 1 + `retries` tries of each page, together; of equals the earlier one."""
    tries: list[list[Try]] = [[] for _ in pages]
    seconds = [0.0] * len(pages)
    for number, temperature in enumerate(TEMPERATURES[: 1 + retries]):
        again = [row for row, made in enumerate(tries) if not made or not made[-1].good]
        if not again:
            break
        began = time.monotonic()
        chosen = [pages[row] for row in again]
        seeds = [derive_seed(seed, "page", _mark(page), number) for page in chosen] if temperature else None
        for row, one in zip(again, _read_once(reading, accelerator, chosen, temperature, seeds), strict=True):
            tries[row].append(one)
        for row in again:
            seconds[row] += (time.monotonic() - began) / len(again)
    return [
        Outcome(max(made, key=lambda one: one.rank), len(made), spent)
        for made, spent in zip(tries, seconds, strict=True)
    ]


@torch.inference_mode()
def _read_once(
    reading: Reading,
    accelerator: Accelerator,
    pages: Sequence[Pictured],
    temperature: float,
    seeds: Sequence[int] | None,
) -> list[Try]:
    batch = _on_device(accelerator, reading.task.form.collate(pages, None))
    with accelerator.autocast():
        if reading.decoding.beams > 1 and not temperature:
            return _searched(reading, accelerator, pages, batch)
        written = write_watched(reading.model, batch, reading.decoding, temperature, seeds)
    return _judged(reading, written)


def _searched(reading: Reading, accelerator: Accelerator, pages: Sequence[Pictured], batch: Batch) -> list[Try]:
    """By beams, which tell nothing of single tokens: the text is read again to know how likely it is."""
    ids = reading.task.write_best(reading.model, batch)
    again = _on_device(accelerator, reading.task.form.collate(pages, ids))
    log_probs = (-nll(forward(reading.model, again).logits, again["labels"])).tolist()
    return _judged(reading, [Watched(*one) for one in zip(ids, log_probs, strict=True)])


def _judged(reading: Reading, written: Sequence[Watched]) -> list[Try]:
    ends, texts = end_tokens(reading.model), reading.task.form.texts
    tries = []
    for one, text in zip(written, texts([one.ids for one in written]), strict=True):
        ended = bool(one.ids) and one.ids[-1] in ends
        loop = looping(text) or (one.loop and Loop(texts([one.ids[-one.loop[0] :]])[0], one.loop[1]))
        if ended and loop and loop.is_rule:  # the model knew when to stop
            loop = None
        tries.append(Try(text, math.exp(one.log_prob / max(len(one.ids), 1)), ended, loop))
    return tries


def _on_device(accelerator: Accelerator, batch: Batch) -> Batch:
    return {name: tensor.to(accelerator.device) for name, tensor in batch.items()}


def _mark(page: Pictured) -> str:
    """What a page looks like, as a few letters."""
    return sha256(f"{page.pixels.shape}".encode() + page.pixels.tobytes()).hexdigest()[:16]
