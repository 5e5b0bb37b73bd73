"""Each loss against its equation in plain numpy, and against the code of other libraries where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

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

Array = np.ndarray[Any, np.dtype[np.float64]]


def draw(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def agree(value: Tensor, expected: Any) -> None:
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-10, atol=1e-12)


# The equations, one row at a time


def softmax(z: Array, temperature: float = 1.0) -> Array:
    e = np.exp(np.asarray(z) / temperature)
    return e / e.sum()


def divergence(p: Array, q: Array) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def np_forward_kl(s: Array, t: Array, temperature: float, standardise: bool = False) -> float:
    if standardise:
        s, t = ((z - z.mean()) / z.std(ddof=1) for z in (s, t))
    return temperature**2 * divergence(softmax(t, temperature), softmax(s, temperature))


def np_jsd(s: Array, t: Array, beta: float, temperature: float) -> float:
    p, q = softmax(t, temperature), softmax(s, temperature)
    if beta in (0.0, 1.0):
        return temperature**2 * (divergence(p, q) if beta == 0 else divergence(q, p))
    m = beta * p + (1 - beta) * q
    return temperature**2 * (beta * divergence(p, m) + (1 - beta) * divergence(q, m))


def np_dkd(s: Array, t: Array, y: int, temperature: float, target_weight: float, other_weight: float) -> float:
    p, q = softmax(t, temperature), softmax(s, temperature)
    binary = divergence(np.array([p[y], 1 - p[y]]), np.array([q[y], 1 - q[y]]))
    others = divergence(softmax(np.delete(t, y), temperature), softmax(np.delete(s, y), temperature))
    return temperature**2 * (target_weight * binary + other_weight * others)


def np_logit_mse(s: Array, t: Array, center: bool) -> float:
    if center:
        s, t = s - s.mean(), t - t.mean()
    return float(((s - t) ** 2).mean())


def np_skew_kl(s: Array, t: Array, skew: float, temperature: float) -> float:
    p, q = softmax(t, temperature), softmax(s, temperature)
    return temperature**2 * divergence(p, skew * p + (1 - skew) * q)


def np_topk_kl(s: Array, t: Array, k: int, temperature: float) -> float:
    p, q = softmax(t, temperature), softmax(s, temperature)
    best, rest = np.argsort(-p)[:k], np.argsort(-p)[k:]
    bins = [(p[best], q[best])] + ([(p[rest].sum(keepdims=True), q[rest].sum(keepdims=True))] if len(rest) else [])
    return temperature**2 * sum(divergence(a, b) for a, b in bins)


def np_uld(s: Array, t: Array, temperature: float) -> float:
    p, q = (sorted(softmax(z, temperature), reverse=True) for z in (t, s))
    width = max(len(p), len(q))
    p, q = (x + [0.0] * (width - len(x)) for x in (p, q))
    return float(sum(abs(a - b) for a, b in zip(p, q, strict=True)))


def np_linear_cka(s: Array, t: Array) -> float:
    """Kornblith et al. 2019, eq. 3, with linear kernels and a centring matrix."""
    n = len(s)
    center = np.eye(n) - np.ones((n, n)) / n
    hsic = {
        (a, b): np.trace(x @ x.T @ center @ y @ y.T @ center)
        for a, x in enumerate((s, t))
        for b, y in enumerate((s, t))
    }
    return float(1 - hsic[0, 1] / np.sqrt(hsic[0, 0] * hsic[1, 1]))


def np_rkd(s: Array, t: Array, distance_weight: float, angle_weight: float) -> float:
    n = len(s)

    def smooth_l1(a: float, b: float) -> float:
        return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5

    def distances(x: Array) -> dict[tuple[int, int], float]:
        found = {(i, j): float(np.linalg.norm(x[i] - x[j])) for i, j in product(range(n), repeat=2)}
        mean = sum(found.values()) / (n * (n - 1))
        return {pair: distance / mean for pair, distance in found.items()}

    def angle(x: Array, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        return 0.0 if j in (i, k) else float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    d_s, d_t = distances(s), distances(t)
    by_distance = sum(smooth_l1(d_s[pair], d_t[pair]) for pair in d_s) / n**2
    triples = list(product(range(n), repeat=3))
    by_angle = sum(smooth_l1(angle(s, *triple), angle(t, *triple)) for triple in triples) / n**3
    return distance_weight * by_distance + angle_weight * by_angle


def np_attention(s: Array, t: Array, mask: Array, of_row: Callable[[list[Array], list[Array]], float]) -> Array:
    """`of_row` sees, for one query, each head's scores of the keys that count."""
    out = np.zeros(mask.shape[:2])
    for b, q in np.ndindex(*out.shape):
        keys = np.flatnonzero(mask[b, q])
        if len(keys):
            out[b, q] = of_row([row[keys] for row in s[b, :, q]], [row[keys] for row in t[b, :, q]])
    return out


def np_relations(x: Array, heads: int) -> Array:
    b, length, width = x.shape
    d = width // heads
    out = np.zeros((b, heads, length, length))
    for i, a, j, k in np.ndindex(*out.shape):
        out[i, a, j, k] = x[i, j, a * d : (a + 1) * d] @ x[i, k, a * d : (a + 1) * d] / np.sqrt(d)
    return out


def kl_of_heads(s: list[Array], t: list[Array]) -> float:
    return float(np.mean([divergence(softmax(b), softmax(a)) for a, b in zip(s, t, strict=True)]))


def kl_of_mean_heads(s: list[Array], t: list[Array]) -> float:
    return divergence(np.mean([softmax(b) for b in t], axis=0), np.mean([softmax(a) for a in s], axis=0))


def square_of_heads(s: list[Array], t: list[Array]) -> float:
    return float(np.mean([((a - b) ** 2).sum() for a, b in zip(s, t, strict=True)]))


def square_of_centred_heads(s: list[Array], t: list[Array]) -> float:
    return square_of_heads([a - a.mean() for a in s], [b - b.mean() for b in t])


def square_of_mean_heads(s: list[Array], t: list[Array]) -> float:
    return square_of_heads([np.mean(s, axis=0)], [np.mean(t, axis=0)])


# Ours against them

STUDENT, TEACHER, LABELS = draw(6, 5), draw(6, 5, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
KEEP = torch.tensor([1, 0, 1, 1, 1, 1, 0, 1]).bool()
CROSS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(2)) < 0.6
CROSS[1, 2:] = False


def by_row(reference: Callable[..., float], *sides: Tensor, **options: Any) -> list[float]:
    return [reference(*(np.asarray(x) for x in row), **options) for row in zip(*sides, strict=True)]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.0])
def test_responses(temperature: float) -> None:
    both, at = (STUDENT, TEACHER), {"temperature": temperature}
    agree(forward_kl(*both, **at), by_row(np_forward_kl, *both, **at))
    agree(forward_kl(*both, standardise=True, **at), by_row(np_forward_kl, *both, standardise=True, **at))
    for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
        agree(jsd(*both, beta=beta, **at), by_row(np_jsd, *both, beta=beta, **at))
    for weights in ((1.0, 8.0), (0.3, 0.0), (0.0, 2.0)):
        named = {"target_weight": weights[0], "other_weight": weights[1], **at}
        agree(dkd(*both, LABELS, **named), by_row(np_dkd, *both, LABELS, **named))
    for skew in (0.0, 0.1, 0.7):
        agree(skew_kl(*both, skew=skew, **at), by_row(np_skew_kl, *both, skew=skew, **at))
    for k in range(1, 6):
        agree(topk_kl(STUDENT, *top_k(TEACHER, k, temperature), **at), by_row(np_topk_kl, *both, k=k, **at))
    for other in (TEACHER, draw(6, 8), draw(6, 3)):
        agree(uld(STUDENT, other, **at), by_row(np_uld, STUDENT, other, **at))


@pytest.mark.parametrize("center", [True, False])
def test_logit_mse(center: bool) -> None:
    agree(logit_mse(STUDENT, TEACHER, center=center), by_row(np_logit_mse, STUDENT, TEACHER, center=center))


def test_hidden_states() -> None:
    s, t = STUDENT.numpy(), TEACHER.numpy()
    agree(hidden_mse(STUDENT, TEACHER), ((s - t) ** 2).sum(1) / 5)
    lengths = np.sqrt((s**2).sum(1) * (t**2).sum(1))
    agree(cosine(STUDENT, TEACHER), 1 - (s * t).sum(1) / lengths)


@pytest.mark.parametrize("widths", [(3, 4), (12, 9)])
def test_relations_of_rows(widths: tuple[int, int]) -> None:
    student, teacher = draw(8, widths[0]), draw(8, widths[1], seed=1)
    s, t = student[KEEP].numpy(), teacher[KEEP].numpy()
    agree(linear_cka(student, teacher, KEEP), np_linear_cka(s, t))
    for weights in ((25.0, 50.0), (1.0, 0.0), (0.0, 1.0)):
        expected = np_rkd(s, t, *weights)
        agree(rkd(student, teacher, KEEP, distance_weight=weights[0], angle_weight=weights[1]), expected)


@pytest.mark.parametrize(
    ("loss", "options", "of_row", "heads"),
    [
        (attention_kl, {}, kl_of_heads, 2),
        (attention_kl, {"average_heads": True}, kl_of_mean_heads, 3),
        (score_mse, {}, square_of_heads, 2),
        (score_mse, {"center": True}, square_of_centred_heads, 2),
        (score_mse, {"average_heads": True}, square_of_mean_heads, 3),
    ],
)
def test_attention(loss: Any, options: dict[str, bool], of_row: Any, heads: int) -> None:
    student, teacher = draw(3, 2, 4, 5), draw(3, heads, 4, 5, seed=1)
    expected = np_attention(student.numpy(), teacher.numpy(), CROSS.numpy(), of_row)
    agree(loss(student, teacher, CROSS, **options), expected)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_relation(heads: int) -> None:
    student, teacher, mask = draw(3, 5, 12, scale=1), draw(3, 5, 8, seed=1, scale=1), CROSS[:, :1] & CROSS[:, :1].mT
    relations = np_relations(student.numpy(), heads), np_relations(teacher.numpy(), heads)
    expected = np_attention(*relations, mask.numpy(), kl_of_heads)
    agree(self_relation(student, teacher, mask, relation_heads=heads), expected)


# Other libraries

LOGITS, TARGETS = draw(4, 3, 7), draw(4, 3, 7, seed=1)
HIDDEN, HIDDEN_T = draw(4, 3, 6), draw(4, 3, 6, seed=1)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]).bool()
PAIRS = MASK[:, :, None] & MASK[:, None]


@pytest.fixture(scope="module")
def gkd() -> Any:
    reason = "the reference implementation of GKD: pip install trl"
    return pytest.importorskip("trl.experimental.gkd", reason=reason, exc_type=ImportError).GKDTrainer


@pytest.fixture(scope="module")
def gold() -> ModuleType:
    reason = "the reference implementation of ULD: pip install trl"
    return pytest.importorskip("trl.experimental.gold.gold_trainer", reason=reason, exc_type=ImportError)


@pytest.fixture(scope="module")
def textbrewer() -> ModuleType:
    reason = "masked feature and attention losses: pip install textbrewer"
    return pytest.importorskip("textbrewer.losses", reason=reason, exc_type=ImportError)


@pytest.fixture(scope="module")
def torchdistill() -> ModuleType:
    reason = "classification losses and RKD: pip install --no-deps torchdistill"
    return pytest.importorskip("torchdistill.losses.mid_level", reason=reason, exc_type=ImportError)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_trl_gkd(gkd: Any, beta: float, temperature: float) -> None:
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    mine = jsd(ours, TARGETS, beta=beta, temperature=temperature) / temperature**2
    rows = gkd.generalized_jsd_loss(theirs, TARGETS, beta=beta, temperature=temperature, reduction="none").sum(-1)
    agree(mine.detach(), rows.detach().numpy())
    mine.sum().backward()
    rows.sum().backward()
    agree(ours.grad, theirs.grad.numpy())
    if beta == 0:
        agree(forward_kl(LOGITS, TARGETS, temperature=temperature), mine.detach().numpy() * temperature**2)


@pytest.mark.parametrize("width", [7, 4, 11])
def test_trl_uld(gold: Any, width: int) -> None:
    settings = SimpleNamespace(
        uld_crossentropy_weight=0.0,
        uld_distillation_weight=1.0,
        uld_student_temperature=2.0,
        uld_teacher_temperature=2.0,
        uld_skip_student_eos=False,
        uld_skip_teacher_eos=False,
        use_extended_uld=False,
        uld_token_merge_strategy="observed",
    )
    ids, teacher = torch.zeros(4, 3, dtype=torch.long), draw(4, 3, width, seed=3)
    theirs = gold.ULDLoss(settings)(LOGITS, teacher, ids, ids, ids, ids)
    agree(uld(LOGITS, teacher, temperature=2.0).mean(), theirs.numpy())


def test_textbrewer(textbrewer: Any) -> None:
    entropy = -(TARGETS.softmax(-1) * TARGETS.log_softmax(-1)).sum(-1).mean()
    agree(forward_kl(LOGITS, TARGETS).mean(), textbrewer.kd_ce_loss(LOGITS, TARGETS) - entropy)
    agree(logit_mse(LOGITS, TARGETS, center=False).mean(), textbrewer.kd_mse_loss(LOGITS, TARGETS))
    agree(hidden_mse(HIDDEN, HIDDEN_T)[MASK].mean(), textbrewer.hid_mse_loss(HIDDEN, HIDDEN_T, MASK))
    agree(cosine(HIDDEN, HIDDEN_T)[MASK].mean(), textbrewer.cos_loss(HIDDEN, HIDDEN_T, MASK))
    agree(2 * cosine(HIDDEN, HIDDEN_T)[:, 0].mean(), textbrewer.pkd_loss(HIDDEN, HIDDEN_T))


def test_textbrewer_attention(textbrewer: Any) -> None:
    student, teacher = draw(4, 2, 3, 3), draw(4, 2, 3, 3, seed=1)
    agree(score_mse(student, teacher, PAIRS).sum() / PAIRS.sum(), textbrewer.att_mse_loss(student, teacher, MASK))
    summed = textbrewer.att_mse_sum_loss(student, teacher, MASK)
    agree(score_mse(student, teacher, PAIRS, average_heads=True).sum() / PAIRS.sum(), summed / 2**2)
    # It masks keys after the softmax, so only whole sequences compare; and wants scores, as ours does.
    whole = torch.ones(4, 3, 3).bool()
    cross_entropy = textbrewer.att_ce_loss(student, teacher, torch.ones(4, 3))
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum(-1).mean()
    agree(attention_kl(student, teacher, whole).mean(), cross_entropy - entropy)


def test_torchdistill(torchdistill: Any) -> None:
    s, t = ({"logits": {"output": x.flatten(0, 1)}} for x in (LOGITS, TARGETS))
    paths = ("logits", "output", "logits", "output")
    plain = torchdistill.KDLoss(*paths, temperature=2.0, alpha=0.0)(s, t)
    agree(forward_kl(LOGITS, TARGETS, temperature=2.0).mean(), plain * 4)
    standard = torchdistill.LogitStdKDLoss(*paths, temperature=2.0, alpha=0.0, eps=0.0)(s, t)
    agree(forward_kl(LOGITS, TARGETS, temperature=2.0, standardise=True).mean(), standard * 4)


def test_torchdistill_relations(torchdistill: Any) -> None:
    s, t = ({"rows": {"output": x.flatten(0, 1)[MASK.flatten()]}} for x in (HIDDEN, HIDDEN_T))
    theirs = torchdistill.RKDLoss("rows", "rows", dist_factor=25.0, angle_factor=50.0, reduction="mean")(s, t)
    agree(rkd(HIDDEN.flatten(0, 1), HIDDEN_T.flatten(0, 1), MASK.flatten()), theirs.numpy())
