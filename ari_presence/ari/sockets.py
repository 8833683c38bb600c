"""What websocket-client's socket lacks for a flood: reads that fetch all that is there, writes of many frames at once.

The library reads each frame with three system calls and writes each with two, one of them for the mask. Every call gives
other threads the interpreter, which under load costs more than the call; here it is one for many frames.
"""

import os
import select
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BytesIO
from typing import Any, cast

import websocket

CHUNK_BYTES = 8192  # more would be copied too often: the library cuts each part of a frame off what is left


class _Buffered:
    """A socket that gives more than it is asked for; all else is the socket's own. One thread reads, any may send.

    What is too much the library keeps for the next frame (`frame_buffer.recv_strict`).

    Over TLS the two are kept apart by a lock: before Python 3.13.2 one connection must not be read and written at the same
    time. The reader waits for the descriptor without it, so that senders wait for no more than one record.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.tls = isinstance(sock, ssl.SSLSocket)
        self._lock: AbstractContextManager[object] = threading.Lock() if self.tls else nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, _size: int) -> bytes:
        """Give what is there; b"" at the end."""
        if isinstance(self._sock, ssl.SSLSocket):
            self._wait(self._sock)
        with self._lock:
            return self._sock.recv(CHUNK_BYTES)

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


def buffer(web: websocket.WebSocket) -> None:
    """Put the buffer below a websocket that has just been opened."""
    web.sock = cast(socket.socket, _Buffered(cast(socket.socket, web.sock)))


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
    masks = BytesIO(os.urandom(4 * len(texts)))
    frames = [websocket.ABNF.create_frame(text, websocket.ABNF.OPCODE_TEXT) for text in texts]
    for frame in frames:
        frame.get_mask_key = masks.read
    return [frame.format() for frame in frames]


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
