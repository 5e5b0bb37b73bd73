"""The teacher of a page reader, of whatever family it is."""

from __future__ import annotations

from accelerate import Accelerator

from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.image_text import is_sheet_reader, peek_reader, refuse_other
from forge.tasks.ocr.sheet import Sheet
from forge.tasks.ocr.task import OcrTask
from forge.teaching.page_model import find_page_model
from forge.teaching.page_reader import BY_TEXT, find_page_reader
from forge.teaching.student import Student
from forge.teaching.text_teacher import TextTeacher, refuse_labels


def find_page_teacher(settings: Settings, asset: Asset, student: Student, accelerator: Accelerator) -> TextTeacher:
    """The teacher that the configuration names, if it can teach this student as configured. Raises UserError."""
    task, chosen = student.task, settings.teacher
    assert isinstance(task, OcrTask)
    refuse_labels(chosen, "a page reader")
    model = Model(
        name=asset.location, revision=chosen.revision, init=chosen.init, trust_remote_code=chosen.trust_remote_code
    )
    config = peek_reader(asset, model, "teacher.name")
    if config is not None and not is_sheet_reader(config):
        refuse_other(asset, model, config, "teacher.name")
    alike = settings.distill.losses() or settings.rl
    if alike and isinstance(task.form, Sheet) != is_sheet_reader(config):
        raise UserError(
            f"teacher.name: of {asset.asked} and the student one is an embedded reader, which sees cells and writes "
            f"characters, and the other is not; {BY_TEXT}"
        )
    if config is None or is_sheet_reader(config):
        return find_page_reader(settings, asset, model, config, student, accelerator)
    return find_page_model(settings, asset, model, config, student, accelerator)
