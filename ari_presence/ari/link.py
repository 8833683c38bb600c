"""One server's link: connects, reads, hands on, notices the end, connects again.

One thread owns the websocket for reading; requests are sent by whoever submits them. Everything that happens is posted as
an event; nothing here knows users or lamps.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import structlog
import websocket

from ari_presence.ari import decode
from ari_presence.ari.address import Address
from ari_presence.ari.background import Background, calls_listed
from ari_presence.ari.backoff import delays
from ari_presence.ari.connect import Session, connect
from ari_presence.ari.pace import REST_S, Pace
from ari_presence.ari.pipeline import Done, Group, HttpPipeline, Pipeline, WebSocketPipeline
from ari_presence.ari.sockets import close, shut
from ari_presence.ari.wire import Request, parse_response
from ari_presence.core.events import CallerLeft, CallsListed, CodeDialled, EndpointsSeen
from ari_presence.errors import AriAuthError, AriConnectionError, AriDecodeError, AriError, AriReplacedError

PING_EVERY_S = 2.0
SILENCE_S = 4.0  # without any frame, pongs included
ANSWER_S = 5.0
POLL_S = 0.5
FRESH_S = 1.0  # well below the dialplan's own time limit, PRESENCE_TIMEOUT

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link is live, and what was learnt while it was made (see `connect.Session`)."""

    at: float
    pbx: str
    version: str
    startup: str
    over_websocket: bool
    endpoints: EndpointsSeen
    calls: CallsListed
    callers: tuple[CodeDialled, ...]


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A link ended or could not be made; it is tried again unless `fatal` says why not."""

    at: float
    pbx: str
    reason: str
    fatal: AriError | None = None


class _Lag:
    """How old an event is on arrival, from the two clocks' smallest difference so far, that of connecting to begin with.

    Right as long as the clocks keep step; when one is set, events look older than they are until the link is made anew,
    which costs a caller one more round trip and nothing else.
    """

    def __init__(self, offset_s: float) -> None:
        self._offset = offset_s

    def of(self, sent_at: float | None, now: float) -> float:
        if sent_at is None:
            return FRESH_S
        offset = now - sent_at
        self._offset = min(self._offset, offset)
        return offset - self._offset


class Link:
    """The link to one server; `start` it once, `stop` it once."""

    def __init__(
        self,
        address: Address,
        post: Callable[[object], None],
        gathered: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            address: Which server.
            post: Takes events (`LinkUp`, `LinkDown`, those of `decode`), from the link's threads; must not block.
            gathered: Stands around what is posted of one read, and the answers that come with it.
        """
        self.address = address
        self.malformed = 0
        self._post = post
        self._gathered = gathered
        self._stopping = threading.Event()
        self._pipeline: Pipeline | None = None
        self._background: Background | None = None
        self._was_up = False
        self._adopted: set[str] = set()  # callers of the listing, until they leave
        self._thread = threading.Thread(target=self._run, name=f"ari-{address.name}", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects and keeps connecting."""
        self._thread.start()

    def end(self) -> None:
        """Let the link end, without waiting for it."""
        self._stopping.set()

    def stop(self) -> None:
        """End the link and wait for its thread (a few seconds at most)."""
        self.end()
        self._thread.join(timeout=10)

    def submit(self, requests: Sequence[Request], done: Done, *, urgent: bool = False) -> None:
        """Send a group of requests in order; from any thread.

        `done` gets the responses, or None when there is no link or it ends first: then nobody knows what was done.
        """
        pipeline = self._pipeline
        if pipeline is None:
            done(None)
        else:
            pipeline.submit(Group(requests, done), urgent=urgent)

    def watch(self, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe to devices in the background (see `Background.watch`); forgotten when there is no link."""
        background = self._background
        if background is not None:
            background.watch(devices, done)

    def list_calls(self, lines: tuple[str, ...]) -> None:
        """List channels and bridges soon (see `Background.list_calls`); forgotten when there is no link."""
        background = self._background
        if background is not None:
            background.list_calls(lines)

    def list_endpoints(self) -> None:
        """List endpoints soon; forgotten when there is no link."""
        background = self._background
        if background is not None:
            background.list_endpoints()

    def _run(self) -> None:
        waits = delays()
        while not self._stopping.is_set():
            reason: AriError
            try:
                session = self._connect()
                waits = delays()
                self._serve(session)
                return
            except AriAuthError as error:
                if not self._was_up:
                    self._post(LinkDown(time.time(), self.address.name, str(error), error))
                    return
                reason = error
            except AriReplacedError as error:
                self._post(LinkDown(time.time(), self.address.name, str(error), error))
                return
            except AriError as error:
                reason = error
            except Exception as error:  # no answer of a server, however odd, may end the link for good
                log.exception("bug: a link ended", pbx=self.address.name)
                reason = AriConnectionError(f"{self.address.name}: {type(error).__name__}: report this as a bug")
            self._post(LinkDown(time.time(), self.address.name, str(reason)))
            self._stopping.wait(next(waits))

    def _connect(self) -> Session:
        rest = self.address.rest()
        try:
            return connect(self.address, rest)
        finally:
            rest.close()

    def _serve(self, session: Session) -> None:
        """Serve one session until it ends; always raises AriError unless the link is being stopped."""
        socket = session.socket
        if session.over_websocket:
            pipeline: WebSocketPipeline | HttpPipeline = WebSocketPipeline(socket)
        else:
            pipeline = HttpPipeline(self.address.rest(), lambda: shut(socket))
        self._pipeline = pipeline
        self._background = background = Background(self.address, session.watched, self._post)
        session.watched = ()
        background.start()
        self._was_up = True
        try:
            self._announce(session)
            self._read(session, pipeline if isinstance(pipeline, WebSocketPipeline) else None)
        except (websocket.WebSocketException, OSError) as error:
            raise AriConnectionError(f"{self.address.name}: the websocket ended ({type(error).__name__})") from None
        finally:
            self._pipeline = None
            self._background = None
            background.end()
            pipeline.close()
            close(socket)

    def _announce(self, session: Session) -> None:
        now = time.time()
        found = tuple(caller for channel in session.channels if (caller := self._orphan(channel, now)) is not None)
        self._post(
            LinkUp(
                now,
                self.address.name,
                session.version,
                session.startup,
                session.over_websocket,
                EndpointsSeen(now, self.address.name, session.endpoints, session.offline),
                calls_listed(session.channels, session.bridges, {}, pbx=self.address.name, at=session.listed_at),
                found,
            )
        )
        self._adopted = {caller.channel for caller in found}
        for message in session.early:
            self._decode(message, now)
        session.early.clear()
        session.channels = session.bridges = ()

    def _orphan(self, channel: dict[str, Any], now: float) -> CodeDialled | None:
        try:
            return decode.orphan(channel, self.address.app, pbx=self.address.name, at=now)
        except AriDecodeError as error:
            self._skip(error)
            return None

    def _read(self, session: Session, pipeline: WebSocketPipeline | None) -> None:
        socket, lag, pace = session.socket, _Lag(session.offset_s), Pace()
        socket.settimeout(POLL_S)
        heard = pinged = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now - pinged >= PING_EVERY_S:
                socket.ping()
                pinged = now
            # Over TLS each read gives one record, which is one message: a rest would be for each.
            if pace.is_flood(now) and not (session.frames.tls or (pipeline is not None and pipeline.is_hurried)):
                self._stopping.wait(REST_S)
            try:
                messages = session.frames.read()
            except TimeoutError:
                self._check_silence(time.monotonic(), heard, pipeline)
                continue
            heard = time.monotonic()
            pace.came(len(messages))
            with self._gathered():
                for opcode, data in messages:
                    if opcode == websocket.ABNF.OPCODE_CLOSE:
                        raise AriConnectionError(f"{self.address.name}: Asterisk closed the websocket")
                    if opcode != websocket.ABNF.OPCODE_PONG:
                        self._take(data, pipeline, lag)
                    elif pipeline is not None:
                        self._check_silence(heard, heard, pipeline)

    def _check_silence(self, now: float, heard: float, pipeline: WebSocketPipeline | None) -> None:
        if now - heard > SILENCE_S:
            raise AriConnectionError(f"{self.address.name}: nothing heard for {SILENCE_S:.0f} s")
        waiting = pipeline.waiting_since() if pipeline is not None else None
        if waiting is not None and now - waiting > ANSWER_S:
            raise AriConnectionError(f"{self.address.name}: a request was not answered within {ANSWER_S:.0f} s")

    def _take(self, data: bytes, pipeline: WebSocketPipeline | None, lag: _Lag) -> None:
        try:
            message = decode.load(data)
            if message["type"] == "RESTResponse":
                if pipeline is not None:
                    pipeline.answered(*parse_response(message))
                return
        except AriDecodeError as error:
            self._skip(error)
            return
        now = time.time()
        fresh = message["type"] == "StasisStart" and lag.of(decode.sent_at(message), now) < FRESH_S
        self._decode(message, now, fresh=fresh)

    def _decode(self, message: dict[str, Any], now: float, *, fresh: bool = False) -> None:
        try:
            event = decode.decode(message, pbx=self.address.name, at=now, fresh=fresh)
        except AriDecodeError as error:
            self._skip(error)
            return
        if event is not None:
            self._hand_on(event)

    def _hand_on(self, event: decode.Decoded) -> None:
        if isinstance(event, decode.Replaced):
            raise AriReplacedError(
                f"{self.address.name}: another program took the application '{self.address.app}': "
                f"stop it or give this daemon another `app`"
            )
        if isinstance(event, CodeDialled) and event.channel in self._adopted:
            return  # its start was still in the socket when the channels were listed
        if isinstance(event, CallerLeft):
            self._adopted.discard(event.channel)
        self._post(event)

    def _skip(self, error: AriDecodeError) -> None:
        self.malformed += 1
        if self.malformed & (self.malformed - 1) == 0:  # 1, 2, 4, 8 ...: said, but never a flood
            log.warning("event skipped", pbx=self.address.name, reason=str(error), so_far=self.malformed)
