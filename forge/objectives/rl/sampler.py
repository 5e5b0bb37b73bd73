"""What samples texts from a model and says how likely they are: the contract, and what its kinds have in common."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forge.models.head import Head
from forge.objectives.rl.drawing import Written
from forge.objectives.rl.logprobs import sampled_log_probs, to_samples, tokens_of
from forge.objectives.rl.rules import Rules
from forge.objectives.rows import WholeRows, valid_positions
from forge.tasks.base import Batch


class Sampler(Protocol):
    """One distribution in two passes: sampling, and the one that learns from what was sampled."""

    @property
    def rules(self) -> Rules:
        """Of sampling and learning alike."""
        ...

    @property
    def padding(self) -> int:
        """The token that stands behind a sample's end."""
        ...

    @property
    def samples(self) -> int:
        """Of each prompt."""
        ...

    @property
    def longest(self) -> int:
        """Tokens that a sample may have."""
        ...

    def sample(self, model: Any, batch: Batch, uniform_NT: Tensor) -> Written:
        """`samples` texts of each prompt, rows of a prompt beside each other. The model is in evaluation mode.

        `uniform_NT` are numbers from 0 to below 1, one for each token that may be drawn.
        """
        ...

    def mask(self, tokens_NT: Tensor) -> tuple[Tensor, Tensor]:
        """(mask_NT, ended_N): what was sampled, the end among it, and which samples ended."""
        ...

    def rows(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> WholeRows:
        """What the model says of each token of the samples, given those before it; differentiable."""
        ...

    def log_probs(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> Tensor:
        """logp_NT of the samples, 0 where nothing was sampled; without a gradient."""
        ...


def log_probs_of(rows: WholeRows, tokens_NT: Tensor, mask_NT: Tensor, rules: Rules) -> Tensor:
    """logp_NT where the mask is true, else 0; without a gradient."""
    detached = WholeRows(rows.states_BTX.detach(), rows.head)
    with torch.no_grad():
        places_P = valid_positions(mask_NT.flatten())
        logp_P, _ = sampled_log_probs(detached, places_P, tokens_of(tokens_NT), rules, entropy=False)
        return torch.where(mask_NT, to_samples(logp_P, places_P, (len(tokens_NT), tokens_NT.shape[1])), 0.0)
