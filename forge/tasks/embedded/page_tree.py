"""Which blocks a page has: drawn for a preset, a split, a seed and an index, until the page is full."""

from __future__ import annotations

from dataclasses import dataclass, replace

from forge.tasks.embedded.page_blocks import Block, Heading, Items, Lines, Markdown, Paragraph, Span, Table
from forge.tasks.embedded.page_fonts import HELD_OUT, TRAINED, Family, varied
from forge.tasks.embedded.page_layout import LEADING, Layout
from forge.tasks.embedded.page_text import Mix, Writer
from forge.tasks.embedded.page_words import Chance

# Split → the words it draws, and the families it is set in.
SPLITS = {
    "train": ("train", TRAINED),
    "validation": ("validation", TRAINED),
    "test": ("test", TRAINED),
    "test_fonts": ("test", HELD_OUT),
}


@dataclass(frozen=True)
class Preset:
    """A kind of page. Lengths are pixels, or points where `paper` is true; ranges include both ends."""

    height: int
    width: int
    sizes: tuple[int, int]  # of the body's text
    margin: tuple[int, int]
    mix: Mix
    lines: tuple[int, int] = (0, 0)  # how many plain lines; (0, 0) for blocks of Markdown
    characters: int = 10_000  # no block is begun after so many
    blank: float = 0.0  # share of pages without anything
    noisy: float = 0.5  # share of pages with noise and a weak contrast
    noise: tuple[float, float] = (2.0, 14.0)  # standard deviation in grey levels of 255
    contrast: tuple[float, float] = (0.35, 1.0)  # ink's distance from the paper in parts of 255
    turned: float = 0.5  # share of pages that lie a little askew
    degrees: float = 1.0  # at most, either way
    leading: tuple[float, float] = (LEADING, LEADING)  # from base line to base line, in sizes
    paper: bool = False
    loose: float = 0.0  # share of pages of lines where some are set in, or stand apart from the line above
    digits: tuple[int, int] = (0, 0)  # each line is one number of so many digits, in one plain face


PRESETS = {
    "digits": Preset(32, 72, (16, 16), (5, 7), Mix(0.0, 0.0), (1, 1), noise=(2.0, 20.0), turned=0.0, digits=(2, 5)),
    "line": Preset(32, 224, (13, 16), (4, 7), Mix(0.12, 0.20), lines=(1, 1)),
    "lines": Preset(80, 256, (14, 17), (6, 10), Mix(0.12, 0.03), (1, 3), 10_000, 0.01, 0.5, (2.0, 8.0), (0.6, 1.0)),
    "print": Preset(
        *(80, 256, (12, 18), (6, 10)),
        Mix(0.08, 0.03, names=0.25, running=0.75, unaccented=0.6),
        lines=(1, 4),
        blank=0.01,
        noise=(2.0, 8.0),
        contrast=(0.6, 1.0),
        leading=(1.08, 1.4),
        loose=0.5,
    ),
    "markdown": Preset(160, 256, (11, 14), (6, 10), Mix(0.12, 0.08), characters=170, blank=0.02),
    "a4": Preset(842, 595, (10, 13), (50, 80), Mix(0.12, 0.05), characters=2_400, blank=0.02, paper=True),
}
_KINDS: dict[type, float] = {Heading: 0.24, Paragraph: 0.42, Items: 0.20, Table: 0.14}
_SET_IN, _APART = 3.0, 1.8  # of loose lines, in sizes: at most
_TRIES = 8  # blocks that did not fit before a page counts as full


@dataclass(frozen=True)
class Tree:
    """A page before it is drawn."""

    preset: Preset
    family: Family
    blocks: tuple[Block, ...]
    page: Markdown
    layout: Layout

    @property
    def markdown(self) -> str:
        """What a reader of the page should write."""
        return self.page.text


def tree(preset: str, split: str, index: int, seed: int = 0) -> Tree:
    """Page `index` (0 and up) of a split: the same for the same arguments, whatever was drawn before, everywhere."""
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    kind, (words, families) = PRESETS[preset], SPLITS[split]
    draw = Chance(f"page/{preset}/{split}/{seed}/{index}")
    family = families[0] if kind.digits[1] else draw.one(families)
    if split == "train" and not kind.paper and not kind.digits[1]:
        family = varied(family, Chance(f"shape/{preset}/{seed}/{index}"), plain=bool(kind.lines[1]))
    size, left, top = draw.whole(*kind.sizes), draw.whole(*kind.margin), draw.whole(*kind.margin)
    space = Layout(
        family,
        round(size * family.scale),
        left,
        kind.width - draw.whole(*kind.margin),
        top,
        kind.height - kind.margin[0],
        draw.between(*kind.leading) if kind.leading[0] < kind.leading[1] else LEADING,
    )
    page = Markdown()
    if draw.random() >= kind.blank:
        writer = Writer(draw, words, kind.mix)
        (_plain if kind.lines[1] else _blocks)(page, space, writer, kind)
    return Tree(kind, family, tuple(block for block, _ in page.blocks), page, space)


def _plain(page: Markdown, space: Layout, writer: Writer, kind: Preset) -> None:
    """Lines, each as long as chance and the page allow, anywhere between top and bottom."""
    space.top = min(space.top, space.bottom - space.line_height)
    room = int((space.bottom - space.top) / space.line_height)
    draw = writer.draw
    count = min(draw.whole(*kind.lines), room)
    spare = space.bottom - space.top - space.line_height * count
    loose = kind.loose > 0 and draw.random() < kind.loose
    offsets = _loose(draw, count, spare / space.size) if loose else ((0.0, 0.0),) * count
    lines = tuple(_number(draw, kind.digits) if kind.digits[1] else _line(writer, space, x) for x, _ in offsets)
    space.top += draw.random() * (spare - sum(down for _, down in offsets) * space.size)
    space.y = space.top
    space.add(Lines(lines, offsets), page.add(Lines(lines, offsets)))


def _loose(draw: Chance, count: int, spare: float) -> tuple[tuple[float, float], ...]:
    """Offsets of lines of which one begins a paragraph, and some are set in; `spare` is the room below, in sizes."""
    first = draw.whole(1, count - 1) if count > 1 else 0
    apart = min(draw.between(0.2, _APART), spare)
    right = [draw.between(0.5, _SET_IN) if draw.random() < 0.5 else 0.0 for _ in range(2)]
    return tuple((right[line >= first], apart if line == first > 0 else 0.0) for line in range(count))


def _number(draw: Chance, digits: tuple[int, int]) -> str:
    return "".join(draw.one("0123456789") for _ in range(draw.whole(*digits)))


def _line(writer: Writer, space: Layout, right: float) -> str:
    """As long as the page allows, set in by `right` sizes."""
    most = 7
    while True:
        text = writer.line(min(2, most), most)
        trial = replace(space, top=0, bottom=1e9, characters=[], rules=[])
        block = Lines((text,), ((right, 0.0),))
        trial.add(block, Markdown().add(block))
        if trial.fits:
            return text
        most = max(most - 1, 1)


def _blocks(page: Markdown, space: Layout, writer: Writer, kind: Preset) -> None:
    """Blocks until the page is full, or long enough."""
    tries = 0
    while tries < _TRIES and len(page.text) < kind.characters:
        before = space.mark()
        block = _block(writer, page, kind)
        space.add(block, page.add(block))
        if not space.fits or len(page.text) > 1.5 * kind.characters:
            page.drop()
            space.back(before)
            tries += 1


def _block(writer: Writer, page: Markdown, kind: Preset) -> Block:
    """One that Markdown keeps apart from the last: two lists, or two tables, would become one."""
    last = type(page.blocks[-1][0]) if page.blocks else None
    likely = {Heading: 0.75, Paragraph: 0.25} if last is None else _KINDS
    chosen = writer.draw.weighted({k: share for k, share in likely.items() if k is not last or k is Paragraph})
    long, draw = (3 if kind.paper else 1), writer.draw
    if chosen is Heading:
        spans = writer.prose(1, 3) if draw.random() < 0.1 else ()
        level = 1 if last is None and draw.random() < 0.7 else draw.whole(2, 3)
        return Heading(level, spans or _plain_spans(writer, 1, 3))
    if chosen is Items:
        items = tuple(
            writer.prose(2, 4 * long) if draw.random() < 0.3 else _plain_spans(writer, 1, 3)
            for _ in range(draw.whole(2, 3 + long))
        )
        return Items(items, draw.random() < 0.45)
    if chosen is Table:
        return _table(writer, draw.whole(2, 2 + long), draw.whole(2, 3 + long))
    return Paragraph(writer.prose(3, 16 * long))


def _plain_spans(writer: Writer, least: int, most: int) -> tuple[Span, ...]:
    return (Span(writer.plain(least, most)),)


def _table(writer: Writer, columns: int, rows: int) -> Table:
    """A head of words, and columns of numbers or of words."""
    numbers = [writer.draw.random() < 0.5 for _ in range(columns)]
    body = [
        tuple(writer.number() if is_number else writer.plain(1, 1) for is_number in numbers) for _ in range(rows - 1)
    ]
    return Table((tuple(writer.plain(1, 1) for _ in range(columns)), *body))
