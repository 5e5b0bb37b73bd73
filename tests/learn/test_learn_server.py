"""The page's server: who is let in, what is refused, and that two browsers and a terminal see one progress."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from learn_stub import Canned, course_in
from support import ROOT, forge

pytest.importorskip("uvicorn", reason="the page is the extra `learn`")
pytest.importorskip("starlette", reason="the page is the extra `learn`")
from page_stub import TOKEN, Served

from forge.core.errors import UserError
from forge.learn.guard import MOST_BYTES
from forge.learn.server import listen


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Served]:
    served = Served(course_in(tmp_path))
    yield served
    served.close()


def follow(page: Served, job: str, **headers: str) -> list[dict[str, object]]:
    _, text = page.get(f"/api/jobs/{job}", **headers)
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(page: Served) -> None:
    status, headers, _ = page.send("GET", f"/?token={TOKEN}", None, {})
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"forge_learn_{page.port}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    status, headers, body = page.send("GET", "/", None, page.cookie)
    assert status == 200
    assert b"From Zero to Forge" in body
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/", "/api/map", "/static/app.js", "/api/lesson/what-is-ai", "/nothing", "/read/forge.py"]
)
@pytest.mark.parametrize(
    "cookie", ["", "forge_learn_1=x", "forge_learn_{port}=wrong", "forge_learn_{port}=", "{{;=\x01"]
)
def test_without_the_token_nothing_is_shown(page: Served, path: str, cookie: str) -> None:
    headers = {"Cookie": cookie.format(port=page.port)} if cookie else {}
    status, _, body = page.send("GET", path, None, headers)
    assert status == 403
    assert json.loads(body)["error"].startswith("Open the address")


@pytest.mark.parametrize("token", ["wrong", TOKEN + "x", TOKEN[:-1], "%00", "é" * 10])
def test_a_wrong_token_is_refused(page: Served, token: str) -> None:
    from urllib.parse import quote

    status, headers, _ = page.send("GET", f"/?token={quote(token, safe='%')}", None, {})
    assert status == 403
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "evil.example:{port}", "[::1]:{port}", ""]
)
def test_another_host_is_refused_against_dns_rebinding(page: Served, host: str) -> None:
    given = host.format(port=page.port)
    for path in ("/api/map", f"/?token={TOKEN}"):
        status, headers, _ = page.send("GET", path, None, page.cookie | {"Host": given})
        assert status in {400, 403, 421}
        assert "set-cookie" not in headers
    assert page.get("/api/map", Host=f"localhost:{page.port}")[0] == 200


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_another_origin_changes_nothing(page: Served, origin: str | None) -> None:
    headers = page.cookie | {"Content-Type": "application/json"}
    headers |= {"Origin": origin.format(port=page.port)} if origin else {}
    status, _, _ = page.send("POST", "/api/lesson/what-is-ai/predict", b'{"choice": 1}', headers)
    assert status == 403
    assert page.course.store.read().lesson("what-is-ai").prediction is None


def test_a_form_or_another_site_changes_nothing(page: Served) -> None:
    path, body = "/api/lesson/what-is-ai/predict", b'{"choice": 1}'
    own = page.cookie | {"Origin": f"http://{page.host}"}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert page.send("POST", path, body, own | {"Content-Type": kind})[0] == 415
    for site in ("cross-site", "same-site"):
        assert page.get("/api/map", **{"Sec-Fetch-Site": site})[0] == 403
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert page.send(method, path, body, own | {"Content-Type": "application/json"})[0] in {400, 405}
    assert page.course.store.read().lesson("what-is-ai").prediction is None


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/index.html%00.js",
        "/read/../../etc/passwd",
        "/read//etc/passwd",
        "/read/..%2f..%2fetc%2fpasswd",
        "/read/forge/learn/server.py",
        "/read/forge/train/../../pyproject.toml",
        "/read/.git/config",
        "/read/",
        "//etc/passwd",
    ],
)
def test_path_tricks_find_nothing(page: Served, path: str) -> None:
    status, said = page.get(path)
    assert status == 404
    assert said == {"error": "there is no such page"}


def test_what_lessons_link_can_be_read_and_is_escaped(page: Served) -> None:
    for lesson in page.course.lessons.values():
        for path in lesson.file.links.model_dump().values():
            status, text = page.get("/read/" + path.replace(" ", "%20"))
            assert status == 200
            assert "<script" not in text
    assert "-&gt; " in page.get("/read/forge/train/loop.py")[1]


def test_an_oversized_request_is_refused_and_the_server_lives(page: Served) -> None:
    large = b'{"part": "what-changed", "answer": "' + b"a" * MOST_BYTES + b'"}'
    assert page.post("/api/lesson/what-is-ai/answer", large)[0] == 413
    assert page.post("/api/lesson/what-is-ai/answer", {"part": "what-changed", "answer": "a" * 5_000})[0] == 400
    assert page.get("/api/map?" + "a" * 3_000)[0] == 414
    assert page.get("/api/map")[0] == 200


def test_an_endless_request_is_cut_off(page: Served) -> None:
    head = (
        f"POST /api/lesson/what-is-ai/answer HTTP/1.1\r\nHost: {page.host}\r\nCookie: {page.cookie['Cookie']}\r\n"
        f"Origin: http://{page.host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as link:
        link.sendall(head.encode())
        for _ in range(20):
            link.sendall(b"2000\r\n" + b"a" * 0x2000 + b"\r\n")
        assert b" 413 " in link.recv(200)
    assert page.get("/api/map")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"part": "what-changed", "answer": NaN}',
        b'{"part": "what-changed", "answer": [1]}',
        b'{"part": 1}',
        b'{"part": "what-changed", "answer": 1, "more": 2}',
        b"[" * 30_000,
        b"\xff\xfe",
        b'{"part": "what-changed", "answer": 1' + b"0" * 5_000 + b"}",
        b'{"part": "nothing", "answer": 1}',
    ],
)
def test_an_answer_that_cannot_be_read_is_one_line(page: Served, body: bytes) -> None:
    status, said = page.post("/api/lesson/what-is-ai/answer", body)
    assert status == 400
    assert "\n" not in said["error"]
    assert page.course.store.read().lesson("what-is-ai").tries == 0


def test_a_locked_lesson_is_neither_shown_nor_run(page: Served) -> None:
    status, said = page.get("/api/lesson/vocabulary")
    assert (status, said["locked"]) == (200, True)
    assert said["error"] == "Pass lesson 1.1 first (What is AI and machine learning?)."
    for path, body in (
        ("predict", {"choice": 0}),
        ("run", {"controls": {}}),
        ("answer", {"part": "three-epochs", "answer": "60"}),
    ):
        assert page.post(f"/api/lesson/vocabulary/{path}", body)[0] == 423
    assert page.get("/api/quiz/1")[1]["locked"]
    assert page.post("/api/quiz/1", {"answers": [0, 0, 0, 0, 0]})[0] == 423
    assert isinstance(page.course.runner, Canned)
    assert not page.course.runner.asked


def test_an_experiment_sends_its_events_also_to_who_comes_late(page: Served) -> None:
    page.post("/api/lesson/what-is-ai/predict", {"choice": 1})
    status, said = page.post("/api/lesson/what-is-ai/run", {"controls": {"rounds": 50}})
    assert status == 202
    events = follow(page, said["job"])
    assert [event["event"] for event in events] == ["progress", "done"]
    assert follow(page, said["job"]) == events
    assert follow(page, said["job"], **{"Last-Event-ID": "1"}) == events[1:]
    assert page.get("/api/jobs/other")[0] == 404
    assert page.get("/api/lesson/what-is-ai")[1]["record"]["controls"]["rounds"] == 50


def test_a_reload_in_the_middle_finds_the_experiment_that_runs(page: Served) -> None:
    page.post("/api/lesson/what-is-ai/predict", {"choice": 1})
    canned, hold = page.course.runner, threading.Event()
    assert isinstance(canned, Canned)
    canned.hold = hold
    job = page.post("/api/lesson/what-is-ai/run", {"controls": {}})[1]["job"]
    assert page.get("/api/lesson/what-is-ai")[1]["job"] == job
    hold.set()
    assert follow(page, job)[-1]["event"] == "done"
    assert page.get("/api/lesson/what-is-ai")[1]["job"] is None


def test_what_an_experiment_refuses_comes_as_its_last_event(page: Served) -> None:
    job = page.post("/api/lesson/what-is-ai/run", {"controls": {}})[1]["job"]
    assert follow(page, job) == [{"event": "failed", "text": "say first what you expect; then the experiment runs"}]


def test_two_browsers_and_a_terminal_stand_on_one_progress(page: Served, tmp_path: Path) -> None:
    right = next(
        place
        for place, choice in enumerate(page.course.lessons["what-is-ai"].file.check[1].question.choices)  # type: ignore[union-attr]
        if choice.right
    )
    threads = [
        threading.Thread(target=page.post, args=("/api/lesson/what-is-ai/predict", {"choice": choice}))
        for choice in (0, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = page.course.store.read().lesson("what-is-ai").prediction
    assert first in (0, 2)
    said = page.post("/api/lesson/what-is-ai/answer", {"part": "what-changed", "answer": right})[1]
    assert said["state"] == "right"
    again = page.post("/api/lesson/what-is-ai/answer", {"part": "what-changed", "answer": right})[1]
    assert again["state"] == "right"
    assert page.course.store.read().lesson("what-is-ai").tries == 1, "what is right is not counted twice"
    other = course_in(tmp_path)  # as the terminal's process has it
    assert other.view_lesson("what-is-ai")["check"][1]["done"]
    with other.store.change() as state:
        state.lesson("what-is-ai").finish()
    assert page.get("/api/map")[1]["next"] == "neural-networks"


def test_a_taken_port_is_one_line(page: Served) -> None:
    with pytest.raises(UserError, match=f"--port {page.port}: Address already in use"):
        listen(page.port)


def test_who_opens_the_address_at_once_is_not_refused() -> None:
    """The address is printed, and opened in a browser, before the server runs."""
    with listen(0) as made, socket.create_connection(made.getsockname(), timeout=5):
        pass


def test_the_server_listens_on_the_loopback_alone(page: Served) -> None:
    assert page._socket.getsockname()[0] == "127.0.0.1"


def test_without_the_extra_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import forge.learn.main as entry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(entry, "find_spec", lambda name: None)
    assert forge("learn", "--no-browser") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install" in said
    assert "--terminal" in said


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for path in (ROOT / "forge" / "learn" / "static").iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, path
        assert "https:" not in text, path
        assert "@import" not in text, path


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    import signal

    heeds = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # whoever runs tests may not
    code = f"{heeds}; sys.path.insert(0, {str(ROOT)!r}); from forge.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "learn", "--no-browser"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("From Zero to Forge: http://127.0.0.1:")
    assert "?token=" in line
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
