"""What is done beside the link, over HTTP and without haste: subscriptions to device states, and listings of endpoints.

Each answer lists every device that the application is subscribed to, so on the websocket a few thousand names would exceed
a frame and end it, and the cost of each call grows with their number: hence small, paced calls beside the link.
Subscriptions outlive the socket and are never deleted (asterisk#2170), so only what is missing is asked for.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import quote

import structlog

from ari_presence.ari.address import Address
from ari_presence.ari.rest import Rest
from ari_presence.ari.wire import Request
from ari_presence.core.events import EndpointsSeen
from ari_presence.errors import AriDecodeError, AriError

LIST_EVERY_S = 60.0
NAMES_PER_CALL = 100  # Asterisk reads at most 128 values of one argument
NAMES_AT_MOST = 100_000  # about 2 KiB of Asterisk's memory each; lamps beyond are compared at each connect only

log = structlog.get_logger(__name__)


class Background:
    """Subscribes one application to devices and lists endpoints while its link is up; a thread for each session."""

    def __init__(self, address: Address, post: Callable[[object], None]) -> None:
        """Prepare for one server; `post` takes `EndpointsSeen`."""
        self._address = address
        self._post = post
        self._wake = threading.Condition()
        self._queue: deque[tuple[list[str], Callable[[], None]]] = deque()
        self._watched: set[str] = set()
        self._session = 0

    def begin(self, watched: frozenset[str]) -> None:
        """Start for a new link; `watched` are the devices that survived from an earlier one."""
        with self._wake:
            self._session += 1
            self._queue.clear()
            self._watched = {name.lower() for name in watched}
            session = self._session
        threading.Thread(target=self._run, args=(session,), name=f"sub-{self._address.name}", daemon=True).start()

    def end(self) -> None:
        """Stop; what is not done is forgotten."""
        with self._wake:
            self._session += 1
            self._queue.clear()
            self._watched = set()
            self._wake.notify_all()

    def watch(self, devices: Iterable[str], done: Callable[[], None]) -> None:
        """Queue devices; `done` is called from the thread once all are subscribed, if any was not."""
        with self._wake:
            missing = [name for name in devices if name.lower() not in self._watched]
            room = NAMES_AT_MOST - len(self._watched)
            if len(missing) > room:
                log.warning("too many lamps to watch", pbx=self._address.name, limit=NAMES_AT_MOST)
                missing = missing[: max(room, 0)]
            if missing:
                self._watched.update(name.lower() for name in missing)
                self._queue.append((missing, done))
                self._wake.notify_all()

    def _next(self, session: int, until: float) -> tuple[list[str], list[Callable[[], None]]] | None:
        """Wait for work and take as many whole requests as fit one call; nothing at `until`, None at the session's end."""
        with self._wake:
            while session == self._session and not self._queue and (left_s := until - time.monotonic()) > 0:
                self._wake.wait(left_s)
            if session != self._session:
                return None
            names: list[str] = []
            dones: list[Callable[[], None]] = []
            while self._queue and (not names or len(names) + len(self._queue[0][0]) <= NAMES_PER_CALL):
                more, done = self._queue.popleft()
                names += more
                dones.append(done)
            return names, dones

    def _run(self, session: int) -> None:
        rest = self._address.rest()
        listing = time.monotonic() + LIST_EVERY_S
        try:
            while (work := self._next(session, listing)) is not None:
                if time.monotonic() >= listing:
                    self._post(EndpointsSeen(time.time(), self._address.name, list_endpoints(rest)))
                    listing = time.monotonic() + LIST_EVERY_S
                names, dones = work
                for first in range(0, len(names), NAMES_PER_CALL):
                    self._subscribe(rest, names[first : first + NAMES_PER_CALL], session)
                for done in dones:
                    done()
        except AriError as error:
            with self._wake:
                over = session != self._session
            if not over:
                log.warning("background calls ended", pbx=self._address.name, reason=str(error))
        finally:
            rest.close()

    def _subscribe(self, rest: Rest, names: list[str], session: int) -> None:
        began = time.monotonic()
        path = f"applications/{quote(self._address.app, safe='')}/subscription"
        body = json.dumps({"eventSource": [f"deviceState:{name}" for name in names]})
        rest.need(Request("POST", path, body=body))
        took_s = time.monotonic() - began
        with self._wake:  # leave Asterisk as much time for others as the call took
            self._wake.wait_for(lambda: session != self._session, took_s)


def list_endpoints(rest: Rest) -> tuple[str, ...]:
    """List every endpoint, `PJSIP/100`; over HTTP, since a large answer would end a websocket.

    Raises:
        AriDecodeError: The answer is not a list of endpoints.
        AriError: What `Rest.need` raises.
    """
    listing = rest.need(Request("GET", "endpoints")).json()
    try:
        return tuple(f"{endpoint['technology']}/{endpoint['resource']}" for endpoint in listing)
    except (TypeError, KeyError):
        raise AriDecodeError("the listing of endpoints cannot be read") from None
