"""Cut a sentence into tokens, and see where each of them looks: the attention of one head, and of all in a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forge.core.errors import UserError
from forge.inference.classification import LoadedRun, load_run
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.language_models.taught import taught
from forge.learn.questions import Value
from forge.learn.results import Block, Heat, Result, shares
from forge.models.capture import AttentionSite, Recorder, layout, scores
from forge.runs.run_dir import RunDirectory

SECOND = "Some dogs moved"
FEW = 9  # tokens whose numbers fit beside each other


@dataclass(frozen=True)
class Seen:
    """A pair of sentences in one layer: its tokens, and of each head where each token looks; rows add up to 1."""

    tokens: list[str]
    own: slice  # those of the first sentence
    last: int  # the last word of the second sentence
    weights_HQK: Tensor


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Show where the tokens of `sentence` and of "Some dogs moved" look, in one `layer` and one `head`."""
    sentence, layer, head = word(controls, "sentence"), int(word(controls, "layer")), int(word(controls, "head"))
    trained = taught(live)
    live.progress(0.9, "looking at the attention")
    seen = _look(load_run(RunDirectory(trained.path)), sentence, layer)
    own, words = seen.tokens[seen.own], len(sentence.split())
    looks_K = seen.weights_HQK[head - 1, seen.last].tolist()
    top = max(range(len(looks_K)), key=looks_K.__getitem__)
    return Result(
        said=f"{words} word{'s' * (words > 1)} became {len(own)} tokens. In layer {layer}, head {head}, "
        f"“moved” looks most at “{seen.tokens[top]}”.",
        numbers={
            "words": words,
            "tokens": len(own),
            "extra": len(own) - words,
            "most": round(100 * looks_K[top]),
        },
        pictures=[
            Block(title="Your sentence as tokens", text=" | ".join(own)),
            _heat(
                f"Layer {layer}, head {head}: how much each token (row) looks at every token (column)",
                seen.tokens,
                seen.tokens,
                seen.weights_HQK[head - 1],
                "Strong colour: much attention. Every row adds up to 1.",
            ),
            shares(seen.tokens, looks_K, f"Where “moved” looks in head {head}", "All bars together are 1."),
            _heat(
                f"Where “moved” looks in each head of layer {layer}",
                [f"head {n}" for n in range(1, len(seen.weights_HQK) + 1)],
                seen.tokens,
                seen.weights_HQK[:, seen.last],
                "The same token in the same layer: only the head differs.",
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


@torch.no_grad()
def _look(loaded: LoadedRun, sentence: str, layer: int) -> Seen:
    tokenizer, model = loaded.task.tokenizer, loaded.model.eval()
    encoded = tokenizer(sentence, SECOND, return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    if len(tokens) > loaded.task.max_length:
        raise UserError(f"that is {len(tokens)} tokens, and this network reads {loaded.task.max_length}: shorten it")
    site = AttentionSite(next(iter(layout(model))), "self", layer)
    with Recorder(model, attention=[site]) as recorder:
        model(**encoded)
        weights_HQK = scores(recorder.take().attention[site])[0].softmax(-1)
    end = tokens.index(tokenizer.sep_token)
    return Seen(tokens, slice(1, end), len(tokens) - 2, weights_HQK)


def _heat(title: str, rows: Sequence[str], columns: Sequence[str], values_RC: Tensor, note: str) -> Heat:
    values = [[round(value, 2) for value in row] for row in values_RC.tolist()]
    return Heat(
        title=title, rows=list(rows), columns=list(columns), values=values, note=note, show_values=len(columns) <= FEW
    )
