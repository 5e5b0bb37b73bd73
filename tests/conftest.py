"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Lives, remember_texts


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits or takes minutes begins first, so that the other worker takes what would come behind it."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(scope="session", autouse=True)
def texts_are_remembered() -> None:
    remember_texts()


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    """Lives of runs that can be killed; the server imports the libraries before the first, which takes seconds."""
    server = Lives()
    yield server
    server.close()


@pytest.fixture(scope="session")
def reader_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page reader after a few steps: what it writes is no text yet, but it writes."""
    from reader_stub import train_reader

    return train_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small models are slower with more, and the figures of a run do not depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def no_reports() -> Iterator[None]:
    """Drawing a report takes longer than a run of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forge.assemble.write_report", lambda *_: None)
        yield
