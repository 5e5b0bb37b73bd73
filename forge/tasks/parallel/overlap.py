"""Which training texts equal an evaluation text, or nearly: what is trained on must not be measured on.

Nearly equal: Jaccard similarity of the sets of 5-letter shingles of at least 0.8, which is about one word in a sentence
of fifteen. MinHash finds candidates (Broder 1997; banding as in Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, §3.4), and each is compared in full, so that nothing is removed by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from forge.tasks.parallel.hashes import BANDS, Sketches, contains, sketch

NEARLY = 0.8
SLICE = 500  # texts at a time: their hashes then stay in the processor's caches, which is half as quick again
Mask = npt.NDArray[np.bool_]


class HeldOut:
    """The texts of one side that are kept for evaluation."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._sketches = sketch(texts)
        whole = np.unique(self._sketches.whole_N)
        self._whole = whole[whole > 0]
        self._order = np.argsort(self._sketches.bands_NB, axis=0, kind="stable")
        self._keys = np.take_along_axis(self._sketches.bands_NB, self._order, axis=0)
        self._sets: dict[int, set[int]] = {}

    def compare(self, texts: Sequence[str]) -> tuple[Mask, Mask]:
        """For N texts: which equal a held-out one, which others nearly do."""
        slices = [self._compare(texts[start : start + SLICE]) for start in range(0, len(texts), SLICE)]
        equal, nearly = zip(*slices, strict=True) if slices else ([], [])
        return np.concatenate([[], *equal]).astype(bool), np.concatenate([[], *nearly]).astype(bool)

    def _compare(self, texts: Sequence[str]) -> tuple[Mask, Mask]:
        theirs = sketch(texts)
        equal_N = contains(self._whole, theirs.whole_N)
        nearly_N = np.zeros(len(texts), bool)
        for text in np.flatnonzero(self._candidates(theirs) & ~equal_N):
            nearly_N[text] = self._is_near(theirs, int(text))
        return equal_N, nearly_N

    def _candidates(self, theirs: Sketches) -> Mask:
        found_N = np.zeros(len(theirs.counts_N), bool)
        for band in range(BANDS):
            found_N |= contains(self._keys[:, band], theirs.bands_NB[:, band])
        return np.asarray(found_N & (theirs.counts_N > 0))

    def _is_near(self, theirs: Sketches, text: int) -> bool:
        shingles = theirs.shingles(text)
        for own in self._meeting(theirs.bands_NB[text]):
            if own not in self._sets:
                self._sets[own] = self._sketches.shingles(own)
            both = len(shingles & self._sets[own])
            if both >= NEARLY * (len(shingles) + len(self._sets[own]) - both):
                return True
        return False

    def _meeting(self, keys_B: npt.NDArray[np.uint64]) -> Iterator[int]:
        """Held-out texts that share a band with a text, each once."""
        met: set[int] = set()
        for band in range(BANDS):
            first, last = (np.searchsorted(self._keys[:, band], keys_B[band], side) for side in ("left", "right"))
            for own in self._order[first:last, band].tolist():
                if own not in met:
                    met.add(own)
                    yield own
