"""A PDF file through pdfium: pages as pixels, and the text layer with a box for each character."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import pypdfium2 as pdfium
import pypdfium2.raw as c

from forge.tasks.pages.raw import GLYPH, MAX_GLYPHS, RawPage
from forge.tasks.pages.sizes import RefusedError, Scale, one_line

PAGES_BETWEEN_OPENINGS = 64  # pdfium keeps what it has parsed until the document closes
_UNKNOWN = 0xFFFD


class PdfFile:
    """An open PDF. Raises RefusedError where it cannot be opened."""

    def __init__(self, descriptor: int, password: str | None) -> None:
        self._file = os.fdopen(os.dup(descriptor), "rb", buffering=0)
        self._password = password
        self._open()
        self.count = len(self._document)

    def _open(self) -> None:
        try:
            # Read by position: neither the file's name nor, as with a mapping, its bytes become pdfium's.
            self._document = pdfium.PdfDocument(self._file, password=self._password)
        except pdfium.PdfiumError as error:
            raise RefusedError(_why_closed(error, self._password)) from error
        self._document.init_forms()  # what was typed into a form is on the page too
        self._read = 0

    def page(self, number: int, scale: Scale, text: bool) -> RawPage:
        """Page `number`, counted from 1. Raises RefusedError."""
        if self._read == PAGES_BETWEEN_OPENINGS:
            self._document.close()
            self._open()
        self._read += 1
        try:
            page = self._document[number - 1]
        except pdfium.PdfiumError as error:
            raise RefusedError("cannot be loaded: the file is damaged or promises more pages than it has") from error
        try:
            return _drawn(page, self._document, scale, text)
        finally:
            page.close()


def _why_closed(error: pdfium.PdfiumError, password: str | None) -> str:
    match error.err_code:
        case c.FPDF_ERR_SUCCESS:
            return "has no pages"
        case c.FPDF_ERR_PASSWORD if password:
            return "is locked, and the password is wrong"
        case c.FPDF_ERR_PASSWORD:
            return "is locked: give its password"
        case c.FPDF_ERR_SECURITY:
            return "is locked by a scheme that pdfium does not know"
        case c.FPDF_ERR_FORMAT:
            return "is not a whole PDF: damaged or cut off"
    return one_line(error)


def _drawn(page: pdfium.PdfPage, document: pdfium.PdfDocument, scale: Scale, text: bool) -> RawPage:
    width_pt, height_pt = page.get_size()
    width, height = scale.of_points(width_pt, height_pt)
    bitmap = pdfium.PdfBitmap.new_native(width, height, c.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    flags = c.FPDF_ANNOT | c.FPDF_REVERSE_BYTE_ORDER | c.FPDF_RENDER_LIMITEDIMAGECACHE
    where = (bitmap, page, 0, 0, width, height, 0, flags)
    c.FPDF_RenderPageBitmap(*where)
    if document.formenv:
        c.FPDF_FFLDraw(document.formenv, *where)
    rotation = int(page.get_rotation())
    glyphs = _glyphs(page, rotation, width, height) if text else b""
    return RawPage(memoryview(bitmap.buffer).cast("B"), width, height, width_pt, height_pt, rotation, glyphs)


def _glyphs(page: pdfium.PdfPage, rotation: int, width: int, height: int) -> bytes:
    """Every character of the text layer; one that pdfium inferred (a space, a line's end) has an empty box."""
    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count > MAX_GLYPHS:
            raise RefusedError(f"has {count:,} characters, {MAX_GLYPHS:,} are the most")
        to_pixels = _to_pixels(page.get_bbox(), rotation, width, height)
        raw, out = textpage.raw, bytearray()
        sides = [ctypes.c_double() for _ in range(4)]
        left, right, bottom, top = sides
        references = [ctypes.byref(side) for side in sides]
        for index in range(count):
            code = c.FPDFText_GetUnicode(raw, index)
            box = (0.0, 0.0, 0.0, 0.0)
            if c.FPDFText_IsGenerated(raw, index) != 1 and c.FPDFText_GetCharBox(raw, index, *references):
                box = to_pixels(left.value, bottom.value, right.value, top.value)
            out += GLYPH.pack(_character(code), *box)
        return bytes(out)
    finally:
        textpage.close()


def _character(code: int) -> int:
    if code == 2:  # how pdfium marks a hyphen at a line's end
        return ord("-")
    return code if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else _UNKNOWN


def _to_pixels(
    crop: tuple[float, float, float, float], rotation: int, width: int, height: int
) -> Callable[[float, float, float, float], tuple[float, float, float, float]]:
    """From a box in the page's own coordinates (up is positive) to pixels of the upright image."""
    left, bottom, right, top = crop
    across, down = right - left, top - bottom
    if rotation in (90, 270):
        across, down = down, across
    x_scale, y_scale = width / across, height / down

    def convert(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        match rotation:
            case 90:
                box = (y0 - bottom, x0 - left, y1 - bottom, x1 - left)
            case 180:
                box = (right - x1, y0 - bottom, right - x0, y1 - bottom)
            case 270:
                box = (top - y1, right - x1, top - y0, right - x0)
            case _:
                box = (x0 - left, top - y1, x1 - left, top - y0)
        scaled = (box[0] * x_scale, box[1] * y_scale, box[2] * x_scale, box[3] * y_scale)
        return tuple(min(max(value, -1e6), 1e6) for value in scaled)  # type: ignore[return-value]

    return convert
