"""Sentences a second of `forge.py predict` against `model.generate` over batches of 32 in file order.

The other side is what tutorials do: `tokenizer(texts, padding=True)` a batch, `generate` with the same settings,
`batch_decode`. Both translate the test split of one trained run, texts in and texts out, greedily and with 5 beams, in
turn over several rounds in one process, on one thread. Translations are compared: they may differ only where two tokens
or two beams are equally likely up to rounding. Rows in between take one of Forge's two ideas away.

    FORGE_DATA=… python -m bench.translate_predict                  # trains the small Multi30k translator for 800 steps
    python -m bench.translate_predict --run runs/translation/…      # or takes a run that is trained already

Without FORGE_DATA it trains the embedded translator. `--quick` measures less; its figures are a check that the
benchmark works.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from bench.kd_case import shown
from bench.machine import write_table
from forge.core.manifest import average_of
from forge.inference.splits import own_splits
from forge.inference.translation import Translator, load_translator, translate
from forge.models import generate
from forge.models.generate import Decoding
from forge.models.search import search
from forge.runs.run_dir import RunDirectory, open_existing

ROOT = Path(__file__).parent.parent
FILES, MADE = "multi30k_en_fr/tiny/00_sft", "embedded_en_fr/small_marian/00_teacher"
BATCH, BEAMS, STEPS, ROUNDS = 32, (1, 5), 800, 4
Side = Callable[[Translator, Sequence[str]], list[str]]


def forge_side(loaded: Translator, texts: Sequence[str]) -> list[str]:
    return list(translate(loaded, texts))


def forge_with_their_search(loaded: Translator, texts: Sequence[str]) -> list[str]:

    def theirs(model: Any, **asked: Any) -> Any:
        return model.generate(**asked)

    with patch.object(generate, "_generate", theirs):
        return list(translate(loaded, texts))


def decoding(loaded: Translator) -> Decoding:
    write: Any = loaded.task.write_best
    found: Decoding = write.keywords["decoding"]
    return found


def plain_side(loaded: Translator, texts: Sequence[str], **how: Any) -> list[str]:
    tokenizer, asked = loaded.task.tokenizer, decoding(loaded)
    written: list[str] = []
    for first in range(0, len(texts), BATCH):
        batch = tokenizer(list(texts[first : first + BATCH]), padding=True, return_tensors="pt")
        ids = loaded.model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=asked.beams,
            max_new_tokens=asked.max_length, max_length=None, early_stopping=asked.beams > 1, forced_bos_token_id=asked.first,
            length_penalty=asked.length_penalty if asked.beams > 1 else 1.0, **how,
        )  # fmt: skip
        written += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return written


def plain_with_our_search(loaded: Translator, texts: Sequence[str]) -> list[str]:
    return plain_side(loaded, texts, custom_generate=search)


SIDES: dict[str, Side] = {
    "Forge": forge_side,
    "Forge's batches, transformers' search": forge_with_their_search,
    "batches of 32 in file order, Forge's search": plain_with_our_search,
    "batches of 32 in file order, transformers' search": plain_side,
}
ESSENTIAL = {"Forge", "batches of 32 in file order, transformers' search"}


def measure(loaded: Translator, texts: Sequence[str], rounds: int) -> list[str]:
    """A row a side. Sides that only explain the others are left out of the last rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    written: dict[str, list[str]] = {}
    for side in SIDES.values():
        side(loaded, texts[:BATCH])
    for number in range(rounds):
        order = [name for name in SIDES if name in ESSENTIAL or number < max(1, rounds // 2)]
        for name in order if number % 2 == 0 else order[::-1]:
            began = time.process_time()
            written[name] = [text.strip() for text in SIDES[name](loaded, texts)]
            speeds[name].append(len(texts) / (time.process_time() - began))
    kind = "greedy" if loaded.beams == 1 else f"{loaded.beams} beams"
    lines = []
    for name in SIDES:
        over = [ours / its for ours, its in zip(speeds["Forge"], speeds[name], strict=False)]
        other = sum(a != b for a, b in zip(written[name], written["Forge"], strict=True))
        lines.append(f"| {kind} | {name} | {statistics.median(speeds[name]):.1f} | {shown(over)} | {other} |")
        print(lines[-1], flush=True)
    return lines


def train(folder: Path, steps: int) -> RunDirectory:
    """A short run: long enough that its sentences end where they should."""
    name = FILES if os.environ.get("FORGE_DATA") else MADE
    command = [
        sys.executable, "forge.py", "--config", f"configs/translation/{name}.yaml", f"run.dir={folder}",
        f"max_steps={steps}", "train.warmup_steps=400", "train.threads=1", f"evaluate.every={steps}",
        "evaluate.max_examples=200", "generate.beams=1",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return open_existing(folder / "translation" / name / "latest")


def result_of(state: dict[str, Any]) -> float:
    """BLEU on validation of what is translated with: the average of checkpoints where that is the run's result."""
    average = average_of(state)
    return float(average["value"] if average.get("chosen") else state["best"]["value"])


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--run", help="a trained run of a translator")
    reader.add_argument("--quick", action="store_true", help="one round of 64 sentences: a check, no measurement")
    chosen = reader.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = open_existing(chosen.run) if chosen.run else train(Path(folder), 60 if chosen.quick else STEPS)
        (table,) = own_splits(run, None, "take another run").values()
        texts: list[str] = table.rows["source"][: 64 if chosen.quick else None]
        lines = ["| search | side | sentences a CPU second, median | Forge over it: median (min – max) | translations that differ from Forge's |", "|---|---|---|---|---|"]  # fmt: skip
        for beams in BEAMS:
            loaded = load_translator(run, "best", beams)
            lines += measure(loaded, texts, 1 if chosen.quick else ROUNDS)
        name, step, bleu = run.metadata()["name"], loaded.checkpoint, result_of(run.state())
    text = "\n".join(lines) + (
        f"\n\n{ROUNDS} rounds (the two rows in the middle {ROUNDS // 2}), one process and thread; {len(texts)} sentences, "
        f"{step} of {name}, {bleu:.1f} BLEU on validation, at most {decoding(loaded).max_length} tokens a translation. "
        "Target: more than 1.5 over the last row."
    )
    write_table(
        "translate_predict",
        "Translating: Forge against plain `generate`",
        text,
        "python -m bench.translate_predict",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
