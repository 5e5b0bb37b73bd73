"""Image files through Pillow: PNG, JPEG, WebP, and TIFF with a page for each of its images."""

from __future__ import annotations

import os
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from forge.tasks.pages.raw import RawPage
from forge.tasks.pages.sizes import RefusedError, Scale, one_line

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
MAX_FRAMES = 100_000
_TURNS = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}  # EXIF orientation → degrees clockwise


class ImageFile:
    """An open image. Raises RefusedError where it is none."""

    def __init__(self, descriptor: int) -> None:
        warnings.simplefilter("ignore")  # of a file's own faults; what matters comes as an exception
        Image.MAX_IMAGE_PIXELS = None  # the size is checked before a pixel is decoded, against max_pixels
        file = os.fdopen(os.dup(descriptor), "rb")
        file.seek(0)
        try:
            self._image = Image.open(file, formats=FORMATS)
            # Only TIFF is a format of documents; the frames of the others are animation.
            self.count = min(getattr(self._image, "n_frames", 1), MAX_FRAMES) if self._image.format == "TIFF" else 1
        except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them raise
            file.close()
            raise RefusedError(f"is a damaged image: {_reason(error)}") from error

    def page(self, number: int, scale: Scale, _text: bool) -> RawPage:
        """Image `number`, counted from 1. Raises RefusedError."""
        try:
            if self.count > 1:
                self._image.seek(number - 1)
            width, height = scale.of_image(*self._image.size)
            orientation = int(self._image.getexif().get(0x0112, 1))
            self._image.draft("RGB", (width, height))  # a JPEG can be decoded at a fraction of its size
            upright = ImageOps.exif_transpose(_flat(self._image))
        except (RefusedError, MemoryError):
            raise
        except Exception as error:  # as above
            raise RefusedError(f"is a damaged image: {_reason(error)}") from error
        turn = _TURNS.get(orientation, 0)
        if turn in (90, 270):
            width, height = height, width
        if upright.size != (width, height):
            upright = upright.resize((width, height), Image.Resampling.LANCZOS)
        return RawPage(upright.tobytes(), width, height, *self._points(upright), turn)

    def _points(self, upright: Image.Image) -> tuple[float, float]:
        """The size on paper, by the file's own resolution where it makes sense, else 72 pixels an inch."""
        if "dpi" in self._image.info:
            try:
                across, down = (float(value) for value in self._image.info["dpi"])
                if 10 <= across <= 10_000 and 10 <= down <= 10_000:
                    return upright.width * 72 / across, upright.height * 72 / down
            except (TypeError, ValueError, ZeroDivisionError):
                pass
        return float(upright.width), float(upright.height)


def _flat(image: Image.Image) -> Image.Image:
    """RGB of eight bits; what is transparent shows white paper."""
    if image.mode.startswith("I;16"):
        image.load()
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        flat = Image.alpha_composite(paper, layer).convert("RGB")
    else:
        flat = image.convert("RGB")
    flat.info, flat._exif = image.info, image.getexif()
    return flat


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header makes no sense"
    return one_line(error, 100) or type(error).__name__
