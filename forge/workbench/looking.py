"""One look at some models, as it grows: what they were shown, what was seen, and what could not be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from forge.core.errors import UserError
from forge.workbench.findings import Note
from forge.workbench.opening import Opened
from forge.workbench.probed import Effort
from forge.workbench.views import View, Watched
from forge.workbench.views.base import Shown

SEED = 0
Say = Callable[[str], None]


@dataclass
class Look:
    """All that the sections are made of."""

    opened: Opened
    view: View
    shown: Shown
    effort: Effort
    say: Say
    watched: dict[str, Watched] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, about: str, text: str) -> None:
        """Once."""
        if (note := Note(about, text)) not in self.notes:
            self.notes.append(note)

    @contextmanager
    def noting(self, about: str, what: str) -> Iterator[None]:
        """What cannot be computed is noted, and the rest goes on."""
        try:
            yield
        except UserError as error:
            self.note(about, f"{what}: {error}")

    def name(self, key: str) -> str:
        """Of a model, for people."""
        return next(source.name for source in self.opened.sources if source.key == key)
