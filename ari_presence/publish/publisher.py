"""One server's lamps: what it is known to show, what must be read or written, and who changed it.

Level-triggered: a user whose lamps may be wrong is *due*, and stays due until what the server shows equals what is
desired. At most one group of requests is under way for a user, so nothing overtakes; what is desired is looked up when
a group is made, so the newest state wins.

    link up --> unread --read--> settled --differs--> due --write, read back--> shown == desired
    echo of nobody's write --> restless --200 ms of quiet--> unread --same again--> adopted, or corrected

Called from the engine's thread alone. Times are `time.monotonic()` seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf
from time import monotonic
from typing import Protocol

import structlog

from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout, Presence, Vector, Wish
from ari_presence.core.names import UserId
from ari_presence.core.plan import Change, apply, lamps_text, parse_lamps, plan
from ari_presence.publish import requests as lamps

QUIET_S = 0.2
USERS_PER_GROUP = 100
GROUPS_IN_FLIGHT = 2  # one under way, the next one queued behind it
SINGLE_READS = 24  # up to so many lamps are read one by one, more through the reader channel
RETRY_S = (0.5, 2.0, 10.0)

log = structlog.get_logger(__name__)

Answer = Callable[[list[Response] | None], None]


class Host(Protocol):
    """What the publisher needs from the engine."""

    def desired(self, user: UserId) -> tuple[Vector, Presence]:
        """Say what a user's lamps should show; all off for somebody who is no user."""

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Take somebody else's change of lamps; what it changes comes back through `touch`."""

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what the server now shows (`plan.lamps_text`)."""

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits for this user: the server's answer has come."""

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group; `done` is called in the engine's thread."""

    def watch(self, pbx: str, user: UserId, layout: LampLayout) -> None:
        """Subscribe to a user's lamps in the background."""


@dataclass(slots=True)
class _Write:
    """What is under way for one user."""

    changes: tuple[Change, ...]
    presence: Presence | None


class Publisher:
    """Keeps one server's lamps equal to what is desired."""

    def __init__(
        self,
        pbx: str,
        app: str,
        layout: LampLayout,
        stored: Mapping[UserId, str],
        host: Host,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Start disconnected, with what the store says was last confirmed."""
        self.pbx = pbx
        self._host = host
        self._clock = clock
        self._layout = layout
        self._channel = f"{app}-reader"
        self._shown: dict[UserId, Vector] = {user: parse_lamps(layout, text) for user, text in stored.items()}
        self._presences: dict[UserId, Presence] = {}
        self._unsure: dict[UserId, Vector] = {}  # what was being written when a session ended
        self._up = False
        self._reset_session()

    def _reset_session(self) -> None:
        self._session = object()
        self._over_websocket = False
        self._restarted = False
        self._reader = "none"  # none, making, ready, failed
        self._groups = 0
        self._known: set[UserId] = set()
        self._unsettled: set[UserId] = set()
        self._unread: dict[UserId, None] = {}
        self._due: dict[UserId, None] = {}
        self._urgent: dict[UserId, None] = {}
        self._writing: dict[UserId, _Write] = {}
        self._reading: set[UserId] = set()
        self._stirred: set[UserId] = set()
        self._unwatched: list[UserId] = []
        self._restless: dict[UserId, tuple[Vector | None, float]] = {}
        self._failed: dict[UserId, tuple[int, float]] = {}

    # --- what happens -------------------------------------------------------------------------------------------

    def link_up(self, users: Iterable[UserId], *, restarted: bool, over_websocket: bool) -> None:
        """Begin a session: everything is to be read, and compared with what was last confirmed."""
        self._reset_session()
        self._up = True
        self._over_websocket = over_websocket
        self._restarted = restarted
        self._presences.clear()
        self._unread = dict.fromkeys([*users, *self._shown])
        self._known = set(self._unread)
        self._unsettled = set(self._unread)

    def link_down(self) -> None:
        """End the session; what was confirmed stays known."""
        self._doubt_writes()
        self._up = False
        self._reset_session()

    def _doubt_writes(self) -> None:
        """Remember what may have been written: found at the next connect, it is ours and nobody's wish."""
        for user, write in self._writing.items():
            self._unsure[user] = self._layout.vector(apply(write.changes, self._shown.get(user, self._layout.off)))

    def relayout(self, layout: LampLayout) -> None:
        """Change which lamps there are; all are read again, and lamps of kinds that are gone are turned off."""
        self._doubt_writes()
        old, self._layout = self._layout, layout
        gone = [i for i, kind in enumerate(old.kinds) if kind not in layout.kinds]
        off = [
            lamps.write_lamp(old.device(i, user), old.off[i])
            for user, vector in self._shown.items()
            for i in gone
            if vector[i] is not old.off[i]
        ]
        users = self._known
        self._shown = {user: parse_lamps(layout, lamps_text(old, vector)) for user, vector in self._shown.items()}
        self._unsure = {user: parse_lamps(layout, lamps_text(old, vector)) for user, vector in self._unsure.items()}
        if self._up:
            self.link_up(users, restarted=False, over_websocket=self._over_websocket)
            if off:
                self._submit(off, lambda _: None, urgent=False)

    def touch(self, users: Iterable[UserId], *, urgent: bool = False) -> None:
        """Note that what is desired for these users may have changed; somebody waits for it if `urgent`."""
        if not self._up:
            return
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
        if write is not None and any(c.index == index and c.after is value for c in write.changes):
            return
        if self._shown.get(user, self._layout.off)[index] is not value or user in self._restless:
            self._restless[user] = (None, self._clock() + QUIET_S)

    def reread(self, user: UserId) -> None:
        """Look at a user's lamps again: they are watched from now on, but were read before."""
        if self._up and user not in self._unsettled:
            self._unread[user] = None

    def in_sync(self, user: UserId) -> bool:
        """Tell whether this server is confirmed to show what is desired for a user."""
        if not self._up or user in self._unsettled or user in self._writing:
            return False
        vector, presence = self._host.desired(user)
        return self._shown.get(user, self._layout.off) is vector and self._presences.get(user) == presence

    @property
    def idle(self) -> bool:
        """Tell whether the server is connected and every lamp is known to be right."""
        return self._up and not (self._unsettled or self._due or self._writing or self._failed)

    @property
    def waiting(self) -> int:
        """Count the users whose lamps are not known to be right."""
        return len(self._unsettled | self._due.keys() | self._writing.keys() | self._failed.keys())

    def next_deadline(self) -> float | None:
        """Tell when `pump` has something to do of its own accord."""
        under_way = self._writing.keys() | self._reading  # `pump` comes with their answers
        times = [due for user, (_, due) in self._restless.items() if user not in under_way]
        times += [due for _, due in self._failed.values()]
        return min(times, default=None)

    # --- what is done about it ----------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is due, as far as it makes sense to have under way at once."""
        if not self._up:
            return
        self._wake(self._clock())
        self._pump_urgent()
        while self._groups < GROUPS_IN_FLIGHT:
            if batch := list(islice(self._takeable(), USERS_PER_GROUP)):
                for user in batch:
                    del self._due[user]
                self._write(batch, urgent=False)
            elif batch := list(islice((u for u in self._unread if u not in self._reading), USERS_PER_GROUP)):
                if self._reader_wanted(len(self._unread) * len(self._layout.kinds)):
                    break
                for user in batch:
                    del self._unread[user]
                self._read(batch, urgent=False)
            else:
                break
        if not (self._groups or self._unread or self._due or self._restless):
            self._when_idle()

    def _pump_urgent(self) -> None:
        for user in [u for u in self._urgent if u not in self._writing and u not in self._reading]:
            if user not in self._unsettled:
                del self._urgent[user]
                self._due.pop(user, None)
                self._write([user], urgent=True)
            elif user not in self._restless:  # read first, written after; a wish that is being made comes before
                self._unread.pop(user, None)
                self._read([user], urgent=True)

    def _wake(self, now: float) -> None:
        """Move on what has waited long enough."""
        for user, (_, due) in list(self._restless.items()):
            if due <= now and user not in self._writing and user not in self._reading:
                self._unread[user] = None
                self._restless[user] = (self._restless[user][0], inf)
        for user, (count, due) in list(self._failed.items()):
            if due <= now:
                self._failed[user] = (count, inf)
                self._due[user] = None

    def _takeable(self) -> Iterator[UserId]:
        for user in self._due:
            if user not in self._unsettled and user not in self._writing and user not in self._reading:
                yield user

    def _submit(self, requests: list[Request], done: Callable[[list[Response]], None], *, urgent: bool) -> None:
        self._groups += 1
        session = self._session

        def answered(responses: list[Response] | None) -> None:
            if responses is not None and session is self._session:  # else the link ended, and all starts anew
                self._groups -= 1
                done(responses)

        self._host.submit(self.pbx, requests, answered, urgent=urgent)

    # --- the reader channel -------------------------------------------------------------------------------------

    def _reader_wanted(self, reads: int) -> bool:
        """Make the reader channel for many reads; True while it is being made."""
        if reads > SINGLE_READS and self._reader == "none":
            self._reader = "making"
            self._submit(
                list(lamps.make_reader(self._channel, self._channel.removesuffix("-reader"))),
                self._reader_made,
                urgent=True,
            )
        return self._reader == "making"

    def _reader_made(self, responses: list[Response]) -> None:
        self._reader = "ready" if responses[-1].ok else "failed"
        if not responses[-1].ok:
            log.warning("lamps are read one by one", pbx=self.pbx, status=responses[-1].status)

    def _reader_lost(self, response: Response) -> None:
        """Make the reader anew where somebody hung it up; do without it where it does not answer as it should."""
        if self._reader == "ready":
            self._reader = "none" if response.status == 404 else "failed"
            log.warning("lamps could not be read at once", pbx=self.pbx, status=response.status)

    def _when_idle(self) -> None:
        """All lamps are right: now have changes of others reported, and remove the reader channel."""
        for user in self._unwatched:
            self._host.watch(self.pbx, user, self._layout)
        self._unwatched.clear()
        if self._reader == "ready":
            self._reader = "none"
            self._submit([lamps.drop_reader(self._channel)], lambda _: None, urgent=False)

    def _read_requests(
        self, devices: list[str]
    ) -> tuple[list[Request], Callable[[list[Response]], list[DeviceState | None]]]:
        """Choose how to read devices; gives the requests and how to read their answers, None for each failed one."""
        if self._reader != "ready" or len(devices) <= SINGLE_READS:
            return [lamps.read_lamp(device) for device in devices], lambda r: [lamps.lamp_value(one) for one in r]
        calls = list(lamps.read_lamps(self._channel, devices, over_websocket=self._over_websocket))

        def parse(responses: list[Response]) -> list[DeviceState | None]:
            values: list[DeviceState | None] = []
            for (_, count), response in zip(calls, responses, strict=True):
                found = lamps.lamp_values(response, count)
                if found is None:
                    self._reader_lost(response)
                values += found or [None] * count
            return values

        return [request for request, _ in calls], parse

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, users: list[UserId], *, urgent: bool) -> None:
        """Read all lamps of some users, and their presence where that can be done."""
        if not users:
            return
        self._reading.update(users)
        kinds = range(len(self._layout.kinds))
        requests, parse = self._read_requests([self._layout.device(i, user) for user in users for i in kinds])
        blocks = [users[i : i + lamps.PRESENCES_PER_CALL] for i in range(0, len(users), lamps.PRESENCES_PER_CALL)]
        blocks = blocks if self._reader == "ready" else []
        requests += [lamps.read_presences(self._channel, block) for block in blocks]

        def done(responses: list[Response]) -> None:
            for block, response in zip(blocks, responses[len(responses) - len(blocks) :], strict=True):
                for user, value in zip(block, lamps.presence_values(response, len(block)) or (), strict=False):
                    wanted = self._host.desired(user)[1]
                    self._presences[user] = wanted if value == wanted else value  # equal ones are one object
            values = iter(parse(responses[: len(responses) - len(blocks)]))
            for user in users:
                self._reading.discard(user)
                found = [next(values) for _ in kinds]
                if user in self._stirred:
                    self._stirred.discard(user)
                    self._restless[user] = (None, self._clock() + QUIET_S)
                else:
                    self._seen(user, found)

        self._submit(requests, done, urgent=urgent)

    def _seen(self, user: UserId, values: list[DeviceState | None]) -> None:
        """Compare what a server shows for a user with what we knew, and find out whether it is somebody's wish."""
        layout = self._layout
        first = user in self._unsettled
        if any(value is None for value in values):
            self._read_later(user)
            return
        after = layout.vector(tuple(layout.seen(i, v) for i, v in enumerate(values) if v is not None))
        before, wanted = self._shown.get(user, layout.off), self._host.desired(user)[0]
        if first:  # a lamp that shows what we tried to write, or want, may be ours: it is no vote
            self._unwatched.append(user)
            ours = zip(before, after, wanted, self._unsure.get(user, wanted), strict=True)
            before = layout.vector(tuple(a if a is w or a is t else b for b, a, w, t in ours))
        if after is not before and after is not wanted:
            wish = layout.wish(before, after, self.pbx, restarted=first and self._restarted)
            if wish is not None:
                if not self._is_quiet(user, after):
                    self._restless[user] = (after, self._clock() + QUIET_S)
                    return
                self._settle(user, after)
                self._host.adopt(user, wish)
                return
        self._settle(user, after)

    def _read_later(self, user: UserId) -> None:
        """Look again after a read that failed, ever less often."""
        count = self._failed.get(user, (0, 0.0))[0]
        if not self._failed:
            log.error("lamps not read", pbx=self.pbx, user=user, remedy="is res_ari_device_states.so loaded?")
        self._failed[user] = (count + 1, inf)
        seen = self._restless.get(user, ((), 0.0))[0]
        self._restless[user] = (seen, self._clock() + RETRY_S[min(count, len(RETRY_S) - 1)])

    def _is_quiet(self, user: UserId, after: Vector) -> bool:
        """Tell whether a change has come to rest: no event for a while, or the same at two reads."""
        seen, due = self._restless.get(user, (None, 0.0))
        return due == inf and (seen is None or seen is after)

    def _settle(self, user: UserId, after: Vector) -> None:
        self._restless.pop(user, None)
        self._unsure.pop(user, None)
        self._unsettled.discard(user)
        self._due[user] = None
        self._show(user, after)
        self._host.settled(user)

    def _show(self, user: UserId, vector: Vector) -> None:
        if self._shown.get(user, self._layout.off) is vector:
            return
        if vector is self._layout.off:
            self._shown.pop(user, None)
        else:
            self._shown[user] = vector
        self._host.confirmed(self.pbx, user, lamps_text(self._layout, vector))

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(self, users: list[UserId], *, urgent: bool) -> None:
        """Write what differs for some users, and read it back on the same ordered link."""
        requests: list[Request] = []
        devices: list[str] = []
        for user in users:
            vector, presence = self._host.desired(user)
            changes = plan(vector, self._shown.get(user, self._layout.off))
            new = presence if self._presences.get(user) != presence else None
            if not changes and new is None:
                self._failed.pop(user, None)
                self._host.settled(user)
                continue
            self._writing[user] = _Write(changes, new)
            requests += [lamps.write_lamp(self._layout.device(c.index, user), c.after) for c in changes]
            if new is not None:
                requests.append(lamps.write_presence(user, new))
            devices += [self._layout.device(c.index, user) for c in changes]
        written = [user for user in users if user in self._writing]
        if not written:
            return
        reads, parse = self._read_requests(devices)

        def done(responses: list[Response]) -> None:
            values = iter(parse(responses[len(requests) :]))
            statuses = iter(responses)
            for user in written:
                write = self._writing.pop(user)
                shown = [(next(statuses).ok, next(values)) for _ in write.changes]
                presence_ok = write.presence is None or next(statuses).ok
                self._wrote(user, write, [value if ok else None for ok, value in shown], presence_ok=presence_ok)

        self._submit(requests + reads, done, urgent=urgent)

    def _wrote(self, user: UserId, write: _Write, values: list[DeviceState | None], *, presence_ok: bool) -> None:
        """Take what the read-back says of one user's write (None: refused or not read)."""
        seen = [
            None if v is None else self._layout.seen(c.index, v) for c, v in zip(write.changes, values, strict=True)
        ]
        refused = [c for c, v in zip(write.changes, seen, strict=True) if v is None or v is c.before]
        foreign = any(v is not c.after and c not in refused for c, v in zip(write.changes, seen, strict=True))
        done = tuple(change for change in write.changes if change not in refused)
        before = self._shown.get(user, self._layout.off)
        if write.presence is not None and presence_ok:
            self._presences[user] = write.presence
        self._show(user, self._layout.vector(apply(done, before)))
        if foreign:
            self._restless[user] = (None, self._clock() + QUIET_S)
        if refused or not presence_ok:
            self._fail(user, [self._layout.device(change.index, user) for change in refused])
        else:
            self._failed.pop(user, None)
        self._host.settled(user)

    def _fail(self, user: UserId, devices: list[str]) -> None:
        count = self._failed.get(user, (0, 0.0))[0]
        self._failed[user] = (count + 1, self._clock() + RETRY_S[min(count, len(RETRY_S) - 1)])
        if count == 0:
            log.error("lamp not taken", pbx=self.pbx, user=user, devices=devices, remedy="is func_devstate.so loaded?")
