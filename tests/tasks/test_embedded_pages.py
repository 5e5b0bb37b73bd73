"""Embedded pages: the same everywhere, split cleanly, with boxes that hold the ink and Markdown that means the tree."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from markdown_it import MarkdownIt
from support import ROOT

from forge.tasks.embedded.page_blocks import Heading, Items, Lines, Markdown, Paragraph, Span, Table, markdown_of
from forge.tasks.embedded.page_fonts import HELD_OUT, TRAINED, face
from forge.tasks.embedded.page_image import ink, picture
from forge.tasks.embedded.page_pdf import aligned, paper, pdf_of, visible
from forge.tasks.embedded.page_text import Mix, Writer
from forge.tasks.embedded.page_tree import PRESETS, SPLITS, tree
from forge.tasks.embedded.page_words import CHARACTERS, Chance, split_of, words
from forge.tasks.pages.sizes import Scale
from forge.tasks.pages.stream import open_pages

DRAWN = ("line", "lines", "print", "markdown")


@cache
def trees(preset, split="train", count=150):
    return [tree(preset, split, index) for index in range(count)]


@cache
def pictures(preset, split="train", count=150):
    return [picture(preset, split, index) for index in range(count)]


def mark(found):
    parts = [found.pixels_HW.tobytes(), found.boxes_N4.tobytes(), found.positions_N.tobytes(), found.markdown.encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


ALONE = """
from tasks.test_embedded_pages import mark, picture
print(*[mark(picture(preset, "test", 7, 3)) for preset in ("line", "lines", "print", "markdown")])
"""


def test_a_page_is_the_same_alone_and_in_another_process():
    for preset in DRAWN:  # caches are full of other glyphs by now
        assert mark(picture(preset, "test", 7, 3)) == mark(picture(preset, "test", 7, 3))
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['.', 'tests']{ALONE}"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    pictures("line")
    assert alone == [mark(picture(preset, "test", 7, 3)) for preset in DRAWN]


def test_every_argument_matters():
    marks = {mark(picture(p, s, i, seed)) for p in DRAWN for s in SPLITS for i in (0, 1) for seed in (0, 1)}
    assert len(marks) == len(DRAWN) * len(SPLITS) * 4
    with pytest.raises(ValueError, match="no preset"):
        tree("pages", "train", 0)
    with pytest.raises(ValueError, match="no split"):
        tree("line", "all", 0)
    with pytest.raises(ValueError, match="is paper"):
        picture("a4", "train", 0)


def test_words_belong_to_one_split():
    pools = {split: set(words(split)) for split in ("train", "validation", "test")}
    total = sum(map(len, pools.values()))
    assert total == len(set().union(*pools.values())) >= 2_000
    assert len(pools["test"]) / total > 0.10
    assert len(pools["train"]) > 5_000
    for split, pool in pools.items():
        assert all(split_of(word) == split for word in pool)
        assert set("".join(pool)) <= set(CHARACTERS)


def drawn_words(preset, split):
    """Every lower-case word of these pages."""
    text = " ".join(page.markdown for page in trees(preset, split))
    return set(re.findall(r"(?<![^\W_])[^\W\d_]{4,}", text)) & {w for pool in SPLITS for w in words(SPLITS[pool][0])}


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "digits"])
def test_training_never_draws_held_out_words(preset):
    for split in SPLITS:
        found = drawn_words(preset, split)
        assert len(found) > 50
        assert {split_of(word) for word in found} == {SPLITS[split][0]}


def test_training_never_sees_held_out_fonts():
    assert not {family.name for family in TRAINED} & {family.name for family in HELD_OUT}
    files = {file for family in TRAINED for file in family.files}
    assert not files & {file for family in HELD_OUT for file in family.files}
    for split in SPLITS:
        families = {page.family.name for page in trees("markdown", split)}
        assert families == {family.name for family in (HELD_OUT if split == "test_fonts" else TRAINED)}
        drawn = {one.face.path.name for page in trees("lines", split) for one in page.layout.characters}
        assert drawn <= {file for family in (HELD_OUT if split == "test_fonts" else TRAINED) for file in family.files}


def test_only_training_has_families_that_no_file_has():
    for split in SPLITS:
        bent = {(page.family.stretch, page.family.slant) for page in trees("lines", split)}
        assert (len(bent) == 7) == (split == "train")
        assert split == "train" or bent == {(1.0, 0.0)}


@pytest.mark.parametrize(("stretch", "slant"), [(0.86, 0.0), (1.15, 0.1), (1.0, 0.16), (1.0, -0.08), (1.0, 1e-6)])
def test_a_bent_glyph_stands_where_the_straight_one_does(stretch, slant):
    straight, bent = face(TRAINED[0]), face(replace(TRAINED[0], stretch=stretch, slant=slant))
    for character in "lTgé.,":
        a, b = straight.glyph(character, 16, 1), bent.glyph(character, 16, 1)
        assert bent.widths[character] == pytest.approx(stretch * straight.widths[character])
        assert (a.top, a.ink_HW.shape[0]) == pytest.approx((b.top, b.ink_HW.shape[0]), abs=1.01)
        assert b.ink_HW.sum() == pytest.approx(stretch * float(a.ink_HW.sum()), rel=0.12)
        heights = np.arange(b.ink_HW.shape[0]) + b.top + 0.5  # below the base line
        middles = (b.ink_HW * (np.arange(b.ink_HW.shape[1]) + b.left + 0.5)).sum(1) / np.maximum(b.ink_HW.sum(1), 1)
        if character == "l" and slant:
            rows = b.ink_HW.sum(1) > 100
            assert np.polyfit(heights[rows], middles[rows], 1)[0] == pytest.approx(-stretch * slant, abs=0.03)


@pytest.mark.parametrize("family", [*TRAINED, *HELD_OUT], ids=lambda family: family.name)
def test_every_face_has_every_character(family):
    shapes = set()
    for bold in (False, True):
        for italic in (False, True):
            one = face(family, bold, italic)
            for character in set(CHARACTERS) - {" ", "\n"}:
                assert one.glyph(character, 15, 0).ink_HW.any(), (one.path, character)
            shapes.add(one.glyph("g", 15, 0).ink_HW.tobytes())
            assert one.glyph("é", 15, 0).ink_HW.shape != one.glyph("€", 15, 0).ink_HW.shape
    assert len(shapes) == 4


def test_characters_are_few_and_all_used():
    assert len(CHARACTERS) == len(set(CHARACTERS)) <= 125
    used = set().union(*(page.markdown for preset in PRESETS for page in trees(preset, count=600)))
    assert used == set(CHARACTERS)


def test_what_pages_are_written_with():
    """Of 20,000 tokens 12 % are numbers, and the share of random strings is the preset's."""
    for name, strings in {"line": 0.20, "lines": 0.03, "markdown": 0.08}.items():
        assert PRESETS[name].mix == Mix(0.12, strings)
        writer = Writer(Chance(name), "train", PRESETS[name].mix)
        writer.number, writer.string, writer.word = (lambda: "n"), (lambda: "s"), (lambda: "w")
        counts = Counter(writer.token() for _ in range(20_000))
        assert counts["n"] / 20_000 == pytest.approx(0.12, abs=0.01)
        assert counts["s"] / 20_000 == pytest.approx(strings, abs=0.01)


def test_sizes_and_shares_of_presets():
    shape = {"line": (32, 224), "lines": (80, 256), "markdown": (160, 256)}
    for preset, expected in shape.items():
        found = pictures(preset)
        assert {page.pixels_HW.shape for page in found} == {expected}
        assert 0.35 < sum(page.noise > 0 for page in found) / len(found) < 0.65
        assert 0.35 < sum(page.degrees != 0 for page in found) / len(found) < 0.65
    lengths = {preset: np.mean([len(page.markdown) for page in trees(preset)]) for preset in PRESETS}
    assert 10 < lengths["line"] < 20
    assert 30 < lengths["lines"] < 45
    assert 140 < lengths["markdown"] < 180
    assert lengths["a4"] > 1_200
    blanks = [page for page in trees("markdown", count=600) if not page.blocks]
    assert 2 <= len(blanks) <= 30
    assert all(page.markdown == "" for page in blanks)
    assert all(1 <= len(page.blocks[0].lines) <= 3 for page in trees("lines") if page.blocks)


def test_half_of_the_pages_of_print_have_lines_set_in_or_apart():
    tight = [block for name in ("line", "lines") for page in trees(name) for block in page.blocks]
    assert not any(any(map(any, block.offsets)) for block in tight)
    pages = [page.blocks[0] for page in trees("print", count=600) if page.blocks]
    loose = [block for block in pages if any(map(any, block.offsets))]
    assert 0.3 < len(loose) / len(pages) < 0.5  # some are loose by nothing: one line that is not set in
    apart = [max(down for _, down in block.offsets) for block in loose]
    assert sum(down > 0.5 for down in apart) > 50
    assert all(0.0 <= right <= 3.0 and 0.0 <= down <= 1.8 for block in loose for right, down in block.offsets)


@pytest.mark.parametrize("split", ["train", "test_fonts"])
def test_lines_stand_where_their_offsets_say(split):
    for page in trees("print", split):
        for block in page.blocks:
            starts = {0, *(i + 1 for i, character in enumerate(page.markdown) if character == "\n")}
            firsts = [one for one in page.layout.characters if one.start in starts]
            size, line_height = page.layout.size, page.layout.line_height
            assert len(firsts) == len(block.lines)
            for one, (right, _) in zip(firsts, block.offsets, strict=True):
                assert one.x == pytest.approx(page.layout.left + right * size)
            for before, one, (_, down) in zip(firsts, firsts[1:], block.offsets[1:], strict=False):
                assert one.y - before.y == pytest.approx(line_height + down * size)


def test_numbers_alone_in_one_plain_face():
    pages = trees("digits", count=600)
    assert {len(page.markdown) for page in pages} == {2, 3, 4, 5}
    assert set("".join(page.markdown for page in pages)) == set("0123456789")
    assert {page.family for page in pages} == {TRAINED[0]}
    assert {page.family for page in trees("digits", "test_fonts")} == {HELD_OUT[0]}
    assert all(page.layout.fits for page in pages)
    assert not any(page.degrees for page in pictures("digits"))


@pytest.mark.parametrize("preset", DRAWN)
def test_noise_and_turns_stay_in_their_ranges(preset):
    kind = PRESETS[preset]
    for page in pictures(preset):
        assert -kind.degrees <= page.degrees <= kind.degrees
        assert page.noise == 0 or kind.noise[0] <= page.noise <= kind.noise[1]
        border = np.concatenate([page.pixels_HW[0], page.pixels_HW[-1], page.pixels_HW[:, 0], page.pixels_HW[:, -1]])
        if page.noise:
            below = border[border < np.median(border)] - np.median(border)  # above, white may be cut off
            assert np.sqrt((below**2).mean()) == pytest.approx(page.noise, rel=0.35)
            assert border.mean() > 190
        else:
            assert border.min() >= 250  # nothing is cut off, not even on a page that lies askew


@pytest.mark.parametrize("split", ["train", "test_fonts"])
@pytest.mark.parametrize("preset", [*DRAWN, "digits"])
def test_boxes_are_tight_and_hold_all_the_ink(preset, split):
    for page in trees(preset, split):
        height, width = page.preset.height, page.preset.width
        ink_HW, boxes_N4, positions_N = ink(page.layout, height, width)
        again_HW = np.zeros_like(ink_HW)
        for one, (left, top, right, bottom) in zip(page.layout.characters, boxes_N4.astype(int), strict=True):
            assert 0 < left < right < width
            assert 0 < top < bottom < height
            quarters = round(one.x * 4)
            glyph = one.face.glyph(one.character, one.size, quarters % 4).ink_HW
            assert glyph.shape == (bottom - top, right - left)
            for edge in (glyph[0], glyph[-1], glyph[:, 0], glyph[:, -1]):
                assert edge.any()
            again_HW[top:bottom, left:right] = np.maximum(again_HW[top:bottom, left:right], glyph)
        for rule in page.layout.rules:
            x0, y0, x1, y1 = map(int, (rule.x0, rule.y0, rule.x1, rule.y1))
            assert 0 < x0 <= x1 < width
            assert 0 < y0 <= y1 < height
            again_HW[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 255
        assert (again_HW == ink_HW).all()
        assert list(positions_N) == sorted(set(positions_N))


@pytest.mark.parametrize("preset", DRAWN)
def test_boxes_follow_the_turn(preset):
    """All that is dark on a clean page that lies askew is in a box or in a rule, and every box is dark inside."""
    askew = [p for p in range(150) if pictures(preset)[p].degrees and not pictures(preset)[p].noise]
    assert len(askew) > 20
    for index in askew:
        page, dark = pictures(preset)[index], pictures(preset)[index].pixels_HW < 100
        assert len(page.boxes_N4) == len(page.positions_N)
        for left, top, right, bottom in page.boxes_N4:
            assert (page.pixels_HW[int(top) : int(bottom) + 1, int(left) : int(right) + 1] < 200).any()
            dark[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
        if not trees(preset)[index].layout.rules:
            assert not dark.any()


@pytest.mark.parametrize("preset", DRAWN)
def test_every_visible_character_has_its_box(preset):
    """What has no box is a space, a line's end or a sign of Markdown."""
    for page in pictures(preset):
        taken = set(page.positions_N.tolist())
        assert page.characters == "".join(page.markdown[i] for i in sorted(taken))
        rest = "".join(c for i, c in enumerate(page.markdown) if i not in taken)
        assert re.fullmatch(r"(?:[ \n#*|]|---)*", rest)
        plain = re.sub(r"^(#+ |\|( --- \|)+$)", "", page.markdown, flags=re.MULTILINE)
        assert page.characters == re.sub(r"[\s*|]", "", plain)


def parsed(markdown):
    """The blocks that an independent parser finds."""
    tokens, blocks = MarkdownIt("commonmark").enable("table").parse(markdown), []
    kinds, items, rows = [], None, None
    for token in tokens:
        kinds += [token.type] if token.nesting == 1 else []
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            items = []
            assert token.attrs.get("start", 1) == 1
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            blocks.append(Items(tuple(items), token.type.startswith("ordered")))
            items = None
        elif token.type == "tr_open":
            rows = (rows or []) + [[]]
        elif token.type == "table_close":
            blocks.append(Table(tuple(map(tuple, rows))))
            rows = None
        elif token.type == "inline":
            spans = styled(token.children)
            if items is not None:
                items.append(spans)
            elif rows is not None:
                rows[-1].append(token.content)
            elif kinds[-1] == "heading_open":
                blocks.append(Heading(int(tokens[tokens.index(token) - 1].tag[1]), spans))
            else:
                blocks.append(Paragraph(spans))
    return tuple(blocks)


def styled(children):
    spans, bold, italic = [], False, False
    for child in children:
        match child.type:
            case "strong_open" | "strong_close":
                bold = child.nesting == 1
            case "em_open" | "em_close":
                italic = child.nesting == 1
            case "softbreak":
                spans.append(Span("\n"))
            case _:
                assert child.type == "text", child.type
                spans += [Span(child.content, bold, italic)] if child.content else []
    return tuple(spans)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("preset", ["markdown", "a4"])
def test_markdown_means_the_tree(preset, split):
    kinds = Counter()
    for page in trees(preset, split):
        assert parsed(page.markdown) == page.blocks
        assert markdown_of(page.blocks) == page.markdown
        kinds.update(type(block) for block in page.blocks)
        kinds.update(span for block in page.blocks if isinstance(block, Paragraph) for span in styles(block))
    assert min(kinds[kind] for kind in (Heading, Paragraph, Items, Table, "bold", "italic")) > 20


def styles(block):
    return ["bold" if span.bold else "italic" if span.italic else "plain" for span in block.spans]


@pytest.mark.parametrize("preset", ["line", "lines"])
def test_lines_are_plain_text(preset):
    for page in trees(preset, "test"):
        if page.blocks:
            lines = [span.text for block in parsed(page.markdown) for span in block.spans if span.text != "\n"]
            assert tuple(lines) == page.blocks[0].lines
            assert page.markdown == "\n".join(page.blocks[0].lines)


def test_dropping_a_block_leaves_no_trace():
    page, again = Markdown(), Markdown()
    blocks = [block for one in trees("markdown")[:20] for block in one.blocks]
    for block in blocks:
        page.add(block)
        page.add(blocks[0])
        page.drop()
        again.add(block)
    assert page.text == again.text
    assert page.blocks == again.blocks


def test_between_blocks_there_is_more_room_than_between_lines():
    """Else nobody could tell the end of a paragraph from the end of a line."""
    for page in trees("markdown"):
        lines = {}
        for (_, rows), number in zip(page.page.blocks, range(99), strict=False):
            starts = {run.start + i for row in rows for cell in row.cells for run in cell for i in range(len(run.text))}
            lines[number] = sorted({one.y for one in page.layout.characters if one.start in starts})
        within = [b - a for ys in lines.values() for a, b in pairwise(ys)]
        between = [lines[n + 1][0] - lines[n][-1] for n in range(len(lines) - 1)]
        if within and between:
            assert min(between) > 1.15 * page.layout.line_height


@pytest.mark.parametrize("preset", PRESETS)
def test_a_pdf_of_a_page_says_and_shows_the_same(preset, tmp_path):
    """pdfium finds the tree's text, and each character within three pixels of where Pillow draws it."""
    pages = trees(preset, "test")[:25]
    (tmp_path / "a.pdf").write_bytes(pdf_of(pages))
    assert pdf_of(pages) == pdf_of(pages)
    read = list(open_pages(tmp_path / "a.pdf", scale=Scale(dpi=72), text=True, trusted=True))
    assert len(read) == len(pages)
    for page, found in zip(pages, read, strict=True):
        assert found.size_pt == (page.preset.width, page.preset.height)
        result = aligned(page, found)
        _, boxes_N4, positions_N = ink(page.layout, page.preset.height, page.preset.width)
        assert (result.positions_N == positions_N).all()
        assert np.abs(result.boxes_N4 - boxes_N4).max(initial=0) < 3
        assert bool((result.pixels_HW < 128).any()) == bool(page.blocks)
    with pytest.raises(ValueError, match="text layer"):
        aligned(next(page for page in pages if page.blocks), read[-1])


def test_paper():
    found = paper("test_fonts", 1)
    assert found.pixels_HW.shape == (1170, 827)
    assert found.markdown == tree("a4", "test_fonts", 1).markdown
    assert "".join(found.characters).replace("-", "") == visible(tree("a4", "test_fonts", 1)).replace("•", "").replace(
        "-", ""
    )
    for left, top, right, bottom in found.boxes_N4[:200]:
        assert (found.pixels_HW[int(top) : int(bottom) + 1, int(left) : int(right) + 1] < 200).any()


def test_lines_differ():
    assert len({page.markdown for page in trees("line")}) > 145
    assert all(isinstance(page.blocks[0], Lines) for page in trees("line"))
