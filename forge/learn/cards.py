"""The eighteen cards in six phases: the order of the path. Names are stable: progress is stored under them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One lesson's place on the map."""

    id: str
    title: str
    phase: int  # from 1
    place: int  # in its phase, from 1

    @property
    def number(self) -> str:
        """Such as 2.1."""
        return f"{self.phase}.{self.place}"


@dataclass(frozen=True)
class Phase:
    """Three cards and the gate behind them."""

    number: int
    title: str
    cards: tuple[Card, ...]


_PATH = (
    (
        "AI basics",
        (
            ("what-is-ai", "What is AI and machine learning?"),
            ("neural-networks", "Neural networks"),
            ("vocabulary", "Key vocabulary"),
        ),
    ),
    (
        "Language models",
        (
            ("attention", "The Transformer and attention"),
            ("bert", "BERT"),
            ("distilbert", "DistilBERT"),
        ),
    ),
    (
        "NLP tasks",
        (
            ("classification", "Classification"),
            ("translation", "Translation"),
            ("documents", "OCR and document AI"),
        ),
    ),
    (
        "Training paradigms",
        (
            ("sft", "SFT: learning from labels"),
            ("distillation", "KD: learning from a teacher"),
            ("rewards", "RL: learning from rewards"),
        ),
    ),
    (
        "Forge in practice",
        (
            ("first-run", "Environment and first run"),
            ("configuration", "The YAML config system"),
            ("outputs", "Reading outputs"),
        ),
    ),
    (
        "Go deeper",
        (
            ("losses", "KD loss strategies"),
            ("workbench", "Workbench analysis"),
            ("scale", "SLURM and HPC scale"),
        ),
    ),
)

PHASES = tuple(
    Phase(number, title, tuple(Card(name, text, number, place) for place, (name, text) in enumerate(cards, 1)))
    for number, (title, cards) in enumerate(_PATH, 1)
)
CARDS = {card.id: card for phase in PHASES for card in phase.cards}


def before(phase: int) -> tuple[Phase, ...]:
    """The phases that come before a phase."""
    return PHASES[: phase - 1]
