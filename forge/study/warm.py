"""Imported by the process that every cell is forked from: all that a run imports, so that none pays for it again.

torch, transformers and the models' own code cost 7 to 12 seconds of a process; a cell may train for as long.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress

import torch

import forge.study.job  # noqa: F401  all of a run
from forge.study.pool import MODELS

ALWAYS = ("matplotlib.figure", "matplotlib.backends.backend_svg", "sklearn.metrics", "scipy.optimize")


def warm() -> None:
    """Import what runs import late."""
    torch.set_num_threads(1)
    kinds = [kind for kind in os.environ.get(MODELS, "").split(",") if kind]
    modules = [f"transformers.models.{kind}.modeling_{kind}" for kind in kinds]
    for module in [*ALWAYS, *modules]:
        with suppress(ImportError):  # what is not there is not needed, or the run says so
            importlib.import_module(module)


warm()
