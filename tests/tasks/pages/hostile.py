"""Odd and hostile files, made here: each is written by hand, so that exactly one thing is wrong with it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import cache

from PIL import Image

TEXT = b"BT /F1 24 Tf 20 40 Td (Hello, page) Tj ET"
HUGE = 500_000_000  # bytes that a bomb unpacks to


def stream(data, extra=b""):
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


def pdf(objects, root=1, trailer=b""):
    """A PDF of numbered objects (1, 2, …) with a right cross-reference table."""
    out, places = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += b"trailer\n<< /Size %d /Root %d 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        root,
        trailer,
        start,
    )
    return bytes(out)


def document(pages=1, box=b"0 0 200 100", content=TEXT, page=b"", count=None, resources=b"", more=(), kids=None):
    """A document whose pages all have this box and content; `more` are objects from number 5 on, before the pages."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    first = 5 + len(more)
    kids = kids if kids is not None else b" ".join(b"%d 0 R" % (first + i) for i in range(pages))
    one = b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents 4 0 R /Resources << /Font << /F1 3 0 R >> %s >> %s >>"
    return pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages if count is None else count),
            font,
            content if content.startswith(b"<<") else stream(content),
            *more,
            *[one % (box, resources, page)] * pages,
        ]
    )


def with_image(width, height, data, extra=b"/Filter /FlateDecode", bits=8, space=b"/DeviceRGB"):
    """A page that shows one image object."""
    header = b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent %d /ColorSpace %s %s"
    image = stream(data, header % (width, height, bits, space, extra))
    return document(content=b"q 180 0 0 80 10 10 cm /I Do Q", resources=b"/XObject << /I 5 0 R >>", more=(image,))


@cache
def zeros(size=HUGE):
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join([packer.compress(block) for _ in range(size >> 20)] + [packer.flush()])


def encrypted(user="secret", owner="owner"):
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(200, 100), encrypt=StandardEncryption(user, owner, strength=128))
    canvas.drawString(20, 40, "Hello, page")
    canvas.save()
    return out.getvalue()


def image(form, size=(60, 40), mode="RGB", **options):
    out = io.BytesIO()
    picture = Image.effect_noise(size, 60).convert(mode) if mode != "RGBA" else Image.new(mode, size, (0, 0, 0, 0))
    picture.save(out, form, **options)
    return out.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def tiff(count):
    out = io.BytesIO()
    frames = [Image.new("L", (30, 20), 10 * i % 256) for i in range(count)]
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def looping_tiff():
    """The second directory of images points back at the first."""
    data = bytearray(tiff(2))
    first = struct.unpack_from("<I", data, 4)[0]
    second_at = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, second_at)[0]
    struct.pack_into("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], first)
    return bytes(data)


def nested_forms(depth=30, width=10):
    """Each form draws the next ten times: 10³⁰ drawings of one line."""
    forms = []
    for level in range(depth):
        inner = b"/N Do " * width if level < depth - 1 else b"0 0 m 9 9 l S"
        names = b"/Resources << /XObject << /N %d 0 R >> >>" % (6 + level) if level < depth - 1 else b""
        forms.append(stream(inner, b"/Type /XObject /Subtype /Form /BBox [0 0 200 100] " + names))
    return document(content=b"/N Do", resources=b"/XObject << /N 5 0 R >>", more=forms)


def drawn_for_ever():
    """One image of 16 million pixels, shown 100,000 times."""
    header = b"/Type /XObject /Subtype /Image /Width 4000 /Height 4000 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    shown = stream(zeros(48 << 20), header + b" /Filter /FlateDecode")
    return document(
        content=b"q 180 0 0 80 10 10 cm /I Do Q\n" * 100_000, resources=b"/XObject << /I 5 0 R >>", more=(shown,)
    )


def xref_loop():
    data = document()
    start = data.rindex(b"xref\n0")
    return data.replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev %d" % start)


def file_cases():
    """name → (bytes, pages that must come, words of the refusal that must come, or "")."""
    whole = document(pages=3)
    noisy = os.urandom(3 * 400 * 400)
    cases = {
        "one page": (document(), 1, ""),
        "three pages": (whole, 3, ""),
        "junk before": (b"junk " * 20 + document(), 1, ""),
        "empty file": (b"", 0, "is empty"),
        "one byte": (b"%", 0, "neither a PDF nor an image"),
        "not a PDF": (b"<html>" + b"x" * 3_000, 0, "neither a PDF nor an image"),
        "only a header": (b"%PDF-1.7\n", 0, "not a whole PDF"),
        "header and noise": (b"%PDF-1.7\n" + noisy, 0, "not a whole PDF"),
        "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", 0, "Git LFS"),
        "no pages": (document(pages=0), 0, "no pages"),
        "no pages, count 5": (document(pages=0, count=5), 0, "cannot be loaded"),
        "10,000 pages promised": (document(pages=3, count=10_000), 3, "cannot be read from page"),
        "2³¹-1 pages promised": (document(pages=3, count=2**31 - 1), None, ""),
        "-1 pages promised": (document(pages=3, count=-1), None, ""),
        "no area": (document(box=b"0 0 0 0"), None, ""),
        "negative box": (document(box=b"200 100 0 0"), 1, ""),
        "box of words": (document(box=b"/a /b /c /d"), 1, ""),
        "box too short": (document(box=b"0 0 9"), 1, ""),
        "200,000 pixels": (document(box=b"0 0 144000 144000"), 0, "is too large"),
        "pixels over the cap": (document(box=b"0 0 14400 14400"), 0, "max_pixels is 20,000,000"),
        "1e30 points": (document(box=b"0 0 1e30 1e30"), None, ""),
        "2³¹ points": (document(box=b"0 0 2147483648 2147483648"), None, ""),
        "user unit": (document(page=b"/UserUnit 75000"), None, ""),
        "skinny": (document(box=b"0 0 1 10000"), 1, ""),
        "thread": (document(box=b"0 0 0.001 10000"), None, ""),
        "blank": (document(content=b" "), 1, ""),
        "rotated 45": (document(page=b"/Rotate 45"), 1, ""),
        "rotated by a word": (document(page=b"/Rotate /ninety"), 1, ""),
        "page tree is its own child": (document(pages=1, kids=b"2 0 R"), None, ""),
        "page tree loop": (document(pages=1, count=3, kids=b"5 0 R 2 0 R 2 0 R"), None, ""),
        "kids missing": (document(pages=2, kids=b"98 0 R 99 0 R"), None, ""),
        "pages are no dictionary": (pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"42"]), None, ""),
        "catalog missing": (pdf([b"42"], root=9), 0, "not a whole PDF"),
        "root refers to itself": (pdf([b"1 0 R"]), 0, "not a whole PDF"),
        "xref loop": (xref_loop(), None, ""),
        "xref offset wild": (whole[: whole.rindex(b"startxref")] + b"startxref\n99999999999\n%%EOF", None, ""),
        "stream length lies": (whole.replace(b"/Length %d" % len(TEXT), b"/Length 99999999"), None, ""),
        "stream length is itself": (whole.replace(b"/Length %d" % len(TEXT), b"/Length 4 0 R"), None, ""),
        "contents missing": (whole.replace(b"/Contents 4 0 R", b"/Contents 77 0 R"), 3, ""),
        "deep arrays": (document(page=b"/X " + b"[" * 100_000 + b"]" * 100_000), None, ""),
        "deep dictionaries": (document(page=b"/X " + b"<</A " * 50_000), None, ""),
        "many q": (document(content=b"q " * 2_000_000 + TEXT), 1, ""),
        "nested forms": (nested_forms(), None, ""),
        "form draws itself": (
            document(
                content=b"/N Do",
                resources=b"/XObject << /N 5 0 R >>",
                more=[
                    stream(
                        b"/N Do",
                        b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /N 5 0 R >> >>",
                    )
                ],
            ),
            1,
            "",
        ),
        "decompression bomb": (document(content=stream(zeros(), b"/Filter /FlateDecode")), None, ""),
        "bomb in a bomb": (
            document(content=stream(zlib.compress(zeros(), 9), b"/Filter [/FlateDecode /FlateDecode]")),
            None,
            "",
        ),
        "huge image": (with_image(60_000, 60_000, zeros(1 << 20)), None, ""),
        "huge image bomb": (with_image(13_000, 13_000, zeros(507_000_000)), None, ""),
        "image of 2³¹ columns": (with_image(2**31 - 1, 2**31 - 1, b""), None, ""),
        "JPEG is noise": (with_image(400, 400, noisy, b"/Filter /DCTDecode"), 1, ""),
        "JPX is noise": (with_image(400, 400, noisy, b"/Filter /JPXDecode"), 1, ""),
        "JBIG2 is noise": (with_image(400, 400, noisy, b"/Filter /JBIG2Decode", 1, b"/DeviceGray"), 1, ""),
        "CCITT of 60,000 columns": (
            with_image(60_000, 60_000, noisy, b"/Filter /CCITTFaxDecode /DecodeParms << /K -1 /Columns 60000 >>", 1),
            None,
            "",
        ),
        "font is noise": (
            document(
                more=[stream(noisy), b"<< /Type /FontDescriptor /FontName /A /FontFile2 5 0 R >>"],
                page=b"/Resources << /Font << /F1 << /Type /Font /Subtype /TrueType /FontDescriptor 6 0 R >> >> >>",
            ),
            1,
            "",
        ),
        "locked": (encrypted(), 0, "is locked: give its password"),
        "PNG": (image("PNG"), 1, ""),
        "JPEG": (image("JPEG"), 1, ""),
        "WebP": (image("WEBP"), 1, ""),
        "TIFF of five": (tiff(5), 5, ""),
        "TIFF that loops": (looping_tiff(), None, ""),
        "PNG bomb": (png(50_000, 50_000, chunk(b"IDAT", zeros(1 << 22))), 0, "is too large"),
        "PNG of 0 pixels": (png(0, 0), 0, "damaged"),
        "PNG without data": (png(60, 40), 0, "damaged"),
        "PNG text bomb": (png(9, 9, chunk(b"zTXt", b"a\0\0" + zeros()), chunk(b"IDAT", b"")), 0, "damaged"),
        "PNG profile bomb": (png(9, 9, chunk(b"iCCP", b"a\0\0" + zeros()), chunk(b"IDAT", b"")), 0, "damaged"),
        "PNG cut off": (image("PNG", (300, 300))[:20_000], 0, "damaged"),
        "JPEG cut off": (image("JPEG", (300, 300))[:9_000], 0, "damaged"),
        "WebP cut off": (image("WEBP", (300, 300))[:4_000], 0, "damaged"),
        "TIFF cut off": (tiff(3)[:700], None, ""),
        "JPEG of 65,500 columns": (image("JPEG", (65_500, 1)), 0, "is too large"),
        "GIF": (image("GIF"), 0, "neither a PDF nor an image"),
        "only JPEG's first bytes": (b"\xff\xd8\xff\xe0", 0, "damaged"),
    }
    cases |= {f"cut at {tenth}0 %": (whole[: len(whole) * tenth // 10], None, "") for tenth in range(1, 10)}
    return cases
