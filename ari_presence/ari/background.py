"""What is done beside the link, over HTTP and without haste: subscriptions to device states, listings of endpoints and calls.

Each answer lists every device that the application is subscribed to, so on the websocket a few thousand names would exceed
a frame and end it, and the cost of each call grows with their number: hence small, paced calls beside the link.
Subscriptions outlive the socket and are never deleted (asterisk#2170), so only what is missing is asked for.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import structlog

from ari_presence.ari import decode
from ari_presence.ari.address import Address
from ari_presence.ari.backoff import delays
from ari_presence.ari.rest import Rest
from ari_presence.ari.wire import Request
from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.events import CallsListed, EndpointsSeen
from ari_presence.errors import AriDecodeError, AriError

LIST_EVERY_S = 60.0
RETRY_S = (5.0, 300.0)  # growing: each call to a wedged ARI costs Asterisk a thread and a socket (asterisk#2170)
NAMES_PER_CALL = 100  # Asterisk reads at most 128 values of one argument
NAMES_AT_MOST = 100_000  # about 2 KiB of Asterisk's memory each; lamps beyond are compared at each connect only

log = structlog.get_logger(__name__)
T = TypeVar("T")

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
            post: Takes `EndpointsSeen`, every minute, and `CallsListed`, when asked for.
        """
        self._address = address
        self._survived = {name.lower() for name in survived}
        self._post = post
        self._wake = threading.Condition()  # guards the queue and the end
        self._queue: deque[tuple[Names, Callable[[], None]]] = deque()
        self._calls: tuple[str, ...] | None = None  # lines to be read with the listing of calls that was asked for
        self._relist = False  # endpoints, before the minute is over
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

    def list_calls(self, lines: tuple[str, ...]) -> None:
        """List channels and bridges soon, and read what Asterisk says of some lines: `CallsListed`."""
        with self._wake:
            self._calls = (*(self._calls or ()), *lines)
            self._wake.notify_all()

    def list_endpoints(self) -> None:
        """List endpoints soon: `EndpointsSeen`."""
        with self._wake:
            self._relist = True
            self._wake.notify_all()

    def _run(self) -> None:
        rest = self._address.rest()
        listing = time.monotonic() + LIST_EVERY_S
        waits = delays(*RETRY_S)
        while not self._over:
            try:
                if self._relist or time.monotonic() >= listing:
                    listing = time.monotonic() + LIST_EVERY_S
                    self._relist = False
                    self._post(EndpointsSeen(time.time(), self._address.name, *list_endpoints(rest)))
                if self._calls is not None:
                    self._list_calls(rest)
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

    def _list_calls(self, rest: Rest) -> None:
        with self._wake:
            lines, self._calls = self._calls or (), None
        at = time.time()
        found = list_calls(rest)
        reported = {line: _device(rest, line) for line in lines}
        self._post(calls_listed(*found, reported, pbx=self._address.name, at=at))

    def _pause(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._over, seconds)

    def _collect(self, until: float) -> None:
        """Gather one call's worth of names that are not subscribed to yet; wait for work until then at most."""
        while len(self._names) < NAMES_PER_CALL:
            with self._wake:
                if not self._names:
                    self._wake.wait_for(self._has_work, max(until - time.monotonic(), 0.0))
                if self._over or self._calls is not None or self._relist or not self._queue:
                    return
                devices, done = self._queue.popleft()
            missing = [name for name in devices() if name.lower() not in self._survived]
            if missing and self._room < len(missing):
                log.warning("too many lamps to watch", pbx=self._address.name, limit=NAMES_AT_MOST)
            elif missing:
                self._room -= len(missing)
                self._names += missing
                self._dones.append(done)

    def _has_work(self) -> bool:
        return bool(self._over or self._queue or self._relist) or self._calls is not None

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


def list_endpoints(rest: Rest) -> tuple[tuple[str, ...], frozenset[str]]:
    """List every endpoint, `PJSIP/100`, and which of them cannot be reached.

    Over HTTP, since a large answer would end a websocket.

    Raises:
        AriDecodeError: The answer is not a list of endpoints.
        AriError: What `Rest.need` raises.
    """
    body = rest.need(Request("GET", "endpoints")).body
    try:
        rows: list[tuple[str, bool]] = json.loads(body, object_hook=_endpoint)  # each row is dropped as it is read
        return tuple(name for name, _ in rows), frozenset(name for name, offline in rows if offline)
    except (ValueError, TypeError, KeyError):
        raise AriDecodeError("the listing of endpoints cannot be read") from None


def _endpoint(row: dict[str, Any]) -> tuple[str, bool]:
    # Interned: the next listing shares its names with this one.
    return sys.intern(f"{row['technology']}/{row['resource']}"), row.get("state") == "offline"


def list_calls(rest: Rest) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """List every channel and every bridge as JSON.

    Raises:
        AriDecodeError: An answer is no list.
        AriError: What `Rest.need` raises.
    """
    channels, bridges = (rest.need(Request("GET", what)).json() for what in ("channels", "bridges"))
    if not isinstance(channels, list) or not isinstance(bridges, list):
        raise AriDecodeError("the listing of channels cannot be read")
    return tuple(channels), tuple(bridges)


def calls_listed(
    channels: Iterable[dict[str, Any]],
    bridges: Iterable[dict[str, Any]],
    reported: Mapping[str, DeviceState],
    *,
    pbx: str,
    at: float,
) -> CallsListed:
    """Make the event of a listing that was asked for at `at`; rows that cannot be read are left out.

    A channel that is in a bridge already when it is listed may be listed before the bridge: both are needed whole.
    """
    return CallsListed(
        at,
        pbx,
        tuple(_readable(channels, partial(decode.channel_info, created=True))),
        tuple(_readable(bridges, partial(decode.bridge_info, members=True))),
        reported,
    )


def _readable(rows: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    for row in rows:
        with suppress(KeyError, TypeError, AttributeError):
            yield read(row)


def _device(rest: Rest, name: str) -> DeviceState:
    """Read one device state; over HTTP a name's slash must be encoded."""
    answer = rest.need(Request("GET", f"deviceStates/{quote(name, safe='')}")).json()
    state = answer.get("state") if isinstance(answer, dict) else None
    if not isinstance(state, str):
        raise AriDecodeError("a device state cannot be read")
    return parse_state(state)
