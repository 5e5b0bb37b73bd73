"""The sequential rule: a study that is too small for the effect it was made for gets whole blocks more."""

from __future__ import annotations

from forge.study.analysis import analyse
from forge.study.collect import collect
from forge.study.course import Course


def missing_seeds(course: Course) -> list[int]:
    """Seeds to add until `smallest_effect` can be seen, by what the blocks so far say; none beyond `max_seeds`.

    New seeds follow the largest one that the file names, so that adding them is the same whenever it happens.
    """
    most = course.plan.study.max_seeds
    if most is None:
        return []
    plan = analyse([collect(course)]).studies[0].plan
    if plan is None:
        return []
    wanted = min(most, plan.corrected if plan.corrected is not None else most)
    first = max(course.seeds) + 1
    return list(range(first, first + max(0, wanted - len(course.seeds))))
