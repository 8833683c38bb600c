"""A TCP proxy that can misbehave: stop forwarding while every connection stays open, or cut them."""

import contextlib
import socket
import struct
import threading
from typing import Self

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST, socket(7)


class Proxy:
    """Forwards connections to one port on loopback; as a context manager it listens and closes.

    Attributes:
        accepted: how many connections were made so far.
    """

    def __init__(self, target_port: int) -> None:
        """Listen on a free port; connections wait until the context is entered."""
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._websocket: tuple[socket.socket, socket.socket] | None = None
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()

    def stall(self) -> None:
        """Forward nothing more; connections stay open and new ones are accepted: a half-open link."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, what has waited first."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection on both sides."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    one.shutdown(socket.SHUT_RD)  # wakes the thread, whose close sends the RST

    def finish(self) -> None:
        """End every connection with FIN on both sides."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def inject(self, frame: bytes, *, to_server: bool = False) -> None:
        """Put bytes into the newest websocket between two of its frames; only sensible while it is silent."""
        with self._lock:
            assert self._websocket is not None, "no websocket was opened yet"
            near, far = self._websocket
            (far if to_server else near).sendall(frame)

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        """Close everything and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.resume()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            ends = [2]
            self._start(self._forward, near, far, ends)
            self._start(self._forward, far, near, ends)

    @staticmethod
    def _resetting(one: socket.socket) -> bool:
        return one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET)) == RESET

    def _forward(self, source: socket.socket, sink: socket.socket, ends: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if data.startswith(b"GET ") and b"/ari/events?" in data:
                    self._websocket = source, sink
                self._flowing.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            if not self._resetting(source):
                sink.shutdown(socket.SHUT_RDWR)
            else:
                sink.shutdown(socket.SHUT_RD)
        with self._lock:
            ends[0] -= 1
            if not ends[0]:
                self._open -= {source, sink}
                source.close()
                sink.close()
