"""One server's lamps: what it is known to show, what must be read or written, and who changed it.

Level-triggered: a user whose lamps may be wrong is *due*, and stays due until what the server shows equals what is
desired. At most one group of requests is under way for a user, so nothing overtakes; what is desired is looked up when
a group is made, so the newest state wins.

    link up --> unread --read--> settled --differs--> due --write, read back--> shown == desired
    echo of nobody's write --> restless --200 ms of quiet--> unread --same again--> adopted, or corrected

Called from the engine's thread alone. Times are `time.monotonic()` seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from math import inf
from time import monotonic

import structlog

from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import Presence, Vector
from ari_presence.core.names import UserId
from ari_presence.core.plan import Layout, apply, gone_lamps, is_worth_storing, lamps_text, parse_lamps, plan
from ari_presence.publish.doubts import Doubts
from ari_presence.publish.host import Host
from ari_presence.publish.reader import LampReader
from ari_presence.publish.requests import write_lamp
from ari_presence.publish.retries import Retries
from ari_presence.publish.watching import watch_groups
from ari_presence.publish.write import Write

QUIET_S = 0.2
USERS_PER_READ, USERS_PER_WRITE = 100, 25  # a dialled code waits until a group is made, and for its read-back
URGENT_PER_WRITE = 6  # users for whom somebody waits at the same moment: the first of them waits for the last
GROUPS_IN_FLIGHT = 2  # one under way, the next one queued behind it
LAMPS_OF_A_CHANGE = 3  # joined, whole, and the state's own

log = structlog.get_logger(__name__)


class Publisher:
    """Keeps one server's lamps equal to what is desired."""

    def __init__(
        self,
        pbx: str,
        app: str,
        layout: Layout,
        stored: Mapping[UserId, str],
        host: Host,
        clock: Callable[[], float] = monotonic,
        one_by_one: bool = False,
    ) -> None:
        """Start disconnected, with what the store says was last confirmed; few lamps are best read `one_by_one`."""
        self.pbx = pbx
        self._host = host
        self._clock = clock
        self._layout = layout
        self._new_reader = partial(LampReader, pbx, app, self._submit, one_by_one=one_by_one)
        self._shown: dict[UserId, Vector] = {user: parse_lamps(layout, text) for user, text in stored.items()}
        self._gone = [device for user, text in stored.items() for device in gone_lamps(layout, user, text)]
        self.presences: dict[UserId, Presence] = {}
        self._doubts = Doubts(clock)
        self._reset_session(over_websocket=False)

    def _reset_session(self, *, over_websocket: bool) -> None:
        self._up = False
        self._session = object()
        self._rests = False  # all is right and done: `pump` has nothing to do
        self._over_websocket = over_websocket
        self._reader = self._new_reader(over_websocket=over_websocket)
        self._restarted, self._groups = False, 0
        self._known: set[UserId] = set()
        self._unsettled: set[UserId] = set()
        self._unread: dict[UserId, None] = {}
        self._due: dict[UserId, None] = {}
        self._urgent: dict[UserId, None] = {}
        self._writing: dict[UserId, Write] = {}
        self._reading: set[UserId] = set()
        self._stirred: set[UserId] = set()
        self._unwatched: list[UserId] = []
        self._restless: dict[UserId, tuple[Vector | None, float]] = {}
        self._look_at = inf  # when the first of them is due, at the earliest
        self._failed = Retries()

    # --- what happens -------------------------------------------------------------------------------------------

    def link_up(self, users: Iterable[UserId], *, restarted: bool, over_websocket: bool) -> None:
        """Begin a session: everything is to be read, and compared with what was last confirmed."""
        self._reset_session(over_websocket=over_websocket)
        self._up = True
        self._doubts.connected()
        self._restarted = restarted
        self.presences.clear()
        self._unread = dict.fromkeys([*users, *self._shown])
        self._known, self._unsettled = set(self._unread), set(self._unread)
        if self._gone:
            off = [write_lamp(device, DeviceState.NOT_INUSE) for device in self._gone]
            self._submit(off, self._went, urgent=False)

    def _went(self, responses: list[Response]) -> None:
        """Forget the lamps of states that no longer exist, once they were turned off."""
        self._gone = [] if all(response.ok for response in responses) else self._gone

    def link_down(self) -> None:
        """End the session; what was confirmed stays known."""
        self._doubt_writes()
        self._reset_session(over_websocket=False)

    def _doubt_writes(self) -> None:
        """Remember what may have been, or may yet be, written."""
        for user, write in self._writing.items():
            self._doubts.add(user, ((self._layout.kinds[c.place], c.after) for c in write.changes))

    def relayout(self, layout: Layout) -> None:
        """Change which lamps there are; all are read again, and lamps of kinds that are gone are turned off."""
        self._doubt_writes()
        old, self._layout = self._layout, layout
        texts = {user: lamps_text(old, vector) for user, vector in self._shown.items()}
        self._gone += [device for user, text in texts.items() for device in gone_lamps(layout, user, text)]
        self._shown = {user: parse_lamps(layout, text) for user, text in texts.items()}
        if self._up:
            self.link_up(self._known, restarted=False, over_websocket=self._over_websocket)

    def touch(self, users: Iterable[UserId], *, urgent: bool = False) -> None:
        """Note that what is desired for these users may have changed; somebody waits for it if `urgent`."""
        if not self._up:
            return
        self._rests = False
        for user in users:
            if user not in self._known:
                self._known.add(user)
                self._unsettled.add(user)
                self._unread[user] = None
            self._due[user] = None
            if urgent:
                self._urgent[user] = None

    def lamp_seen(self, device: str, value: DeviceState) -> None:
        """Take a report of Asterisk: an echo of ours, or a reason to look closer once the user's lamps are quiet."""
        place = self._layout.locate(device)
        if place is None or not self._up:
            return
        user, index = place
        if user in self._reading:
            self._stirred.add(user)  # the answer under way may be older than this
            return
        if user in self._unsettled or user not in self._known:
            return  # it is about to be read anyway, or it is nobody's
        value = self._layout.seen(index, value)
        write = self._writing.get(user)
        change = next((c for c in write.changes if c.place == index), None) if write is not None else None
        # Beside a write it is somebody behind our read-back, or a late echo: look once more.
        ours = change.after if change is not None else self._shown.get(user, self._layout.off)[index]
        if value is not ours or (change is None and user in self._restless):
            self._wait_for_quiet(user)

    def _wait_for_quiet(self, user: UserId, seen: Vector | None = None, wait_s: float = QUIET_S) -> None:
        self._restless[user] = (seen, due := self._clock() + wait_s)
        self._rests, self._look_at = False, min(self._look_at, due)

    def reread(self, users: Iterable[UserId]) -> None:
        """Look at the lamps of some users again: they are watched from now on, but were read before."""
        if self._up:
            self._rests = False
            self._unread.update(dict.fromkeys(user for user in users if user not in self._unsettled))

    def in_sync(self, user: UserId) -> bool:
        """Tell whether this server is confirmed to show what is desired for a user."""
        shown = self._shown.get(user, self._layout.off), self.presences.get(user)
        return self.is_settled(user) and shown == self._desired(user)

    def is_settled(self, user: UserId) -> bool:
        """Tell whether it is known what this server shows for a user, `presences` too, and no write is under way."""
        return self._up and user not in self._unsettled and user not in self._writing

    @property
    def idle(self) -> bool:
        """Tell whether the server is connected and every lamp is known to be right."""
        return self._up and not (self._unsettled or self._due or self._writing or self._failed)

    @property
    def waiting(self) -> int:
        """Count the users whose lamps are not known to be right."""
        return len(self._unsettled | self._due.keys() | self._writing.keys() | set(self._failed))

    def next_deadline(self) -> float | None:
        """Tell when `pump` has something to do of its own accord."""
        if not (self._restless or self._failed):
            return None
        due = min(self._look_at if self._restless else inf, self._failed.next() or inf)
        return due if due < inf else None

    # --- what is done about it ----------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is due, as far as it makes sense to have under way at once."""
        if not self._up or self._rests:
            return
        if self._restless or self._failed:
            self._wake(self._clock())
        if self._urgent:
            self._pump_urgent()
        while self._groups < GROUPS_IN_FLIGHT and (self._due or self._unread):
            takeable = (u for u in self._due if u not in self._unsettled and not self._is_under_way(u))
            if batch := list(islice(takeable, USERS_PER_WRITE)):
                if not self._reader.prepare(len(batch) * LAMPS_OF_A_CHANGE):  # for the read-back
                    break
                for user in batch:
                    del self._due[user]
                self._write(batch, urgent=False)
            elif batch := list(islice((u for u in self._unread if u not in self._reading), USERS_PER_READ)):
                if not self._reader.prepare(len(self._unread) * len(self._layout.kinds)):
                    break
                for user in batch:
                    del self._unread[user]
                self._read(batch, urgent=False)
            else:
                break
        if not (self._groups or self._unread or self._due or self._restless):
            self._when_idle()

    def _pump_urgent(self) -> None:
        ready: list[UserId] = []
        for user in [u for u in self._urgent if not self._is_under_way(u)]:
            if user not in self._unsettled:
                del self._urgent[user]
                self._due.pop(user, None)
                ready.append(user)
            elif user not in self._restless:  # read first, written after; a wish that is being made comes before
                self._unread.pop(user, None)
                self._read([user], urgent=True)
        for first in range(0, len(ready), URGENT_PER_WRITE):
            self._write(ready[first : first + URGENT_PER_WRITE], urgent=True)

    def _wake(self, now: float) -> None:
        """Move on what has waited long enough."""
        if now >= self._look_at:
            self._look_at = inf
            for user, (seen, due) in self._restless.items():
                if due > now:
                    self._look_at = min(self._look_at, due)
                elif not self._is_under_way(user):  # else `pump` comes with the answer
                    self._unread[user] = None
                    self._restless[user] = (seen, inf)
        self._due.update(dict.fromkeys(self._failed.take(now)))

    def _is_under_way(self, user: UserId) -> bool:
        return user in self._writing or user in self._reading

    def _submit(self, requests: list[Request], done: Callable[[list[Response]], None], *, urgent: bool) -> None:
        self._groups += 1
        session = self._session

        def answered(responses: list[Response] | None) -> None:
            if responses is not None and session is self._session:  # else the link ended, and all starts anew
                self._groups -= 1
                self._rests, self._look_at = False, 0.0  # whoever waits for quiet may have been under way
                done(responses)

        self._host.submit(self.pbx, requests, answered, urgent=urgent)

    def _when_idle(self) -> None:
        """All lamps are right: now have changes of others reported, and remove the reader channel."""
        if self._unwatched:
            users, self._unwatched = self._unwatched, []
            self._unread, self._due = {}, {}  # empty, but with room for all users
            self._unsettled = set(self._unsettled)
            for some, devices in watch_groups(self._layout, users):
                self._host.watch(self.pbx, some, devices)
        self._doubts.forget()
        self._reader.release()
        self._rests = not (self._groups or self._failed)

    def _desired(self, user: UserId) -> tuple[Vector, Presence | None]:
        """Say what is wanted of a user's lamps: what they are, as long as nobody knows whether there is such a user."""
        return self._host.desired(user) or (self._shown.get(user, self._layout.off), self.presences.get(user))

    def _read(self, users: list[UserId], *, urgent: bool) -> None:
        """Read all lamps of some users, and their presence where that can be done."""
        self._reading.update(users)
        kinds = range(len(self._layout.kinds))
        requests, parse = self._reader.devices([self._layout.device(i, user) for user in users for i in kinds])
        more, parse_presences = self._reader.presences(users)

        def done(responses: list[Response]) -> None:
            for user, value in parse_presences(responses[len(requests) :]):
                wanted = self._desired(user)[1]
                self.presences[user] = wanted if wanted is not None and value == wanted else value  # equal: one object
            values = iter(parse(responses[: len(requests)]))
            for user in users:
                self._reading.discard(user)
                found = [next(values) for _ in kinds]
                if user in self._stirred:
                    self._stirred.discard(user)
                    self._wait_for_quiet(user)
                else:
                    self._seen(user, found)

        self._submit(requests + more, done, urgent=urgent)

    def _seen(self, user: UserId, values: list[DeviceState | None]) -> None:
        """Compare what a server shows for a user with what we knew, and find out whether it is somebody's wish."""
        layout = self._layout
        first = user in self._unsettled
        if any(value is None for value in values) or layout.has_no_provider(values):
            self._read_later(user)
            return
        after = layout.vector(tuple(layout.seen(i, v) for i, v in enumerate(values) if v is not None))
        before, wanted = self._shown.get(user, layout.off), self._desired(user)[0]
        if first:
            self._unwatched.append(user)
        before = self._doubts.known(layout, user, before, after, wanted, first=first)  # what may be ours is no vote
        if after is not before and after is not wanted:
            wish = layout.wish(before, after, self.pbx, restarted=first and self._restarted)
            if wish is not None:
                if not self._is_quiet(user, after):
                    self._wait_for_quiet(user, after)
                    return
                self._settle(user, after)
                self._host.adopt(user, wish)
                return
        self._settle(user, after)

    def _read_later(self, user: UserId) -> None:
        """Look again after a read that failed, ever less often."""
        if not self._failed:
            log.error("lamps not read", pbx=self.pbx, user=user, remedy="load func_devstate and res_ari_device_states")
        seen = self._restless.get(user, ((), 0.0))[0]
        self._wait_for_quiet(user, seen, self._failed.wait_s(self._failed.count(user)))

    def _is_quiet(self, user: UserId, after: Vector) -> bool:
        """Tell whether a change has come to rest: no event for a while, or the same at two reads."""
        seen, due = self._restless.get(user, (None, 0.0))
        return due == inf and (seen is None or seen is after)

    def _settle(self, user: UserId, after: Vector) -> None:
        if self._restless.pop(user, None) is not None:
            self.presences.pop(user, None)  # whoever changed lamps may have changed it as well
        self._unsettled.discard(user)
        self._due[user] = None
        self._show(user, after)
        self._host.settled(user)

    def _show(self, user: UserId, vector: Vector) -> None:
        before = self._shown.get(user, self._layout.off)
        if before is vector:
            return
        if vector is self._layout.off:
            self._shown.pop(user, None)
        else:
            self._shown[user] = vector
        if is_worth_storing(self._layout, before, vector):
            self._host.confirmed(self.pbx, user, lamps_text(self._layout, vector))

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(self, users: list[UserId], *, urgent: bool) -> None:
        """Write what differs for some users, and read it back on the same ordered link."""
        requests: list[Request] = []
        devices: list[str] = []
        for user in users:
            vector, presence = self._desired(user)
            changes, old = plan(vector, self._shown.get(user, self._layout.off)), self.presences.get(user)
            if not changes and presence == old:
                self._failed.forget(user)
                self._host.settled(user)
                continue
            write = self._writing[user] = Write(user, changes, presence, old)
            requests += write.requests(named := write.devices(self._layout))
            devices += named
        if not (written := [user for user in users if user in self._writing]):
            return
        reads, parse = self._reader.devices(devices)

        def done(responses: list[Response]) -> None:
            values = iter(parse(responses[len(requests) :]))
            statuses = iter(responses)
            for user in written:
                write = self._writing.pop(user)
                shown = [(next(statuses).ok, next(values)) for _ in write.changes]
                texts = [next(statuses).ok for _ in write.presence_requests()]
                self._wrote(write, [value if ok else None for ok, value in shown], presence_ok=all(texts))

        self._submit(requests + reads, done, urgent=urgent)

    def _wrote(self, write: Write, values: list[DeviceState | None], *, presence_ok: bool) -> None:
        """Take what the read-back says of one user's write (None: refused or not read)."""
        user, outcome = write.user, write.judge(self._layout, values)
        if write.presence is not None and presence_ok:
            self.presences[user] = write.presence
        self._show(user, self._layout.vector(apply(outcome.done, self._shown.get(user, self._layout.off))))
        if outcome.foreign:
            self._wait_for_quiet(user)
        if outcome.refused or not presence_ok:
            self._fail(user, outcome.refused)
        else:
            self._failed.forget(user)
        self._host.settled(user)

    def _fail(self, user: UserId, devices: list[str]) -> None:
        before = self._failed.count(user)
        self._failed.later(user, self._clock() + self._failed.wait_s(before))
        if before == 0:
            log.error("lamp not taken", pbx=self.pbx, user=user, devices=devices, remedy="is func_devstate.so loaded?")
