"""Actions that others want carried out over AMI: asked in any thread, sent and answered in that of the link.

At most `WINDOW` are under way at once. Each ends: with its answer, or with None when the connection ends or there is none.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from ari_presence.ami.wire import Fields, action, one
from ari_presence.errors import AriConnectionError

WINDOW = 64
ANSWER_S = 10.0
ROWS_AT_MOST = 100_000

Rows = list[Fields] | None


@dataclass(slots=True)
class _Ask:
    """One action: its bytes, the event that ends its list ("" for none), and what came so far."""

    data: bytes
    ends: str
    done: Callable[[Rows], None]
    deadline: float = 0.0
    rows: list[Fields] = field(default_factory=list)


class Asks:
    """The queue between those who ask and the thread that owns the connection."""

    def __init__(self, post: Callable[[object], None]) -> None:
        """Start without a connection; `post` takes what is to be called with an answer."""
        self._post = post
        self._lock = threading.Lock()  # guards the next three
        self._wake: tuple[socket.socket, socket.socket] | None = None  # while there is a connection
        self._number = 0
        self._queue: deque[tuple[str, _Ask]] = deque()
        self._sent: dict[str, _Ask] = {}  # the link's thread alone

    # --- any thread ---------------------------------------------------------------------------------------------

    def ask(self, name: str, fields: dict[str, str], done: Callable[[Rows], None], *, ends: str = "") -> None:
        """Have an action carried out; never waits.

        Args:
            name: The action.
            fields: Its keys and values.
            done: Posted with the answer, and the events of its list behind it; None when there is no connection.
            ends: The event that ends its list.

        Raises:
            ValueError: A value holds a control character.
        """
        with self._lock:
            self._number += 1
            number = f"ask-{self._number}"
            item = _Ask(action(name, **fields, ActionID=number), ends, done)
            if self._wake is not None:
                self._queue.append((number, item))
                with suppress(BlockingIOError):  # full: it will wake anyway
                    self._wake[1].send(b"x")
                return
        self._post(partial(done, None))

    # --- the link's thread --------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Give what becomes readable when something is to be sent; -1 without a connection."""
        return self._wake[0].fileno() if self._wake is not None else -1

    def open(self) -> None:
        """Begin a connection."""
        with self._lock:
            self._wake = socket.socketpair()
            for end in self._wake:
                end.setblocking(False)

    def close(self) -> None:
        """End the connection: nothing that was asked will be answered."""
        with self._lock:
            for end in self._wake or ():
                end.close()
            self._wake = None
            lost = [*self._sent.values(), *(item for _, item in self._queue)]
            self._queue.clear()
            self._sent.clear()
        for item in lost:
            self._post(partial(item.done, None))

    def to_send(self) -> bytes:
        """Take what may be sent now."""
        if self._wake is None:
            return b""
        with suppress(BlockingIOError):
            self._wake[0].recv(4096)
        data = []
        with self._lock:
            while self._queue and len(self._sent) < WINDOW:
                number, item = self._queue.popleft()
                item.deadline = time.monotonic() + ANSWER_S
                self._sent[number] = item
                data.append(item.data)
        return b"".join(data)

    def deadline(self) -> float | None:
        """Tell when an answer is late, monotonic."""
        return min((item.deadline for item in self._sent.values()), default=None)

    def check(self) -> None:
        """Find an answer that is late.

        Raises:
            AriConnectionError: There is one.
        """
        due = self.deadline()
        if due is not None and time.monotonic() >= due:
            raise AriConnectionError("did not answer in time")

    def take(self, message: Fields) -> bool:
        """Take a message if it belongs to an ask.

        Raises:
            AriConnectionError: A list does not end.
        """
        number = one(message, "actionid") or ""
        item = self._sent.get(number)
        if item is None:
            return False
        item.rows.append(message)
        if len(item.rows) > ROWS_AT_MOST:
            raise AriConnectionError(f"lists more than {ROWS_AT_MOST} rows")
        failed = one(message, "response") == "Error"
        if failed or not item.ends or one(message, "event") == item.ends:
            del self._sent[number]
            self._post(partial(item.done, item.rows))
        return True


def error_of(rows: list[Fields]) -> str:
    """Give what Asterisk says against an action; "" if it was carried out."""
    said = rows[0]
    return "" if one(said, "response") == "Success" else one(said, "message") or "refused"
