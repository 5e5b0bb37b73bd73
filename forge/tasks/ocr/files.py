"""Pages and their Markdown from files: the way in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from forge.tasks.ocr.draw import Way
from forge.tasks.ocr.folder import list_folder
from forge.tasks.ocr.listing import Listing
from forge.tasks.ocr.rows import PageColumns, list_file, list_split
from forge.tasks.ocr.store import stored_pages
from forge.tasks.pages.sizes import Scale
from forge.tasks.sources import Table

__all__ = ["PageColumns", "PageFiles", "read_pages"]


@dataclass(frozen=True)
class PageFiles:
    """What was read.

    Each of the N rows of the table is a page:

        page        what people are shown: the file as it was named or found, and `#3` where the page was numbered
        markdown    its text; lines end in a line feed, nothing white follows the last one; empty: a blank page
        document    the file that the page belongs to, or what the column says; splits are cut between documents
        image       PNG, shades of grey or RGB
        characters  of a PDF's text layer, in its order; else empty
        boxes       four numbers (float32) for each of the characters: left, top, right, bottom in pixels of the image
        tests       checks that the page brings with it, as text (`page_tests`); empty of none

    `notices` has a line for each page or file that was left out, and how many more there were beyond five.
    """

    table: Table
    notices: tuple[str, ...]


def read_pages(
    reference: str,
    columns: PageColumns,
    scale: Scale,
    asset_folder: str | None,
    subset: str | None,
    revision: str,
    password: str | None,
) -> PageFiles:
    """Every page that can be read of a directory or a file, or with `asset_folder` of a split of the data set there.

    Pages are drawn once for each content, scale and password, and then read from disk. Files are parsed in processes
    that may die; one that cannot be read is a notice. Raises UserError, one line, for a reference that is none, for
    rows that are malformed (by file and line), and where no page is left.
    """
    listing = _listing(reference, columns, asset_folder, subset, revision)
    return PageFiles(*stored_pages(listing, Way(scale, password, listing.which)))


def _listing(
    reference: str, columns: PageColumns, asset_folder: str | None, subset: str | None, revision: str
) -> Listing:
    if asset_folder is not None:
        return list_split(asset_folder, subset, reference, revision, columns)
    path = Path(reference).expanduser()
    # Unlike Path's, this does not raise where a directory above may not be entered.
    return list_folder(path) if os.path.isdir(path) else list_file(path, columns)  # noqa: PTH112
