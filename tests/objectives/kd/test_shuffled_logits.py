"""The control: each label hears what the teacher said of another example, and everything else stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import forge, metrics, only_run, write_config
from torch import Tensor
from toy_distillation import distill

from forge.config import resolve
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.shuffled import of_another
from forge.objectives.rows import WholeRows

TAUGHT = {"alpha": 0.5, "teacher": {"name": "embedded/tiny-bert", "init": "random"}}


def test_a_classifier_hears_of_the_next_example() -> None:
    logits_BC = torch.arange(12.0).reshape(4, 3)
    heard_BC = of_another(Outputs(logits_BC, {"site": logits_BC}), None)  # type: ignore[dict-item]
    assert heard_BC.logits is not None
    assert heard_BC.logits.tolist() == logits_BC[[1, 2, 3, 0]].tolist()
    assert heard_BC.hidden["site"] is logits_BC  # type: ignore[index]


def heard(valid_BT: Tensor) -> list[tuple[int, int]]:
    """Whose row each label gets: (example, column), for labels that count, in order."""
    examples, width = valid_BT.shape
    states_BT1 = torch.arange(float(examples * width)).reshape(examples, width, 1)
    rows = of_another(Outputs(rows=WholeRows(states_BT1, None)), valid_BT).rows
    assert rows is not None
    found = rows.at(valid_BT.flatten().nonzero().flatten()).flatten().long().tolist()
    return [divmod(row, width) for row in found]


def test_texts_hear_of_the_next_text_place_by_place() -> None:
    valid_BT = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)
    assert heard(valid_BT) == [(1, 0), (1, 0), (1, 0), (2, 1), (0, 0), (0, 1)]


def test_every_label_hears_of_a_place_with_a_label() -> None:
    drawn = torch.Generator().manual_seed(0)
    for _ in range(50):
        valid_BT = torch.rand(5, 7, generator=drawn) > 0.5
        valid_BT[:, 3] = True
        for (example, column), origin in zip(heard(valid_BT), valid_BT.nonzero()[:, 0].tolist(), strict=True):
            assert example == (origin + 1) % 5
            assert valid_BT[example, column]


def taught(folder: Path, **more: Any) -> dict[str, Any]:
    change = {**TAUGHT, "train": {"micro_batch_size": 8}}
    return change | {"distill": distill("forward_kl")["distill"] | more}


def losses_of(folder: Path, name: str, **more: Any) -> list[float]:
    config = write_config(folder / name, taught(folder, **more))
    assert forge("--config", config) == 0
    return [record["forward_kl"] for record in metrics(only_run(folder / name)) if record["kind"] == "step"]


def test_a_run_learns_from_other_examples(tmp_path: Path) -> None:
    plain = losses_of(tmp_path, "plain")
    shuffled = losses_of(tmp_path, "shuffled", shuffle_logits=True)
    online = losses_of(tmp_path, "online", shuffle_logits=True, cache={"mode": "off"})
    cached = losses_of(tmp_path, "cached", shuffle_logits=True, cache={"mode": "on"})
    assert plain[0] != shuffled[0]  # by little: what an untrained teacher says hardly depends on the example
    assert online == pytest.approx(cached, rel=1e-4)


def test_runs_without_the_control_keep_their_names(tmp_path: Path) -> None:
    plain = resolve(write_config(tmp_path, taught(tmp_path)))
    told = resolve(write_config(tmp_path, taught(tmp_path, shuffle_logits=False), "told"))
    shuffled = resolve(write_config(tmp_path, taught(tmp_path, shuffle_logits=True), "shuffled"))
    assert plain.digest() == told.digest() != shuffled.digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"distill": distill("attention_kl")["distill"] | {"shuffle_logits": True}},
            "no loss of distill looks at logits",
        ),
        (
            {"distill": distill("forward_kl")["distill"] | {"shuffle_logits": True}, "train": {"micro_batch_size": 1}},
            "micro-batches of one example have no other",
        ),
    ],
)
def test_nothing_to_shuffle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert forge("--config", write_config(tmp_path, TAUGHT | change)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
