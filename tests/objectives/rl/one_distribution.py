"""What every sampler must keep."""

from __future__ import annotations

from typing import Any

import torch

from forge.models.head import find_head
from forge.objectives.rl.drawing import Written
from forge.objectives.rl.logprobs import sampled_log_probs, tokens_of
from forge.objectives.rl.sampler import Sampler
from forge.tasks.base import Batch


def assert_one_distribution(model: Any, sampler: Sampler, batch: Batch, written: Written) -> None:
    """Teacher forcing finds the probabilities and entropies of sampling, with the head in place and taken out."""
    mask_NT, _ = sampler.mask(written.tokens_NT)
    head = find_head(model)
    assert head
    for one in (None, head):
        found_NT = sampler.log_probs(model, one, batch, written.tokens_NT)
        torch.testing.assert_close(found_NT, written.logp_NT, atol=1e-5, rtol=0)
        rows = sampler.rows(model, one, batch, written.tokens_NT)
        assert rows.states_BTX.shape[:2] == written.tokens_NT.shape  # of no prompt
        places_P = mask_NT.flatten().nonzero().flatten()
        _, entropy_P = sampled_log_probs(rows, places_P, tokens_of(written.tokens_NT), sampler.rules)
        torch.testing.assert_close(entropy_P, written.entropy_NT[mask_NT], atol=1e-5, rtol=0)
