"""One server for all lives with faults."""

from __future__ import annotations

from collections.abc import Iterator

import faulty_runs
import pytest
from support import Lives


@pytest.fixture(scope="session")
def faulty_lives() -> Iterator[Lives]:
    server = Lives(faulty_runs.__file__)
    yield server
    server.close()
