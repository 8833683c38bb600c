"""The single-writer loop: takes events, lets the reducer change the model, carries out what follows.

Whoever has the turn (`turns.py`) owns the model, the publishers and the tickets: the engine's thread, or the thread of a link
or of AGI for what it has just read, when nothing else is waiting. Everybody else posts events or asks with `call`. Order
within one dialled code: send the lamps, claim the caller's channel, then everything that may take longer. Lamps go first
because the answer to a channel holds up what is sent behind it, 1.3 ms on 22 and 200 ms on 16 (`stasis_app_exec`), and do not
depend on it: a caller whose claim decides is claimed by an event of its own. All other lamps go out together behind all
events that were carried out in one turn.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, TypeVar, get_args

import structlog

from ari_presence.ari.decode import DeviceSeen
from ari_presence.ari.link import LinkDown, LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.callers import Callers
from ari_presence.core import commands as cmd
from ari_presence.core import events as ev
from ari_presence.core.desired import desired
from ari_presence.core.lamps import Presence, Vector, Wish
from ari_presence.core.model import Model, Settings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.timers import ClockWatch
from ari_presence.core.view import user_seen
from ari_presence.errors import AriError, StoreError
from ari_presence.feed import Feed
from ari_presence.followers import Followers
from ari_presence.grouplamps import GroupLamps
from ari_presence.publish.host import Answer
from ari_presence.publish.publisher import Publisher
from ari_presence.servers import LinkPort, Server
from ari_presence.store.base import Change, HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen
from ari_presence.tickets import CONFIRM_S, Outcome, Ticket, Tickets
from ari_presence.turns import Clock, Turns

LOGGED_ONE_BY_ONE = 20
LOGGED_LATE = 1_000  # changes at most whose line is still to come
LINES_AT_ONCE = 100
LARGE_GROUP = 50  # requests whose answers take longer than a reader may be kept from reading
LONGEST_WAIT_S = 30.0  # so that a wall clock that was set is noticed

HEARD_TOGETHER = (
    ev.ChannelSeen,
    ev.ChannelGone,
    ev.HoldPressed,
    ev.Dialling,
    ev.BridgeEntered,
    ev.BridgeLeft,
    ev.BridgesMerged,
    ev.BridgeGone,
    ev.LineSeen,
)
"""Events that come in bursts, 25 for one call: those of one turn are applied together, before any other event."""

log = structlog.get_logger(__name__)
T = TypeVar("T")


class _Answered(NamedTuple):
    """A group of requests was answered, or (None) its link ended first."""

    done: Answer
    responses: list[Response] | None


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
        self.groups = GroupLamps(self, clock.monotonic)
        self.followers = Followers(save)
        self._save = save
        self._fatal = fatal
        self._clock = clock
        self._watch = ClockWatch(clock.time(), clock.monotonic())
        self._heard: list[ev.Event] = []
        self._takers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(get_args(ev.Event), self._apply),
            **dict.fromkeys(HEARD_TOGETHER, self._heard.append),
            ev.EndpointsSeen: self._endpoints_seen,
            DeviceSeen: self._lamp_seen,
            LinkUp: self._link_up,
            LinkDown: self._link_down,
            _Answered: lambda answered: answered.done(answered.responses),
        }
        self._turns = Turns(self._take, self._on_time)
        self._tickets = Tickets(
            self._unconfirmed, lambda request, ok: self._apply(ev.Settled(clock.time(), request, ok))
        )
        self._requests = 0
        self._unlogged: deque[cmd.Save] = deque()

    # --- from any thread ----------------------------------------------------------------------------------------

    def post(self, event: object) -> None:
        """Hand over an event; never waits."""
        self._turns.put(event)

    def gathered(self) -> AbstractContextManager[None]:
        """Gather what a link reads at once, and carry it out at the end of the block if nothing else is going on."""
        return self._turns.gathered()

    def stored(self, requests: list[int], error: StoreError | None) -> None:
        """Take the store's word that changes are durable, or were not taken."""
        self._turns.put(partial(self._on_stored, requests, error))

    def call(self, function: Callable[["Engine"], T], timeout_s: float = 10.0) -> T:
        """Run a function in the engine's thread and give its result; what it raises is raised here."""
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(function(self))
            except BaseException as error:
                future.set_exception(error)

        self._turns.put(answer)
        return future.result(timeout_s)

    def begin(self, make: Callable[[int, float], ev.Event]) -> "Future[Outcome]":
        """Post a request, made from its number and the time; never waits. What `ask` raises comes with the future."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel it any more

        def start() -> None:
            self._requests += 1
            try:
                event = make(self._requests, self._clock.time())
                self._tickets.open(self._requests, future)
                self._apply(event)
            except Exception as error:
                future.set_exception(error)

        self._turns.put(start)
        return future

    def ask(self, make: Callable[[int, float], ev.Event]) -> Outcome:
        """Post a request as `begin` does, and wait until it is settled; raises `Refused`, or `StoreError` if not stored."""
        return self.begin(make).result(CONFIRM_S + 10)

    def stop(self) -> None:
        """End `run` after what is queued."""
        self._turns.stop()

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`."""
        self._turns.run()
        self._log_some(even_if_busy=True)
        self.feed.close()

    def _on_time(self) -> float:
        """Do what is due by the clock, and tell for how many seconds nothing more is."""
        self._catch_up()
        wall, now = self._clock.time(), self._clock.monotonic()
        was_set, end = self._watch.was_set(wall, now), self.model.next_deadline()
        try:
            if was_set or (end is not None and end <= wall):
                self._apply(ev.TimerDue(wall, was_set))
                end = self.model.next_deadline()
            self._tickets.expire(now)
        finally:
            for server in self.servers.values():
                server.pump()
        soonest = now + LONGEST_WAIT_S
        if end is not None and now + end - wall < soonest:
            soonest = now + end - wall
        for server in self.servers.values():
            if (due := server.next_deadline()) is not None and due < soonest:
                soonest = due
        self.followers.pump()
        for due in (self._tickets.next_deadline(), self.followers.next_deadline()):
            if due is not None and due < soonest:
                soonest = due
        if self._unlogged:
            self._log_some()
            now = self._clock.monotonic()
        return soonest - now if soonest > now else 0.0

    def _take(self, item: object) -> None:
        take = self._takers.get(type(item))
        if take is not None:
            take(item)
        elif callable(item):  # which may look at the model
            self._catch_up()
            item()
        else:
            raise TypeError(f"nobody carries out {type(item).__name__}")

    def _catch_up(self) -> None:
        """Apply together what was heard of calls since the last time; one by one, where a bug in one stops the others."""
        if not self._heard:
            return
        events = tuple(self._heard)
        self._heard.clear()
        try:
            self._apply(*events)
        except Exception:
            log.exception("bug: events were not applied together", count=len(events))
            for event in events:  # twice does no harm
                try:
                    self._apply(event)
                except Exception:
                    log.exception("bug: an event was not carried out", kind=type(event).__name__)

    def _lamp_seen(self, event: DeviceSeen) -> None:
        self.servers[event.pbx].lamp_seen(event.device, event.value)

    def _endpoints_seen(self, event: ev.EndpointsSeen) -> None:
        self._apply(event)
        self._watch_lines(self.servers[event.pbx], event.endpoints)

    def _apply(self, *events: ev.Event) -> None:
        """Let the reducer decide, then send lamps, claim, and do the rest."""
        self._catch_up()
        outcome = reduce(self.model, *events)
        commands, touched = outcome.commands, outcome.touched
        tracked = any(isinstance(command, cmd.Track) for command in commands) if commands else False
        dialled = next((event for event in events if isinstance(event, ev.CodeDialled)), None) if tracked else None
        if touched:
            for server in self.servers.values():
                server.publisher.touch(touched, urgent=tracked and len(touched) == 1)
                if dialled is not None:  # else what several events change goes out together, behind them (`_on_time`)
                    server.publisher.pump()
        if dialled is not None:
            self.servers[dialled.pbx].callers.served(dialled.channel)
        for event in events:
            if isinstance(event, ev.CallerLeft):
                self.servers[event.pbx].callers.left(event.channel)
        for command in commands:
            self._carry_out(command)
        self.groups.follow(self.model, events, touched)
        self.followers.follow(self.model, events, touched)
        if commands:
            self._log_saves([command for command in commands if isinstance(command, cmd.Save)])
        if touched and self.feed.wanted(len(touched)):
            for person in map(self.model.users.get, touched):
                if person is not None:
                    self.feed.publish(user_seen(self.model, person).json)

    def add_server(
        self,
        name: str,
        app: str,
        url: str,
        link: LinkPort,
        stored: Mapping[UserId, str],
        startup: str,
        spaces: tuple[str, ...] = (),
    ) -> None:
        """Take one Asterisk into service; before `run`.

        Args:
            name: Its name.
            app: The Stasis application.
            url: For people.
            link: The way there.
            stored: What its lamps were last confirmed to show (`plan.lamps_text`).
            startup: When it was last seen to have started, in its own words; "" if never.
            spaces: Devices of its parking spaces, `park:701@parkedcalls`.
        """
        lamps = {user: text for user, text in stored.items() if ":" not in user}  # keys of others than users have one
        publisher = Publisher(name, app, self.model.settings.layout, lamps, self, self._clock.monotonic)
        groups = self.groups.add_server(name, app, stored)
        callers = Callers(
            name, lambda requests, done: self.submit(name, requests, done, urgent=True), self._apply, self._clock.time
        )
        self.servers[name] = Server(name, app, url, link, publisher, groups, callers, spaces, startup=startup)

    def reconfigure(self, event: ev.ConfigChanged) -> None:
        """Put new settings in force; lamps of another layout are read again, with those of the old one as known."""
        layout = event.settings.layout
        if layout is not self.model.settings.layout:
            for server in self.servers.values():
                server.publisher.relayout(layout)
        self._apply(event)
        for server in self.servers.values():
            if server.up:
                server.take(event.settings)

    def stop_following_calls(self) -> bool:
        """Take all calls for over, before the daemon ends; tell whether a lamp has to change for it."""
        self._apply(ev.Stopping(self._clock.time()))
        return not self.lamps_are_down

    @property
    def lamps_are_down(self) -> bool:
        """Tell whether every server that is connected is known to show what it should."""
        return all(server.idle for server in self.servers.values() if server.up)

    # --- the commands of the reducer ----------------------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Claim():
                self.servers[command.pbx].callers.claim(command)
            case cmd.Play():
                self.servers[command.pbx].callers.play(command)
            case cmd.Leave():
                self.servers[command.pbx].callers.leave(command)
            case cmd.Save():
                self._tickets.saving(command)
                self._save(ManualChanged(command.user, command.entry, command.record), command.request)
            case cmd.Track():
                self._tickets.track(command, self._clock.monotonic())
            case cmd.Refuse() | cmd.Tell():
                self._tickets.answer(command)
            case cmd.Log():
                self._save(HistoryAdded(command.record), None)
            case cmd.ListCalls():
                self.servers[command.pbx].link.list_calls(command.lines)
            case cmd.Note():
                (log.warning if command.warning else log.info)(command.event, **dict(command.fields))

    def _log_saves(self, saves: list[cmd.Save]) -> None:
        if len(saves) > LOGGED_ONE_BY_ONE:
            log.info("states", users=len(saves), source=saves[0].record.source)
        else:
            self._unlogged += saves

    def _log_some(self, *, even_if_busy: bool = False) -> None:
        """Log changes while nobody waits for the engine: a line costs a sixth of what a change costs."""
        while self._unlogged and (even_if_busy or not self._turns.waiting or len(self._unlogged) > LOGGED_LATE):
            save = self._unlogged.popleft()
            log.info("state", user=save.user, state=save.record.state, source=save.record.source)

    def _on_stored(self, requests: list[int], error: StoreError | None) -> None:
        lost = self._tickets.stored(requests, error)
        self.followers.stored(requests, error)
        if error is not None:
            log.error("not stored", reason=str(error))
        for save in reversed(lost):  # the newest first, so that the oldest `before` holds in the end
            self._apply(ev.NotStored(self._clock.time(), save.user, save.entry, save.before))
        self._tickets.check(requests)

    def _unconfirmed(self, ticket: Ticket) -> tuple[str, ...]:
        """Name the servers that have not confirmed what a ticket waits for."""
        names = [ticket.pbx] if ticket.pbx is not None else list(self.servers)
        return tuple(name for name in names if not self._shows(self.servers[name], ticket.user))

    def _shows(self, server: Server, user: UserId | None) -> bool:
        return server.idle if user is None else server.publisher.in_sync(user)

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits for this user (`publisher.Host`)."""
        self._tickets.look(user)

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
        self._apply(event.endpoints)
        self._apply(event.calls)
        server.lines = None
        server.publisher.link_up(self.model.users, restarted=restarted, over_websocket=event.over_websocket)
        server.groups.link_up(self.groups.names(), restarted=restarted, over_websocket=event.over_websocket)
        server.take(self.model.settings)
        server.callers.adopt(event.callers)
        server.pump()
        self.followers.link_up(event.pbx)

    def _link_down(self, event: LinkDown) -> None:
        server = self.servers[event.pbx]
        if server.up:
            self._apply(ev.LinkLost(event.at, event.pbx))
        if server.up or not server.since:
            server.since = event.at
        server.up = False
        server.lamps_lost()
        if event.fatal is not None:
            self._fatal(event.fatal)
        elif server.said != event.reason:
            server.said = event.reason
            log.warning("not connected, trying again", pbx=event.pbx, reason=event.reason)

    # --- what the publishers need (publisher.Host) --------------------------------------------------------------

    def desired(self, user: UserId) -> tuple[Vector, Presence] | None:
        """Say what a user's lamps should show; None while it is not known who it is."""
        return desired(self.model, user)

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Take somebody else's change of lamps as the user's wish."""
        self._apply(ev.LampsChanged(self._clock.time(), user, wish))

    def adopt_presence(self, user: UserId, presence: Presence, pbx: str) -> None:
        """Take somebody else's change of a presence state as the user's wish."""
        self._apply(ev.PresenceChanged(self._clock.time(), user, presence, f"pbx:{pbx}"))

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what a server now shows."""
        self._save(LampsConfirmed(pbx, user, text), None)
        self.followers.shown(pbx, user, text)

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group; its answer waits for its turn."""
        large = len(requests) > LARGE_GROUP
        self.servers[pbx].link.submit(
            requests, lambda r: self._turns.put(_Answered(done, r), large=large), urgent=urgent
        )

    def watch(self, pbx: str, users: tuple[UserId, ...], devices: Callable[[], Sequence[str]]) -> None:
        """Subscribe to lamps of some users; what changed before that is found by reading once more."""
        server = self.servers[pbx]
        if server.lines is None:  # all lamps are right: now the lines, which matter more than changes of lamps
            server.lines = ()
            self._watch_lines(server, self.model.endpoints.get(pbx, ()))
            if server.spaces:
                spaces = ev.SpacesWatched(self._clock.time(), pbx, server.spaces)
                server.link.watch(partial(tuple, server.spaces), partial(self._turns.put, spaces))
                self._turns.put(spaces)  # they may all be watched since an earlier session
        self.watch_devices(pbx, devices, partial(server.publisher.reread, users))

    def watch_devices(self, pbx: str, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe to devices, and have `done` called in the engine's turn (`grouplamps.Engine`)."""
        self.servers[pbx].link.watch(devices, partial(self._turns.put, done))

    def _watch_lines(self, server: Server, endpoints: Sequence[str]) -> None:
        """Subscribe to the states of users' endpoints, each once in a session; what changed before is found by listing."""
        if server.lines is None:
            return
        known, server.lines = frozenset(server.lines), tuple(endpoints)
        owner = self.model.settings.owner
        new = [line for line in endpoints if line not in known and owner(line) is not None]
        for first in range(0, len(new), LINES_AT_ONCE):
            some = tuple(new[first : first + LINES_AT_ONCE])
            server.link.watch(partial(tuple, some), partial(self._turns.put, server.link.list_endpoints))
