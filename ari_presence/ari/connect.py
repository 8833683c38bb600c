"""Connecting: from nothing to a websocket that is proven live, with what Asterisk knows at that moment.

Order and reasons (each step was measured on real servers): ask over HTTP whether ARI is well; upgrade; keep the application
alive with an empty holding bridge, so that its subscriptions outlive the socket; never `subscribeAll`, never `deviceState:`
without a name, never delete a subscription: an ending socket can deadlock ARI with them (asterisk#2170). Then prove the
socket live by an event of our own, since one that opens during the old one's teardown can be deaf.
"""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import quote

import websocket

from ari_presence.ari import decode
from ari_presence.ari.address import Address
from ari_presence.ari.background import list_calls, list_endpoints
from ari_presence.ari.rest import Rest
from ari_presence.ari.sockets import Frames, close
from ari_presence.ari.wire import Request, Response, parse_response
from ari_presence.errors import AriAuthError, AriConnectionError, AriDecodeError

STEP_TIMEOUT_S = 3.0
LIVE_TIMEOUT_S = 2.0
PROBE_TIMEOUT_S = 2.0
FIRST_WITH_REST_OVER_WS = {20: 14, 21: 9, 22: 4}  # series to its first release that has it; none before, all after
CALL_SOURCES = ("channel:", "bridge:")  # these end with the socket, and without waiting (asterisk#2170)
UNUSED_EVENTS = (
    "BridgeCreated",
    "BridgeVideoSourceChanged",
    "ChannelVarset",
    "ChannelDialplan",
    "ChannelCallerId",
    "ChannelConnectedLine",
    "ChannelDtmfReceived",
    "ChannelHangupRequest",
    "ChannelTalkingStarted",
    "ChannelTalkingFinished",
    "PlaybackStarted",
    "PlaybackContinuing",
)


@dataclass(slots=True)
class Session:
    """A live connection and what was learnt while it was made.

    Attributes:
        socket: The websocket.
        frames: What it receives; one thread reads it.
        version: Of Asterisk, `22.10.1`.
        startup: When Asterisk started, as it says it.
        over_websocket: Whether requests can go over the websocket.
        watched: Devices that the application is subscribed to already.
        endpoints: Every endpoint, `PJSIP/100`.
        offline: Those that cannot be reached.
        channels: Every channel as JSON.
        bridges: Every bridge as JSON.
        listed_at: When these were asked for, seconds since the epoch, UTC.
        early: Event messages that came meanwhile, in order.
        offset_s: How far our clock is ahead of Asterisk's, at most; of events that were surely just sent.
    """

    socket: websocket.WebSocket
    frames: Frames
    version: str = ""
    startup: str = ""
    over_websocket: bool = False
    watched: Sequence[str] = ()
    endpoints: tuple[str, ...] = ()
    offline: frozenset[str] = frozenset()
    channels: tuple[dict[str, Any], ...] = ()
    bridges: tuple[dict[str, Any], ...] = ()
    listed_at: float = 0.0
    early: list[dict[str, Any]] = field(default_factory=list)
    offset_s: float = inf


def connect(address: Address, rest: Rest) -> Session:
    """Make a live connection.

    Raises:
        AriConnectionError: Not reachable, booting, wedged or deaf: try again.
        AriAuthError: Credentials or certificate.
        AriError: Asterisk refused a step.
    """
    info = rest.need(Request("GET", "asterisk/info", (("only", "build,system,status"),)), STEP_TIMEOUT_S).json()
    known = _application(address, rest)
    socket = _upgrade(address)
    session = Session(socket, Frames(socket))
    try:
        session.version = str(info.get("system", {}).get("version", "?"))
        session.startup = str(info.get("status", {}).get("startup_time", ""))
        _prepare(address, rest, known)
        _prove_live(address, rest, session)
        session.over_websocket = _probe(session)
        session.watched = known.get("device_names", ())
        session.endpoints, session.offline = list_endpoints(rest)
        session.listed_at = time.time()
        session.channels, session.bridges = list_calls(rest)
    except BaseException:
        close(session.socket)
        raise
    return session


def _application(address: Address, rest: Rest) -> dict[str, Any]:
    """Ask for the application; no answer although ping answers means that ARI is wedged until Asterisk restarts."""
    path = f"applications/{quote(address.app, safe='')}"
    try:
        response = rest.call(Request("GET", path), STEP_TIMEOUT_S)
    except AriConnectionError as error:
        rest.need(Request("GET", "asterisk/ping"), STEP_TIMEOUT_S)
        raise AriConnectionError(
            f"{rest.where}: ARI answers pings but no longer knows its applications ({error}): Asterisk must be restarted"
        ) from None
    known = response.json() if response.ok else {}
    return known if isinstance(known, dict) else {}


def _upgrade(address: Address) -> websocket.WebSocket:
    scheme, _, rest = address.url.rstrip("/").partition("://")
    options: dict[str, Any] = {}
    if address.ca_file is not None:
        options["ca_certs"] = str(address.ca_file)
    try:
        web = websocket.create_connection(
            f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ari/events?app={quote(address.app, safe='')}",
            header=[_basic(address)],
            timeout=STEP_TIMEOUT_S,
            sslopt=options,
            enable_multithread=True,
            skip_utf8_validation=True,  # in pure Python it costs two thirds of the speed; JSON decoding checks it anyway
            http_proxy_host="none",  # or the library would not look at the exceptions, and use a proxy of the environment
            http_no_proxy=["*"],
            redirect_limit=0,  # the secret is for this server alone
        )
    except websocket.WebSocketBadStatusException as error:
        if error.status_code in (401, 403):
            raise AriAuthError(f"{address.name}: the websocket was refused with {error.status_code}") from None
        raise AriConnectionError(f"{address.name}: the websocket was refused with {error.status_code}") from None
    except ssl.SSLCertVerificationError as error:
        raise AriAuthError(f"{address.name}: the TLS certificate does not verify ({error.verify_message})") from None
    except (websocket.WebSocketException, OSError) as error:
        raise AriConnectionError(f"{address.name}: the websocket did not open ({type(error).__name__})") from None
    return web


def _basic(address: Address) -> str:
    from base64 import b64encode

    return "Authorization: Basic " + b64encode(f"{address.username}:{address.password}".encode()).decode()


def _prepare(address: Address, rest: Rest, known: dict[str, Any]) -> None:
    """Make what keeps the application alive, and turn off the events that nobody reads."""
    app = quote(address.app, safe="")
    bridge = f"{address.app}-keepalive"
    path = f"bridges/{quote(bridge, safe='')}"
    is_new = rest.call(Request("GET", path)).status == 404
    if is_new:  # creating one that exists is 409 on 22 and 500 on 16
        rest.need(Request("POST", path, (("type", "holding"), ("name", bridge))))
    if is_new or bridge not in known.get("bridge_ids", ()):
        rest.need(Request("POST", f"applications/{app}/subscription", (("eventSource", f"bridge:{bridge}"),)))
    unused = ",".join(f'{{"type":"{name}"}}' for name in UNUSED_EVENTS)
    rest.need(Request("PUT", f"applications/{app}/eventFilter", body=f'{{"disallowed":[{unused}]}}'))
    # After the filter, and at each connect anew; behind the keepalive bridge, which would not be recorded after `bridge:`.
    sources = (("eventSource", ",".join(CALL_SOURCES)),)
    rest.need(Request("POST", f"applications/{app}/subscription", sources), body=False)


def _prove_live(address: Address, rest: Rest, session: Session) -> None:
    """Send a user event to ourselves and wait until it comes back, keeping what else arrives."""
    name = f"{address.app}-live"
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    rest.need(Request("POST", f"events/user/{quote(name, safe='')}", (("application", address.app),)))
    _read_until(session, deadline, lambda m: m["type"] == "ChannelUserevent" and m.get("eventname") == name)


def _probe(session: Session) -> bool:
    """Find out whether requests over the websocket are answered; servers that are surely too old are not asked."""
    match = re.search(r"(\d+)\.(\d+)", session.version)
    series, release = (int(match[1]), int(match[2])) if match else (23, 0)
    if series < min(FIRST_WITH_REST_OVER_WS) or release < FIRST_WITH_REST_OVER_WS.get(series, 0):
        return False
    answers: list[Response] = []

    def answered(message: dict[str, Any]) -> bool:
        if message["type"] != "RESTResponse":
            return False
        answers.append(parse_response(message)[1])
        return True

    try:
        session.socket.send(Request("GET", "asterisk/ping").frame("probe"))
        _read_until(session, time.monotonic() + PROBE_TIMEOUT_S, answered)
    except _DeafError:
        return False
    except (websocket.WebSocketException, OSError) as error:
        raise AriConnectionError(f"the websocket ended while connecting ({type(error).__name__})") from None
    return answers[0].ok


class _DeafError(AriConnectionError):
    """The websocket is open, but what was waited for has not come."""


def _read_until(session: Session, deadline: float, wanted: Callable[[dict[str, Any]], bool]) -> None:
    try:
        while (left := deadline - time.monotonic()) > 0:
            session.socket.settimeout(left)
            found = False
            for message in _messages(session):
                if found or not (found := wanted(message)):
                    session.early.append(message)
            if found:
                return
    except TimeoutError:
        pass
    except (websocket.WebSocketException, OSError) as error:
        raise AriConnectionError(f"the websocket ended while connecting ({type(error).__name__})") from None
    raise _DeafError("the websocket is open but deaf: connecting again")


def _messages(session: Session) -> Iterator[dict[str, Any]]:
    for opcode, data in session.frames.read():
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise AriConnectionError("Asterisk closed the websocket while connecting")
        try:
            message = decode.load(data)
        except AriDecodeError:
            continue
        sent_at = decode.sent_at(message)
        if sent_at is not None:
            session.offset_s = min(session.offset_s, time.time() - sent_at)
        yield message
