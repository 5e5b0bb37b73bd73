"""What the tests of interrupted runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import Lives


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    server = Lives()
    yield server
    server.close()
