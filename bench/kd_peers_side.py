"""One peer's side of bench.kd_peers: runs in the peers' own environment and knows nothing of Forge.

python kd_peers_side.py SIDE LOSS FOLDER reads FOLDER/teacher, FOLDER/student and FOLDER/batches.safetensors, trains on
all batches once and prints {"samples_per_second": …}. Step 1 and the last one are not timed: a peer makes its
optimizer's state in one and saves its weights in the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn import functional

if torch.version.cuda is None:
    # PyPI's torchvision finds no CUDA to load its operators with, and then fails to import for want of these two.
    # torchdistill and transformers import it wherever it is installed; nothing here uses it.
    STUB = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        STUB.define(f"{operator}(Tensor a, Tensor b, float c) -> Tensor")

from transformers import AutoModelForSequenceClassification, get_scheduler

TEMPERATURE, ALPHA, RATE = 2.0, 0.5, 5e-5
PAIRS = ((1, 2), (2, 4), (3, 6))  # layers of the student and of the teacher
Batch = dict[str, torch.Tensor]


class Batches:
    """Hands out ready batches and notes when each was asked for."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.asked = batches, []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.asked.append(time.process_time())
            yield dict(batch)

    def speed(self) -> float:
        samples = sum(len(batch["labels"]) for batch in self.batches[1:-1])
        return samples / (self.asked[len(self) - 1] - self.asked[1])


def optimizer_of(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)


def textbrewer(student: Any, teacher: Any, batches: Batches, loss: str) -> None:
    """GeneralDistiller with soft cross-entropy, labels, and hidden states where asked for."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    with_hidden = loss == "kl+hidden"

    def adapt(batch: Batch, outputs: Any) -> dict[str, Any]:
        found = {"logits": outputs.logits, "losses": outputs.loss, "inputs_mask": batch["attention_mask"]}
        return found | ({"hidden": outputs.hidden_states} if with_hidden else {})

    matches = [
        {"layer_S": s, "layer_T": t, "feature": "hidden", "loss": "hidden_mse", "weight": ALPHA / 3} for s, t in PAIRS
    ]
    distill = DistillationConfig(
        temperature=TEMPERATURE, kd_loss_weight=ALPHA * TEMPERATURE**2, hard_label_weight=1 - ALPHA,
        intermediate_matches=matches if with_hidden else None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train = TrainingConfig(output_dir=folder, device="cpu", ckpt_steps=10**6)
        distiller = GeneralDistiller(train, distill, teacher, student, adapt, adapt)
        with distiller:
            distiller.train(
                optimizer_of(student), batches, num_steps=len(batches), max_grad_norm=1.0,
                scheduler_class=lambda optimizer, **known: get_scheduler("linear", optimizer, **known),
                scheduler_args={"num_warmup_steps": 1, "num_training_steps": len(batches)},
                output_hidden_states=with_hidden,
            )  # fmt: skip


def torchdistill(student: Any, teacher: Any, batches: Batches, loss: str) -> None:
    """DistillationBox, as its examples drive it: a configuration, forward_process, post_forward_process."""
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.core.interfaces.registry import register_forward_proc_func

    @register_forward_proc_func
    def forward_texts(model: Any, sample: Batch, *_: Any, **__: Any) -> Any:
        return model(**sample)

    def found_at(layer: int, from_teacher: bool) -> dict[str, Any]:
        return {"is_from_teacher": from_teacher, "module_path": f"bert.encoder.layer.{layer - 1}", "io": "output"}

    kd = {"student_module_path": "classifier", "student_module_io": "output", "teacher_module_path": "classifier",
          "teacher_module_io": "output", "temperature": TEMPERATURE, "alpha": ALPHA, "reduction": "batchmean"}  # fmt: skip
    terms: dict[str, Any] = {"kd": {"criterion": {"key": "KDLoss", "kwargs": kd}, "weight": 1.0}}
    hooks: dict[str, list[str]] = {"student": ["classifier"], "teacher": ["classifier"]}
    if loss == "kl+hidden":
        for s, t in PAIRS:
            wrapper = {"key": "SimpleLossWrapper", "kwargs": {"input": found_at(s, False), "target": found_at(t, True)}}
            terms[f"hidden{s}"] = {
                "criterion": {"key": "MSELoss", "kwargs": {}}, "criterion_wrapper": wrapper, "weight": ALPHA / 3,
            }  # fmt: skip
            hooks["student"].append(f"bert.encoder.layer.{s - 1}")
            hooks["teacher"].append(f"bert.encoder.layer.{t - 1}")

    def side(name: str) -> dict[str, Any]:
        return {"forward_proc": "forward_texts", "forward_hook": {"input": [], "output": hooks[name]}}

    config = {
        "num_epochs": 1,
        "teacher": side("teacher") | {"requires_grad": False},
        "student": side("student"),
        "optimizer": {"key": "AdamW", "kwargs": {"lr": RATE, "fused": True}, "max_grad_norm": 1.0},
        "scheduler": {"key": "LinearLR", "kwargs": {"start_factor": 1.0, "end_factor": 0.01, "total_iters": len(batches)},
                      "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }  # fmt: skip
    box = get_distillation_box(teacher, student, {}, config, torch.device("cpu"), None, False, 1)
    teacher.eval()
    box.pre_epoch_process(epoch=0)
    for batch in batches:
        labels = batch.pop("labels")
        box.post_forward_process(loss=box.forward_process(batch, labels, None))


def hf_trainer(student: Any, teacher: Any, batches: Batches, loss: str) -> None:
    """The usual subclass of transformers.Trainer with both models in compute_loss."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    with_hidden = loss == "kl+hidden"
    teacher.eval()

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False, **_: Any) -> Any:
            found = model(**inputs, output_hidden_states=with_hidden)
            with torch.no_grad():
                known = teacher(**inputs, output_hidden_states=with_hidden)
            log_q, log_p = ((x.logits / TEMPERATURE).log_softmax(-1) for x in (found, known))
            total = functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * TEMPERATURE**2
            if with_hidden:
                mask = inputs["attention_mask"].bool()
                for s, t in PAIRS:
                    total = total + functional.mse_loss(found.hidden_states[s][mask], known.hidden_states[t][mask]) / 3
            total = ALPHA * total + (1 - ALPHA) * found.loss
            return (total, found) if return_outputs else total

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            batches.asked.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=1, max_steps=len(batches), learning_rate=RATE,
            optim="adamw_torch_fused", max_grad_norm=1.0, logging_steps=10, save_strategy="no", report_to=[],
            use_cpu=True, disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        Distiller(
            student, arguments, train_dataset=batches.batches, data_collator=lambda rows: dict(rows[0]),
            callbacks=[Clock()],
        ).train()  # fmt: skip


SIDES = {"TextBrewer": textbrewer, "torchdistill": torchdistill, "Trainer": hf_trainer}


def main() -> None:
    name, loss, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stored = load_file(folder / "batches.safetensors")
    count = 1 + max(int(key.split(".")[0]) for key in stored)
    batches = Batches(
        [{key.split(".")[1]: stored[key] for key in stored if key.startswith(f"{i}.")} for i in range(count)]
    )
    student, teacher = (
        AutoModelForSequenceClassification.from_pretrained(folder / part) for part in ("student", "teacher")
    )
    student.train()
    SIDES[name](student, teacher, batches, loss)
    print(json.dumps({"samples_per_second": batches.speed()}))


if __name__ == "__main__":
    main()
