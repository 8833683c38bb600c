"""A real HTTP server of calendars on loopback, which can be slow, broken or hostile."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by what the server holds under the path."""

    protocol_version = "HTTP/1.1"
    server: "CalendarServer"

    def do_GET(self) -> None:
        """Answer."""
        self.server.seen.append((self.path, dict(self.headers.items())))
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.reply(404)
        elif callable(answer):
            answer(self)
        else:
            self.calendar(answer)

    def calendar(self, body: bytes) -> None:
        """Give a calendar, or 304 if the client has it."""
        etag = f'"{hash(body)}"'
        if self.headers.get("If-None-Match") == etag:
            self.reply(304)
        else:
            self.reply(200, body, ETag=etag)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; `_` in names of headers stands for `-`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        """Say nothing."""


class CalendarServer(ThreadingHTTPServer):
    """Holds what each path answers, and what was asked.

    Attributes:
        answers: Path to a calendar, or to what answers instead.
        seen: Paths and headers of all requests.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int = 0) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: dict[str, bytes | Answer] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()

    @property
    def port(self) -> int:
        """The port."""
        return int(self.server_address[1])

    def url(self, path: str = "/a.ics") -> str:
        """Give an address."""
        return f"http://127.0.0.1:{self.port}{path}"

    def handle_error(self, *_: object) -> None:
        """Clients that go away are no error here."""


@contextmanager
def serving(port: int = 0) -> Iterator[CalendarServer]:
    """Run a server for the length of a block."""
    server = CalendarServer(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def redirect(to: str, status: int = 302) -> Answer:
    """Answer with a redirect."""
    return lambda handler: handler.reply(status, Location=to)


def status(number: int) -> Answer:
    """Answer with a status."""
    return lambda handler: handler.reply(number)


def bomb(size: int) -> Answer:
    """Answer with so many zeros, packed."""
    packed = gzip.compress(b"0" * size)
    return lambda handler: handler.reply(200, packed, Content_Encoding="gzip")


def drip_headers(handler: Handler) -> None:
    """Send a header that never ends, byte by byte."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    _drip(handler)


def drip_body(handler: Handler) -> None:
    """Send a body that never ends, byte by byte."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    _drip(handler)


def _drip(handler: Handler) -> None:
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"x")


def silent(handler: Handler) -> None:
    """Accept and say nothing."""
    handler.server.over.wait(60)


def cut(handler: Handler) -> None:
    """End the connection in the middle of the body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nBEGIN:VCALENDAR\r\n")
    handler.close_connection = True


def nonsense(handler: Handler) -> None:
    """Speak something else than HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True
