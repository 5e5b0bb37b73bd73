"""How fast a run goes."""

from __future__ import annotations

import time

from forge.train.state import TrainingState


class Clock:
    """Speed since it was made."""

    def __init__(self, state: TrainingState) -> None:
        self._started = time.monotonic()
        self._step, self._samples, self._tokens = state.step, state.samples_seen, state.tokens_seen

    def speed(self, state: TrainingState) -> dict[str, float]:
        """Seconds a step, samples and tokens a second."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return {
            "seconds_per_step": seconds / max(1, state.step - self._step),
            "samples_per_second": (state.samples_seen - self._samples) / seconds,
            "tokens_per_second": (state.tokens_seen - self._tokens) / seconds,
        }
