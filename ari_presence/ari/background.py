"""What is done beside the link, over HTTP and without haste: subscriptions to device states, and listings of endpoints.

Each answer lists every device that the application is subscribed to, so on the websocket a few thousand names would exceed
a frame and end it, and the cost of each call grows with their number: hence small, paced calls beside the link.
Subscriptions outlive the socket and are never deleted (asterisk#2170), so only what is missing is asked for.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

import structlog

from ari_presence.ari.address import Address
from ari_presence.ari.backoff import delays
from ari_presence.ari.rest import Rest
from ari_presence.ari.wire import Request
from ari_presence.core.events import EndpointsSeen
from ari_presence.errors import AriDecodeError, AriError

LIST_EVERY_S = 60.0
RETRY_S = (5.0, 300.0)  # growing: each call to a wedged ARI costs Asterisk a thread and a socket (asterisk#2170)
NAMES_PER_CALL = 100  # Asterisk reads at most 128 values of one argument
NAMES_AT_MOST = 100_000  # about 2 KiB of Asterisk's memory each; lamps beyond are compared at each connect only

log = structlog.get_logger(__name__)


Names = Callable[[], Sequence[str]]


class Background:
    """Subscribes to devices and lists endpoints during one session of a link, in a thread of its own.

    What fails is tried again until the session ends. Work is queued as functions, so that the names of ten thousand users'
    lamps need not all exist at once.
    """

    def __init__(self, address: Address, survived: Iterable[str], post: Callable[[object], None]) -> None:
        """Prepare.

        Args:
            address: Which server.
            survived: Devices to which the application is still subscribed from an earlier session.
            post: Takes `EndpointsSeen`, every minute.
        """
        self._address = address
        self._survived = {name.lower() for name in survived}
        self._post = post
        self._wake = threading.Condition()  # guards the queue and the end
        self._queue: deque[tuple[Names, Callable[[], None]]] = deque()
        self._over = False
        self._room = NAMES_AT_MOST - len(self._survived)
        self._names: list[str] = []
        self._dones: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=f"background-{address.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End the session; what is not done is forgotten. Does not wait for a call that is under way."""
        with self._wake:
            self._over = True
            self._queue.clear()
            self._wake.notify_all()

    def watch(self, devices: Names, done: Callable[[], None]) -> None:
        """Queue devices, each of them at most once in a session.

        Args:
            devices: Gives the names, in the thread.
            done: Called in the thread when they are all subscribed to, if one of them was not before.
        """
        with self._wake:
            self._queue.append((devices, done))
            self._wake.notify_all()

    def _run(self) -> None:
        rest = self._address.rest()
        listing = time.monotonic() + LIST_EVERY_S
        waits = delays(*RETRY_S)
        while not self._over:
            try:
                if time.monotonic() >= listing:
                    listing = time.monotonic() + LIST_EVERY_S
                    self._post(EndpointsSeen(time.time(), self._address.name, list_endpoints(rest)))
                self._collect(listing)
                self._subscribe(rest)
                waits = delays(*RETRY_S)
            except AriError as error:
                if not self._over:
                    log.warning("background call failed, tried again", pbx=self._address.name, reason=str(error))
                    self._pause(next(waits))
            except Exception:
                log.exception("bug: a background call failed, tried again", pbx=self._address.name)
                self._pause(next(waits))
        rest.close()

    def _pause(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._over, seconds)

    def _collect(self, until: float) -> None:
        """Gather one call's worth of names that are not subscribed to yet; wait for work until then at most."""
        while len(self._names) < NAMES_PER_CALL:
            with self._wake:
                if not self._names:
                    self._wake.wait_for(lambda: self._over or self._queue, max(until - time.monotonic(), 0.0))
                if self._over or not self._queue:
                    return
                devices, done = self._queue.popleft()
            missing = [name for name in devices() if name.lower() not in self._survived]
            if missing and self._room < len(missing):
                log.warning("too many lamps to watch", pbx=self._address.name, limit=NAMES_AT_MOST)
            elif missing:
                self._room -= len(missing)
                self._names += missing
                self._dones.append(done)

    def _subscribe(self, rest: Rest) -> None:
        began = time.monotonic()
        path = f"applications/{quote(self._address.app, safe='')}/subscription"
        while self._names and not self._over:
            names = self._names[:NAMES_PER_CALL]
            body = json.dumps({"eventSource": [f"deviceState:{name}" for name in names]})
            rest.need(Request("POST", path, body=body), body=False)  # it lists all devices: megabytes at the end
            del self._names[: len(names)]
        if not self._over:
            dones, self._dones = self._dones, []
            for done in dones:
                done()
            self._pause(time.monotonic() - began)  # leave Asterisk as much time for others as this took


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
