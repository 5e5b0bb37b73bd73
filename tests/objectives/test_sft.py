"""SFT: equal to torch's own cross-entropy, and the same however the batch is cut."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch


class Table(torch.nn.Module):
    """Looks its logits up: row i of the batch gives row i of a table."""

    def __init__(self, logits_NC: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(logits_NC)

    def forward(self, input_ids: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.table[input_ids[:, 0]]})()


def batch_of(rows: list[int], labels: list[int]) -> Batch:
    ids = torch.tensor(rows)[:, None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([labels[r] for r in rows])}


@pytest.fixture
def table() -> Table:
    torch.manual_seed(0)
    return Table(torch.randn(12, 3, dtype=torch.float64))


LABELS = [0, 1, 2, 2, 1, 0, IGNORED_LABEL, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cut", [[12], [6, 6], [5, 4, 3], [1] * 12])
def test_any_cut_gives_the_mean_of_the_whole(table: Table, smoothing: float, cut: list[int]) -> None:
    objective, start, batches = SFT(smoothing), 0, []
    for size in cut:
        batches.append(batch_of(list(range(start, start + size)), LABELS))
        start += size
    totals = {"labels": sum(objective.counts(batch)["labels"] for batch in batches)}
    assert totals == {"labels": 11.0}
    loss = sum(objective.compute(table, batch, totals).loss for batch in batches)
    loss.backward()
    reference = functional.cross_entropy(
        table.table.detach().float().requires_grad_(), torch.tensor(LABELS), label_smoothing=smoothing
    )
    assert loss.item() == pytest.approx(reference.item(), abs=1e-6)
    whole = Table(table.table.detach().clone())
    objective.compute(whole, batch_of(list(range(12)), LABELS), totals).loss.backward()
    assert torch.allclose(table.table.grad, whole.table.grad, atol=1e-7)


def test_an_ignored_row_has_no_gradient(table: Table) -> None:
    objective = SFT()
    batch = batch_of([6], LABELS)
    objective.compute(table, batch, {"labels": 11.0}).loss.backward()
    assert table.table.grad is not None
    assert table.table.grad.abs().sum() == 0


def test_a_certain_right_answer_costs_nothing() -> None:
    certain = Table(torch.tensor([[100.0, 0.0, 0.0]]))
    assert SFT().compute(certain, batch_of([0], [0]), {"labels": 1.0}).loss.item() == 0.0


def test_half_precision_logits_are_scored_in_fp32() -> None:
    half = Table(torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.bfloat16))
    assert SFT().compute(half, batch_of([0], [0]), {"labels": 1.0}).loss.dtype == torch.float32
