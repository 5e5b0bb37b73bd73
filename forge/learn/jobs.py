"""Experiments that the page started: each in a thread, its events kept so that a browser may come late or again."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from forge.core.errors import ForgeError
from forge.learn.course import Tell
from forge.learn.results import Record

KEPT = 20  # jobs that one may still ask for
ENDS = ("done", "failed")
POLL_S = 0.1
ALIVE_S = 10.0  # between signs of life on a quiet line


class Jobs:
    """All jobs of one server."""

    def __init__(self) -> None:
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._newest: dict[str, str] = {}  # of each lesson

    def start(self, lesson: str, work: Callable[[Tell], Record]) -> str:
        """Begin; the job's name."""
        name, events = secrets.token_hex(8), []  # type: tuple[str, list[dict[str, Any]]]
        for old in list(self._events)[: max(0, len(self._events) - KEPT + 1)]:
            del self._events[old]
        self._events[name] = events
        self._newest[lesson] = name
        threading.Thread(target=_work, args=(work, events), name=f"experiment-{name}", daemon=True).start()
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._events

    def running(self, lesson: str) -> str | None:
        """The job of a lesson that is not over, for who reloads the page meanwhile."""
        name = self._newest.get(lesson, "")
        events = self._events.get(name)
        return None if events is None or (events and events[-1]["event"] in ENDS) else name

    async def follow(self, name: str, begin: int = 0) -> AsyncIterator[str]:
        """A job's events as server-sent events, from one on, until its end."""
        events, sent, quiet = self._events[name], begin, 0.0
        while True:
            while sent < len(events):
                event = events[sent]
                sent, quiet = sent + 1, 0.0
                yield f"id: {sent}\ndata: {json.dumps(event)}\n\n"
                if event["event"] in ENDS:
                    return
            await asyncio.sleep(POLL_S)
            quiet += POLL_S
            if quiet >= ALIVE_S:
                quiet = 0.0
                yield ": alive\n\n"


def _work(work: Callable[[Tell], Record], events: list[dict[str, Any]]) -> None:
    def tell(event: Mapping[str, Any]) -> None:
        events.append(dict(event))

    try:
        record = work(tell)
        tell({"event": "done", "seconds": record.seconds})
    except ForgeError as error:
        tell({"event": "failed", "text": str(error).splitlines()[0]})
    except Exception as error:
        tell({"event": "failed", "text": f"internal error, {type(error).__name__}: {error}"})
        raise
