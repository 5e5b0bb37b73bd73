"""Defects found in other libraries' distillation losses, each kept out by a test of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from forge.objectives.kd.losses.attention_kl import attention_kl
from forge.objectives.kd.losses.cosine import cosine
from forge.objectives.kd.losses.dkd import dkd
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.hidden_mse import hidden_mse
from forge.objectives.kd.losses.jsd import jsd
from forge.objectives.kd.losses.logit_mse import logit_mse
from forge.objectives.kd.losses.score_mse import score_mse
from forge.objectives.kd.losses.skew_kl import skew_kl
from forge.objectives.kd.losses.topk_kl import top_k, topk_kl
from forge.objectives.kd.losses.uld import uld


def sparse(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    return topk_kl(student, *top_k(teacher, 3, temperature), temperature=temperature)


def labelled(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    return dkd(student, teacher, teacher.argmax(-1), temperature=temperature)


DIVERGENCES = {
    "forward_kl": forward_kl,
    "jsd": jsd,
    "reverse_kl": partial(jsd, beta=1.0),
    "skew_kl": skew_kl,
    "topk_kl": sparse,
    "dkd": labelled,
}
divergences = pytest.mark.parametrize("loss", DIVERGENCES.values(), ids=DIVERGENCES)
Divergence = Callable[..., Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, TEACHER = draw(4, 3, 5), draw(4, 3, 5, seed=1)


@divergences
def test_softmax_is_over_the_last_dimension(loss: Divergence) -> None:
    """torchdistill's KDLoss takes dimension 1: positions, in a batch of sequences."""
    flat = loss(STUDENT.flatten(0, 1), TEACHER.flatten(0, 1))
    assert torch.allclose(loss(STUDENT, TEACHER).flatten(), flat, rtol=1e-12)


@divergences
def test_the_square_of_the_temperature_is_always_there(loss: Divergence) -> None:
    """torchdistill drops it without a hard loss; TinyBERT and TextBrewer have none: gradients vanish as 1 / T²."""
    sizes = []
    for temperature in (20.0, 200.0):
        student = STUDENT.clone().requires_grad_()
        loss(student, TEACHER, temperature=temperature).sum().backward()
        sizes.append(student.grad.norm())
    assert sizes[1] / sizes[0] == pytest.approx(1.0, abs=0.05)


def test_the_square_of_the_temperature_does_not_depend_on_weights() -> None:
    labels = torch.zeros(4, 3, dtype=torch.long)
    whole, target, other = (
        dkd(STUDENT, TEACHER, labels, temperature=3.0, target_weight=a, other_weight=b)
        for a, b in ((2.0, 5.0), (1.0, 0.0), (0.0, 1.0))
    )
    assert torch.allclose(whole, 2 * target + 5 * other)
    softened = dkd(STUDENT / 3, TEACHER / 3, labels, target_weight=0.0, other_weight=1.0)
    assert torch.allclose(other, 9 * softened)


@divergences
def test_a_row_is_a_sum_over_classes(loss: Divergence) -> None:
    """PKD, TinyBERT and ModelOpt also divide by the number of classes: classes nobody expects must cost nothing."""
    unlikely = torch.full((4, 3, 95), -1e3, dtype=torch.float64)
    wide = [torch.cat((x, unlikely), -1) for x in (STUDENT, TEACHER)]
    assert torch.allclose(loss(*wide), loss(STUDENT, TEACHER), rtol=1e-12)


@divergences
def test_a_row_does_not_depend_on_how_many_there_are(loss: Divergence) -> None:
    """EasyDistill divides by tokens twice."""
    once, thrice = loss(STUDENT, TEACHER), loss(STUDENT.repeat(5, 1, 1), TEACHER.repeat(5, 1, 1))
    assert torch.allclose(thrice, once.repeat(5, 1), rtol=1e-12)


def test_half_precision_states_are_compared_in_fp32() -> None:
    """PKD casts its patience loss to half: a squared difference of 300 is already infinite there."""
    student, teacher = torch.full((1, 1, 4), 300.0).half(), torch.zeros(1, 1, 4).half()
    assert hidden_mse(student, teacher).item() == 300.0**2
    assert cosine(student, student).item() == pytest.approx(0.0, abs=1e-6)
    assert logit_mse(student, teacher, center=False).item() == 300.0**2


@pytest.mark.parametrize("loss", [hidden_mse, cosine])
def test_hidden_states_of_padding_count_for_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """TinyBERT's hidden loss averages over padding: the same sentences in a longer batch give another value."""
    totals = []
    for length in (5, 11):
        mask = torch.arange(length) < torch.tensor([[5], [3]])
        student, teacher = draw(2, length, 6, seed=length), draw(2, length, 6, seed=length + 1)
        student[:, :5], teacher[:, :5] = draw(2, 5, 6), draw(2, 5, 6, seed=1)
        student.requires_grad_()
        totals.append(torch.where(mask, loss(student, teacher), 0.0).sum() / mask.sum())
        (gradient,) = torch.autograd.grad(totals[-1], student)
        assert (gradient[~mask] == 0).all()
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-12)


@divergences
def test_zero_where_student_and_teacher_agree(loss: Divergence) -> None:
    """The "forward KL" of torchtune and DistiLLM is a cross-entropy: at its minimum it is the teacher's entropy."""
    assert loss(TEACHER, TEACHER).abs().max() < 1e-14
    assert (loss(STUDENT, TEACHER) > 1e-4).all()


def test_forward_kl_is_cross_entropy_less_the_teachers_entropy() -> None:
    p, log_q = TEACHER.softmax(-1), STUDENT.log_softmax(-1)
    cross_entropy, entropy = -(p * log_q).sum(-1), -(p * p.log()).sum(-1)
    assert torch.allclose(forward_kl(STUDENT, TEACHER), cross_entropy - entropy)


@pytest.mark.parametrize("loss", [forward_kl, jsd, partial(jsd, beta=1.0), skew_kl, sparse, logit_mse, uld])
def test_the_order_of_classes_does_not_matter(loss: Divergence) -> None:
    """TAID's adaptive KL builds a mask in sorted order and applies it in another."""
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(loss(STUDENT[..., order], TEACHER[..., order]), loss(STUDENT, TEACHER), rtol=1e-12)


def test_the_order_of_classes_does_not_matter_with_labels() -> None:
    order, labels = torch.tensor([3, 0, 4, 1, 2]), torch.arange(12).reshape(4, 3) % 5
    shuffled = dkd(STUDENT[..., order], TEACHER[..., order], order.argsort()[labels])
    assert torch.allclose(shuffled, dkd(STUDENT, TEACHER, labels), rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_holds_the_forward_kl(temperature: float) -> None:
    """KD = TCKD + (1 − p_y) · NCKD."""
    labels = torch.arange(12).reshape(4, 3) % 5
    part = partial(dkd, STUDENT, TEACHER, labels, temperature=temperature)
    p_y = (TEACHER / temperature).softmax(-1).gather(-1, labels[..., None])[..., 0]
    whole = part(target_weight=1.0, other_weight=0.0) + (1 - p_y) * part(target_weight=0.0, other_weight=1.0)
    assert torch.allclose(whole, forward_kl(STUDENT, TEACHER, temperature=temperature), rtol=1e-12)


def test_dkd_of_a_certain_teacher_is_finite() -> None:
    """The logarithm of 1 − p_y, taken after it rounded to 0, is −∞."""
    student = torch.tensor([[0.0, 60.0, 0.0]], requires_grad=True)
    loss = dkd(student, torch.tensor([[90.0, 0.0, 0.0]]), torch.tensor([0]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(60.0 + 8 * (30.0 - torch.tensor(2.0).log().item()), rel=1e-5)
    assert student.grad.isfinite().all()


# Attention


class Attention:
    """One layer of a tiny BERT, with the attentions it reports and the scores behind them."""

    def __init__(self, seed: int, mask_BL: Tensor, train: bool = False) -> None:
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=20,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=8,
            initializer_range=1.0,
            attn_implementation="eager",
        )
        model, kept = BertModel(config, add_pooling_layer=False).double().train(train), {}
        layer = model.encoder.layer[0].attention.self
        for name in ("query", "key"):
            getattr(layer, name).register_forward_hook(lambda _, __, out, name=name: kept.update({name: out}))
        with torch.no_grad():
            ids = torch.arange(mask_BL.numel()).reshape(mask_BL.shape) % 20
            reported = model(ids, attention_mask=mask_BL.long(), output_attentions=True).attentions
        query, key = (kept[name].unflatten(-1, (2, 8)).transpose(1, 2) for name in ("query", "key"))
        self.scores_BHQK = query @ key.mT / 8**0.5
        self.reported_BHQK = reported[0]


LENGTHS = torch.arange(5) < torch.tensor([[5], [3]])
KEYS = LENGTHS[:, None].expand(2, 5, 5)
PAIRS = LENGTHS[:, :, None] & LENGTHS[:, None]


def test_attention_kl_takes_scores_and_applies_one_softmax() -> None:
    """TextBrewer's att_ce_loss applies softmax to what transformers reports, which had one already."""
    student, teacher = Attention(0, LENGTHS), Attention(1, LENGTHS)
    a_t, a_s = teacher.reported_BHQK, student.reported_BHQK
    expected = torch.where(KEYS[:, None], a_t * (a_t / a_s).log(), 0.0).sum(-1).mean(1)
    assert torch.allclose(attention_kl(student.scores_BHQK, teacher.scores_BHQK, KEYS), expected, rtol=1e-9)
    twice = attention_kl(a_s, a_t, KEYS)
    assert not torch.allclose(twice, expected, rtol=0.1)


def test_scores_are_free_of_dropout() -> None:
    """In training, eager transformers reports attention after dropout, with zeros and rows that do not add up to 1."""
    trained, evaluated = Attention(0, LENGTHS, train=True), Attention(1, LENGTHS)
    assert (trained.reported_BHQK.sum(-1) - 1).abs().max() > 1e-3
    assert attention_kl(trained.scores_BHQK, evaluated.scores_BHQK, PAIRS).isfinite().all()


def test_padded_queries_count_for_nothing() -> None:
    """Queries of padding carry a full distribution: averaged in, they change the value."""
    student, teacher = Attention(0, LENGTHS), Attention(1, LENGTHS)
    for loss in (attention_kl, score_mse):
        all_BQ, valid_BQ = (loss(student.scores_BHQK, teacher.scores_BHQK, mask) for mask in (KEYS, PAIRS))
        assert (all_BQ[~LENGTHS] > 0).all()
        assert (valid_BQ[~LENGTHS] == 0).all()
        assert torch.equal(valid_BQ[LENGTHS], all_BQ[LENGTHS])


@pytest.mark.parametrize("average_heads", [False, True])
def test_a_query_without_keys_gives_no_nan(average_heads: bool) -> None:
    """A softmax over nothing is 0 / 0, and multiplying it by a mask of 0 does not mend it."""
    student, teacher = draw(1, 2, 3, 3).requires_grad_(), draw(1, 2, 3, 3, seed=1)
    loss = attention_kl(student, teacher, torch.zeros(1, 3, 3).bool(), average_heads=average_heads)
    loss.sum().backward()
    assert (loss == 0).all()
    assert (student.grad == 0).all()


def test_attention_that_rounds_to_zero_gives_no_nan() -> None:
    """The logarithm of a probability that rounded to 0 is −∞; of scores it never is."""
    student = torch.tensor([[[[300.0, 0.0, -300.0]]]], requires_grad=True)
    teacher = torch.tensor([[[[-300.0, 0.0, 300.0]]]])
    assert (student.softmax(-1) == 0).any()
    loss = attention_kl(student, teacher, torch.ones(1, 1, 3).bool())
    loss.sum().backward()
    assert loss.item() == pytest.approx(600.0)
    assert student.grad.isfinite().all()
