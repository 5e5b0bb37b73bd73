"""Is a text in the language it should be in? py3langid, offline; only what is clearly another language counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from forge.config.schema.parallel import primary_tag
from forge.core.errors import UserError

LETTERS = 80  # of a text; more are read for little gain
CLEARLY = 0.5  # probability of the other language, and at least ten times that of the right one
SAME = ({"no", "nb", "nn"}, {"hr", "sr", "bs", "sh"}, {"id", "ms"}, {"fa", "prs"})  # too close to be told apart


def identifier_version() -> str:
    """Another one may judge otherwise."""
    return version("py3langid")


class Expected:
    """Texts that should be in one language."""

    def __init__(self, language: str, key: str) -> None:
        tag = primary_tag(language)
        self._right = next((group for group in SAME if tag in group), {tag})
        known = set(_identifier().labels)
        if not self._right & known:
            raise UserError(
                f"data.clean.language cannot recognise '{language}' ({key}); set it to false, or correct the language; "
                f"known are {', '.join(sorted(known))}"
            )

    def others(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is clearly in another language."""
        return [self._is_other(text[:LETTERS]) for text in texts]

    def _is_other(self, text: str) -> bool:
        language, likely = _identifier().classify(text)
        if language in self._right or likely < CLEARLY:
            return False
        shares = dict(_identifier().rank(text))
        return bool(10 * sum(shares.get(name, 0.0) for name in self._right) < likely)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.nb_ptc = identifier.nb_ptc.astype(np.float32)  # kept in 16 bits, which halves the speed
    return identifier
