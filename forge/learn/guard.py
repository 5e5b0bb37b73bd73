"""Who may talk to the page's server: this learner's browser, from this page, with requests of a sane size.

The server listens on the loopback alone; but other programs and every web page in the browser can reach that too. So
each request names this host (against DNS rebinding), carries the token's cookie (strict, not readable by scripts), and
one that changes something comes from this page's origin, as JSON.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 * 1024  # of a request's body; an answer has at most 4,000 characters
MOST_ADDRESS = 2_048
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
NO_TOKEN = "Open the address that the terminal shows: it holds the token of this session."  # noqa: S105  no secret


class Guard:
    """ASGI middleware around the page's app."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"forge_learn_{port}"  # browsers share cookies between ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is not allowed, pass on the rest."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if given := _token_in_address(scope):
            await self._begin(given, headers, send)
            return
        if refusal := self._refusal(scope, headers):
            await _refuse(send, *refusal)
            return
        if scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                await _refuse(send, 413, "this is too large for an answer")
                return
            receive = _replay(body, receive)
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host") not in self._hosts:
            return 421, "this server answers to 127.0.0.1 and localhost alone"
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_ADDRESS:
            return 414, "this address is too long"
        if not self._knows(headers.get("cookie", "")):
            return 403, NO_TOKEN
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return 403, "another site asked for this"
        if scope["method"] in {"GET", "HEAD"}:
            return None
        if scope["method"] != "POST":
            return 405, "this is not done here"
        if headers.get("origin") not in {f"http://{host}" for host in self._hosts}:
            return 403, "another site asked for this"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "answers are JSON"
        return None

    def _knows(self, cookies: str) -> bool:
        try:
            found = SimpleCookie(cookies).get(self._cookie)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._token)

    async def _begin(self, given: str, headers: dict[str, str], send: Send) -> None:
        """The token of the address becomes a cookie, and leaves the address."""
        if headers.get("host") not in self._hosts or not _same(given, self._token):
            await _refuse(send, 403, NO_TOKEN)
            return
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        start = {"type": "http.response.start", "status": 303}
        await _with_headers(send)(start | {"headers": [(b"location", b"/"), (b"set-cookie", cookie.encode())]})
        await send({"type": "http.response.body", "body": b""})


def _token_in_address(scope: Scope) -> str:
    if scope["path"] != "/" or scope["method"] != "GET":
        return ""
    query: str = scope["query_string"].decode("latin-1")[:MOST_ADDRESS]
    return parse_qs(query).get("token", [""])[0]


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


async def _read(receive: Receive) -> bytes | None:
    """A request's body; None where it is too large, read no further."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """What was read, once more; then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send) -> Send:
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def out(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = dict(message) | {"headers": [*message.get("headers", []), *added]}
        await send(message)

    return out


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
