"""Asks a study's teacher what its students were asked."""

from __future__ import annotations

import numpy as np

from forge.assemble import quiet_libraries
from forge.building import Site, build
from forge.preflight import Preflight
from forge.study.store import Examples
from forge.teaching import Student, find_teacher
from forge.train.device import make_accelerator
from forge.train.evaluate import infer


def teacher_answers(found: Preflight, split: str) -> Examples:
    """(N, 2): the label that a classifying teacher gives each example of a test split, and the true one, by the
    student's numbers of labels. Raises UserError where it cannot be had.
    """
    quiet_libraries()
    settings, accelerator = found.resolved.settings, make_accelerator(found.resolved.settings)
    wanted = settings.model
    if found.tokenizer:
        wanted = wanted.model_copy(update={"tokenizer": found.tokenizer.location})
    built = build(Site(found, found.model, wanted, accelerator))
    assert found.teacher
    teacher, _ = find_teacher(
        settings, found.teacher, Student(built.model, built.task, built.data, built.again), accelerator
    )
    data = (built.data if teacher.task is built.task else built.again(teacher.task)).test[split]
    logits_NC = np.stack(infer(accelerator, teacher.task, teacher.load(), data, settings.evaluate.batch_size))
    logits_NC = logits_NC if teacher.order is None else logits_NC[:, teacher.order]
    answers_N, labels_N = logits_NC.argmax(axis=-1), np.asarray(data["label"][: len(logits_NC)])
    return np.stack([answers_N, labels_N], axis=1).astype(np.float64)
