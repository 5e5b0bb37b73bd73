"""What is open, and why the rest is not; the mixed quiz at the end of a phase; testing out of a phase."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge.core.hashing import derive_seed
from forge.learn.cards import PHASES, Card, before
from forge.learn.checks import Verdict, judge
from forge.learn.lessons import Lesson
from forge.learn.questions import ChoiceQuestion, Typed, Value
from forge.learn.state import State

GATE_QUESTIONS = 5
GATE_RIGHT = 4
FROM_EARLIER = 2
TEST_OUT_A_LESSON = 2
TEST_OUT_SHARE = 0.8

Lessons = Mapping[str, Lesson]


def why_locked(card: Card, state: State, lessons: Lessons) -> str:
    """Why a lesson cannot be opened; empty where it can."""
    if card.id not in lessons:
        return "This lesson is not written yet."
    if state.unlocked_all_at or state.lesson(card.id).passed:
        return ""
    if reason := why_phase_locked(card.phase, state):
        return reason
    earlier = PHASES[card.phase - 1].cards[: card.place - 1]
    missing = next((c for c in earlier if c.id in lessons and not state.lesson(c.id).passed), None)
    return f"Pass lesson {missing.number} first ({missing.title})." if missing else ""


def why_phase_locked(phase: int, state: State) -> str:
    """Why a phase is closed; empty where it is open."""
    if state.unlocked_all_at:
        return ""
    missing = next((p for p in before(phase) if not state.gate(p.number).passed), None)
    return f"Pass the gate of phase {missing.number} first ({missing.title})." if missing else ""


def why_gate_locked(phase: int, state: State, lessons: Lessons) -> str:
    """Why the gate at a phase's end cannot be tried; empty where it can."""
    cards = PHASES[phase - 1].cards
    unwritten = next((card for card in cards if card.id not in lessons), None)
    if unwritten:
        return f"Lesson {unwritten.number} is not written yet."
    if state.unlocked_all_at:
        return ""
    if reason := why_phase_locked(phase, state):
        return reason
    missing = next((card for card in cards if not state.lesson(card.id).passed), None)
    return f"Pass lesson {missing.number} first ({missing.title})." if missing else ""


def why_no_test_out(phase: int, state: State, lessons: Lessons) -> str:
    """Why one cannot test out of a phase; empty where one can."""
    unwritten = next((card for card in PHASES[phase - 1].cards if card.id not in lessons), None)
    if unwritten:
        return f"Lesson {unwritten.number} is not written yet."
    return why_phase_locked(phase, state)


@dataclass(frozen=True)
class Asked:
    """A question of a quiz, with the lesson that it comes from."""

    lesson: str
    question: Typed


def gate_questions(phase: int, tries: int, lessons: Lessons) -> list[Asked]:
    """Five questions: of phases that have earlier ones, two or more from those. Another try asks others."""
    draw = random.Random(derive_seed(0, "gate", phase, tries))
    earlier = [_all_of(card, lessons) for p in before(phase) for card in p.cards if card.id in lessons]
    own = [_all_of(card, lessons) for card in PHASES[phase - 1].cards]
    count = FROM_EARLIER if earlier else 0
    chosen = _round_robin(own, GATE_QUESTIONS - count, draw) + _round_robin(earlier, count, draw)
    draw.shuffle(chosen)
    return [_shuffled(asked, draw) for asked in chosen]


def test_out_questions(phase: int, tries: int, lessons: Lessons) -> list[Asked]:
    """Two questions of each lesson of the phase."""
    draw = random.Random(derive_seed(0, "test-out", phase, tries))
    pools = [_all_of(card, lessons) for card in PHASES[phase - 1].cards]
    return [_shuffled(asked, draw) for pool in pools for asked in draw.sample(pool, TEST_OUT_A_LESSON)]


def mark(questions: Sequence[Asked], answers: Sequence[Value | None]) -> list[Verdict]:
    """A verdict a question; what is left open counts as not right."""
    given = [*answers, *[None] * (len(questions) - len(answers))][: len(questions)]
    return [judge(asked.question, answer, None) for asked, answer in zip(questions, given, strict=True)]


def needed(questions: Sequence[Asked], test_out: bool) -> int:
    """How many of a quiz must be right."""
    return math.ceil(len(questions) * TEST_OUT_SHARE) if test_out else min(GATE_RIGHT, len(questions))


def _all_of(card: Card, lessons: Lessons) -> list[Asked]:
    return [Asked(card.id, question) for question in lessons[card.id].file.gate]


def _round_robin(pools: list[list[Asked]], count: int, draw: random.Random) -> list[Asked]:
    """So many, from as many lessons as can be."""
    left = [draw.sample(pool, len(pool)) for pool in draw.sample(pools, len(pools))]
    chosen: list[Asked] = []
    while len(chosen) < count and any(left):
        for pool in left:
            if pool and len(chosen) < count:
                chosen.append(pool.pop())
    return chosen


def _shuffled(asked: Asked, draw: random.Random) -> Asked:
    """The same with its choices in another order: places are not worth remembering."""
    if not isinstance(asked.question, ChoiceQuestion):
        return asked
    choices = draw.sample(asked.question.choices, len(asked.question.choices))
    return Asked(asked.lesson, asked.question.model_copy(update={"choices": choices}))
