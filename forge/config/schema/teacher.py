"""`teacher:` the network that a student learns from when `alpha` is above 0."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section


class Teacher(Section):
    """A trained, frozen model. Its outputs are part of the student's loss."""

    name: Annotated[str, Field(min_length=1)] | None = None
    """Forge run directory (its best checkpoint is taken), local directory in hub format, or hub name."""
    revision: str | None = None
    """Git revision of the hub model; pins it."""
    labels: Annotated[list[str], Field(min_length=2)] | None = None
    """What the teacher's outputs mean, in order, where its own configuration does not say."""
    tokenizer: Literal["student", "own"] = "student"
    """`student`: both read the same tokens, which is checked. `own`: the teacher reads the text with its own
    tokenizer; then only response losses can compare the two."""
    init: Literal["pretrained", "random"] = "pretrained"
    """`random` draws new weights: a control that shows what a teacher who knows nothing is worth."""
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Refuse a teacher that is less accurate than this on the first validation split; null takes any."""
    trust_remote_code: bool = False
    """Run Python code that the teacher's repository carries; needs `teacher.revision`."""
    stand_in: str | None = None
    """Embedded model that takes the teacher's place where the student's stand-in is used."""

    @model_validator(mode="after")
    def _label_names_differ(self) -> Teacher:
        if self.labels and len(set(self.labels)) != len(self.labels):
            raise ValueError("teacher.labels names a label twice")
        return self

    @model_validator(mode="after")
    def _remote_code_is_pinned(self) -> Teacher:
        if self.trust_remote_code and not self.revision:
            raise ValueError(
                "teacher.trust_remote_code needs teacher.revision: a pinned commit is the code you have read"
            )
        return self
