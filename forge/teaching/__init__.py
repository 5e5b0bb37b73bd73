"""From `teacher:` and `distill:` to a distillation objective: find, check, measure, cache."""

from forge.teaching.prepare import Teaching, prepare_teaching
from forge.teaching.student import Student

__all__ = ["Student", "Teaching", "prepare_teaching"]
