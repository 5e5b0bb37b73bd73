"""Imported by the process that every cell is forked from: all that a run imports, so that none pays for it again.

torch, transformers and the models' own code cost 7 to 12 seconds of a process; a cell may train for as long.
"""

from __future__ import annotations

import os
from contextlib import suppress

import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import scipy.optimize  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
from transformers import models

import forge.study.job  # noqa: F401  all of a run
from forge.study.pool import MODELS


def warm() -> None:
    """Import what runs import late."""
    torch.set_num_threads(1)
    kinds = [kind for kind in os.environ.get(MODELS, "").split(",") if kind]
    for kind in kinds:
        with suppress(AttributeError, ImportError):  # what is not there is not needed, or the run says so
            getattr(getattr(models, kind), f"modeling_{kind}")  # transformers imports what is asked for


warm()
