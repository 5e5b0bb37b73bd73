"""Measuring a model on one split: every example once, shared out over the processes, scored in the data's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset

from forge.tasks.base import Task
from forge.train.extra import inner_model
from forge.train.shards import is_sharding, looking


class HaltedError(Exception):
    """A measurement was given up because the run should stop."""


def infer(
    accelerator: Accelerator,
    task: Task,
    model: torch.nn.Module,
    data: Dataset,
    batch_size: int,
    halt: Callable[[], bool] | None = None,
) -> list[Any]:
    """The model's output for each example of `data`, in order, known to every process.

    `halt` is asked before each batch, where one process works alone; raises HaltedError when it says so.
    """
    order_N = np.argsort(np.asarray(data["length"][:]), kind="stable")[::-1]  # like lengths together: little padding
    batches = [order_N[start : start + batch_size] for start in range(0, len(order_N), batch_size)]
    trained = accelerator.unwrap_model(model)
    bare, was_training = inner_model(trained), trained.training
    trained.eval()
    found: list[tuple[int, Any]] = []
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    rounds = -(-len(batches) // accelerator.num_processes) if is_sharding(accelerator) else len(mine)
    with looking(trained), accelerator.autocast():
        # Who has no batch in the last round computes one for nothing: the others need its parts of the weights.
        for turn, indices in enumerate(mine + batches[:1] * (rounds - len(mine))):
            if halt and accelerator.num_processes == 1 and halt():
                raise HaltedError
            batch = task.collate(data.__getitems__(indices.tolist()))
            on_device = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
            outputs = task.infer(bare, on_device)
            if turn < len(mine):
                found.extend(zip(indices.tolist(), outputs, strict=True))
    trained.train(was_training)
    everything = gather_object(found) if accelerator.num_processes > 1 else found
    return [output for _, output in sorted(everything, key=lambda pair: pair[0])]
