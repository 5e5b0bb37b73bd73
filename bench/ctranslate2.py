"""Sentences a second of one translator in Forge and in CTranslate2, one thread, texts to texts: tokens included.

    python -m bench.ctranslate2 [RUN]

Texts are those of the run's test split, 2,000 at most. Without a run it trains the embedded translators first. The sides
take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ctranslate2
import torch
from transformers import AutoTokenizer

from bench.machine import write_table
from forge.inference.splits import own_splits
from forge.inference.translation import load_translator, translate
from forge.runs.export_ctranslate2 import export_ctranslate2
from forge.runs.run_dir import RunDirectory, open_existing
from forge.tasks.metrics.translation import score_translations

ROOT = Path(__file__).parent.parent
MODELS = ("tiny_marian/00_sft", "small_marian/00_teacher")
SENTENCES, TIMES, LONGEST, AT_ONCE = 2_000, 3, 64, 64
FORMATS = ("float32", "int8")

Side = Callable[[Sequence[str]], list[str]]


def trained(model: str, folder: str) -> RunDirectory:
    config = f"configs/translation/embedded_en_fr/{model}.yaml"
    words = [sys.executable, "forge.py", "--config", config, f"run.dir={folder}"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return open_existing(Path(folder) / "translation" / "embedded_en_fr" / model / "latest")


def in_forge(run: RunDirectory, beams: int) -> Side:
    loaded = load_translator(run, beams=beams)
    return lambda texts: list(translate(loaded, texts))


def in_ctranslate2(folder: Path, beams: int) -> Side:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    translator = ctranslate2.Translator(str(folder), intra_threads=1, inter_threads=1)

    def side(texts: Sequence[str]) -> list[str]:
        inputs = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        pieces = [tokenizer.convert_ids_to_tokens(ids) for ids in inputs]
        found = translator.translate_batch(
            pieces, beam_size=beams, max_decoding_length=LONGEST, max_batch_size=AT_ONCE
        )  # fmt: skip
        ids = [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in found]
        return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

    return side


def measure(run: RunDirectory, folder: Path, beams: int, sentences: int = SENTENCES, times: int = TIMES) -> list[str]:
    """A row a side: sentences a second, BLEU, and how many sentences are those of Forge."""
    (table,) = own_splits(run, None, "take another run").values()
    texts, references = table.rows["source"][:sentences], table.rows["target"][:sentences]
    sides = {"Forge": in_forge(run, beams)}
    for kind in FORMATS:
        out = folder / f"{run.path.parent.name}-{kind}-{beams}"
        export_ctranslate2(run, out, "best", kind)
        sides[f"CTranslate2, {kind}"] = in_ctranslate2(out, beams)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[str]] = {}
    for side in sides.values():
        side(texts[:AT_ONCE])
    for _ in range(times):
        for name, side in sides.items():
            began = time.perf_counter()
            answers[name] = side(texts)
            seconds[name].append(time.perf_counter() - began)
    found = []
    for name, taken in seconds.items():
        speed, spread = len(texts) / statistics.median(taken), (len(texts) / max(taken), len(texts) / min(taken))
        bleu = score_translations(answers[name], references, "fr").figures["bleu"]
        equal = sum(a == b for a, b in zip(answers[name], answers["Forge"], strict=True))
        times_faster = statistics.median(seconds["Forge"]) / statistics.median(taken)
        found.append(
            f"| {beams} | {name} | {speed:,.0f} ({spread[0]:,.0f} – {spread[1]:,.0f}) | {times_faster:.1f} | {bleu:.2f} | "
            f"{equal:,} of {len(texts):,} |"
        )
    return found


def main(words: Sequence[str]) -> None:
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        runs = [open_existing(word) for word in words] or [trained(model, folder) for model in MODELS]
        for run in runs:
            metadata = run.metadata()
            lines += ["", f"{metadata['name']}, {metadata['parameters']:,} parameters:", ""]
            lines += [f"| beams | | sentences/s: median (min – max) of {TIMES} | times Forge | BLEU | as Forge |"]
            lines += ["|---|---|---|---|---|---|"]
            for beams in (1, 5):
                lines += measure(run, Path(folder), beams)
    text = (
        f"Sentences of the test split, at most {SENTENCES:,}; one thread, ctranslate2 {ctranslate2.__version__}.\n"
        + "\n".join(lines)
    )
    write_table(
        "ctranslate2", "Translating: Forge and CTranslate2", text, " ".join(["python -m bench.ctranslate2", *words])
    )


if __name__ == "__main__":
    main(sys.argv[1:])
