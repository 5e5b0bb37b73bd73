"""What only pages have: how one becomes an image, and losses on where its characters are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from forge.config.schema._base import Section

Weight = Annotated[float, Field(ge=0.0, le=100.0)]
CELL = (16, 8)  # height and width in pixels of what an embedded reader sees as one place
CanvasEdge = Annotated[int, Field(ge=16, le=8_192)]


class Pages(Section):
    """How a page of a PDF, or an image, becomes what a model sees."""

    canvas: Annotated[tuple[CanvasEdge, CanvasEdge], Field(strict=False)] | None = None
    """Height and width in pixels of the sheet on which an embedded reader sees every page, multiples of 16 and 8:
    larger pages are shrunk, smaller ones lie at the upper left. Null takes that of the embedded data, or what holds the
    first 200 training pages, up to 1,600 pixels an edge.
    Models with an image processor of their own do not look at it."""
    dpi: Annotated[float, Field(ge=1, le=10_000)] = 100.0
    """Pixels an inch of a page of a PDF, unless `longest_edge` is set. Images have their pixels already."""
    longest_edge: Annotated[int, Field(ge=16, le=32_767)] | None = None
    """Pixels of a page's longer side; larger images are shrunk to it."""
    max_pixels: Annotated[int, Field(ge=256)] = 20_000_000
    """Pages with more pixels are refused before they are drawn."""
    prompt: str = "Convert this page to Markdown."
    """What a model that takes instructions is told beside the page; empty for one that was trained without."""
    prompt_first: bool = False
    """Whether the prompt stands before the page; as it was when the model was trained (olmOCR: yes)."""

    @model_validator(mode="after")
    def _whole_cells(self) -> Pages:
        if self.canvas and any(edge % cell for edge, cell in zip(self.canvas, CELL, strict=True)):
            raise ValueError(
                f"data.pages.canvas: {self.canvas[0]} × {self.canvas[1]} pixels are not whole cells of 16 × 8"
            )
        return self


class Glyphs(Section):
    """Losses on where on the page each character is, beside the loss on the text; for embedded readers, which learn to
    read with them in minutes. Places come from the embedded pages, or from the text layer of a PDF. Nothing of it is
    there when a trained model reads.
    """

    cells: Weight = 0.0
    """Weight of the cross-entropy of the character in each 16 × 4 pixels of the encoder's grid."""
    blank_weight: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """How much an empty place counts in it, beside a character's 1."""
    attention: Weight = 0.0
    """Weight of −log of the cross-attention that each character's prediction gives to where it is drawn."""
    place: Weight = 0.0
    """Weight of −log of the cross-attention that the decoder's layer before the last gives to where the
    character written last is drawn: a decoder that knows where it stands finds where to look next."""
    reach: Annotated[int, Field(ge=0, le=16)] = 1
    """Cells to either side that count as the right place too."""
    alone_steps: Annotated[int, Field(ge=0)] = 0
    """First steps in which `cells` is the whole loss: the encoder learns letters before the decoder learns to look.
    Warm-up and schedule of the learning rate are gone through in them, and then again."""

    @model_validator(mode="after")
    def _alone_with_cells(self) -> Glyphs:
        if self.alone_steps and not self.cells:
            raise ValueError("glyphs.alone_steps is set, but glyphs.cells, which would be alone, has no weight")
        return self

    @property
    def wanted(self) -> bool:
        """Whether there is any."""
        return bool(self.cells or self.attention or self.place)
