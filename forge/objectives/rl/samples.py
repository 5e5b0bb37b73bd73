"""Sampled texts as tensors: which tokens count, which samples ended, what the decoder read."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def sampled_mask(tokens_NT: Tensor, ends: Iterable[int], forced_end: int | None = None) -> tuple[Tensor, Tensor]:
    """(mask_NT, ended_N): tokens up to the first end and with it, and samples that chose to end.

    What comes after is padding, whatever token stands there: in Marian and T5 padding is also what the decoder starts
    with, and in many decoders it is the end, so masks are never made of "is not padding". A sample without an end was
    cut off by its length. `forced_end` is a place where the end was forced; an end there was not chosen.
    """
    is_end_NT = torch.isin(tokens_NT, torch.tensor(sorted(ends), device=tokens_NT.device))
    before_NT = is_end_NT.cumsum(-1) - is_end_NT.long()
    chosen_NT = is_end_NT
    if forced_end is not None:
        chosen_NT = is_end_NT.clone()
        chosen_NT[:, forced_end:] = False
    return before_NT == 0, chosen_NT.any(-1)


def decoder_inputs(tokens_NT: Tensor, start: int) -> Tensor:
    """What an encoder-decoder's decoder reads to predict the tokens: its start token, then all but the last."""
    return torch.cat((torch.full_like(tokens_NT[:, :1], start), tokens_NT[:, :-1]), -1)
