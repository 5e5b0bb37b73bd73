"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import Lives


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    """Lives of runs that can be killed; the server imports the libraries before the first."""
    server = Lives()
    yield server
    server.close()
