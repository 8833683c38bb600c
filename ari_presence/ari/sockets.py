"""What websocket-client's socket lacks for a flood: reads that fetch all that is there, writes of many frames at once.

The library reads each frame with three system calls and writes each with two, one of them for the mask. Every call gives
other threads the interpreter, which under load costs more than the call; here it is one for many frames. Handshake, pings,
masks and the end are the library's.
"""

import os
import select
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, cast

import websocket

CHUNK_BYTES = 65_536
FRAME_BYTES = 64 << 20  # more in one frame is no ARI
FINAL, RESERVED, OPCODE, MASKED = 0x80, 0x70, 0x0F, 0x80  # RFC 6455 section 5.2
_TEXT = FINAL | websocket.ABNF.OPCODE_TEXT
_TEXT_MEDIUM, _TEXT_LONG = bytes((_TEXT, MASKED | 126)), bytes((_TEXT, MASKED | 127))


class _Shared:
    """A socket that one thread reads while any may send; all else is the socket's own.

    Over TLS the two are kept apart by a lock: before Python 3.13.2 one connection must not be read and written at the same
    time. The reader waits for the descriptor without it, so that senders wait for no more than one record.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.tls = isinstance(sock, ssl.SSLSocket)
        self._lock: AbstractContextManager[object] = threading.Lock() if self.tls else nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """Give what is there; b"" at the end."""
        if isinstance(self._sock, ssl.SSLSocket):
            self._wait(self._sock)
        with self._lock:
            return self._sock.recv(size)

    def _wait(self, sock: ssl.SSLSocket) -> None:
        with self._lock:
            if sock.pending():
                return
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        timeout_s = sock.gettimeout()
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError("timed out")

    def send(self, data: bytes | memoryview) -> int:
        """Send some of the data and say how much."""
        with self._lock:
            return self._sock.send(data)


class Frames:
    """What a websocket that has just been opened receives; one thread reads, any may send. `tls`: in records of TLS."""

    def __init__(self, web: websocket.WebSocket) -> None:
        """Take over the reading; the library must not read from now on."""
        self._web = web
        self._sock = _Shared(cast(socket.socket, web.sock))
        web.sock = cast(socket.socket, self._sock)
        # The library reads the head of the answer byte by byte, so nothing of a frame is lost in it.
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind = 0  # of the message whose parts are being gathered
        self.tls = self._sock.tls

    def read(self) -> list[tuple[int, bytes]]:
        """Wait for what comes, at most as long as the socket's time limit.

        Returns:
            (opcode, data) of every whole message, in order; often none. Pings are answered.

        Raises:
            TimeoutError: Nothing came.
            OSError: The connection is broken.
            websocket.WebSocketException: It has ended, or what came is no websocket's frame (RFC 6455 section 5).
        """
        data = self._sock.recv(CHUNK_BYTES)
        if not data:
            raise websocket.WebSocketConnectionClosedException("the connection has ended")
        buffer = self._buffer
        buffer += data
        messages: list[tuple[int, bytes]] = []
        at, there = 0, len(buffer)
        while there - at >= 2:
            first, size, begins = buffer[at], buffer[at + 1], at + 2
            if size > 125 or first & RESERVED:
                begins, size = self._long(at)
            ends = begins + size
            if ends > there:
                break
            if first & FINAL and 0 < first & OPCODE < websocket.ABNF.OPCODE_CLOSE:
                messages.append((first & OPCODE, bytes(buffer[begins:ends])))
            else:
                self._take(first, bytes(buffer[begins:ends]), messages)
            at = ends
        del buffer[:at]
        return messages

    def _long(self, at: int) -> tuple[int, int]:
        """Read the head of a frame that is not short: where the data begins, and how much it is."""
        buffer, size = self._buffer, self._buffer[at + 1]
        if size & MASKED or buffer[at] & RESERVED:
            raise websocket.WebSocketProtocolException("a masked frame, or one of an extension")
        begins = at + 2 + (0 if size < 126 else 2 if size == 126 else 8)
        if size > 125:  # where the head itself is cut, this is too little, but `begins` is beyond what is there
            size = int.from_bytes(buffer[at + 2 : begins], "big")
        if size > FRAME_BYTES:
            raise websocket.WebSocketPayloadException(f"a frame of {size} bytes")
        return begins, size

    def _take(self, first: int, data: bytes, messages: list[tuple[int, bytes]]) -> None:
        opcode = first & OPCODE
        if opcode == websocket.ABNF.OPCODE_PING:
            self._web.pong(data)
        elif opcode >= websocket.ABNF.OPCODE_CLOSE:
            messages.append((opcode, data))
        else:  # a message in several parts
            self._kind = opcode or self._kind
            self._parts += data
            if len(self._parts) > FRAME_BYTES:
                raise websocket.WebSocketPayloadException("a message without end")
            if first & FINAL:
                messages.append((self._kind, bytes(self._parts)))
                self._parts.clear()


def send_all(web: websocket.WebSocket, texts: Sequence[str]) -> None:
    """Send several text frames, from any thread: in one piece, but over TLS one by one.

    Asterisk waits for the descriptor before each frame; what has been decrypted already it does not see there
    (`ast_websocket_read`). A second frame in the same TLS record would wait for the next record, 2 s for our ping.

    Raises:
        OSError: The connection is broken; part of it may have been sent.
    """
    frames = _masked(texts)
    with web.lock:  # the library's own, so that a ping does not land in the middle
        if web.sock is None:
            raise OSError("closed")
        for piece in frames if getattr(web.sock, "tls", False) else [b"".join(frames)]:
            rest = memoryview(piece)
            while rest:  # unlike `sendall`, the time limit is for some progress, not for all: distant servers are slow
                rest = rest[web.sock.send(rest) :]


def _masked(texts: Sequence[str]) -> list[bytes]:
    """Make the frames (RFC 6455 section 5.2); an `ABNF` for each would cost three times as much."""
    masks = os.urandom(4 * len(texts))
    frames = []
    for number, text in enumerate(texts):
        data, mask = text.encode(), masks[4 * number : 4 * number + 4]
        size = len(data)
        if size < 126:
            head = bytes((_TEXT, MASKED | size))
        elif size < 1 << 16:
            head = _TEXT_MEDIUM + size.to_bytes(2, "big")
        else:
            head = _TEXT_LONG + size.to_bytes(8, "big")
        frames.append(head + mask + websocket.ABNF.mask(mask, data))
    return frames


def shut(web: websocket.WebSocket) -> None:
    """End a websocket at once, from any thread; whoever reads it notices. What goes wrong then does not matter."""
    with suppress(OSError):
        if web.sock is not None:
            web.sock.shutdown(socket.SHUT_RDWR)


def close(web: websocket.WebSocket) -> None:
    """Close a websocket that nobody reads any more."""
    shut(web)
    with suppress(OSError):
        if web.sock is not None:
            web.sock.close()
