"""A small ARI server on loopback, HTTP and websocket, in front of a `FakeAsterisk`; real sockets, real frames."""

import json
import ssl
import struct
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ari_presence.ari.address import Address
from ari_presence.ari.wire import Request, Response
from tests.unit.ari.fake_asterisk import FakeAsterisk

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def stamp(seconds_ago: float = 0.0) -> str:
    """Write the time as Asterisk does."""
    now = datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds_ago, UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}+0000"


class ServerSocket:
    """The server's end of one websocket."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        """Take over a connection."""
        self._handler = handler
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def frame(self, opcode: int, data: bytes) -> None:
        """Send one frame; what a dead client does not take is lost."""
        size = len(data)
        head = bytes([0x80 | opcode]) + (
            bytes([size])
            if size < 126
            else struct.pack("!BH", 126, size)
            if size < 65536
            else struct.pack("!BQ", 127, size)
        )
        with self.lock, suppress(OSError):
            self._handler.connection.sendall(head + data)

    def event(self, kind: str, /, **fields: Any) -> None:
        """Send an event, with the present time unless `timestamp` says otherwise."""
        self.frame(
            TEXT, json.dumps({"type": kind, "application": "ari-presence", "timestamp": stamp(), **fields}).encode()
        )

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        with self.lock, suppress(OSError):
            self._handler.connection.sendall(data)

    def cut(self) -> None:
        """End the connection without a word."""
        with suppress(OSError):
            self._handler.connection.shutdown(SHUT_RDWR)

    def read(self) -> tuple[int, bytes]:
        """Read one frame of the client, which are all masked; raises EOFError at the end."""
        first, second = self._exactly(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        mask = self._exactly(4)
        data = self._exactly(size)
        return first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._handler.rfile.read(size)
        except ValueError:  # read to its end already
            data = b""
        if len(data) < size:
            raise EOFError
        return data


class FakeAri:
    """The server; knobs below, `asterisk` behind it."""

    def __init__(self, asterisk: FakeAsterisk, context: ssl.SSLContext | None = None) -> None:
        """Listen on a free port of loopback; `context` makes it https."""
        self.asterisk = asterisk
        self.username, self.password = "ari-presence", "s3cret-pass:w%rd"
        self.deaf = False
        self.answers_websocket = True
        self.answers_pings = True
        self.upgrade_status, self.upgrade_body = 101, ""
        self.headers: list[dict[str, str]] = []
        self.sockets: list[ServerSocket] = []
        self.opened = threading.Condition()
        self.gate: Callable[[Request], None] = lambda _request: None
        self.before_answer: Callable[[ServerSocket, Request], bool] = lambda _socket, _request: True
        asterisk.on_userevent = self._userevent
        asterisk.on_change = self._device_changed
        server = self
        self._context = context

        class Handler(_Handler):
            ari = server

        self.http = _Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.http.server_address[1]}"

    def address(self, ca_file: Path | None = None) -> Address:
        """Give what a link needs to know."""
        return Address("hq", self.url, self.username, self.password, ca_file=ca_file)

    def socket(self, number: int = 0, timeout_s: float = 5.0) -> ServerSocket:
        """Wait for the websocket with this number, counted from the first, and give it."""
        with self.opened:
            assert self.opened.wait_for(lambda: len(self.sockets) > number, timeout_s), f"no websocket {number}"
            return self.sockets[number]

    def close(self) -> None:
        """Cut every websocket and stop."""
        for socket in self.sockets:
            socket.cut()
        self.http.shutdown()
        self.http.server_close()
        self._thread.join(5)

    def _userevent(self, name: str) -> None:
        if self.sockets and not self.deaf:
            self.sockets[-1].event("ChannelUserevent", eventname=name, userevent={"eventname": name})

    def _device_changed(self, device: str, state: str) -> None:
        if self.sockets and device in self.asterisk.devices:
            self.sockets[-1].event("DeviceStateChanged", device_state={"name": device, "state": state})

    def register(self, socket: ServerSocket) -> None:
        """Let a new websocket have the application."""
        self.asterisk.app_known = True
        with self.opened:
            self.sockets.append(socket)
            self.opened.notify_all()

    def serve_websocket(self, socket: ServerSocket) -> None:
        """Read one websocket to its end."""
        with suppress(EOFError, OSError):
            while (frame := socket.read())[0] != CLOSE:
                self._take(socket, *frame)
        socket.ended.set()

    def _take(self, socket: ServerSocket, opcode: int, data: bytes) -> None:
        if opcode == PING and self.answers_pings:
            socket.frame(PONG, data)
        if opcode != TEXT or not self.answers_websocket:
            return
        message = json.loads(data)
        query = tuple((pair["name"], pair["value"]) for pair in message.get("query_strings", ()))
        request = Request(message["method"], message["uri"], query, message.get("message_body"))
        if not self.before_answer(socket, request):
            return
        response = self.asterisk.answer(request)
        body = {"content_type": "application/json", "message_body": response.body} if response.body else {}
        socket.event("RESTResponse", request_id=message["request_id"], status_code=response.status, **body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that end a connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ari: FakeAri

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a call, or become a websocket."""
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.ari.headers.append(dict(self.headers.items()))
        request = Request(
            self.command, parts.path.removeprefix("/ari/"), tuple(parse_qsl(parts.query)), body.decode() or None
        )
        self.ari.gate(request)
        given = b64decode(self.headers.get("Authorization", "Basic ").removeprefix("Basic ")).decode()
        if given != f"{self.ari.username}:{self.ari.password}":
            self._reply(Response(401, '{"message":"Authentication required"}'))
        elif request.path == "events":
            self._upgrade()
        else:
            self._reply(self.ari.asterisk.answer(request, "http"))

    def _reply(self, response: Response) -> None:
        data = response.body.encode()
        self.send_response(response.status)
        self.send_header("Content-Length", str(len(data)))
        if 300 <= response.status < 400:
            self.send_header("Location", response.body)
        self.end_headers()
        self.wfile.write(data)

    def _upgrade(self) -> None:
        if self.ari.upgrade_status != 101:
            self._reply(Response(self.ari.upgrade_status, self.ari.upgrade_body))
            return
        key = self.headers["Sec-WebSocket-Key"]
        socket = ServerSocket(self)
        with socket.lock:  # known from now on, but no event goes out before the answer
            self.ari.register(socket)
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", b64encode(sha1((key + _GUID).encode()).digest()).decode())  # noqa: S324
            self.end_headers()
        self.close_connection = True
        self.ari.serve_websocket(socket)


@contextmanager
def serving(asterisk: FakeAsterisk | None = None, context: ssl.SSLContext | None = None) -> Iterator[FakeAri]:
    """Run a server for the length of a block."""
    ari = FakeAri(asterisk or FakeAsterisk(), context)
    try:
        yield ari
    finally:
        ari.close()
