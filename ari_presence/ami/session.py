"""One connection to AMI: logs in, lists the parked calls, and again whenever one comes or goes; carries out what is asked.

Each listing is whole, so whatever was missed is healed by the next; one is made at least every `LIST_EVERY_S`. Everything has a
time limit and a size limit.
"""

import math
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ari_presence.ami.asks import Asks
from ari_presence.ami.wire import Fields, Messages, action, one
from ari_presence.core.parked import ParkedInfo, ParkingListed
from ari_presence.errors import AriAuthError, AriConnectionError

STEP_S = 3.0
"""For connecting, the greeting and the login."""
LIST_S = 10.0
"""A listing that takes longer never ends."""
LIST_EVERY_S = 30.0
LIST_GAP_S = 0.1
"""Calls that come and go by the hundred are listed together."""
QUIET_S = 5.0
"""After so much silence the peer is pinged; after twice as much it is gone."""
LISTED_AT_MOST = 10_000

_GREETING = b"Asterisk Call Manager/"
_LIVE = {"ParkedCall", "UnParkedCall", "ParkedCallGiveUp", "ParkedCallTimeOut", "ParkedCallSwap"}
_TOLD = {"QueueMemberAdded", "QueueMemberRemoved", "QueueMemberPause", "PresenceStateChange"}
_FILTERS = ("Event: (Un)?ParkedCall", "Event: QueueMember(Added|Removed|Pause)", "Event: PresenceStateChange")
_ENDPOINT = re.compile(r"(?!Local/)[A-Za-z0-9]{2,20}/[^\s,&|/]{1,78}")
_DENIED = "AMI may not list parked calls: give its user read = call and write = call,system in manager.conf"
_NO_PARKING = "AMI cannot list parked calls: is res_parking loaded? (module load res_parking.so)"
_SPACE = re.compile(r"[1-9][0-9]{0,8}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AmiAddress:
    """Where AMI of one server is, and who we are there; `name` is that of the server, `secret` is never shown."""

    name: str
    host: str
    port: int
    username: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        """Write it as the configuration has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(slots=True)
class _Listing:
    """A listing under way; `rows` is None when it cannot be trusted."""

    id: str
    at: float
    deadline: float
    rows: list[ParkedInfo] | None


class Session:
    """Speaks over a connected socket, in the thread that calls it."""

    def __init__(
        self,
        address: AmiAddress,
        sock: socket.socket,
        post: Callable[[object], None],
        asks: Asks | None = None,
        tell: Callable[[Fields], None] = lambda _: None,
    ) -> None:
        """Take a connected socket.

        Args:
            address: Who we are there.
            sock: The socket.
            post: Takes a `ParkingListed` for each listing.
            asks: What others want to be carried out.
            tell: Takes events about members of queues and presence states.
        """
        self._address = address
        self._sock = sock
        self._post = post
        self._asks = asks or Asks(post)
        self._tell = tell
        self._messages = Messages()
        self._listing: _Listing | None = None
        self._asked = 0
        self._next_list = time.monotonic()
        self._is_able = True

    def login(self) -> None:
        """Log in.

        Raises:
            AriAuthError: Name and secret do not fit.
            AriConnectionError: Not AMI, not in time, or gone.
        """
        deadline = time.monotonic() + STEP_S
        data = self._greeting(deadline)
        login = action(
            "Login", Username=self._address.username, Secret=self._address.secret, Events="call,agent", ActionID="login"
        )
        self._send(login)
        while True:
            for message in self._messages.feed(data):
                if one(message, "actionid") == "login":
                    return self._logged_in(message)
            data = self._receive(deadline, "did not answer the login in time")

    def _greeting(self, deadline: float) -> bytes:
        data = b""
        while b"\r\n" not in data:
            data += self._receive(deadline, "sent no greeting in time")
            if not data.startswith(_GREETING[: len(data)]) or len(data) > 1000:
                raise AriConnectionError("what answers there is not AMI: give its address and port in ami")
        return data.partition(b"\r\n")[2]

    def _logged_in(self, message: Fields) -> None:
        if one(message, "response") != "Success":
            raise AriAuthError(
                f"[[pbx]] {self._address.name}: AMI at {self._address} refused the login of {self._address.username!r}: "
                "make ami_username and the secret in ami_password_file those of manager.conf, and permit this host there"
            )
        # Without the right to filter (`system`) everything comes and is skipped here.
        for each in _FILTERS:
            self._send(action("Filter", Operation="Add", Filter=each, ActionID="filter"))

    def follow(self) -> None:
        """List and follow until the connection ends.

        Raises:
            AriConnectionError: It ended.
        """
        quiet_since, pinged = time.monotonic(), False
        while True:
            now = time.monotonic()
            if self._listing is None and now >= self._next_list:
                self._ask()
            self._asks.check()
            if asked := self._asks.to_send():
                self._send(asked)
            if now >= quiet_since + QUIET_S * (2 if pinged else 1):
                if pinged:
                    raise AriConnectionError("fell silent")
                self._send(action("Ping", ActionID="ping"))
                pinged = True
            wake = min(self._wake(), quiet_since + QUIET_S * (2 if pinged else 1), self._asks.deadline() or math.inf)
            data = self._wait_either(wake)
            if data:
                quiet_since, pinged = time.monotonic(), False
                for message in self._messages.feed(data):
                    self._take(message)

    def _wake(self) -> float:
        if self._listing is None:
            return self._next_list
        if time.monotonic() >= self._listing.deadline:
            raise AriConnectionError("did not end a listing in time")
        return self._listing.deadline

    def _ask(self) -> None:
        self._asked += 1
        now = time.monotonic()
        self._listing = _Listing(f"list-{self._asked}", time.time(), now + LIST_S, [])
        self._next_list = now + LIST_EVERY_S
        self._send(action("ParkedCalls", ActionID=self._listing.id))

    def _take(self, message: Fields) -> None:
        event, listing = one(message, "event"), self._listing
        if listing is not None and one(message, "actionid") == listing.id:
            self._take_listed(message, event, listing)
        elif self._asks.take(message):
            return
        elif event in _TOLD:
            self._tell(message)
        elif event in _LIVE:
            self._next_list = min(self._next_list, time.monotonic() + (LIST_GAP_S if listing is not None else 0.0))

    def _take_listed(self, message: Fields, event: str | None, listing: _Listing) -> None:
        if event == "ParkedCall":
            row = parked_info(message, listing.at)
            if row is None:
                listing.rows = None
            elif listing.rows is not None:
                listing.rows.append(row)
                if len(listing.rows) > LISTED_AT_MOST:
                    raise AriConnectionError(f"lists more than {LISTED_AT_MOST} parked calls")
        elif event == "ParkedCallsComplete":
            self._done(listing, "a call in AMI's list of parked calls cannot be read: spaces are worked out from ARI")
        elif one(message, "response") == "Error":
            listing.rows = None
            self._done(listing, _DENIED if one(message, "message") == "Permission denied" else _NO_PARKING)

    def _done(self, listing: _Listing, reason: str) -> None:
        self._listing = None
        if listing.rows is None and self._is_able:
            log.warning(reason, pbx=self._address.name)
        self._is_able = listing.rows is not None
        self._post(ParkingListed(listing.at, self._address.name, None if listing.rows is None else tuple(listing.rows)))

    # --- the socket ---------------------------------------------------------------------------------------------

    def _wait_either(self, until: float) -> bytes:
        """Receive until then, or until something is to be sent; empty when nothing came."""
        poll = select.poll()
        for descriptor in {self._sock.fileno(), self._asks.fileno()} - {-1}:
            poll.register(descriptor, select.POLLIN)
        ready = {found for found, _ in poll.poll(max(until - time.monotonic(), 0.0) * 1000 + 1)}
        return self._wait(time.monotonic() + 1.0) if self._sock.fileno() in ready else b""

    def _wait(self, until: float) -> bytes:
        """Receive until then; empty when the time is over."""
        try:
            self._sock.settimeout(max(until - time.monotonic(), 0.001))
            data = self._sock.recv(65536)
        except TimeoutError:
            return b""
        except OSError as error:
            raise AriConnectionError(f"the connection ended ({error.strerror or error})") from None
        if not data:
            raise AriConnectionError("the connection ended")
        return data

    def _receive(self, deadline: float, reason: str) -> bytes:
        data = self._wait(deadline)
        if not data:
            raise AriConnectionError(reason)
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._sock.settimeout(STEP_S)
            self._sock.sendall(data)
        except OSError as error:
            raise AriConnectionError(f"the connection ended ({error.strerror or error})") from None


def parked_info(message: Fields, at: float) -> ParkedInfo | None:
    """Read an event `ParkedCall`, asked for at `at`; None if what matters is missing, twice there or no number."""
    channel, lot = one(message, "parkeeuniqueid"), one(message, "parkinglot")
    space, duration = one(message, "parkingspace") or "", one(message, "parkingduration") or ""
    if not channel or not lot or not _SPACE.fullmatch(space) or not re.fullmatch("[0-9]{1,9}", duration):
        return None
    number, name = (_caller(one(message, f"parkeecallerid{part}")) for part in ("num", "name"))
    parker = one(message, "parkerdialstring") or ""
    return ParkedInfo(
        channel, lot, space, (number, name), parker if _ENDPOINT.fullmatch(parker) else None, at - int(duration)
    )


def _caller(text: str | None) -> str:
    return "" if text is None or text == "<unknown>" else text
