"""What every layer of a model makes of chosen examples, in one pass, written as it comes.

One row an example (the mean over its tokens that count, or the first of them) is what CKA and probes ask for: padding
never counts, and special tokens need not. Kept as rows of their own, tokens that all texts share make any two models
look alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forge.core.errors import UserError
from forge.core.io import storage_errors
from forge.tasks.base import Batch
from forge.workbench.row_files import Representations, StackWriter, layer_name
from forge.workbench.stacks import Missed, Observed, Rows, missing

Pooling = Literal["mean", "first", "tokens"]
Records = Sequence[Mapping[str, Any]]
"""What is to be noted of each example of a batch, in order; `id` names it, is a text, and occurs once."""


def extract(
    model: nn.Module,
    batches: Iterable[tuple[Records, Batch]],
    folder: Path,
    *,
    pooling: Pooling = "mean",
    leave_out: Collection[int] = (),
    stacks: Collection[str] | None = None,
    about: Mapping[str, str] | None = None,
    missed: Missed | None = None,
) -> dict[str, Representations]:
    """Run the model over the batches and write every layer of every stack, or of those named, into `folder`, in fp32.

    Memory is that of one batch's hidden states, whatever the number of examples. `leave_out` are token ids that do not
    count, such as special tokens; patches of images never count as text. `about` goes into the files. The model runs
    without dropout, on its own device and in its own precision, and is left as it was; a batch with padding gives what
    its examples give alone. Raises UserError for an example without a token that counts, and for stacks it has not;
    where `missed` is given, a stack that cannot be read is left out and noted there.
    """
    writers: dict[str, StackWriter] = {}
    told = {"pooling": pooling, "model": type(model).__name__} | dict(about or {})
    known: set[str] = set()
    training, device = model.training, next(model.parameters()).device
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    try:
        with storage_errors("writing representations"), torch.inference_mode(), Observed(model) as observed:
            for records, batch in batches:
                _check_records(records, known)
                on_device = {name: tensor.to(device) for name, tensor in batch.items()}
                seen = _wanted(observed.rows(on_device, len(records), leave_out, missed), stacks)
                for stack, layers in seen.items():
                    with missing(missed, stack):
                        pooled = _pooled(layers, records, pooling, stack)
                        if stack not in writers:
                            writers[stack] = StackWriter(folder, stack, told)
                        writers[stack].add(*pooled)
            if not known:
                raise UserError("representations: there are no examples")
            for stack in set(writers) & set(missed or ()):
                writers.pop(stack).abandon()
            for writer in writers.values():
                writer.finish()
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    finally:
        model.train(training)
    return {stack: Representations.open(folder, stack) for stack in writers}


def pool(rows: Rows, examples: int, pooling: Pooling) -> Tensor:
    """features_BD in fp32 of the rows of each example, which has some; with `tokens` features_RD, a row each."""
    if pooling == "tokens":
        return rows.states_RD.float()
    counts_B = torch.bincount(rows.owner_R, minlength=examples)
    if pooling == "first":
        return rows.states_RD[counts_B.cumsum(0) - counts_B].float()
    sums_BD = torch.zeros(examples, rows.states_RD.shape[1], device=rows.states_RD.device)
    return sums_BD.index_add_(0, rows.owner_R, rows.states_RD.float()) / counts_B[:, None]


def _pooled(
    layers: Mapping[int, Rows], records: Records, pooling: Pooling, stack: str
) -> tuple[list[Mapping[str, Any]], dict[str, NDArray[np.float32]]]:
    first = layers[min(layers)]
    for rows in layers.values():
        counts_B = torch.bincount(rows.owner_R, minlength=len(records))
        if int(counts_B.min()) == 0:
            name = records[int(counts_B.argmin())]["id"]
            raise UserError(f"representations: example {name} has no token in the {stack} that counts; leave it out")
    features: dict[str, NDArray[np.float32]] = {
        layer_name(layer): pool(rows, len(records), pooling).cpu().numpy() for layer, rows in layers.items()
    }
    if pooling != "tokens":
        return list(records), features
    owners, positions = first.owner_R.tolist(), first.position_R.tolist()
    each: list[Mapping[str, Any]] = [
        {**records[owner], "position": position} for owner, position in zip(owners, positions, strict=True)
    ]
    return each, features


def _wanted(found: dict[str, dict[int, Rows]], stacks: Collection[str] | None) -> dict[str, dict[int, Rows]]:
    if stacks is None:
        return found
    if missing := [name for name in stacks if name not in found]:
        raise UserError(f"representations: the model has no {', '.join(missing)}; it has {', '.join(found)}")
    return {name: found[name] for name in stacks}


def _check_records(records: Records, known: set[str]) -> None:
    for record in records:
        if record["id"] in known:
            raise UserError(f"representations: example {record['id']} comes twice; an id names one example")
        known.add(record["id"])
