"""The link to AMI of one server: a thread that connects, and connects again whatever happened."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog

from ari_presence.ami.asks import Asks, Rows
from ari_presence.ami.session import STEP_S, AmiAddress, Session
from ari_presence.ami.wire import Fields
from ari_presence.ari.backoff import delays
from ari_presence.core.parked import ParkingListed
from ari_presence.errors import AriAuthError, AriConnectionError, AriError

MOST_S = 10.0
REFUSED_S = 60.0
"""A login that was refused is not tried more often: Asterisk's log may feed a program that locks hosts out."""
JOIN_S = 5.0

log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Who wants to know of AMI; called by way of `post`."""

    def ami_up(self, pbx: str) -> None:
        """Take that a connection has begun: what happened before is to be asked."""

    def ami_event(self, pbx: str, fields: Fields) -> None:
        """Take an event about a member of a queue or a presence state."""


class AmiLink:
    """Keeps one server's list of parked calls coming, as `ParkingListed`; with None when AMI cannot be asked."""

    def __init__(
        self,
        address: AmiAddress,
        post: Callable[[object], None],
        fatal: Callable[[AriError], None],
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            address: Where, and who we are there.
            post: Takes each `ParkingListed`, and what is to be called in turn, in the link's thread.
            fatal: Takes an `AriAuthError` when the very first login is refused; the link ends then.
            listeners: Told of queues and presence states.
        """
        self._address = address
        self._post = post
        self._fatal = fatal
        self._listeners = listeners
        self._asks = Asks(post)
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards the socket against its closing
        self._sock: socket.socket | None = None
        self._is_in = False
        self._was_in = False  # ever
        self._said = ""
        self._thread = threading.Thread(target=self._run, name=f"ami-{address.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self, name: str, fields: dict[str, str], done: Callable[[Rows], None], *, ends: str = "") -> None:
        """Have an action carried out (`Asks.ask`)."""
        self._asks.ask(name, fields, done, ends=ends)

    def _tell(self, fields: Fields) -> None:
        for each in self._listeners:
            self._post(partial(each.ami_event, self._address.name, fields))

    def end(self) -> None:
        """Ask the thread to end; any thread, and twice, is fine."""
        self._ended.set()
        with self._lock, suppress(OSError):
            if self._sock is not None:
                self._sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End and wait for the thread."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        waits = delays(most_s=MOST_S)
        while not self._ended.is_set():
            wait_s = next(waits)
            try:
                self._connect_and_follow()
            except AriAuthError as error:
                if not self._was_in:
                    self._fatal(error)
                    return
                self._say(log.error, str(error))
                wait_s = REFUSED_S
            except AriConnectionError as error:
                self._say(log.warning, str(error))
            except Exception:
                log.exception("bug: the link to AMI failed, tried again", pbx=self._address.name)
            if self._is_in:
                self._is_in, waits = False, delays(most_s=MOST_S)
                self._post(ParkingListed(time.time(), self._address.name, None))
            self._ended.wait(wait_s)

    def _connect_and_follow(self) -> None:
        """Run one connection to its end, which is always an exception."""
        try:
            sock = socket.create_connection((self._address.host, self._address.port), STEP_S)
        except OSError as error:
            raise AriConnectionError(f"cannot be reached ({error.strerror or error})") from None
        with sock:
            with self._lock:
                self._sock = sock
            try:
                if self._ended.is_set():  # too early for `end` to see the socket
                    return
                session = Session(self._address, sock, self._post, self._asks, self._tell)
                session.login()
                self._is_in, self._was_in, self._said = True, True, ""
                log.info("connected to AMI", pbx=self._address.name, address=str(self._address))
                self._asks.open()
                for each in self._listeners:
                    self._post(partial(each.ami_up, self._address.name))
                session.follow()
            finally:
                self._asks.close()
                with self._lock:
                    self._sock = None

    def _say(self, say: Callable[..., object], reason: str) -> None:
        """Log once why AMI is not there."""
        if not self._ended.is_set() and reason != self._said:
            self._said = reason
            say("no AMI, tried again", pbx=self._address.name, address=str(self._address), reason=reason)
