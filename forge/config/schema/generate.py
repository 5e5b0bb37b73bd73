"""`generate:` how a model that writes text is made to write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]


class Generate(Section):
    """Decoding. Only tasks whose answers are texts read it."""

    beams: Annotated[int, Field(ge=1, le=64)] = 5
    """Hypotheses kept beside each other for the test splits and for `predict`; 1 is greedy."""
    beams_while_training: Annotated[int, Field(ge=1, le=64)] = 1
    """The same for validation splits: greedy is several times as fast and nearly as good a judge."""
    length_penalty: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """Power of the length by which a hypothesis's log-probability is divided (Wu et al. 2016, arXiv 1609.08144, §7, in
    the simpler form of transformers); above 1 favours longer ones. Greedy decoding has none."""
    max_length: Positive | None = None
    """Most tokens of a translation; null takes `data.max_target_length`."""
