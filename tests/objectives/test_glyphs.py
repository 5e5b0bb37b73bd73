"""Losses on where characters are: against plain formulas and the model's own attention, cut up, alone, with KD."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from forge.config.schema.distill import Distill
from forge.models.capture import AttentionSite, HiddenSite, layout
from forge.models.head import find_head
from forge.models.reader import Characters, build_reader
from forge.objectives.auxiliary import Auxiliary
from forge.objectives.glyphs import CellCharacters, GuidedAttention, make_cell_head
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.hidden_mse import hidden_mse
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.projections import make_projections
from forge.objectives.kd.table import LOSSES, Pairing, make_terms
from forge.objectives.kd.teacher import OnlineTeacher
from forge.objectives.kd.terms import Attention, Feature, Response
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch

V, BLANK, SUB = 40, 0, 2
SIZE = (32, 64)  # 2 rows of 8 cells
GUIDED = AttentionSite("decoder", "cross", 2)
STATES = HiddenSite("encoder", 3)


def reader(seed: int = 0, name: str = "embedded/tiny-reader") -> Any:
    model = build_reader(name, Characters(V), seed, max_length=32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def pages(count: int = 4, length: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randint, generator=generator)
    labels = draw(3, V, (count, length))
    labels[1, 3:] = IGNORED_LABEL
    cells = draw(-4, 16, (count, length))
    cell_labels = draw(0, V, (count, 16, SUB))
    cell_labels[torch.rand(cell_labels.shape, generator=generator) < 0.6] = BLANK
    cell_labels[0, 12:] = IGNORED_LABEL
    return {
        "pixel_values": torch.rand(count, 1, *SIZE, generator=generator),
        "attention_mask": torch.ones(count, 16, dtype=torch.long),
        "labels": labels,
        "decoder_input_ids": draw(3, V, (count, length)),
        "cell_labels": cell_labels,
        "label_cells": cells,
    }


def cells_term(seed: int = 0, weight: float = 1.0, width: int = 128) -> CellCharacters:
    return CellCharacters("cells", weight, STATES, make_cell_head(width, SUB, V, seed), BLANK)


def guided_term(weight: float = 0.3) -> GuidedAttention:
    return GuidedAttention("guided", weight, GUIDED, cell_width=8)


def sft(model: Any, alone_steps: int = 0, with_head: bool = True) -> SFT:
    beside = Auxiliary([cells_term(), guided_term()], model, alone_steps)
    return SFT(0.0, find_head(model) if with_head else None, beside)


def total(objective: Any, *batches: Batch) -> dict[str, float]:
    sums: dict[str, float] = {}
    for batch in batches:
        for name, count in objective.counts(batch).items():
            sums[name] = sums.get(name, 0.0) + count
    return sums


def gradients(objective: Any, model: Any, *batches: Batch) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    named = dict(model.named_parameters()) | {f"extra.{n}": p for n, p in objective.extra.named_parameters()}
    for parameter in named.values():
        parameter.grad = None
    totals, loss, parts = total(objective, *batches), 0.0, {}
    for batch in batches:
        report = objective.compute(model, batch, totals)
        report.loss.backward()
        loss += report.loss.item()
        parts = {name: parts.get(name, 0.0) + value.item() for name, value in report.parts.items()}
    return loss, {n: p.grad.clone() for n, p in named.items() if p.grad is not None}, parts


def test_cells_are_a_weighted_mean_of_cross_entropy() -> None:
    model, batch = reader(), pages()
    objective = sft(model)
    _, _, parts = gradients(objective, model, batch)
    assert objective.extra is not None
    with torch.no_grad():
        states = model.encoder(batch["pixel_values"], output_hidden_states=True).hidden_states[-1]
        logits = objective.extra["cells"](states).view(4, 16, SUB, V)
    expected, weights = 0.0, 0.0
    for b in range(4):
        for cell in range(16):
            for s in range(SUB):
                label = int(batch["cell_labels"][b, cell, s])
                if label != IGNORED_LABEL:
                    weight = 0.3 if label == BLANK else 1.0
                    expected -= weight * logits[b, cell, s].log_softmax(-1)[label].item()
                    weights += weight
    assert parts["cells"] == pytest.approx(expected / weights, rel=1e-5)
    assert objective.counts(batch)["cells"] == pytest.approx(weights)


def test_guided_attention_is_that_of_the_model() -> None:
    """The model is asked for its attention, and the mass around each place is added up by hand."""
    model, batch = reader(), pages()
    _, _, parts = gradients(sft(model), model, batch)
    with torch.no_grad():
        shown = model(
            pixel_values=batch["pixel_values"], decoder_input_ids=batch["decoder_input_ids"], output_attentions=True
        ).cross_attentions[-1]
    found = []
    for b in range(4):
        for t in range(6):
            cell = int(batch["label_cells"][b, t])
            if cell >= 0 and batch["labels"][b, t] != IGNORED_LABEL:
                row, column = divmod(cell, 8)
                near = [row * 8 + c for c in (column - 1, column, column + 1) if 0 <= c < 8]
                found.append(-math.log(shown[b, :, t, near].sum(-1).mean().item()))
    assert parts["guided"] == pytest.approx(sum(found) / len(found), rel=1e-5)
    assert sft(model).counts(batch)["guided"] == len(found)
    assert 0 < parts["guided"] < math.log(16)


def test_where_the_decoder_stands_is_where_the_last_drawn_character_is() -> None:
    model, batch = reader(), pages()
    batch["label_cells"] = torch.tensor([[-1, 3, -1, 4, 12, -1], [-1] * 6, [9, 9, 10, -1, -1, 11], [5] * 6])
    site = AttentionSite("decoder", "cross", 1)
    term = GuidedAttention("place", 0.5, site, cell_width=8, reach=0, to_last_written=True)
    objective = SFT(0.0, find_head(model), Auxiliary([term], model))
    parts = objective.compute(model, batch, total(objective, batch)).parts
    with torch.no_grad():
        shown = model(
            pixel_values=batch["pixel_values"], decoder_input_ids=batch["decoder_input_ids"], output_attentions=True
        ).cross_attentions[0]
    expected = [[-1, -1, 3, 3, 4, 12], [-1] * 6, [-1, 9, 9, 10, 10, 10], [-1, 5, 5, 5, 5, 5]]
    found = [
        -math.log(shown[b, :, t, cell].mean().item())
        for b, cells in enumerate(expected)
        for t, cell in enumerate(cells)
        if cell >= 0 and batch["labels"][b, t] != IGNORED_LABEL
    ]
    assert objective.counts(batch)["place"] == len(found) > 9
    assert parts["place"].item() == pytest.approx(sum(found) / len(found), rel=1e-5)


def test_attention_on_the_right_cells_alone_costs_nothing() -> None:
    """And a reach over the whole row costs what is outside of the row."""
    model, batch = reader(), pages()
    batch["label_cells"] = torch.full_like(batch["label_cells"], 3)
    whole = SFT(beside=Auxiliary([GuidedAttention("guided", 1.0, GUIDED, 8, reach=16)], model))
    report = whole.compute(model, batch, total(whole, batch))
    with torch.no_grad():
        shown = model(
            pixel_values=batch["pixel_values"], decoder_input_ids=batch["decoder_input_ids"], output_attentions=True
        ).cross_attentions[-1]
    counted = batch["labels"] != IGNORED_LABEL
    expected = -shown[..., :8].sum(-1).mean(1).log()[counted].mean()
    assert report.parts["guided"] == pytest.approx(expected.item(), rel=1e-4)
    one_row = batch | {"pixel_values": batch["pixel_values"][:, :, :16].contiguous()}
    assert whole.compute(model, one_row, total(whole, batch)).parts["guided"].item() == pytest.approx(0.0, abs=1e-5)


def test_the_loss_is_the_weighted_sum() -> None:
    model, batch = reader(), pages()
    loss, _, parts = gradients(sft(model), model, batch)
    assert parts["task"] == pytest.approx(SFT().compute(model, batch, {"labels": 21.0}).loss.item(), rel=1e-5)
    assert loss == pytest.approx(parts["task"] + parts["cells"] + 0.3 * parts["guided"], rel=1e-6)


@pytest.mark.parametrize("alone_steps", [0, 1])
@pytest.mark.parametrize("cuts", [[1, 3], [2, 1, 1]])
def test_however_a_step_is_cut_it_is_the_same(alone_steps: int, cuts: list[int]) -> None:
    model, batch = reader(), pages()
    objective = sft(model, alone_steps)
    whole = gradients(objective, model, batch)
    pieces = [
        dict(zip(batch, parts, strict=True)) for parts in zip(*(v.split(cuts) for v in batch.values()), strict=True)
    ]
    filler = {name: value[:1].clone() for name, value in batch.items()}  # as a process with nothing to do gets it
    filler["labels"].fill_(IGNORED_LABEL)
    cut = gradients(objective, model, *pieces, filler)
    assert not any(objective.counts(filler).values())
    assert cut[0] == pytest.approx(whole[0], rel=1e-5)
    assert cut[2] == pytest.approx(whole[2], rel=1e-5)
    assert set(cut[1]) == set(whole[1])
    for name, gradient in whole[1].items():
        torch.testing.assert_close(cut[1][name], gradient, rtol=2e-3, atol=1e-6, msg=name)


def test_at_first_only_the_cells_teach() -> None:
    """Everything takes part with a gradient of 0: processes then agree, and every parameter has taken every step."""
    model, batch = reader(), pages()
    objective = sft(model, alone_steps=10)
    for step, alone in [(0, True), (9, True), (10, False), (11, False), (3, True)]:
        objective.begin(step)
        loss, found, parts = gradients(objective, model, batch)
        assert set(parts) == ({"cells"} if alone else {"cells", "guided", "task"})
        assert set(found) == set(dict(model.named_parameters())) | {
            f"extra.{n}" for n, _ in objective.extra.named_parameters()
        }
        moved = {name.split(".")[0] for name, gradient in found.items() if gradient.abs().sum() > 0}
        assert moved == ({"encoder", "extra"} if alone else {"encoder", "decoder", "extra"})
        if alone:
            assert loss == pytest.approx(parts["cells"])
            assert not any(found[f"encoder.norm.{name}"].any() for name in ("weight", "bias"))


def test_what_is_trained_along_is_drawn_from_its_seed_and_kept_apart() -> None:
    model = reader()
    objective = sft(model)
    assert set(objective.extra.state_dict()) == {f"cells.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias")}
    assert objective.extra["cells"][1].weight.shape == (SUB * V, 128)
    same, other = cells_term(0), cells_term(1)
    assert torch.equal(same.head[1].weight, objective.extra["cells"][1].weight)
    assert not torch.equal(other.head[1].weight, same.head[1].weight)
    assert not any("cells" in name for name in model.state_dict())


@pytest.mark.parametrize("with_head", [True, False])
def test_a_cell_head_learns_what_is_there(with_head: bool) -> None:
    model, batch = reader(), pages()
    objective = sft(model, with_head=with_head)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.extra.parameters()], lr=3e-3)
    before = gradients(objective, model, batch)[2]
    for _ in range(40):
        gradients(objective, model, batch)
        optimizer.step()
    after = gradients(objective, model, batch)[2]
    assert after["cells"] < 0.3 * before["cells"]
    assert after["guided"] < 0.5 * before["guided"]
    assert after["task"] < 0.5 * before["task"]


def distilling(alone_steps: int = 0, alpha: float = 0.4) -> tuple[KD, Any]:
    student, teacher = reader(), reader(1, "embedded/small-reader")
    stacks = layout(student)
    pair = [(HiddenSite("encoder", 3), HiddenSite("encoder", 3))]
    cross = [(AttentionSite("decoder", "cross", 2), AttentionSite("decoder", "cross", 3))]
    projections = make_projections(pair, [(128, 192)], "auto", 0, "distill.hidden_mse.projection")
    terms = [
        Response("forward_kl", 1.0, partial(forward_kl, temperature=2.0)),
        Feature("hidden_mse", 0.5, pair, hidden_mse, projections),
        Attention("attention_kl", 2.0, cross, None),
    ]
    objective = KD(sft(student, alone_steps), alpha, terms, student, stacks)
    objective.learn_from(OnlineTeacher(teacher, read_sites(terms, "teacher"), head=find_head(teacher)))
    return objective, student


def test_distilling_adds_them_to_the_task() -> None:
    objective, student = distilling()
    batch = pages()
    loss, _, parts = gradients(objective, student, batch)
    alone = gradients(sft(student), student, batch)[2]
    for name in ("task", "cells", "guided"):
        assert parts[name] == pytest.approx(alone[name], rel=1e-5)
    told = parts["task"] + parts["cells"] + 0.3 * parts["guided"]
    heard = parts["forward_kl"] + 0.5 * parts["hidden_mse"] + 2.0 * parts["attention_kl"]
    assert loss == pytest.approx(0.6 * told + 0.4 * heard, rel=1e-5)
    assert set(objective.extra) == {"cells", "hidden_mse"}
    unweighted = objective.unweighted(student, batch, total(objective, batch))
    assert {name: value.item() for name, value in unweighted.items()} == pytest.approx(
        {name: parts[name] for name in unweighted}, rel=1e-5
    )
    assert set(unweighted) == set(objective.weights())


def test_distilling_begins_with_the_cells_alone() -> None:
    objective, student = distilling(alone_steps=2)
    objective.begin(1)
    loss, found, parts = gradients(objective, student, pages())
    assert set(parts) == {"cells", "weighted.cells"}
    assert loss == pytest.approx(0.6 * parts["cells"])
    assert set(found) >= {name for name, _ in student.named_parameters()}
    assert {f"extra.{name}" for name, _ in objective.extra.named_parameters()} <= set(found)
    assert not any(gradient.any() for name, gradient in found.items() if "hidden_mse" in name)
    assert objective.weights() == pytest.approx(dict.fromkeys(objective.weights(), 0.0) | {"cells": 0.6})
    objective.begin(2)
    assert objective.weights() == pytest.approx(
        {"task": 0.6, "cells": 0.6, "guided": 0.18, "forward_kl": 0.4, "hidden_mse": 0.2, "attention_kl": 0.8}
    )
    assert set(gradients(objective, student, pages())[2]) > {"task", "cells", "guided", "forward_kl"}


def test_in_half_precision_the_losses_are_still_taken_in_full() -> None:
    model, batch = reader(), pages()
    objective = sft(model)
    full = gradients(objective, model, batch)[2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = objective.compute(model, batch, total(objective, batch))
    assert all(value.dtype == torch.float32 for value in report.parts.values())
    assert {name: value.item() for name, value in report.parts.items()} == pytest.approx(full, rel=0.03)


def test_every_loss_of_distillation_compares_readers() -> None:
    """Blocks that do not attend have hidden states to learn from, and no attention."""
    student, teacher = reader(), reader(1, "embedded/small-reader")
    pairing = Pairing(layout(student), layout(teacher), "uniform", 0)
    assert pairing.relation_heads("self_relation", None) == 4
    assert {mine.stack for mine, _ in pairing.attention("score_mse", None)} == {"decoder"}
    assert {mine.stack for mine, _ in pairing.hidden("cosine", None)} == {"encoder", "decoder"}
    terms = make_terms({name: getattr(Distill(), name) for name in LOSSES}, pairing)
    objective = KD(sft(student), 0.5, terms, student, layout(student))
    objective.learn_from(OnlineTeacher(teacher, read_sites(terms, "teacher"), head=find_head(teacher)))
    _, _, parts = gradients(objective, student, pages())
    assert {name for name in parts if "weighted" not in name} == {"task", "cells", "guided", *LOSSES}
    assert all(parts[name] > 0 for name in LOSSES)
