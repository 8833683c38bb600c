"""Groups of requests to one server, in order, urgent groups first: over the websocket, or over HTTP on older servers.

A group is answered as a whole. Both kinds are called from any thread; neither knows what the requests mean.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import websocket

from ari_presence.ari.rest import Rest
from ari_presence.ari.sockets import send_all, shut
from ari_presence.ari.wire import Request, Response
from ari_presence.errors import AriConnectionError, AriError

log = structlog.get_logger(__name__)

WINDOW = 64  # requests in flight: a busy reader must not leave Asterisk idle, a frozen server's socket must not fill
URGENT_WINDOW = 2 * WINDOW  # urgent ones do not wait for room
FEW = 8  # requests in flight, whose answers are not worth a read of their own
NARROW_WINDOW = 16  # while urgent ones meet others: what is in flight, about 0.1 ms each, is what they wait for
NARROW_S = 5.0

Done = Callable[[list[Response] | None], None]


@dataclass(slots=True)
class Group:
    """Requests that belong together; `done` gets every response in order, or None when the link ended first."""

    requests: Sequence[Request]
    done: Done
    responses: list[Response] = field(default_factory=list)
    sent: int = 0
    urgent: bool = False


class Pipeline(Protocol):
    """Where groups go while a link is up."""

    def submit(self, group: Group, *, urgent: bool) -> None:
        """Queue a group; urgent ones go before all that has not been sent. Never waits for an answer."""

    def close(self) -> None:
        """Fail every group that is not done; later ones fail at once."""


class _Lanes:
    """Groups that wait, urgent ones first."""

    def __init__(self) -> None:
        self.urgent: deque[Group] = deque()
        self._bulk: deque[Group] = deque()

    def put(self, group: Group, *, urgent: bool) -> None:
        (self.urgent if urgent else self._bulk).append(group)

    def __bool__(self) -> bool:
        return bool(self.urgent or self._bulk)

    def next(self) -> tuple[Group, Request]:
        lane = self.urgent or self._bulk
        group = lane[0]
        request = group.requests[group.sent]
        group.sent += 1
        if group.sent == len(group.requests):
            lane.popleft()
        return group, request

    def drain(self) -> list[Group]:
        groups = [*self.urgent, *self._bulk]
        self.urgent.clear()
        self._bulk.clear()
        return groups


class WebSocketPipeline:
    """Requests over the websocket, up to `WINDOW` in flight; Asterisk answers one socket's requests strictly in order."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        """Take the socket for sending; the link's reader hands the responses to `answered`."""
        self._socket = socket
        self._lock = threading.Lock()  # guards all below, and keeps frames in the order of their ids
        self._lanes = _Lanes()
        self._flying: deque[tuple[str, float, Group]] = deque()
        self._count = 0
        self._urgent = 0  # of those in flight
        self._closed = False
        self._narrow_until = 0.0

    def submit(self, group: Group, *, urgent: bool) -> None:
        """Queue a group and send what the window allows."""
        group.urgent = urgent
        with self._lock:
            if urgent and len(self._flying) > NARROW_WINDOW:
                self._narrow_until = time.monotonic() + NARROW_S
            if not self._closed:
                self._lanes.put(group, urgent=urgent)
                self._fill()
                return
        group.done(None)

    def answered(self, request_id: str, response: Response) -> None:
        """Take one response, from the reader's thread.

        More is sent when half of the window is answered, so that requests leave in larger pieces.

        Raises:
            AriConnectionError: It is not the answer to the oldest request: order is lost, the link must end.
        """
        with self._lock:
            if self._closed:
                return
            if not self._flying or self._flying[0][0] != request_id:
                raise AriConnectionError(f"unexpected answer to request {request_id[:20]}")
            group = self._flying.popleft()[2]
            self._urgent -= group.urgent
            group.responses.append(response)
            if len(self._flying) <= self._window() // 2:
                self._fill()
        if len(group.responses) == len(group.requests):
            group.done(group.responses)

    @property
    def is_hurried(self) -> bool:
        """Tell whether answers should be read at once: somebody waits for them, or many make room for more requests."""
        return len(self._flying) > FEW or self._urgent > 0

    def waiting_since(self) -> float | None:
        """Tell when the oldest unanswered request was sent (`time.monotonic`), or None."""
        with self._lock:
            return self._flying[0][1] if self._flying else None

    def close(self) -> None:
        """Fail what is not done."""
        with self._lock:
            self._closed = True
            failed = [*(entry[2] for entry in self._flying), *self._lanes.drain()]
            self._flying.clear()
        for group in {id(group): group for group in failed}.values():
            group.done(None)

    def _window(self) -> int:
        return NARROW_WINDOW if self._narrow_until and time.monotonic() < self._narrow_until else WINDOW

    def _fill(self) -> None:
        """Send while the window has room; the lock is held."""
        now, window = time.monotonic(), self._window()
        frames = []
        while self._lanes and len(self._flying) < (URGENT_WINDOW if self._lanes.urgent else window):
            group, request = self._lanes.next()
            self._count += 1
            request_id = str(self._count)
            self._flying.append((request_id, now, group))
            self._urgent += group.urgent
            frames.append(request.frame(request_id))
            if len(self._flying) == 1 and self._lanes.urgent:  # the main lamp of a caller need not wait for its company
                if not self._send(frames):
                    return
                frames = []
        if frames:
            self._send(frames)

    def _send(self, frames: list[str]) -> bool:
        try:
            send_all(self._socket, frames)
        except OSError:
            shut(self._socket)  # the reader notices and fails everything
            return False
        return True


class HttpPipeline:
    """The same over HTTP, one request after another in a thread of its own."""

    def __init__(self, rest: Rest, broken: Callable[[], None]) -> None:
        """Start the thread; `broken` is called from it when the server can no longer be reached."""
        self._rest = rest
        self._broken = broken
        self._lanes = _Lanes()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ari-http", daemon=True)
        self._thread.start()

    def submit(self, group: Group, *, urgent: bool) -> None:
        """Queue a group."""
        with self._wake:
            if not self._closed:
                self._lanes.put(group, urgent=urgent)
                self._wake.notify()
                return
        group.done(None)

    def close(self) -> None:
        """Fail what is not done; the call under way is waited for by its own thread."""
        with self._wake:
            self._closed = True
            failed = self._lanes.drain()
            self._wake.notify()
        for group in failed:
            group.done(None)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed and not self._lanes:
                    self._wake.wait()
                if self._closed:
                    break
                group, request = self._lanes.next()
            try:
                group.responses.append(self._rest.call(request))
            except Exception as error:
                if not isinstance(error, AriError):
                    log.exception("bug: a request could not be made", path=request.path)
                self._fail(group)
                break
            if len(group.responses) == len(group.requests):
                group.done(group.responses)
        self._rest.close()

    def _fail(self, group: Group) -> None:
        if group.sent == len(group.requests):  # else it still waits in its lane and `close` fails it
            group.done(None)
        self.close()
        self._broken()
