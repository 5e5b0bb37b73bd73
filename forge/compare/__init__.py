"""Two finished runs on the same examples: is one better, or is it the choice of the examples? A file a task."""

from forge.compare.base import Given
from forge.compare.runs import compare_runs, report

__all__ = ["Given", "compare_runs", "report"]
