"""What one model says about a batch, as the losses see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from forge.models.capture import AttentionSite, HiddenSite, Projections, scores
from forge.objectives.rows import Rows


@dataclass(frozen=True)
class Outputs:
    """Logits, hidden states BLD by site, projections by site. Half precision becomes fp32 where it is used.

    A classifier has logits_BC; a language model has `rows` in their place.
    """

    logits: torch.Tensor | None = None
    hidden: Mapping[HiddenSite, torch.Tensor] = field(default_factory=dict)
    attention: Mapping[AttentionSite, Projections] = field(default_factory=dict)
    rows: Rows | None = None
    _scores: dict[AttentionSite, torch.Tensor] = field(default_factory=dict)

    def scores(self, site: AttentionSite) -> torch.Tensor:
        """scores_BHQK before mask and softmax, computed once however many losses look at them."""
        if site not in self._scores:
            p = self.attention[site]
            in_fp32 = Projections(
                p.q_BQD.float(), p.k_BKE.float(), p.v_BKE.float(), p.heads, p.kv_heads, p.scale, p.bias_HQK
            )
            self._scores[site] = scores(in_fp32)
        return self._scores[site]
