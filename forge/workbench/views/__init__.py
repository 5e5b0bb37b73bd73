"""How models of each task are looked at: which rows they are shown, what they make of them, what can be probed."""

from forge.workbench.views.base import View, Watched
from forge.workbench.views.table import VIEWS

__all__ = ["VIEWS", "View", "Watched"]
