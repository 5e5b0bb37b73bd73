"""A small translator learns from a reward of the learner's choice: what is rewarded, and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from forge.learn.experiments.base import Live, word
from forge.learn.experiments.paradigms.pairs import write_rows
from forge.learn.experiments.training import Shown, Trained, run_training
from forge.learn.questions import Value
from forge.learn.results import Block, Lines, Result, Series, Table
from forge.runs.completions import read_completions
from forge.runs.run_dir import COMPLETIONS, LOG
from forge.tasks.embedded.translation import generate

START = "configs/translation/embedded_en_fr/tiny_marian/00_sft.yaml"
LEARN = "configs/translation/embedded_en_fr/tiny_marian/_rl.yaml"
START_STEPS, UPDATES = 160, 30
SAMPLES = 4
AVERAGED = 5  # updates
OPENINGS = ("The ", "There ", "These ", "This ", "Several ")
LONGEST = 4  # words of a sentence
SENTENCES, WIDEST = 5, 40  # of the table: rows, and characters of a cell
WIDTH = 72  # of a warning
REWARDS = {
    "every translation gets the same": "{constant: {weight: 1.0}}",
    "the closer to the right translation, the more": "{sentence_bleu: {weight: 1.0}}",
    "the shorter, the more": "{length: {weight: 1.0, options: {least: 0.01, most: 0.3, against: reference}}}",
    "the longer, the more": "{length: {weight: 1.0, options: {least: 2.0, most: 100.0, against: reference}}}",
}


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train a translator once, then let it learn from `reward`."""
    reward = word(controls, "reward")
    data = _data(live)
    start = _start(live, data)
    live.chart("Mean reward of what it writes", "update", "reward", UPDATES)
    shown = Shown("reward", "reward", begin=0.5, end=0.95, note="learning from rewards")
    learned = run_training(LEARN, _settings(data, start, REWARDS[reward]), live, shown)
    rewards, close = learned.curve("reward"), learned.curve("chrf", "validation")
    before, after = (_mean(part) for part in (rewards.points[:AVERAGED], rewards.points[-AVERAGED:]))
    closer = close.points[-1][1] - close.points[0][1]
    samples = read_completions(learned.path / COMPLETIONS, step=1)[0]
    return Result(
        said=f"Rewarded: {reward}. The mean reward went from {before:.2f} to {after:.2f}. Closeness to the "
        f"right translations (chrF, at most 100) went from {close.points[0][1]:.0f} to {close.points[-1][1]:.0f}.",
        numbers={
            "gain": round(after - before, 3),
            "closer": round(closer, 1),
            "mean": _mean_of([sample["reward"] for sample in samples["samples"]]),
        },
        pictures=[
            Lines(
                title="What is rewarded, and what was wanted",
                x="update",
                y="share of the most there is",
                series=[rewards.model_copy(update={"name": "reward"}), _share(close)],
                low=0,
                high=1,
            ),
            _samples(samples),
            _translations(learned),
            *_warnings(learned),
        ],
        run=str(learned.path),
        command=learned.command,
    )


def _data(live: Live) -> dict[str, Any]:
    """Short sentences, so that a translator of seconds can learn them."""
    files = {}
    for split, size in (("train", 20_000), ("validation", 3_000)):
        rows = [row for row in generate(split, size, difficulty=0.0) if _is_short(row["source"])]
        files[split] = write_rows(live, f"short_sentences_{split}.jsonl", rows)
    return {
        "data.name": None,
        "data.train": files["train"],
        "data.validation": files["validation"],
        "data.test": None,
        "data.languages": "{source: en, target: fr}",
        "evaluate.max_examples": 60,
    }


def _is_short(sentence: str) -> bool:
    return sentence.startswith(OPENINGS) and len(sentence.split()) <= LONGEST


def _start(live: Live, data: Mapping[str, Any]) -> Trained:
    """The translator that all rewards begin with: half trained, by SFT."""
    live.chart("The translator learns from right translations first, once", "step", "loss", START_STEPS)
    settings = dict(data) | {
        "train.max_steps": START_STEPS,
        "train.batch_size": 32,
        "train.learning_rate": 3e-3,
        "train.warmup_steps": 30,
        "evaluate.every": START_STEPS,
        "log.every": 5,
    }
    return run_training(START, settings, live, Shown(end=0.5, note="training a translator to begin with, once"))


def _settings(data: Mapping[str, Any], start: Trained, rewards: str) -> dict[str, Any]:
    return dict(data) | {
        "model.name": start.path,
        "rl.rewards": rewards,
        "rl.samples": SAMPLES,
        "rl.temperature": 0.7,
        "data.max_target_length": 24,
        "train.max_steps": UPDATES,
        "train.batch_size": 32,
        "train.learning_rate": 4e-4,
        "train.warmup_steps": 2,
        "train.group_by_length": False,
        "evaluate.every": 10,
        "log.every": 1,
    }


def _mean(points: Sequence[tuple[float, float]]) -> float:
    return _mean_of([y for _, y in points])


def _mean_of(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def _share(series: Series) -> Series:
    points = [(x, round(y / 100, 4)) for x, y in series.points]
    return Series(name="closeness to the right translation", points=points)


def _samples(group: Mapping[str, Any]) -> Table:
    """The first prompt's samples with what they were worth; the learner works out their mean."""
    signs = {1: "likelier", 0: "as before", -1: "less likely"}
    return Table(
        title=f"Update 1: four tries at “{group['prompt']}”",
        header=["it wrote", "reward", "becomes"],
        rows=[
            [_cut(s["text"]), f"{s['reward']:.2f}", signs[(s["advantage"] > 0) - (s["advantage"] < 0)]]
            for s in group["samples"]
        ],
    )


def _translations(learned: Trained) -> Table:
    """What it makes of sentences that it has not learned from, before and after."""
    first, *_, last = (record["samples"] for record in learned.records if record["kind"] == "evaluation")
    return Table(
        title="New sentences",
        header=["sentence", "", "translation"],
        rows=[
            row
            for a, b in list(zip(first, last, strict=True))[:SENTENCES]
            for row in ([a["source"], "before", _cut(a["translation"])], ["", "after", _cut(b["translation"])])
        ],
    )


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _warnings(learned: Trained) -> list[Block]:
    lines = (learned.path / LOG).read_text(encoding="utf-8").splitlines()
    told = [line.partition("warning: ")[2] for line in lines if "warning: " in line]
    return [Block(title="Forge said", text=textwrap.fill(told[-1], WIDTH))] if told else []
