"""Watch a small translator write, token by token, and make it take its second choice once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from forge.core.errors import UserError
from forge.inference.translation import Translator, load_translator
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Heat, Result, Table, word_diff
from forge.models.capture import AttentionSite, Recorder, scores
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.translation import generate
from forge.tasks.metrics.translation import sentence_bleu

CONFIG = "configs/translation/_base.yaml"
STEPS = 450
PAIRS, ASKED = 6_000, 100
WORDS = 6  # of a sentence at most: short ones are learned in seconds
DRAWN = 6  # sentences to look at for one that is short enough
LONGEST = 30  # tokens that are written


@dataclass(frozen=True)
class Step:
    """One token that was written, with how likely it was and what came second."""

    token: int
    chance: float
    other: int
    other_chance: float


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Translate `sentence`, greedily and with the second choice at token `second`, and compare with `reference`."""
    sentence, reference, second = word(controls, "sentence"), word(controls, "reference"), whole(controls, "second")
    files = _files(live.folder / "sentences")
    live.chart("Training a translator, once", "step", "loss", STEPS)
    settings = {
        "model.name": "embedded/tiny-marian",
        "data.train": files["train"],
        "data.validation": files["validation"],
        "data.languages.source": "en",
        "data.languages.target": "fr",
        "data.max_length": 32,
        "train.max_steps": STEPS,
        "train.batch_size": 64,
        "train.learning_rate": 6e-3,
        "train.warmup_steps": 40,
        "train.weight_decay": 0.0,
        "train.adam_betas": [0.9, 0.98],
        "generate.beams": 1,
        "evaluate.every": STEPS,
        "evaluate.max_examples": ASKED,
        "log.every": 10,
    }
    trained = run_training(CONFIG, settings, live, Shown(end=0.9, note="training a translator, once"))
    live.progress(0.95, "translating")
    loaded = load_translator(RunDirectory(trained.path))
    first = _write(loaded, sentence, 0)
    if second > len(first):
        raise UserError(f"this translation has {len(first)} tokens, its end among them: choose a smaller number")
    chosen = _write(loaded, sentence, second) if second else first
    plain, other = (loaded.task.texts([[step.token for step in steps]])[0] for steps in (first, chosen))
    changed = sum(a != b for a, b in zip(_padded(first, chosen), _padded(chosen, first), strict=True))
    bleu = sentence_bleu(other, reference)
    whole_bleu = trained.last("bleu", "validation")
    least = min(range(len(first)), key=lambda place: first[place].chance)
    return Result(
        said=f"“{sentence}” became “{other}”. Its BLEU against your reference is {bleu:.0f}; that of the translator on "
        f"{ASKED} other sentences is {whole_bleu:.0f}.",
        numbers={
            "bleu": round(bleu, 1),
            "of_all": round(whole_bleu, 1),
            "changed": changed,
            "least": least + 1,
            "tokens": len(first),
        },
        texts={"plain": plain, "other": other},
        pictures=[
            _table(loaded, chosen, second),
            word_diff("From the reference to the translation", reference, other),
            *([word_diff("From the first choice everywhere to yours", plain, other)] if second else []),
            _looks(loaded, sentence, chosen),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _files(folder: Path) -> dict[str, str]:
    """Short sentences with their translations, a file a split."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, size in {"train": PAIRS, "validation": ASKED}.items():
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            rows = [row for row in generate(split, DRAWN * size, difficulty=0.0) if _short(row["source"])][:size]
            lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            path.write_text(lines, encoding="utf-8")
        files[split] = str(path.resolve())
    return files


def _short(source: str) -> bool:
    return len(source.split()) <= WORDS and "," not in source


@torch.inference_mode()
def _write(loaded: Translator, sentence: str, second: int) -> list[Step]:
    """Token by token, each time the likeliest, but the second at place `second` (from 1; 0 is nowhere)."""
    model, task = loaded.model, loaded.task
    batch = {name: one.to(loaded.accelerator.device) for name, one in _read(loaded, sentence).items()}
    encoded = model.get_encoder()(**batch)
    written, steps = [task.start], list[Step]()
    while len(steps) < LONGEST:
        so_far = torch.tensor([written], device=loaded.accelerator.device)
        asked = {"encoder_outputs": encoded, "attention_mask": batch["attention_mask"], "decoder_input_ids": so_far}
        logits_V = model(**asked).logits[0, -1]
        logits_V[task.tokenizer.pad_token_id] = -torch.inf  # it is the start, and never written
        top = logits_V.float().softmax(-1).topk(2)
        (chance, other_chance), (token, other) = top.values.tolist(), top.indices.tolist()
        if len(steps) + 1 == second:
            chance, other_chance, token, other = other_chance, chance, other, token
        steps.append(Step(token, chance, other, other_chance))
        if token == task.tokenizer.eos_token_id:
            break
        written.append(token)
    return steps


def _read(loaded: Translator, sentence: str) -> dict[str, Tensor]:
    columns = loaded.task.encode_pairs([sentence], None)
    batch = loaded.task.collate([{"input_ids": columns["input_ids"][0]}])
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _padded(steps: Sequence[Step], to: Sequence[Step]) -> list[int]:
    """Tokens, filled up to the length of the longer of the two."""
    return [step.token for step in steps] + [-1] * max(0, len(to) - len(steps))


def _names(loaded: Translator, ids: Sequence[int]) -> list[str]:
    """Tokens as one reads them; `_` stands for the blank before a word, and the end is named."""
    tokenizer = loaded.task.tokenizer
    names = [tokenizer.decode([token]) for token in ids]
    return [
        "(end)" if token == tokenizer.eos_token_id else name.replace(" ", "_")
        for token, name in zip(ids, names, strict=True)
    ]


def _table(loaded: Translator, steps: Sequence[Step], second: int) -> Table:
    taken, others = (_names(loaded, ids) for ids in ([one.token for one in steps], [one.other for one in steps]))
    rows = [
        [
            str(place),
            name,
            f"{step.chance:.0%}",
            other,
            f"{step.other_chance:.0%}",
            "← second choice" * (place == second),
        ]
        for place, (step, name, other) in enumerate(zip(steps, taken, others, strict=True), start=1)
    ]
    return Table(
        title="Written token by token", header=["", "token", "chance", "next likeliest", "chance", ""], rows=rows
    )


@torch.inference_mode()
def _looks(loaded: Translator, sentence: str, steps: Sequence[Step]) -> Heat:
    """Where the decoder looks in the source when it writes each token, the mean of its heads."""
    batch = _read(loaded, sentence)
    asked = torch.tensor([[loaded.task.start, *(step.token for step in steps[:-1])]])
    device, site = loaded.accelerator.device, AttentionSite("decoder", "cross", 1)
    with Recorder(loaded.model, attention=[site]) as recorder:
        loaded.model(**{name: one.to(device) for name, one in batch.items()}, decoder_input_ids=asked.to(device))
        weights_TK = scores(recorder.take().attention[site])[0].softmax(-1).mean(0)
    return Heat(
        title="Where the decoder looks in your sentence (columns) for each token it writes (rows)",
        rows=_names(loaded, [step.token for step in steps]),
        columns=_names(loaded, batch["input_ids"][0].tolist()),
        values=[[round(value, 2) for value in row] for row in weights_TK.tolist()],
        note="Strong colour: much attention. Every row adds up to 1.",
    )
