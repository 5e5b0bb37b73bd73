"""Forward KL against the teacher's k likeliest classes, all others being one."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import FLOOR, fp32, kl, scaled, teacher_log_probs


def top_k(teacher_NC: torch.Tensor, k: int, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """What a cache keeps of a teacher: (logprobs_NK, indices_NK) of the k likeliest classes at temperature T.

    logprobs are log softmax(teacher / T) over all C classes, so their exponentials add up to at most 1.
    """
    logprobs_NK, indices_NK = teacher_log_probs(teacher_NC, temperature).topk(k, dim=-1)
    return logprobs_NK, indices_NK


def topk_kl(
    student_NC: torch.Tensor,
    teacher_logprobs_NK: torch.Tensor,
    indices_NK: torch.Tensor,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """loss_N = T² · Σ_b p(b) · [log p(b) − log q(b)] over k + 1 bins, in nats · T², from 0 to the full forward KL.

    Bins are the classes in `indices_NK` and one for all the rest, of mass 1 − Σ_k p(k): the forward KL (Hinton et al.
    2015, arXiv 1503.02531, eq. 1) after both sides merged those classes, hence never more than it, and equal with
    k = C. The tail bin holds the student's mass outside the k in place; a sum over the k alone does not.
    `temperature` is the one at which the teacher's log-probabilities were made. Where rounding in a cache makes them
    add up to more than 1, they are scaled back. Any leading dimensions; indices of a row differ. Leaves out how the
    teacher ranks the rest.
    """
    student_NC, indices_NK = scaled(student_NC, temperature), indices_NK.long()
    log_p_NK, student_NK = fp32(teacher_logprobs_NK).clamp(min=FLOOR), student_NC.gather(-1, indices_NK)
    if indices_NK.shape[-1] == student_NC.shape[-1]:
        return kl(log_p_NK.log_softmax(-1), student_NK.log_softmax(-1)) * temperature**2
    mass_N1 = log_p_NK.logsumexp(-1, keepdim=True)
    log_p_NK = log_p_NK - mass_N1.clamp(min=0.0)
    # One less the sum over the k could round to 0: the tail is summed over the student's other logits instead.
    rest_N1 = student_NC.scatter(-1, indices_NK, -torch.inf).logsumexp(-1, keepdim=True)
    smallest = torch.finfo(log_p_NK.dtype).tiny
    log_tail_N1 = (-torch.expm1(mass_N1)).clamp(min=smallest).log()
    log_q_NK1 = torch.cat((student_NK, rest_N1), -1).log_softmax(-1)
    return kl(torch.cat((log_p_NK, log_tail_N1), -1), log_q_NK1) * temperature**2
