"""Which view is whose."""

from __future__ import annotations

from collections.abc import Mapping

from forge.workbench.views.base import View
from forge.workbench.views.classification import ClassificationView
from forge.workbench.views.ocr import OcrView
from forge.workbench.views.translation import TranslationView

VIEWS: Mapping[str, View] = {
    "classification": ClassificationView(),
    "translation": TranslationView(),
    "ocr": OcrView(),
}
