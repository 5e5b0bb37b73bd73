"""What was left out, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from forge.tasks.ocr.listing import LeftOut

MOST_LINES = 5


@dataclass
class Notes:
    """The first faults with their number of pages, and how many faults came after them."""

    first: list[list[str]] = field(default_factory=list)  # place, reason
    pages: list[int] = field(default_factory=list)
    more: int = 0
    last: list[str] = field(default_factory=list)

    def add(self, left: LeftOut) -> None:
        """Count one. The same fault of a file's page after page is one line."""
        file = left.place.rpartition("#")[0] or left.place
        fault = [file, left.reason]
        if fault == self.last:
            if not self.more:
                self.first[-1][0] = file
                self.pages[-1] += 1
            return
        self.last = fault
        if len(self.first) == MOST_LINES:
            self.more += 1
            return
        self.first.append([left.place, left.reason])
        self.pages.append(1)

    def lines(self, at: str) -> list[str]:
        """One for each fault, and one for those that are not named; `at` comes before a place."""
        lines = [
            f"{at}{place}  {reason}" + (f" ({pages:,} pages)" if pages > 1 else "")
            for (place, reason), pages in zip(self.first, self.pages, strict=True)
        ]
        return [*lines, f"and {self.more:,} more"] if self.more else lines
