"""From `teacher:` and `distill:` to a distillation objective: find, check, measure, cache."""

from forge.teaching.prepare import Student, Teaching, prepare_teaching

__all__ = ["Student", "Teaching", "prepare_teaching"]
