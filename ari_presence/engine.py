"""The single-writer loop: takes events, lets the reducer change the model, carries out what follows.

One thread owns the model, the publishers and the tickets. Everybody else posts events or asks with `call`. Order within one
event: send the lamps, claim the caller's channel, then everything that may take longer. Lamps go first because the answer
to a channel holds up what is sent behind it, 1.3 ms on 22 and 200 ms on 16 (`stasis_app_exec`), and do not depend on it: a
caller whose claim decides is claimed by an event of its own.
"""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import structlog

from ari_presence.ari.decode import DeviceSeen
from ari_presence.ari.link import LinkDown, LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.core import commands as cmd
from ari_presence.core import events as ev
from ari_presence.core.lamps import NOT_SET, LampLayout, Presence, Vector, Wish
from ari_presence.core.model import Model, Settings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import playback_of, reduce
from ari_presence.core.view import user_json
from ari_presence.errors import AriError, Refused, StoreError
from ari_presence.feed import Feed
from ari_presence.publish.publisher import Answer, Publisher
from ari_presence.store.base import Change, LampsConfirmed, ManualChanged, ServerSeen

CONFIRM_S = 3.0
LOGGED_ONE_BY_ONE = 20
LONGEST_WAIT_S = 30.0  # so that a wall clock that was set is noticed

log = structlog.get_logger(__name__)
T = TypeVar("T")


class LinkPort(Protocol):
    """What the engine needs from a link."""

    def submit(self, requests: list[Request], done: Answer, *, urgent: bool = False) -> None:
        """Send a group of requests."""

    def watch(self, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe in the background."""


class Clock(Protocol):
    """Two clocks: seconds since the epoch, and seconds that never jump."""

    def time(self) -> float:
        """Give seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Give seconds from an arbitrary start."""


@dataclass(slots=True)
class Server:
    """One Asterisk as the engine sees it.

    Attributes:
        since: When it came or went, seconds since the epoch, UTC; 0 before the first attempt.
        said: Why it is not connected, as logged last.
        served: Channels whose code was carried out and that have not left: never carried out again after a new connect.
    """

    name: str
    app: str
    url: str
    link: LinkPort
    publisher: Publisher
    startup: str = ""
    version: str = ""
    transport: str = ""
    up: bool = False
    since: float = 0.0
    said: str = ""
    missing_sounds: frozenset[str] = frozenset()
    served: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Outcome:
    """What became of a request: stored and confirmed, stored only, or an error."""

    confirmed: bool
    waiting: tuple[str, ...] = ()


@dataclass(slots=True)
class _Ticket:
    """Somebody waits until a user's change is stored and confirmed; not settled before it is `tracked`."""

    user: UserId | None
    pbx: str | None
    saves: int
    future: "Future[Outcome] | None"
    error: StoreError | None = None
    tracked: bool = False


@dataclass(frozen=True, slots=True)
class _Answered:
    done: Answer
    responses: list[Response] | None


@dataclass(frozen=True, slots=True)
class _Stored:
    requests: list[int]
    error: StoreError | None


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[["Engine"], Any]
    future: "Future[Any]"


@dataclass(frozen=True, slots=True)
class _Watched:
    pbx: str
    user: UserId


class _Stop:
    pass


@dataclass(order=True, slots=True)
class _Alarm:
    due: float
    request: int = field(compare=False)


class Engine:
    """Owns the model; `run` in one thread, `post` and `call` from any."""

    def __init__(
        self,
        settings: Settings,
        save: Callable[[Change, int | None], None],
        fatal: Callable[[AriError], None],
        clock: Clock = time,
    ) -> None:
        """Prepare without servers.

        Args:
            settings: The configuration as the model sees it.
            save: Hands a change to the store's thread; the outcome is posted with `stored`.
            fatal: Told of an error that ends the daemon.
            clock: The clocks.
        """
        self.model = Model(settings)
        self.servers: dict[str, Server] = {}
        self.feed = Feed(int(clock.time() * 1000))
        self._save = save
        self._fatal = fatal
        self._clock = clock
        self._inbox: SimpleQueue[object] = SimpleQueue()
        self._tickets: dict[int, _Ticket] = {}
        self._alarms: list[_Alarm] = []
        self._requests = 0

    # --- from any thread ----------------------------------------------------------------------------------------

    def post(self, event: object) -> None:
        """Hand over an event; never blocks."""
        self._inbox.put(event)

    def stored(self, requests: list[int], error: StoreError | None) -> None:
        """Take the store's word that changes are durable, or were not taken."""
        self._inbox.put(_Stored(requests, error))

    def call(self, function: Callable[["Engine"], T], timeout_s: float = 10.0) -> T:
        """Run a function in the engine's thread and give its result; what it raises is raised here."""
        future: Future[T] = Future()
        self._inbox.put(_Call(function, future))
        return future.result(timeout_s)

    def ask(self, make: Callable[[int, float], ev.Event]) -> Outcome:
        """Post a request, made from its number and the time, and wait until it is settled.

        Raises:
            Refused: It was refused.
            StoreError: It could not be stored.
        """
        future: Future[Outcome] = Future()

        def start(engine: "Engine") -> None:
            engine._requests += 1
            event = make(engine._requests, engine._clock.time())
            engine._tickets[engine._requests] = _Ticket(None, None, 0, future)
            engine._apply(event)

        self.call(start)
        return future.result(CONFIRM_S + 10)

    def stop(self) -> None:
        """End `run` after what is queued."""
        self._inbox.put(_Stop())

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`."""
        while True:
            try:
                item = self._inbox.get(timeout=self._wait_s())
            except Empty:
                item = None
            if isinstance(item, _Stop):
                self.feed.close()
                return
            try:
                if item is not None:
                    self._take(item)
                self._on_time()
            except Exception:
                log.exception("bug: an event was not carried out", kind=type(item).__name__)

    def _wait_s(self) -> float:
        now, wall = self._clock.monotonic(), self._clock.time()
        waits = [LONGEST_WAIT_S]
        if self._alarms:
            waits.append(self._alarms[0].due - now)
        waits += [due - now for s in self.servers.values() if (due := s.publisher.next_deadline()) is not None]
        if (end := self.model.next_deadline()) is not None:
            waits.append(end - wall)
        return max(min(waits), 0.0)

    def _on_time(self) -> None:
        """Do what is due by the clock."""
        wall, now = self._clock.time(), self._clock.monotonic()
        end = self.model.next_deadline()
        if end is not None and end <= wall:
            self._apply(ev.TimerDue(wall))
        while self._alarms and self._alarms[0].due <= now:
            ticket = self._tickets.get(request := heapq.heappop(self._alarms).request)
            if ticket is not None:
                self._settle(request, ticket)
        for server in self.servers.values():
            server.publisher.pump()

    def _take(self, item: object) -> None:
        match item:
            case _Answered(done, responses):
                done(responses)
            case DeviceSeen(_, pbx, device, value):
                self.servers[pbx].publisher.lamp_seen(device, value)
            case _Stored(requests, error):
                self._on_stored(requests, error)
            case _Call(function, future):
                try:
                    future.set_result(function(self))
                except BaseException as error:
                    future.set_exception(error)
            case LinkUp():
                self._link_up(item)
            case LinkDown():
                self._link_down(item)
            case _Watched(pbx, user):
                self.servers[pbx].publisher.reread(user)
            case _:
                self._apply(item)  # type: ignore[arg-type]

    def _apply(self, event: ev.Event) -> None:
        """Let the reducer decide, then send lamps, claim, and do the rest."""
        outcome = reduce(self.model, event)
        urgent = any(isinstance(command, cmd.Track) for command in outcome.commands) and len(outcome.touched) == 1
        if outcome.touched:
            for server in self.servers.values():
                server.publisher.touch(outcome.touched, urgent=urgent)
                server.publisher.pump()
        if isinstance(event, ev.CodeDialled) and any(isinstance(command, cmd.Track) for command in outcome.commands):
            self.servers[event.pbx].served.add(event.channel)
        elif isinstance(event, ev.CallerLeft):
            self.servers[event.pbx].served.discard(event.channel)
        for command in outcome.commands:
            _COMMANDS[type(command)](self, command)
        for user in outcome.touched:
            person = self.model.users.get(user)
            if person is not None and self.feed.wanted(len(outcome.touched)):
                self.feed.publish(user_json(self.model, person))

    def reconfigure(self, event: ev.ConfigChanged) -> None:
        """Put new settings in force; lamps of another layout are read again, with those of the old one as known."""
        layout = event.settings.layout
        if layout is not self.model.settings.layout:
            for server in self.servers.values():
                server.publisher.relayout(layout)
        self._apply(event)
        for server in self.servers.values():
            if server.up:
                self._check_sounds(server)

    # --- the commands of the reducer ----------------------------------------------------------------------------

    def _do_claim(self, command: cmd.Claim) -> None:
        path = f"channels/{quote(command.channel, safe='')}"
        requests = [
            Request("POST", f"{path}/answer"),
            Request("POST", f"{path}/variable", (("variable", "TIMEOUT(absolute)"), ("value", "0"))),
        ]

        def answered(responses: list[Response] | None) -> None:
            if responses is None or not responses[0].ok:
                log.info("caller gone before the claim", pbx=command.pbx, channel=command.channel)
            elif command.then is not None:
                self._apply(command.then)  # type: ignore[arg-type]

        self._send(command.pbx, requests, answered)

    def _send(self, pbx: str, requests: list[Request], done: Answer) -> None:
        self.submit(pbx, requests, done, urgent=True)

    def _do_play(self, command: cmd.Play) -> None:
        server = self.servers[command.pbx]
        media = [self._audible(server, name) for name in command.media]
        path = f"channels/{quote(command.channel, safe='')}/play/{quote(command.playback, safe='')}"

        def answered(responses: list[Response] | None) -> None:
            if responses is None or not responses[0].ok:
                self._apply(ev.PlaybackEnded(self._clock.time(), command.pbx, command.playback))

        self._send(command.pbx, [Request("POST", path, (("media", ",".join(media)),))], answered)

    @staticmethod
    def _audible(server: Server, media: str) -> str:
        """Replace a recording that the server does not have: a beep, never silence."""
        if media.removeprefix("sound:") not in server.missing_sounds:
            return media
        return "tone:stutter" if "beep" in server.missing_sounds else "sound:beep"

    def _do_leave(self, command: cmd.Leave) -> None:
        path = f"channels/{quote(command.channel, safe='')}/continue"
        self._send(command.pbx, [Request("POST", path)], lambda _: None)

    def _do_save(self, command: cmd.Save) -> None:
        if command.request is not None and (ticket := self._ticket(command.request)) is not None:
            ticket.saves += 1
        self._save(ManualChanged(command.user, command.entry, command.record), command.request)

    def _log_saves(self, saves: list[cmd.Save]) -> None:
        if len(saves) > LOGGED_ONE_BY_ONE:
            log.info("states", users=len(saves), source=saves[0].record.source)
            return
        for save in saves:
            log.info("state", user=save.user, state=save.record.state, source=save.record.source)

    def _do_note(self, command: cmd.Note) -> None:
        log.info(command.event, **dict(command.fields))

    def _do_refuse(self, command: cmd.Refuse) -> None:
        ticket = self._tickets.pop(command.request, None)
        if ticket is not None and ticket.future is not None:
            ticket.future.set_exception(Refused(command.reason, code=command.code))

    def _do_track(self, command: cmd.Track) -> None:
        ticket = self._ticket(command.request)
        ticket.user, ticket.pbx, ticket.tracked = command.user, command.pbx, True
        heapq.heappush(self._alarms, _Alarm(self._clock.monotonic() + CONFIRM_S, command.request))
        self._check(command.request, ticket)

    # --- tickets ------------------------------------------------------------------------------------------------

    def _ticket(self, request: int) -> _Ticket:
        return self._tickets.setdefault(request, _Ticket(None, None, 0, None))

    def _on_stored(self, requests: list[int], error: StoreError | None) -> None:
        if error is not None:
            log.error("not stored", reason=str(error))
        for request in requests:
            ticket = self._tickets.get(request)
            if ticket is not None:
                ticket.saves -= 1
                ticket.error = ticket.error or error
                self._check(request, ticket)

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits for this user (`publisher.Host`)."""
        if self._tickets:
            for request, ticket in list(self._tickets.items()):
                if ticket.user == user or ticket.user is None:
                    self._check(request, ticket)

    def _unconfirmed(self, ticket: _Ticket) -> tuple[str, ...]:
        """Name the servers that have not confirmed what a ticket waits for."""
        names = [ticket.pbx] if ticket.pbx is not None else list(self.servers)
        return tuple(name for name in names if not self._confirmed_by(self.servers[name].publisher, ticket))

    def _confirmed_by(self, publisher: Publisher, ticket: _Ticket) -> bool:
        return publisher.idle if ticket.user is None else publisher.in_sync(ticket.user)

    def _check(self, request: int, ticket: _Ticket) -> None:
        if ticket.tracked and not ticket.saves and (ticket.error is not None or not self._unconfirmed(ticket)):
            self._settle(request, ticket)

    def _settle(self, request: int, ticket: _Ticket) -> None:
        """Tell whoever waits what became of the change, good or bad."""
        del self._tickets[request]
        error = ticket.error
        if error is None and ticket.saves:
            error = StoreError("the store did not answer in time: look at the disk of state_dir")
        missing = self._unconfirmed(ticket)
        if ticket.future is None:
            self._apply(ev.Settled(self._clock.time(), request, error is None and not missing))
        elif error is not None:
            ticket.future.set_exception(error)
        else:
            ticket.future.set_result(Outcome(not missing, missing))

    # --- links --------------------------------------------------------------------------------------------------

    def _link_up(self, event: LinkUp) -> None:
        server = self.servers[event.pbx]
        restarted = server.startup not in ("", event.startup)
        server.up, server.since, server.version, server.said = True, event.at, event.version, ""
        server.transport = "websocket" if event.over_websocket else "http"
        if server.startup != event.startup:
            server.startup = event.startup
            self._save(ServerSeen(event.pbx, event.startup), None)
        log.info("connected", pbx=event.pbx, asterisk=event.version, transport=server.transport, restarted=restarted)
        self._apply(ev.EndpointsSeen(event.at, event.pbx, event.endpoints))
        server.publisher.link_up(self.model.users, restarted=restarted, over_websocket=event.over_websocket)
        self._check_sounds(server)
        known, server.served = server.served, set()
        for caller in event.callers:
            if caller.channel in known or caller.claim is ev.ClaimState.EARLIER:
                server.served.add(caller.channel)
                self._let_go(replace(caller, claim=ev.ClaimState.EARLIER))
            else:
                self._apply(caller)
        server.publisher.pump()

    def _let_go(self, caller: ev.CodeDialled) -> None:
        """End a call whose code was carried out before: behind its prompt if that still plays, else with an error.

        It is not answered again: that waits for the end of the prompt, and the whole link waits with it.
        """

        def answered(responses: list[Response] | None) -> None:
            if responses is not None and responses[0].ok:
                self._do_leave(cmd.Leave(caller.pbx, caller.channel))
            elif responses is not None:
                self._apply(caller)

        playback = quote(playback_of(caller.channel), safe="")
        self._send(caller.pbx, [Request("GET", f"playbacks/{playback}")], answered)

    def _link_down(self, event: LinkDown) -> None:
        server = self.servers[event.pbx]
        if server.up:
            self._apply(ev.LinkLost(event.at, event.pbx))
        if server.up or not server.since:
            server.since = event.at
        server.up = False
        server.publisher.link_down()
        if event.fatal is not None:
            self._fatal(event.fatal)
        elif server.said != event.reason:
            server.said = event.reason
            log.warning("not connected, trying again", pbx=event.pbx, reason=event.reason)

    def _check_sounds(self, server: Server) -> None:
        """Find out which prompts this server has no recording of."""
        settings = self.model.settings
        prompts = settings.prompts
        names = {name for state in settings.states.all for name in state.prompt}
        names |= {"beep", *prompts.activated, *prompts.deactivated, *prompts.error}
        ordered = sorted(name for name in names if ":" not in name)

        def answered(responses: list[Response] | None) -> None:
            found = zip(ordered, responses or (), strict=False)
            server.missing_sounds = frozenset(name for name, response in found if response.status == 404)
            if server.missing_sounds:
                log.warning(
                    "no recording of some prompts, a beep stands in",
                    pbx=server.name,
                    sounds=sorted(server.missing_sounds),
                )

        requests = [Request("GET", f"sounds/{quote(name, safe='')}") for name in ordered]
        self.submit(server.name, requests, answered, urgent=False)

    # --- what the publishers need (publisher.Host) --------------------------------------------------------------

    def desired(self, user: UserId) -> tuple[Vector, Presence]:
        """Say what a user's lamps should show; all off for nobody and for a user whose lamps were reset."""
        layout = self.model.settings.layout
        person = self.model.users.get(user)
        if person is None or person.hushed:
            return layout.off, NOT_SET
        entries = person.entries
        return layout.desired(entries), layout.presence(entries, person.settings.zone)

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Take somebody else's change of lamps as the user's wish."""
        self._apply(ev.LampsChanged(self._clock.time(), user, wish))

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what a server now shows."""
        self._save(LampsConfirmed(pbx, user, text), None)

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group; its answer comes back through the inbox."""
        self.servers[pbx].link.submit(
            requests, lambda responses: self._inbox.put(_Answered(done, responses)), urgent=urgent
        )

    def watch(self, pbx: str, user: UserId, layout: LampLayout) -> None:
        """Subscribe to a user's lamps; what changed before that is found by reading once more."""
        self.servers[pbx].link.watch(lambda: layout.watched(user), lambda: self._inbox.put(_Watched(pbx, user)))


_COMMANDS: Mapping[type, Callable[[Engine, Any], None]] = {
    cmd.Claim: Engine._do_claim,
    cmd.Save: Engine._do_save,
    cmd.Track: Engine._do_track,
    cmd.Refuse: Engine._do_refuse,
    cmd.Play: Engine._do_play,
    cmd.Leave: Engine._do_leave,
    cmd.Note: Engine._do_note,
}
