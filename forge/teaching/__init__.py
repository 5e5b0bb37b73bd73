"""From `teacher:` and `distill:` to a distillation objective: find, check, measure, cache."""

from forge.teaching.prepare import find_teacher, prepare_on_policy, prepare_teaching
from forge.teaching.student import Student
from forge.teaching.teaching import Teaching

__all__ = ["Student", "Teaching", "find_teacher", "prepare_on_policy", "prepare_teaching"]
