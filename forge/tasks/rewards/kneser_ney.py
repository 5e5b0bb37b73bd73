"""A language model of word n-grams, small and exact: interpolated Kneser-Ney (Chen and Goodman 1999, §2.7)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

Gram = tuple[str, ...]
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Runs of letters and digits, and every other sign for itself."""
    return WORD.findall(text)


class KneserNey:
    """P(word | the words before), from counts of a text.

        P_k(w | h) = max(c(h w) − D_k, 0) / c(h) + D_k · t(h) / c(h) · P_{k−1}(w | h′)

    h′ is h without its first word, t(h) how many words follow h. c are counts at the highest order, and below it in how
    many contexts a gram occurs. Where h never occurs, P_{k−1} stands alone; P_0 is uniform over the words and one for
    all unknown ones. D_k = n1 / (n1 + 2 · n2), from the numbers of grams that occur once and twice.
    """

    def __init__(self, sentences: Iterable[Sequence[str]], order: int = 3) -> None:
        self.order = order
        counts: Counter[Gram] = Counter()
        for sentence in sentences:
            padded = (*[BEGIN] * (order - 1), *sentence, END)
            counts.update(zip(*(padded[start:] for start in range(order)), strict=False))
        self._orders: list[_Order] = []
        for _ in range(order):
            self._orders.insert(0, _Order(counts))
            counts = Counter(gram[1:] for gram in counts)
        self.vocabulary = {gram[0] for gram in self._orders[0].counts}

    def probability(self, word: str, before: Sequence[str]) -> float:
        """Of one word, above 0 whatever it is; the probabilities of all words and UNKNOWN add up to 1."""
        context = tuple(before)[-(self.order - 1) :] if self.order > 1 else ()
        found = 1.0 / (len(self.vocabulary) + 1)
        for k, order in enumerate(self._orders):
            if k > len(context):
                break
            found = order.mixed(context[len(context) - k :], word, found)
        return found

    def nats(self, sentence: Sequence[str]) -> float:
        """Mean −log P of the words and of the end, in nats a word, above 0."""
        padded = [*[BEGIN] * (self.order - 1), *sentence, END]
        first = self.order - 1
        total = sum(math.log(self.probability(padded[at], padded[at - first : at])) for at in range(first, len(padded)))
        return -total / (len(padded) - first)


class _Order:
    def __init__(self, counts: Counter[Gram]) -> None:
        self.counts = dict(counts)
        self.totals: Counter[Gram] = Counter()
        self.types: Counter[Gram] = Counter()
        for gram, count in counts.items():
            self.totals[gram[:-1]] += count
            self.types[gram[:-1]] += 1
        of_counts = Counter(counts.values())
        once, twice = of_counts[1], of_counts[2]
        self.discount = min(max(once / (once + 2 * twice), 0.1), 0.95) if once else 0.5

    def mixed(self, context: Gram, word: str, lower: float) -> float:
        total = self.totals.get(context, 0)
        if not total:
            return lower
        own = max(self.counts.get((*context, word), 0) - self.discount, 0.0)
        return (own + self.discount * self.types[context] * lower) / total
