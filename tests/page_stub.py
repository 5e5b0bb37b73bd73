"""The page's server in a thread of the test, and a plain client for it: every header is the test's own."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

from forge.learn.course import Course
from forge.learn.server import guarded, listen, make_server

TOKEN = "t0ken-of-the-test"


class Served:
    """A running server."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self._socket = listen(0)
        self.port = self._socket.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self._server = make_server(guarded(course, TOKEN, self.port))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"forge_learn_{self.port}={TOKEN}"}

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        """Status, headers and body of one request with exactly these headers (and Host, unless given)."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                link.putheader(name, value)
            if body is not None and "Content-Length" not in headers:
                link.putheader("Content-Length", str(len(body)))
            link.endheaders(body)
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            link.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """A GET as the page itself sends it; the body as JSON where it is."""
        status, _, body = self.send("GET", path, None, self.cookie | headers)
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode("utf-8", "replace")

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        """A POST as the page itself sends it."""
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, _, said = self.send("POST", path, body, self.cookie | own | headers)
        return status, json.loads(said)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()
