"""From `teacher:` and `distill:` to a distillation objective: find, check, measure, cache."""

from forge.teaching.prepare import Teaching, find_teacher, prepare_teaching
from forge.teaching.student import Student

__all__ = ["Student", "Teaching", "find_teacher", "prepare_teaching"]
