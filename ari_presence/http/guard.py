"""What is settled before a request reaches the application: its Host, its size, its patience, HEAD."""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ari_presence.http.problems import problem

MAX_BODY = 64 * 1024
"""Bytes; the largest sensible request is a few hundred."""
MAX_DISCARDED = 1024 * 1024
"""Bytes of a body too large that are still read, so that a client which sends all before it reads sees the answer."""
BODY_S = 10.0
"""Seconds that a client has to send its body."""


class Guard:
    """ASGI middleware: refuses foreign hosts, bodies that are too large or too slow, and answers HEAD like GET."""

    def __init__(self, app: ASGIApp, *, loopback_host_only: bool, no_head: Iterable[str] = ()) -> None:
        """Stand before `app`.

        Args:
            app: The application.
            loopback_host_only: Refuse requests whose Host is not this machine (DNS rebinding).
            no_head: Paths for which HEAD stays HEAD, because their GET never ends.
        """
        self._app = app
        self._loopback_host_only = loopback_host_only
        self._no_head = frozenset(no_head)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._loopback_host_only and not is_loopback_host(_header(scope, b"host")):
            detail = "this address answers only to localhost and loopback addresses as Host"
            await problem(403, "host-not-allowed", detail)(scope, receive, send)
            return
        if scope["method"] == "HEAD" and scope["path"] not in self._no_head:
            # The server keeps its own view of the method and drops the body.
            scope = {**scope, "method": "GET"}
        if scope["method"] not in ("GET", "HEAD"):
            try:
                receive = await _read_whole(scope, receive)
            except ValueError:
                await _close(413, "too-large", f"the body is longer than {MAX_BODY} bytes")(scope, receive, send)
                return
            except TimeoutError:
                await _close(408, "too-slow", f"the body did not arrive within {BODY_S:g} s")(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_loopback_host(host: str) -> bool:
    """Tell whether a Host header (with or without a port) names this machine."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _close(status: int, code: str, detail: str) -> ASGIApp:
    """Answer and end the connection, because what is left of the request cannot be told from the next one."""
    return problem(status, code, detail, {"connection": "close"})


async def _read_whole(scope: Scope, receive: Receive) -> Receive:
    """Read the whole body, and give a `receive` that hands it out again."""
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length) > MAX_DISCARDED:
        raise ValueError
    body = bytearray()
    async with asyncio.timeout(BODY_S):
        more = True
        while more and len(body) <= MAX_DISCARDED:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    if len(body) > MAX_BODY:
        raise ValueError
    pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
