"""The page: a small server on the loopback over the same engine as the terminal. It draws nothing itself.

Static files are read once at the start and asked for by name; of the repository it shows the files that lessons link,
and no others. Both are look-ups in a table, so no path of a request ever reaches the disk.
"""

from __future__ import annotations

import html
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import uvicorn
from markdown_it import MarkdownIt
from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from forge.config.schema._base import Section
from forge.core.errors import EXIT_DONE, ForgeError, UserError
from forge.learn.course import Course, LockedError
from forge.learn.guard import App, Guard
from forge.learn.jobs import Jobs
from forge.learn.lessons import ROOT

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LONGEST_TEXT = 4_000
Given = Annotated[str, Field(max_length=LONGEST_TEXT)] | Annotated[int, Field(ge=-(10**12), le=10**12)] | float | None
READER = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="stylesheet" href="/static/style.css"><link rel="icon" href="/static/icon.svg">
<body class="reader"><header><a href="/">From Zero to Forge</a></header><main><h1>{title}</h1>{body}</main></body>
</html>
"""


Form = TypeVar("Form", bound=Section)


class Prediction(Section):
    """What is expected before the first run."""

    choice: int


class Experiment(Section):
    """An experiment to run."""

    controls: Annotated[dict[str, Annotated[str, Field(max_length=LONGEST_TEXT)] | int | float], Field(max_length=8)]


class Answer(Section):
    """An answer to a part of a check."""

    part: Annotated[str, Field(max_length=100)]
    answer: Given = None


class Answers(Section):
    """The answers of a quiz."""

    answers: Annotated[list[Given], Field(max_length=20)]
    test_out: bool = False


class Page:
    """The server's answers."""

    def __init__(self, course: Course) -> None:
        self.course, self.jobs = course, Jobs()
        self._static = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
        linked = {path for lesson in course.lessons.values() for path in lesson.file.links.model_dump().values()}
        self._readable = {path: ROOT / path for path in linked if (ROOT / path).is_file()}
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def app(self) -> Starlette:
        """Routes and what errors become."""
        routes = [
            Route("/", self.index),
            Route("/static/{name}", self.static),
            Route("/read/{path:path}", self.read),
            Route("/api/map", self.map),
            Route("/api/lesson/{name}", self.lesson),
            Route("/api/lesson/{name}/predict", self.predict, methods=["POST"]),
            Route("/api/lesson/{name}/run", self.run, methods=["POST"]),
            Route("/api/lesson/{name}/answer", self.answer, methods=["POST"]),
            Route("/api/jobs/{name}", self.follow),
            Route("/api/quiz/{phase:int}", self.quiz),
            Route("/api/quiz/{phase:int}", self.answer_quiz, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _tell_status, ForgeError: _tell_error})

    async def index(self, _: Request) -> Response:
        """The page's frame; its scripts draw the rest."""
        return Response(self._static["index.html"], media_type="text/html")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404)
        return Response(self._static[name], media_type=TYPES[Path(name).suffix])

    async def read(self, request: Request) -> Response:
        """A file of Forge that a lesson links."""
        path = self._readable.get(request.path_params["path"])
        if path is None:
            raise HTTPException(404)
        text, title = path.read_text(encoding="utf-8"), request.path_params["path"]
        body = self._markdown.render(text) if path.suffix == ".md" else f"<pre>{html.escape(text)}</pre>"
        return Response(READER.format(title=html.escape(title), body=body), media_type="text/html")

    async def map(self, _: Request) -> Response:
        """Where the learner stands."""
        return await _json(self.course.view_map)

    async def lesson(self, request: Request) -> Response:
        """One lesson, its text as HTML."""
        view = await run_in_threadpool(self.course.view_lesson, request.path_params["name"])
        return JSONResponse(
            view | {"html": self._markdown.render(view["text"]), "job": self.jobs.running(request.path_params["name"])}
        )

    async def predict(self, request: Request) -> Response:
        """Keep a prediction."""
        given = await _body(request, Prediction)
        return await _json(partial(self.course.predict, request.path_params["name"], given.choice))

    async def run(self, request: Request) -> Response:
        """Start an experiment; its events come from /api/jobs/."""
        name, given = request.path_params["name"], await _body(request, Experiment)
        await run_in_threadpool(self.course.view_lesson, name)  # a locked lesson runs nothing
        job = self.jobs.start(name, lambda tell: self.course.experiment(name, given.controls, tell))
        return JSONResponse({"job": job}, 202)

    async def follow(self, request: Request) -> Response:
        """An experiment's events as they come."""
        name, last = request.path_params["name"], request.headers.get("last-event-id", "")
        if name not in self.jobs:
            raise HTTPException(404)
        begin = int(last) if last.isascii() and last.isdigit() and len(last) < 9 else 0
        return StreamingResponse(self.jobs.follow(name, begin), media_type="text/event-stream")

    async def answer(self, request: Request) -> Response:
        """Judge an answer."""
        given = await _body(request, Answer)
        return await _json(partial(self.course.answer, request.path_params["name"], given.part, given.answer))

    async def quiz(self, request: Request) -> Response:
        """The questions of a gate, or of a test-out."""
        test_out = request.query_params.get("test_out") == "1"
        return await _json(partial(self.course.view_quiz, request.path_params["phase"], test_out))

    async def answer_quiz(self, request: Request) -> Response:
        """Mark a quiz."""
        given = await _body(request, Answers)
        mark = partial(self.course.answer_quiz, request.path_params["phase"], given.test_out, given.answers)
        return await _json(mark)


async def _json(ask: Callable[[], Any]) -> Response:
    """What the engine says; it waits for disk and locks, so it runs in a thread."""
    return JSONResponse(await run_in_threadpool(ask))


async def _body(request: Request, form: type[Form]) -> Form:
    try:
        return form.model_validate_json(await request.body())
    except ValidationError as error:
        raise UserError(f"this answer cannot be read: {error.errors()[0]['msg']}") from None


async def _tell_status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "there is no such page"}, error.status_code)


async def _tell_error(request: Request, error: Exception) -> Response:
    """One line. To look at something locked is no failed request: browsers would log it as an error of the page."""
    locked = isinstance(error, LockedError)
    status = 423 if locked else 400
    return JSONResponse(
        {"error": str(error).splitlines()[0], "locked": locked}, 200 if request.method == "GET" else status
    )


def listen(port: int) -> socket.socket:
    """A socket on the loopback; whoever connects from now on waits for the server rather than being refused.

    Raises UserError where the port is taken.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()
    except OSError as error:
        made.close()
        raise UserError(f"--port {port}: {os.strerror(error.errno or 0)}; leave it out for a free one") from None
    return made


def guarded(course: Course, token: str, port: int) -> App:
    """The whole app, behind its guard."""
    return Guard(Page(course).app(), token, port)


def make_server(app: App) -> uvicorn.Server:
    """A server that says nothing and ends quickly."""
    quiet = {"log_level": "error", "access_log": False, "server_header": False, "lifespan": "off"}
    return uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **quiet))


def serve(course: Course, warm: Callable[[], None], port: int, no_browser: bool) -> int:
    """Serve the page until Ctrl-C."""
    with listen(port) as made:
        port, token = made.getsockname()[1], secrets.token_urlsafe(24)
        address = f"http://{HOST}:{port}/?token={token}"
        sys.stdout.write(f"From Zero to Forge: {address}\nCtrl-C ends it; your progress is saved all along.\n")
        sys.stdout.flush()
        warm()
        if not no_browser and _has_screen():
            webbrowser.open(address)
        make_server(guarded(course, token, port)).run(sockets=[made])
    return EXIT_DONE


def _has_screen() -> bool:
    """Whether a browser would come up beside this terminal, not in it."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
