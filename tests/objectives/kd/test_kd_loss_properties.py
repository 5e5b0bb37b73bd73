"""What every distillation loss must obey, over one table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from forge.objectives.kd.losses.attention_kl import attention_kl
from forge.objectives.kd.losses.cosine import cosine
from forge.objectives.kd.losses.dkd import dkd
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.hidden_mse import hidden_mse
from forge.objectives.kd.losses.jsd import jsd
from forge.objectives.kd.losses.linear_cka import linear_cka
from forge.objectives.kd.losses.logit_mse import logit_mse
from forge.objectives.kd.losses.rkd import rkd
from forge.objectives.kd.losses.score_mse import score_mse
from forge.objectives.kd.losses.self_relation import self_relation
from forge.objectives.kd.losses.skew_kl import skew_kl
from forge.objectives.kd.losses.topk_kl import top_k, topk_kl
from forge.objectives.kd.losses.uld import uld

ROWS = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]]).bool()
LABELS = torch.tensor([[0, 4, 1], [2, 2, -100], [-100, 3, -100], [1, -100, -100]])
NINE = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1]).bool()
SEVEN = torch.tensor([1, 1, 0, 1, 1, 0, 1]).bool()
CROSS = torch.zeros(3, 4, 5).bool()
SELF = torch.zeros(3, 4, 4).bool()
for _example, (_queries, _keys) in enumerate([(4, 5), (3, 2), (2, 1)]):
    CROSS[_example, :_queries, :_keys] = True
    SELF[_example, :_queries, :_queries] = True
SELF[0] = SELF[0].tril()


@dataclass(frozen=True)
class Case:
    """A loss, the shapes it takes, and where its padding is. First dimensions are the batch."""

    name: str
    loss: Callable[..., Tensor]
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    extras: tuple[Tensor, ...] = ()
    padding: Callable[[Tensor], Tensor] | None = None  # None: the caller masks values with ROWS
    scalar: bool = False  # one value for the batch, else one per row
    order: bool = True  # the order of rows does not matter
    excluded: bool = True  # a teacher may hold -inf
    response: bool = False
    paired: bool = True  # both sides have one shape

    def inputs(self, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randn(shape, generator=drawn, dtype=torch.float64).mul(scale).to(dtype)
            for shape in (self.student, self.teacher)
        )

    def __call__(self, student: Tensor, teacher: Tensor, *extras: Tensor) -> Tensor:
        return self.loss(student, teacher, *(extras or self.extras))

    def total(self, student: Tensor, teacher: Tensor) -> Tensor:
        loss = self(student, teacher)
        return loss.sum() if self.padding else torch.where(ROWS, loss, 0.0).sum()

    def padded(self, x: Tensor) -> Tensor:
        return self.padding(x) if self.padding else (~ROWS)[..., None].expand_as(x)


def response(name: str, loss: Callable[..., Tensor], classes: int = 5, width: int | None = None, **more: Any) -> Case:
    return Case(name, loss, (4, 3, classes), (4, 3, width or classes), response=True, **more)


def with_options(loss: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    return lambda *tensors: loss(*tensors, **options)


def sparse(k: int, temperature: float) -> Callable[..., Tensor]:
    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return topk_kl(student, *top_k(teacher, k, temperature), temperature=temperature)

    return loss


def unlabelled(x: Tensor) -> Tensor:
    return (LABELS == -100)[..., None].expand_as(x)


def rows_off(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return (~mask)[:, None].expand_as


def pairs_off(x: Tensor) -> Tensor:
    return (~CROSS)[:, None].expand_as(x)


def tokens_off(x: Tensor) -> Tensor:
    return (~(SELF.any(1) | SELF.any(2)))[..., None].expand_as(x)


TWO_LABELS = LABELS.clamp(max=1)
CASES = [
    response("forward_kl", forward_kl),
    response("forward_kl T=2", with_options(forward_kl, temperature=2.0)),
    response("forward_kl standardised", with_options(forward_kl, temperature=2.0, standardise=True), excluded=False),
    *(response(f"jsd {b}", with_options(jsd, beta=b, temperature=2.0), excluded=b < 1) for b in (0.0, 0.1, 0.5, 1.0)),
    response("dkd", with_options(dkd, temperature=2.0), extras=(LABELS,), padding=unlabelled),
    response("dkd of two classes", dkd, classes=2, extras=(TWO_LABELS,), padding=unlabelled),
    response("logit_mse", logit_mse, excluded=False),
    response("logit_mse uncentred", with_options(logit_mse, center=False), excluded=False),
    response("skew_kl", with_options(skew_kl, temperature=2.0)),
    response("skew_kl 0", with_options(skew_kl, skew=0.0)),
    response("topk_kl 2 of 5", sparse(2, 2.0), paired=False),
    response("topk_kl 5 of 5", sparse(5, 1.0), paired=False),
    response("uld", with_options(uld, temperature=2.0), paired=False),
    response("uld 5 against 7", uld, width=7, paired=False),
    Case("hidden_mse", hidden_mse, (4, 3, 6), (4, 3, 6)),
    Case("cosine", cosine, (4, 3, 6), (4, 3, 6)),
    Case("linear_cka by features", linear_cka, (9, 4), (9, 3), (NINE,), rows_off(NINE), scalar=True, paired=False),
    Case("linear_cka by rows", linear_cka, (7, 12), (7, 9), (SEVEN,), rows_off(SEVEN), scalar=True, paired=False),
    Case("rkd", rkd, (7, 4), (7, 3), (SEVEN,), rows_off(SEVEN), scalar=True, paired=False),
    Case(
        "rkd of 5",
        with_options(rkd, max_rows=5),
        (9, 4),
        (9, 3),
        (NINE,),
        rows_off(NINE),
        scalar=True,
        order=False,
        paired=False,
    ),
    Case("score_mse", score_mse, (3, 2, 4, 5), (3, 2, 4, 5), (CROSS,), pairs_off),
    Case("score_mse centred", with_options(score_mse, center=True), (3, 2, 4, 5), (3, 2, 4, 5), (CROSS,), pairs_off),
    Case(
        "score_mse of mean heads",
        with_options(score_mse, average_heads=True),
        (3, 2, 4, 5),
        (3, 3, 4, 5),
        (CROSS,),
        pairs_off,
        paired=False,
    ),
    Case("attention_kl", attention_kl, (3, 2, 4, 5), (3, 2, 4, 5), (CROSS,), pairs_off),
    Case(
        "attention_kl of mean heads",
        with_options(attention_kl, average_heads=True),
        (3, 2, 4, 5),
        (3, 3, 4, 5),
        (CROSS,),
        pairs_off,
        paired=False,
    ),
    Case(
        "self_relation",
        with_options(self_relation, relation_heads=2),
        (3, 4, 6),
        (3, 4, 4),
        (SELF,),
        tokens_off,
        paired=False,
    ),
]


def some(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases), ids=lambda case: case.name)


every = some(CASES)


def value_and_gradient(case: Case, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    loss = case.total(student, teacher)
    loss.backward()
    assert student.grad is not None
    return loss.detach(), student.grad


# Golden values


Z_S = torch.tensor([[1, 2, 3], [0.5, -1, 0]], dtype=torch.float64)
Z_T = torch.tensor([[3, 1, 0], [1, 1, -2]], dtype=torch.float64)
Y = torch.tensor([0, 2])
H_S, H_T = (f(torch.arange(24, dtype=torch.float64)).reshape(2, 3, 4) for f in (torch.sin, torch.cos))
S_S, S_T = (f(torch.arange(36, dtype=torch.float64)).reshape(2, 2, 3, 3) for f in (torch.sin, torch.cos))
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
PAIRS = MASK[:, :, None] & MASK[:, None]
KEYS = MASK[:, None].expand(2, 3, 3)
FLAT = (H_S.flatten(0, 1), H_T.flatten(0, 1), MASK.flatten())


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (forward_kl(Z_S, Z_T).mean(), 1.121290),
        (forward_kl(Z_S, Z_T, temperature=2.0).mean(), 1.485779),
        (forward_kl(Z_S, Z_T, temperature=2.0, standardise=True).mean(), 1.001189),
        (jsd(Z_S, Z_T, beta=0.0).mean(), 1.121290),
        (jsd(Z_S, Z_T, beta=1.0).mean(), 1.291028),
        (jsd(Z_S, Z_T, beta=0.5).mean(), 0.245874),
        (jsd(Z_S, Z_T, beta=0.1).mean(), 0.094571),
        (jsd(Z_S, Z_T, beta=0.9).mean(), 0.102868),
        (logit_mse(Z_S, Z_T, center=False).mean(), 3.708333),
        (dkd(Z_S, Z_T, Y, temperature=2.0).mean(), 4.330078),
        (dkd(Z_S, Z_T, Y, temperature=2.0, other_weight=0.0).mean(), 1.271147),
        (dkd(Z_S, Z_T, Y, temperature=2.0, target_weight=0.0, other_weight=1.0).mean(), 0.382366),
        (skew_kl(Z_S, Z_T, skew=0.1).mean(), 0.809672),
        (topk_kl(Z_S, *top_k(Z_T, 3)).mean(), 1.121290),
        (hidden_mse(H_S, H_T)[MASK].mean(), 0.991870),
        (hidden_mse(H_S, H_T).mean(), 0.962055),
        (cosine(H_S, H_T)[MASK].mean(), 0.991889),
        (2 * cosine(H_S, H_T)[:, 0].mean(), 2.248049),
        (linear_cka(*FLAT), 0.076236),
        (rkd(*FLAT, distance_weight=1.0, angle_weight=0.0), 0.011562),
        (rkd(*FLAT, distance_weight=0.0, angle_weight=1.0), 0.012020),
        (rkd(*FLAT), 0.890056),
        (score_mse(S_S, S_T, PAIRS).sum() / PAIRS.sum(), 1.110021),
        (attention_kl(S_S, S_T, PAIRS).sum() / MASK.sum(), 0.256003),
        (attention_kl(S_S, S_T, KEYS).mean(), 0.214957),
        (self_relation(H_S, H_T, PAIRS, relation_heads=2).sum() / MASK.sum(), 0.097639),
    ],
)
def test_a_golden_value(value: Tensor, golden: float) -> None:
    assert value.item() == pytest.approx(golden, abs=1e-6)


def test_high_temperature_is_half_the_centred_logit_mse() -> None:
    values = [forward_kl(Z_S, Z_T, temperature=T).mean().item() for T in (1.0, 2.0, 4.0, 8.0, 100.0)]
    assert values == pytest.approx([1.121, 1.486, 1.645, 1.701, 1.734], abs=5e-4)
    hot = forward_kl(Z_S, Z_T, temperature=1e4)
    assert torch.allclose(hot, logit_mse(Z_S, Z_T) / 2, rtol=1e-3)


# Properties


@every
def test_zero_at_identity(case: Case) -> None:
    for side in case.inputs():
        value, gradient = value_and_gradient(case, side, side.clone())
        assert value.abs() < 1e-12
        assert gradient.abs().max() < 1e-10


@every
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_never_negative(case: Case, scale: float, dtype: torch.dtype) -> None:
    for seed in range(5):
        assert (case(*case.inputs(seed, scale, dtype)) >= -1e-6).all()


@every
def test_gradients_on_both_sides(case: Case) -> None:
    sides = [side.requires_grad_() for side in case.inputs()]
    assert torch.autograd.gradcheck(case.total, sides)


@every
def test_padding_changes_nothing(case: Case) -> None:
    student, teacher = case.inputs()
    value, gradient = value_and_gradient(case, student, teacher)
    assert (gradient[case.padded(student)] == 0).all()
    # A loss that is handed the mask also bears what is not a number; for the others the caller masks values.
    for rubbish in [1e30, -1e30] + ([torch.inf, -torch.inf, torch.nan] if case.padding else []):
        dirty = (torch.where(case.padded(x), sign * rubbish, x) for x, sign in ((student, 1.0), (teacher, -0.5)))
        dirty_value, dirty_gradient = value_and_gradient(case, *dirty)
        assert torch.allclose(dirty_value, value, rtol=1e-12, atol=0)
        assert torch.allclose(dirty_gradient, gradient, rtol=1e-10, atol=1e-14)


@some(case for case in CASES if case.order)
def test_the_order_of_the_batch_does_not_matter(case: Case) -> None:
    student, teacher = case.inputs()
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(1))
    expected, shuffled = case(student, teacher), case(student[order], teacher[order], *(x[order] for x in case.extras))
    assert torch.allclose(shuffled, expected if case.scalar else expected[order], rtol=1e-12, atol=1e-14)


@every
def test_parts_make_the_whole(case: Case) -> None:
    student, teacher = case.inputs()
    whole = case(student, teacher)
    if not case.scalar:
        pieces = [
            case(student[part], teacher[part], *(x[part] for x in case.extras)) for part in (slice(0, 1), slice(1, 9))
        ]
        assert torch.allclose(torch.cat(pieces), whole, rtol=1e-12, atol=1e-14)
        return
    # A statistic of all rows has no parts, but more rows that do not count are none.
    more_student, more_teacher = (torch.cat((x, torch.full_like(x, torch.inf))) for x in (student, teacher))
    mask = torch.cat((case.extras[0], torch.zeros_like(case.extras[0])))
    assert torch.allclose(case(more_student, more_teacher, mask), whole, rtol=1e-12)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32(case: Case, dtype: torch.dtype) -> None:
    student, teacher = case.inputs(dtype=dtype)
    loss = case(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, case(student.float(), teacher.float()))
    assert torch.equal(loss, case(student.float(), teacher))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss, case(student, teacher))


@every
def test_fp32_is_close_to_fp64(case: Case) -> None:
    student, teacher = case.inputs(dtype=torch.float32)
    loss = case(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss.double(), case(student.double(), teacher.double()), rtol=1e-4, atol=1e-5)


def extremes(case: Case) -> dict[str, tuple[Tensor, Tensor]]:
    student, teacher = case.inputs(dtype=torch.float32)
    zero, nothing = torch.zeros_like(student), torch.zeros_like(teacher)

    def one_hot(x: Tensor, at: int, low: float) -> Tensor:
        return torch.full_like(x, low).index_fill(-1, torch.tensor(at), 1e4)

    pairs = {
        "large": (student.sign() * 1e4, teacher.sign() * -1e4),
        "one-hot teacher": (student, one_hot(teacher, 0, -1e4)),
        "one-hot student": (one_hot(student, 1, -1e4), teacher),
        "one-hot, apart": (one_hot(student, 1, -1e4), one_hot(teacher, 0, -1e4)),
        "one-hot, equal": (one_hot(student, 0, -1e4), one_hot(teacher, 0, -1e4)),
        "zero": (zero, nothing),
        "zero student": (zero, teacher),
        "zero teacher": (student, nothing),
        "constant": (zero + 3.0, nothing - 0.1),
        "constant student": (zero + 0.1, teacher),
    }
    if case.excluded and case.response:
        pairs["teacher that excludes"] = (student, one_hot(teacher, 0, -torch.inf))
    return pairs


@every
def test_extremes_are_finite(case: Case) -> None:
    for name, (student, teacher) in extremes(case).items():
        value, gradient = value_and_gradient(case, student, teacher)
        assert value.isfinite(), name
        assert gradient.isfinite().all(), name


@every
def test_the_teacher_gets_no_gradient_unless_it_asks(case: Case) -> None:
    student, teacher = case.inputs()
    assert not case(student, teacher).requires_grad
    case.total(student.requires_grad_(), teacher).backward()
    assert teacher.grad is None
    case.total(student.detach(), teacher.requires_grad_()).backward()
    assert teacher.grad.isfinite().all()


@every
def test_a_teacher_in_inference_mode_will_do(case: Case) -> None:
    student, teacher = case.inputs(dtype=torch.float32)
    value, gradient = value_and_gradient(case, student, teacher)
    with torch.inference_mode():
        frozen = teacher.clone()
    assert all(map(torch.equal, value_and_gradient(case, student, frozen), (value, gradient)))


@every
def test_nothing_waits_for_the_device(case: Case) -> None:
    """Tensors without data cannot answer `.item()`, and have no shapes that depend on values."""
    student, teacher = case.inputs(dtype=torch.float32)
    with FakeTensorMode() as mode:
        faked = [mode.from_tensor(x) for x in (student.requires_grad_(), teacher, *case.extras)]
        loss = case(*faked)
        (gradient,) = torch.autograd.grad(loss.sum(), faked[0])
    assert loss.shape == case(student, teacher).shape
    assert gradient.shape == student.shape


@some(case for case in CASES if case.paired)
def test_shapes_that_would_broadcast_are_refused(case: Case) -> None:
    student, teacher = case.inputs()
    wide = teacher[:, :1] if teacher.ndim == 4 else teacher[..., :1]
    with pytest.raises(ValueError, match="shapes must agree"):
        case(student, wide)


# Laws of single losses


def test_any_leading_dimensions() -> None:
    student, teacher = CASES[0].inputs()
    for case in CASES:
        if case.response and case.student == case.teacher == (4, 3, 5) and not case.extras:
            flat = case(student.flatten(0, 1), teacher.flatten(0, 1))
            assert torch.allclose(case(student, teacher).flatten(), flat, rtol=1e-12)
            assert torch.allclose(case(student[0, 0], teacher[0, 0]), flat[0], rtol=1e-12)


def test_jsd_is_symmetric_at_half_and_swaps_with_beta() -> None:
    student, teacher = CASES[0].inputs()
    assert torch.allclose(jsd(student, teacher, beta=0.5), jsd(teacher, student, beta=0.5))
    assert torch.allclose(jsd(student, teacher, beta=0.1), jsd(teacher, student, beta=0.9))
    assert (jsd(student * 50, teacher * 50) <= torch.log(torch.tensor(2.0))).all()
    assert torch.allclose(jsd(student, teacher, beta=1e-6) / 1e-6, forward_kl(student, teacher), rtol=1e-4)


def test_skew_kl_without_skew_is_the_forward_kl_and_is_bounded_with_it() -> None:
    student, teacher = CASES[0].inputs(scale=50.0)
    assert torch.allclose(skew_kl(student, teacher, skew=0.0), forward_kl(student, teacher))
    assert (skew_kl(student, teacher, skew=0.1) <= torch.log(torch.tensor(10.0))).all()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_topk_grows_to_the_forward_kl(temperature: float) -> None:
    student, teacher = CASES[0].inputs()
    full = forward_kl(student, teacher, temperature=temperature)
    values = torch.stack([sparse(k, temperature)(student, teacher) for k in range(1, 6)])
    assert (values.diff(dim=0) >= -1e-12).all()
    assert torch.allclose(values[-1], full, rtol=1e-12)
    assert torch.allclose(values[-2], full, rtol=1e-12)  # a tail of one class hides nothing


def test_topk_takes_what_a_cache_kept() -> None:
    student, teacher = CASES[0].inputs(dtype=torch.float32, scale=5.0)
    logprobs, indices = top_k(teacher, 3)
    exact = topk_kl(student, logprobs, indices)
    rounded = topk_kl(student, logprobs.half(), indices.to(torch.int16))
    assert torch.allclose(rounded, exact, atol=2e-2)
    too_much = topk_kl(student, logprobs + 1e-3, indices)  # adds up to more than 1
    assert too_much.isfinite().all()
    assert torch.allclose(too_much, exact, atol=2e-2)


def test_topk_keeps_a_student_tail_too_small_for_one_minus_the_sum() -> None:
    student = torch.tensor([[0.0, 0.0, -40.0]])
    loss = topk_kl(student, torch.tensor([[0.45, 0.45]]).log(), torch.tensor([[0, 1]]))
    expected = 0.9 * torch.tensor(0.45 / 0.5).log() + 0.1 * (torch.tensor(0.1).log() + 40 + torch.tensor(2.0).log())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_dkd_of_two_classes_is_its_target_part() -> None:
    student, teacher = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    assert (dkd(student, teacher, labels, target_weight=0.0, other_weight=1.0) == 0).all()
    assert torch.allclose(dkd(student, teacher, labels), forward_kl(student, teacher))


def test_ignored_labels_give_zero() -> None:
    case = next(case for case in CASES if case.name == "dkd")
    assert (case(*case.inputs())[LABELS == -100] == 0).all()


def test_uld_ignores_which_class_and_pads_with_zeros() -> None:
    student, teacher = CASES[0].inputs()
    assert torch.allclose(uld(student, student.flip(-1)), torch.zeros(4, 3, dtype=torch.float64), atol=1e-15)
    padded = torch.cat((teacher, torch.full((4, 3, 2), -torch.inf, dtype=torch.float64)), -1)
    assert torch.allclose(uld(student, padded), uld(student, teacher))
    assert torch.allclose(uld(padded, student), uld(student, padded))
    with pytest.raises(ValueError, match="rows must agree"):
        uld(student, teacher[:1])


def test_a_zero_vector_has_no_direction() -> None:
    vectors = torch.randn(5, 8, dtype=torch.float64)
    zero = torch.zeros(5, 8, dtype=torch.float64, requires_grad=True)
    loss = cosine(zero, vectors)
    loss.sum().backward()
    assert (loss == 1).all()
    assert (zero.grad == 0).all()
    assert (cosine(vectors, torch.zeros(5, 8, dtype=torch.float64)) == 1).all()


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("width", [3, 30])
def test_cka_of_fewer_than_two_rows_is_zero_with_a_graph(rows: int, width: int) -> None:
    student = torch.randn(6, width, requires_grad=True)
    loss = linear_cka(student, torch.randn(6, width + 1), torch.arange(6) < rows)
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


def test_cka_is_the_same_by_rows_and_by_features() -> None:
    student, teacher = torch.randn(2, 10, 6, dtype=torch.float64)
    keep = torch.arange(10) < 8
    wide = [torch.cat((x, torch.zeros(10, 40, dtype=torch.float64)), -1) for x in (student, teacher)]
    assert torch.allclose(linear_cka(student, teacher, keep), linear_cka(*wide, keep), rtol=1e-12)


@pytest.mark.parametrize("loss", [linear_cka, rkd])
def test_relations_ignore_rotation_shift_and_scale(loss: Callable[..., Tensor]) -> None:
    student, teacher = torch.randn(2, 10, 6, dtype=torch.float64)
    keep, rotation = torch.arange(10) < 8, torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    expected = loss(student, teacher, keep)
    assert torch.allclose(loss(3 * student @ rotation + 5, teacher, keep), expected, rtol=1e-10)
    assert loss(3 * teacher @ rotation + 5, teacher, keep).abs() < 1e-12


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rkd_of_few_rows_and_of_points_that_coincide_is_finite(rows: int) -> None:
    student = torch.zeros(6, 4).index_fill(0, torch.tensor([3, 4]), 1.0).requires_grad_()
    for mask in (torch.arange(6) < rows, torch.ones(6).bool()):
        loss = rkd(student, torch.randn(6, 5), mask)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_rkd_takes_the_first_valid_rows() -> None:
    student, teacher = torch.randn(2, 9, 4, dtype=torch.float64)
    first = NINE.nonzero().flatten()[:4]
    expected = rkd(student[first], teacher[first], torch.ones(4).bool())
    assert torch.allclose(rkd(student, teacher, NINE, max_rows=4), expected)


def test_centred_scores_ignore_what_softmax_ignores() -> None:
    student, teacher = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    offset = torch.randn(3, 2, 4, 1, dtype=torch.float64)
    moved = score_mse(student + offset, teacher, CROSS, center=True)
    assert torch.allclose(moved, score_mse(student, teacher, CROSS, center=True))
    assert not torch.allclose(score_mse(student + offset, teacher, CROSS), score_mse(student, teacher, CROSS))
    assert torch.allclose(attention_kl(student + offset, teacher, CROSS), attention_kl(student, teacher, CROSS))


def test_heads_can_be_averaged_only_when_asked() -> None:
    student, teacher = torch.randn(3, 2, 4, 5), torch.randn(3, 3, 4, 5)
    for loss in (score_mse, attention_kl):
        with pytest.raises(ValueError, match="shapes must agree"):
            loss(student, teacher, CROSS)
        assert loss(student, teacher, CROSS, average_heads=True).shape == (3, 4)
        repeated = student.repeat_interleave(3, 1)  # the mean over heads stays
        expected = loss(student, teacher, CROSS, average_heads=True)
        assert torch.allclose(loss(repeated, teacher, CROSS, average_heads=True), expected, atol=1e-6)


def test_relation_heads_must_divide_both_widths() -> None:
    student, teacher = torch.randn(3, 4, 6), torch.randn(3, 4, 4)
    with pytest.raises(ValueError, match=r"relation_heads = 4 does not divide the student's width, 6"):
        self_relation(student, teacher, SELF, relation_heads=4)
    with pytest.raises(ValueError, match=r"relation_heads = 3 does not divide the teacher's width, 4"):
        self_relation(student, teacher, SELF, relation_heads=3)


def test_the_value_relation_is_attention_kl_of_value_products() -> None:
    student, teacher = torch.randn(3, 4, 6, dtype=torch.float64), torch.randn(3, 4, 4, dtype=torch.float64)
    products = []
    for states in (student, teacher):
        heads = torch.stack(states.chunk(2, -1), 1)
        products.append(heads @ heads.mT / heads.shape[-1] ** 0.5)
    assert torch.allclose(
        self_relation(student, teacher, SELF, relation_heads=2), attention_kl(*products, SELF), rtol=1e-12
    )
