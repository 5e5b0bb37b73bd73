"""Look inside a small trained network: one word changes, and the change spreads from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forge.core.errors import UserError
from forge.inference.classification import LoadedRun, load_run
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.basics.small_model import ANSWERS, CONFIG, EASY
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Heat, Result, Table
from forge.models.capture import HiddenSite, Recorder, layout
from forge.runs.run_dir import RunDirectory

SECOND = "Some dogs moved"
ROUNDS = 300
CHANGED = 1e-4  # far above rounding, far below what a word does


@dataclass(frozen=True)
class Seen:
    """One pair of sentences on its way through the network."""

    words: list[str]
    layers_LWD: list[Tensor]  # a tensor a layer: numbers of each word
    chances: list[float]


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Compare `sentence` and `changed`, each followed by the same second sentence, layer by layer."""
    live.chart("Training the network to look into", "rounds", "loss", ROUNDS)
    settings = dict(EASY) | {
        "train.max_steps": ROUNDS,
        "data.embedded.train_size": 2_000,
        "evaluate.every": ROUNDS,
        "log.every": 10,
    }
    trained = run_training(CONFIG, settings, live, Shown(end=0.8, note="training the network to look into"))
    loaded = load_run(RunDirectory(trained.path))
    live.progress(0.9, "looking at every layer")
    first, second = (_look(loaded, word(controls, name)) for name in ("sentence", "changed"))
    if len(first.words) != len(second.words):
        raise UserError("exchange a word for another one: the two sentences must have as many words as each other")
    moved_LW = [(a - b).abs().mean(dim=-1).tolist() for a, b in zip(first.layers_LWD, second.layers_LWD, strict=True)]
    counts = [sum(value > CHANGED for value in moved) for moved in moved_LW]
    exchanged = sum(a != b for a, b in zip(first.words, second.words, strict=True))
    names = ["words as numbers", *(f"after layer {n}" for n in range(1, len(moved_LW)))]
    parameters = sum(p.numel() for p in loaded.model.parameters())
    return Result(
        said=_said(exchanged, counts, len(first.words)),
        numbers={
            "exchanged": exchanged,
            "words": len(first.words),
            "rows_first": counts[0],
            "rows_last": counts[-1],
            "width": first.layers_LWD[0].shape[-1],
            "weights": parameters,
        },
        pictures=[
            Heat(
                title="How much each word's numbers changed",
                rows=[a if a == b else f"{a} → {b}" for a, b in zip(first.words, second.words, strict=True)],
                columns=names,
                values=[[round(moved[w], 3) for moved in moved_LW] for w in range(len(first.words))],
                note="Strong colour: changed much. Pale: hardly or not at all.",
                show_values=True,
            ),
            Heat(
                title=f"After the last layer: {first.layers_LWD[0].shape[-1]} numbers a word",
                rows=second.words,
                columns=[str(n) for n in range(1, first.layers_LWD[0].shape[-1] + 1)],
                values=[[round(v, 2) for v in row] for row in second.layers_LWD[-1].tolist()],
                note="One row is what the network thinks of one word.",
            ),
            Table(
                title=f"So: “{SECOND}.”",
                header=["answer", "first sentence", "changed sentence"],
                rows=[
                    [ANSWERS[label], f"{a:.0%}", f"{b:.0%}"]
                    for label, a, b in zip(loaded.task.labels, first.chances, second.chances, strict=True)
                ],
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _look(loaded: LoadedRun, sentence: str) -> Seen:
    tokenizer, model = loaded.task.tokenizer, loaded.model
    encoded = tokenizer(sentence, SECOND, return_tensors="pt")
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    keep = [i for i, piece in enumerate(pieces) if piece not in tokenizer.all_special_tokens]
    words = [pieces[i] for i in keep]
    _refuse_strange(sentence, words, tokenizer.unk_token in pieces)
    name, stack = next(iter(layout(model).items()))
    sites = [HiddenSite(name, layer) for layer in range(stack.depth + 1)]
    model.eval()
    with torch.no_grad(), Recorder(model, hidden=sites) as recorder:
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
        hidden = recorder.take().hidden
    return Seen(words, [hidden[site][0, keep] for site in sites], logits[0].softmax(-1).tolist())


def _refuse_strange(sentence: str, words: Sequence[str], unknown: bool) -> None:
    """The network knows few words; others fall into pieces, which would not line up."""
    strange = [w for w in sentence.lower().split() if w not in words]
    if strange or unknown:
        raise UserError(
            f"this small network has not met {', '.join(repr(w) for w in strange) or 'one of these signs'}; try words "
            f"such as all, some, no, old, dogs, owls, birds, girls, ran, slept, walked, smiled"
        )


def _said(exchanged: int, counts: Sequence[int], words: int) -> str:
    if not exchanged:
        return "The two sentences are the same, so nothing changed. Exchange one word in the second box."
    return (
        f"You exchanged {exchanged} word{'s' if exchanged > 1 else ''}. Before the first layer {counts[0]} of {words} "
        f"rows changed, after the last layer {counts[-1]}."
    )
