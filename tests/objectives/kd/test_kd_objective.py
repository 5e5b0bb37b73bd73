"""Every loss of the table with real models: what a distillation step adds up to, whatever the pair of models.

Four pairs of tiny models that differ in depth, width and heads: BERT and DistilBERT, two Marian translators, two Llama
classifiers, two Llama language models. A loss that joins the table is tested here without another line.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import torch
import transformers as hf
from torch.nn import functional

from forge.config.schema.distill import LOSS_NAMES, Distill
from forge.core.errors import CheckpointError, UserError
from forge.models.capture import layout
from forge.objectives.kd.layers import layer_pairs
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.table import LOSSES, Pairing
from forge.objectives.kd.teacher import OnlineTeacher, Wanted
from forge.objectives.kd.terms import Term
from forge.objectives.rows import labels_of_rows
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch

ROWS, LONGEST, VOCABULARY, LABELS = 8, 7, 40, 3
GROUP = 4

Options = dict[str, Any]
CASES: dict[str, tuple[str, Options]] = {name: (name, {}) for name in LOSSES} | {
    "forward_kl, standardised": ("forward_kl", {"standardise": True}),
    "jsd at 0": ("jsd", {"beta": 0.0}),
    "jsd at 1": ("jsd", {"beta": 1.0}),
    "topk_kl of 2": ("topk_kl", {"k": 2}),
    "logit_mse, plain": ("logit_mse", {"center": False}),
    "score_mse, centred": ("score_mse", {"center": True}),
    "attention_kl of all layers": ("attention_kl", {"layers": "uniform"}),
    "attention_kl with values": ("attention_kl", {"value_relation": True}),
    "self_relation of one head": ("self_relation", {"relation_heads": 1, "layers": "uniform"}),
    "hidden_mse, embeddings too": ("hidden_mse", {"layers": [[0, 0], [1, 1]]}),
    "hidden_mse, one projection": ("hidden_mse", {"projection": "shared"}),
    "cosine, embeddings too": ("cosine", {"layers": [[0, 0], [1, 1]]}),
    "linear_cka, embeddings too": ("linear_cka", {"layers": [[0, 0], [1, 1]]}),
}
"""Every loss with its defaults, and some in other ways; by the name of the term."""

NEVER_PROJECTED = tuple(case for case, (_, options) in CASES.items() if "projection" not in options)
"""Cases without a drawn projection between models of one width."""


def settings_of(case: str) -> Any:
    name, options = CASES[case]
    section = type(getattr(Distill(), name))
    group = {"group": GROUP} if "group" in section.model_fields else {}
    return section(**({"weight": 1.0} | group | options))


# Four pairs of models


def roomy(model: Any) -> Any:
    """Weights far enough from their usual start that attention is not all but uniform."""
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def lengths_mask(longest: int, lengths: Sequence[int]) -> torch.Tensor:
    return (torch.arange(longest)[None] < torch.tensor(lengths)[:, None]).long()


def ids_where(mask_BL: torch.Tensor, seed: int) -> torch.Tensor:
    drawn_BL = torch.randint(3, VOCABULARY, mask_BL.shape, generator=torch.Generator().manual_seed(seed))
    return drawn_BL.where(mask_BL.bool(), 0)


ENCODED = lengths_mask(LONGEST, [7, 3, 5, 4, 6, 2, 7, 4])
DECODED = lengths_mask(LONGEST - 1, [2, 6, 3, 5, 4, 6, 1, 3])


def one_label_each() -> Batch:
    labels_B = torch.tensor([0, 1, 2, 2, 1, 0, 1, 2])
    return {"input_ids": ids_where(ENCODED, 1), "attention_mask": ENCODED, "labels": labels_B}


def source_and_target() -> Batch:
    labels_BL = ids_where(DECODED, 2).masked_fill(DECODED == 0, IGNORED_LABEL)
    shifted_BL = functional.pad(labels_BL.clamp(min=0)[:, :-1], (1, 0), value=1)
    return one_label_each() | {"decoder_input_ids": shifted_BL, "labels": labels_BL}


def prompt_and_answer() -> Batch:
    batch = one_label_each()
    labels_BL = batch["input_ids"].masked_fill(ENCODED == 0, IGNORED_LABEL)
    labels_BL[:, 0] = IGNORED_LABEL  # the prompt
    return batch | {"labels": labels_BL}


def bert_pair() -> tuple[Any, Any]:
    shape = {"vocab_size": VOCABULARY, "max_position_embeddings": 20, "num_labels": LABELS, "pad_token_id": 0}
    teacher = hf.BertConfig(hidden_size=24, num_hidden_layers=4, num_attention_heads=4, intermediate_size=16, **shape)
    student = hf.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=16, **shape)
    return hf.DistilBertForSequenceClassification(student), hf.BertForSequenceClassification(teacher)


def marian_pair() -> tuple[Any, Any]:
    def model(width: int, encoder: int, decoder: int, heads: int) -> Any:
        return hf.MarianMTModel(
            hf.MarianConfig(
                vocab_size=VOCABULARY,
                d_model=width,
                encoder_layers=encoder,
                decoder_layers=decoder,
                encoder_attention_heads=heads,
                decoder_attention_heads=heads,
                encoder_ffn_dim=16,
                decoder_ffn_dim=16,
                max_position_embeddings=20,
                pad_token_id=0,
                decoder_start_token_id=1,
            )
        )

    return model(16, 2, 1, 2), model(24, 3, 2, 4)


def llama_pair(model_class: Any) -> tuple[Any, Any]:
    def model(width: int, depth: int, heads: int) -> Any:
        return model_class(
            hf.LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                num_key_value_heads=heads // 2,
                intermediate_size=16,
                max_position_embeddings=20,
                num_labels=LABELS,
                pad_token_id=0,
            )
        )

    return model(16, 2, 2), model(32, 3, 4)


PAIRS: dict[str, tuple[Callable[[], tuple[Any, Any]], Callable[[], Batch], bool]] = {
    "bert": (bert_pair, one_label_each, False),
    "marian": (marian_pair, source_and_target, False),
    "llama": (lambda: llama_pair(hf.LlamaForSequenceClassification), one_label_each, False),
    "llama-lm": (lambda: llama_pair(hf.LlamaForCausalLM), prompt_and_answer, True),
}


@dataclass(frozen=True)
class World:
    """Two models with an objective of every case between them, and a batch that both can read."""

    student: Any
    teacher: Any
    objective: KD
    batch: Batch

    def terms(self, batch: Batch | None = None, totals: Mapping[str, float] | None = None) -> dict[str, torch.Tensor]:
        """Every term's share; of the world's batch where no other is given, which is then a step of its own."""
        batch = self.batch if batch is None else batch
        totals = self.objective.counts(batch) if totals is None else totals
        return self.objective.unweighted(self.student, batch, totals)


def make_world(pair: str, cases: Sequence[str] = tuple(CASES), identical: bool = False, alpha: float = 0.5) -> World:
    torch.manual_seed(3)
    build, batch, causal = PAIRS[pair]
    student, teacher = map(roomy, build())
    if identical:
        teacher = copy.deepcopy(student)
    stacks = layout(student)
    pairing = Pairing(stacks, layout(teacher), "uniform", seed=5)
    terms = [LOSSES[CASES[case][0]].make(case, settings_of(case), pairing) for case in cases]
    objective = KD(SFT(), alpha, terms, student, stacks, causal=causal)
    objective.learn_from(OnlineTeacher(teacher, read_sites(terms, "teacher")))
    return World(student, teacher, objective, batch())


world = lru_cache(make_world)


@lru_cache
def same_model_twice(pair: str) -> dict[str, torch.Tensor]:
    return make_world(pair, NEVER_PROJECTED, identical=True).terms()


@lru_cache
def whole(pair: str) -> dict[str, torch.Tensor]:
    return world(pair).terms()


@lru_cache
def halves(pair: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    here = world(pair)
    totals = here.objective.counts(here.batch)
    first = {name: tensor[: ROWS // 2] for name, tensor in here.batch.items()}
    second = {name: tensor[ROWS // 2 :] for name, tensor in here.batch.items()}
    return here.terms(first, totals), here.terms(second, totals)


def padded(batch: Batch, more: int, decoder_more: int) -> Batch:
    """The same examples in a wider batch; what is new holds a token, so that only masks can keep it out."""
    with_decoder = "decoder_input_ids" in batch
    labels = batch["labels"]
    if labels.ndim > 1:
        labels = functional.pad(labels, (0, decoder_more if with_decoder else more), value=IGNORED_LABEL)
    wider = {
        "input_ids": functional.pad(batch["input_ids"], (0, more), value=0),
        "attention_mask": functional.pad(batch["attention_mask"], (0, more)),
        "labels": labels,
    }
    if with_decoder:
        wider["decoder_input_ids"] = functional.pad(batch["decoder_input_ids"], (0, decoder_more), value=7)
    return wider


@lru_cache
def wider(pair: str, more: int, decoder_more: int) -> dict[str, torch.Tensor]:
    here = world(pair)
    batch = padded(here.batch, more, decoder_more)
    assert here.objective.counts(batch) == here.objective.counts(here.batch)
    return here.terms(batch)


def filler(batch: Batch) -> Batch:
    """What a process works on when a step has nothing left for it."""
    return batch | {"labels": torch.full_like(batch["labels"], IGNORED_LABEL)}


@lru_cache
def with_filler_rows(pair: str) -> dict[str, torch.Tensor]:
    here = world(pair)
    more = filler({name: tensor[:GROUP].flip(0) for name, tensor in here.batch.items()})
    batch = {name: torch.cat([tensor, more[name]]) for name, tensor in here.batch.items()}
    assert here.objective.counts(batch) == here.objective.counts(here.batch)
    return here.terms(batch)


@lru_cache
def filler_alone(pair: str) -> dict[str, torch.Tensor]:
    here = world(pair)
    batch = filler(here.batch)
    assert set(here.objective.counts(batch).values()) == {0.0}
    return here.terms(batch, here.objective.counts(here.batch))


@lru_cache
def in_bf16(pair: str) -> dict[str, torch.Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        return world(pair).terms()


def gradients(here: World, term: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of a term in the student's weights; zeros where it does not reach."""
    weights = [weight for weight in here.student.parameters() if weight.requires_grad]
    found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


every_pair = pytest.mark.parametrize("pair", PAIRS)
every_case = pytest.mark.parametrize("case", CASES)


def test_every_loss_of_the_schema_is_here() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
    assert {name for name, _ in CASES.values()} == set(LOSS_NAMES)


# What every loss keeps to, whatever the models


@every_pair
@every_case
def test_a_step_has_a_finite_positive_loss(pair: str, case: str) -> None:
    share = whole(pair)[case]
    assert share.shape == ()
    assert share.dtype == torch.float32
    assert torch.isfinite(share)
    assert share > 1e-4


@every_pair
@pytest.mark.parametrize("case", NEVER_PROJECTED)
def test_the_same_model_twice_costs_nothing(pair: str, case: str) -> None:
    assert same_model_twice(pair)[case].item() == pytest.approx(0.0, abs=2e-6)


@every_pair
@every_case
def test_micro_batches_add_up(pair: str, case: str) -> None:
    first, second = halves(pair)
    assert (first[case] + second[case]).item() == pytest.approx(whole(pair)[case].item(), rel=1e-5)
    assert min(first[case], second[case]) > 0


@pytest.mark.parametrize(
    ("pair", "more", "decoder_more"),
    [("bert", 5, 0), ("marian", 5, 0), ("marian", 0, 3), ("marian", 5, 3), ("llama", 5, 0), ("llama-lm", 5, 0)],
)
@every_case
def test_padding_changes_nothing(pair: str, case: str, more: int, decoder_more: int) -> None:
    assert wider(pair, more, decoder_more)[case].item() == pytest.approx(whole(pair)[case].item(), rel=2e-5)


@every_pair
@every_case
def test_filler_rows_add_nothing(pair: str, case: str) -> None:
    assert with_filler_rows(pair)[case].item() == pytest.approx(whole(pair)[case].item(), rel=1e-5)
    alone = filler_alone(pair)[case]
    assert alone.item() == 0.0
    assert all(gradient.abs().max() == 0.0 for gradient in gradients(world(pair), alone))


@every_pair
@every_case
def test_gradients_reach_the_student_and_never_the_teacher(pair: str, case: str) -> None:
    here, share = world(pair), whole(pair)[case]
    found = gradients(here, share)
    assert all(torch.isfinite(gradient).all() for gradient in found)
    embedding = here.student.get_input_embeddings().weight
    (at_embedding,) = torch.autograd.grad(share, embedding, retain_graph=True)
    assert at_embedding.abs().max() > 0
    assert not any(weight.requires_grad for weight in here.teacher.parameters())
    assert not here.teacher.training


@every_pair
@every_case
def test_gradients_reach_every_projection(pair: str, case: str) -> None:
    here = world(pair)
    projections = next(term.projections for term in here.objective.terms if term.name == case)
    if projections is None:
        return
    weights = [weight for name, weight in projections.named_parameters() if name.endswith("weight")]
    found = torch.autograd.grad(whole(pair)[case], weights, retain_graph=True)
    assert all(gradient.abs().max() > 0 for gradient in found)
    assert here.objective.extra is not None
    trained = {id(weight) for weight in here.objective.extra.parameters()}
    assert all(id(weight) in trained for weight in weights)


@every_pair
@every_case
def test_autocast_leaves_the_losses_in_fp32(pair: str, case: str) -> None:
    half, full = in_bf16(pair)[case], whole(pair)[case]
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), rel=0.1, abs=0.02)
    assert half.item() != full.item()  # else nothing ran in bf16


def test_both_stacks_and_cross_attention_take_part() -> None:
    sites = [site for case in CASES for term in [_term("marian", case)] for pair in term.sites() for site in pair]
    assert {site.stack for site in sites} == {"encoder", "decoder"}
    for case in ("attention_kl", "attention_kl with values", "score_mse", "score_mse, centred"):
        kinds = {(mine.stack, mine.kind) for mine, _ in _term("marian", case).sites()}
        assert kinds == {("encoder", "self"), ("decoder", "self"), ("decoder", "cross")}


@pytest.mark.parametrize("case", ["attention_kl", "score_mse"])
def test_cross_attention_is_compared(case: str) -> None:
    """A student whose cross-attention alone differs pays for it."""
    here = make_world("marian", (case,), identical=True)
    assert here.terms()[case].item() == pytest.approx(0.0, abs=1e-6)
    here.student.model.decoder.layers[0].encoder_attn.q_proj.weight.data *= -1.0
    assert here.terms()[case] > 1e-3


def _term(pair: str, case: str) -> Term:
    return next(term for term in world(pair).objective.terms if term.name == case)


# The sum of the terms


@pytest.mark.parametrize("alpha", [0.001, 0.3, 1.0])
@pytest.mark.parametrize("pair", ["bert", "marian"])
def test_the_loss_is_the_weighted_sum(pair: str, alpha: float) -> None:
    here = make_world(pair, ("forward_kl", "cosine", "score_mse"), alpha=alpha)
    objective = here.objective
    for term, weight in zip(objective.terms, (1.0, 0.25, 3.0), strict=True):
        term.weight = weight
    objective.load_state({"scales": {"forward_kl": 2.0, "cosine": 0.5, "score_mse": 1.0}, "balanced": True})
    report = objective.compute(here.student, here.batch, objective.counts(here.batch))
    raw = {name: value.item() for name, value in here.terms().items()}
    factors = {"task": 1 - alpha, "forward_kl": alpha * 2.0, "cosine": alpha * 0.125, "score_mse": alpha * 3.0}
    assert objective.weights() == pytest.approx(factors)
    assert report.loss.item() == pytest.approx(sum(factors[name] * raw[name] for name in raw), rel=1e-6)
    for name, value in raw.items():
        assert report.parts[name].item() == value
        assert report.parts[f"weighted.{name}"].item() == pytest.approx(factors[name] * value, rel=1e-6)
    assert not any(part.requires_grad for part in report.parts.values())
    task = SFT().compute(here.student, here.batch, objective.counts(here.batch)).loss
    assert raw["task"] == pytest.approx(task.item(), rel=1e-6)


def test_with_alpha_1_labels_teach_nothing() -> None:
    here = make_world("bert", ("forward_kl",), alpha=1.0)
    relabelled = here.batch | {"labels": (here.batch["labels"] + 1) % LABELS}
    found = [_loss_gradients(here, batch) for batch in (here.batch, relabelled)]
    assert all(map(torch.equal, *found))
    half = make_world("bert", ("forward_kl",), alpha=0.5)
    assert not all(map(torch.equal, *[_loss_gradients(half, batch) for batch in (here.batch, relabelled)]))


def _loss_gradients(here: World, batch: Batch) -> list[torch.Tensor]:
    return gradients(here, here.objective.compute(here.student, batch, here.objective.counts(batch)).loss)


def test_before_a_teacher_is_there_nothing_is_computed() -> None:
    here = make_world("bert", ("forward_kl",))
    lonely = KD(SFT(), 0.5, here.objective.terms, here.student, layout(here.student))
    with pytest.raises(AssertionError, match="learn_from"):
        lonely.compute(here.student, here.batch, {"labels": 8.0})


# Logits of a decoder alone


def test_a_language_models_logits_are_about_the_next_token() -> None:
    """Only positions whose next token is labelled count, each with its own teacher."""
    here = make_world("llama-lm", ("forward_kl",))
    batch = here.batch
    with torch.no_grad():
        student_BLV, teacher_BLV = (
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            for model in (here.student, here.teacher)
        )
    by_hand = [
        forward_kl(student_BLV[row, place - 1], teacher_BLV[row, place - 1], temperature=2.0)
        for row in range(ROWS)
        for place in range(1, LONGEST)
        if batch["labels"][row, place] != IGNORED_LABEL
    ]
    assert here.terms()["forward_kl"].item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([-100, 5, -100, -100], [5, -100, -100, -100]),
        ([-100, -100, 5, 6], [-100, 5, 6, -100]),
        ([5, -100, -100, -100], [-100, -100, -100, -100]),
    ],
)
def test_a_label_meets_the_logits_before_it(labels: list[int], expected: list[int]) -> None:
    assert labels_of_rows(torch.tensor([labels]), causal=True).tolist() == expected
    assert labels_of_rows(torch.tensor([labels]), causal=False).tolist() == labels


def test_dkd_of_a_language_model_reads_the_next_token_as_its_label() -> None:
    here = make_world("llama-lm", ("dkd",))
    base = here.terms()["dkd"].item()
    moved = here.batch["labels"].clone()
    row, place = 0, 3
    moved[row, place] = (moved[row, place] + 1) % VOCABULARY
    changed = here.terms(here.batch | {"labels": moved})["dkd"].item()
    assert changed != base
    with torch.no_grad():
        s, t = (
            m(input_ids=here.batch["input_ids"], attention_mask=here.batch["attention_mask"]).logits[row, place - 1]
            for m in (here.student, here.teacher)
        )
    from forge.objectives.kd.losses.dkd import dkd

    options = {"temperature": 2.0, "target_weight": 1.0, "other_weight": 2.0}
    mine = dkd(s, t, moved[row, place], **options) - dkd(s, t, here.batch["labels"][row, place], **options)
    number = (here.batch["labels"] != IGNORED_LABEL).sum()
    assert changed - base == pytest.approx((mine / number).item(), rel=1e-2, abs=1e-5)


def test_a_label_of_the_first_token_does_not_make_the_mean_smaller() -> None:
    here = make_world("llama-lm", ("forward_kl",))
    labels_BL = here.batch["labels"].clone()
    labels_BL[:, 0] = here.batch["input_ids"][:, 0]
    labelled = here.terms(here.batch | {"labels": labels_BL})["forward_kl"]
    assert labelled.item() == pytest.approx(here.terms()["forward_kl"].item(), rel=1e-6)


# The teacher


def test_a_teachers_outputs_are_put_into_the_datas_order() -> None:
    here = make_world("bert", ("forward_kl",))
    plain = OnlineTeacher(here.teacher, Wanted()).outputs(here.batch).logits
    order = [2, 0, 1]
    ordered = OnlineTeacher(here.teacher, Wanted(), order).outputs(here.batch).logits
    assert torch.equal(ordered, plain[:, order])


def test_only_the_right_order_makes_a_permuted_twin_free() -> None:
    """A twin whose outputs stand in another order agrees once they are put back."""
    here = make_world("bert", ("forward_kl", "hidden_mse"), identical=True)
    twin = here.teacher
    order = [1, 2, 0]  # the data's label c is the twin's output order[c]
    back = [order.index(output) for output in range(LABELS)]
    head = twin.classifier
    head.weight.data, head.bias.data = head.weight.data[back], head.bias.data[back]
    wanted = read_sites(here.objective.terms, "teacher")
    here.objective.learn_from(OnlineTeacher(twin, wanted, order))
    assert here.terms()["forward_kl"].item() == pytest.approx(0.0, abs=1e-6)
    here.objective.learn_from(OnlineTeacher(twin, wanted))
    assert here.terms()["forward_kl"] > 0.01


def test_a_teacher_in_training_is_stilled() -> None:
    """With dropout on, two calls would differ."""
    _, teacher = bert_pair()
    online = OnlineTeacher(teacher.train(), Wanted())
    first, second = (online.outputs(one_label_each()).logits for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert not first.is_inference()


# Balance


def norms_of(here: World) -> dict[str, float]:
    return {name: float(torch.nn.utils.get_total_norm(gradients(here, term))) for name, term in here.terms().items()}


@every_pair
def test_balance_makes_every_term_pull_weight_times_as_hard_as_the_task(pair: str) -> None:
    here = make_world(pair, tuple(LOSSES), alpha=0.25)
    for place, term in enumerate(here.objective.terms):
        term.weight = 0.5 + place
    norms = norms_of(here)
    told = here.objective.balance(norms)
    weights = here.objective.weights()
    for term in here.objective.terms:
        assert weights[term.name] * norms[term.name] == pytest.approx(0.25 * term.weight * norms["task"], rel=1e-6)
        assert term.name in told
    assert weights["task"] == 0.75
    report = here.objective.compute(here.student, here.batch, here.objective.counts(here.batch))
    expected = sum(weights[name] * value.item() for name, value in here.terms().items())
    assert report.loss.item() == pytest.approx(expected, rel=1e-6)


def test_a_term_without_gradient_keeps_its_scale() -> None:
    here = make_world("bert", ("forward_kl", "cosine"))
    here.objective.balance({"task": 2.0, "forward_kl": 0.0, "cosine": 4.0})
    assert here.objective.state()["scales"] == {"forward_kl": 1.0, "cosine": 0.5}


def balanced(here: World) -> KD:
    return KD(SFT(), 0.5, here.objective.terms, here.student, layout(here.student), balanced=True)


def test_a_balanced_objective_stays_so_across_lives() -> None:
    here = make_world("bert", ("forward_kl", "cosine"))
    before = balanced(here)
    assert before.wants_balance
    before.balance({"task": 1.0, "forward_kl": 3.0, "cosine": 0.7})
    assert not before.wants_balance
    after = balanced(here)
    after.load_state(json.loads(json.dumps(before.state())))
    assert not after.wants_balance
    assert after.weights() == before.weights()
    assert after.state() == before.state()


def test_a_life_that_ended_before_balancing_balances_later() -> None:
    here = make_world("bert", ("forward_kl",))
    after = balanced(here)
    after.load_state(balanced(here).state())
    assert after.wants_balance


@pytest.mark.parametrize("saved", [{}, {"scales": {"cosine": 1.0}, "balanced": True}])
def test_the_state_of_other_losses_is_refused(saved: dict[str, Any]) -> None:
    here = make_world("bert", ("forward_kl",))
    with pytest.raises(CheckpointError, match="other distillation losses"):
        here.objective.load_state(saved)


# Layer maps


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (1, 1, [1]),
        (2, 2, [1, 2]),
        (3, 6, [2, 4, 6]),
        (6, 12, [2, 4, 6, 8, 10, 12]),
        (4, 6, [2, 3, 5, 6]),
        (6, 4, [1, 1, 2, 3, 3, 4]),
        (3, 2, [1, 1, 2]),
        (1, 12, [12]),
        (12, 1, [1] * 12),
        (5, 12, [2, 5, 7, 10, 12]),
    ],
)
def test_uniform_spreads_the_student_over_the_teacher(student: int, teacher: int, expected: list[int]) -> None:
    assert layer_pairs("uniform", student, teacher, "distill.layers") == list(enumerate(expected, start=1))


@pytest.mark.parametrize("student", range(1, 14))
@pytest.mark.parametrize("teacher", range(1, 14))
def test_uniform_is_in_range_rises_and_ends_with_the_last(student: int, teacher: int) -> None:
    pairs = layer_pairs("uniform", student, teacher, "distill.layers")
    assert [mine for mine, _ in pairs] == list(range(1, student + 1))
    its = [layer for _, layer in pairs]
    assert its == sorted(its)
    assert its[0] >= 1
    assert its[-1] == teacher


def test_last_from_last_and_explicit_pairs() -> None:
    assert layer_pairs("last", 3, 12, "distill.layers") == [(3, 12)]
    assert layer_pairs([[0, 0], [2, 7]], 3, 12, "distill.layers") == [(0, 0), (2, 7)]


@pytest.mark.parametrize(
    ("pairs", "lowest", "message"),
    [
        ([[1, 2], [4, 6]], 0, r"k: \[4, 6\] names layer 4 of the student, .* 0\b.* to 3"),
        ([[3, 13]], 0, r"k: \[3, 13\] names layer 13 of the teacher, .* 0\b.* to 12"),
        ([[0, 1]], 1, r"k: \[0, 1\] names layer 0 of the student, .* 1 to 3"),
        ([[1, 0]], 1, r"k: \[1, 0\] names layer 0 of the teacher, .* 1 to 12"),
    ],
)
def test_a_layer_that_is_not_there_is_named(pairs: list[list[int]], lowest: int, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        layer_pairs(pairs, 3, 12, "k", lowest)


def test_a_map_of_its_own_is_named_in_its_error() -> None:
    pairing = Pairing(layout(world("bert").student), layout(world("bert").teacher), [[9, 1]], seed=1)
    for section, key in (({}, "distill.layers"), ({"layers": [[1, 9]]}, "distill.hidden_mse.layers")):
        settings = type(Distill().hidden_mse)(weight=1.0, **section)
        with pytest.raises(UserError, match=f"^{key}: "):
            LOSSES["hidden_mse"].make("hidden_mse", settings, pairing)


def test_attention_has_no_layer_0() -> None:
    pairing = Pairing(layout(world("bert").student), layout(world("bert").teacher), [[0, 0]], seed=1)
    for name, entry in LOSSES.items():
        if entry.family == "attention":
            settings = type(getattr(Distill(), name))(weight=1.0, layers=[[0, 0]])
            with pytest.raises(UserError, match=r"names layer 0 of the student, .* 1 to 2$"):
                entry.make(name, settings, pairing)


def test_a_stack_that_only_one_model_has_is_refused() -> None:
    pairing = Pairing(layout(world("bert").student), layout(world("llama").teacher), "uniform", seed=1)
    for name, entry in LOSSES.items():
        if entry.family != "response":
            with pytest.raises(UserError, match=rf"^distill.{name}: .*encoder.*decoder"):
                entry.make(name, settings_of(name), pairing)
