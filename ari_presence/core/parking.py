"""Parked calls of one server: who waits where, since when, and who parked them.

Fed with what ARI tells (calls in lots, spaces in use) and with whole listings of AMI, which alone say for certain who is in
which space; without them `spaces` works out what is certain. Two things of Asterisk shape this (measured on 22.10.1 and
16.28.0): the reports of a call in a lot and of its space come in any order; and in 22 the space often counts as taken only
when the phone that parked the call has hung up, which can be long after the call is in the lot.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from ari_presence.core.parked import Member, ParkedCall, ParkedInfo, Parker, Space
from ari_presence.core.spaces import WINDOW_S, Stay, match

CALLS_AT_MOST = 10_000
TRANSFER_S = 2.0
"""A transfer explains a parked call for so long, before it or after it: their reports come in any order."""
PARKER_STAYS_S = 60.0
"""For so long the one who parked may take to hang up; a space that is taken later than that is not matched."""
KEEP_S = 30.0
"""A gap in the events that was longer may hide that somebody took a call out and parked it elsewhere."""
STALE_S = 2.0
"""A listing of AMI may be this much older than an event of ARI, and the other way round."""


@dataclass(slots=True)
class _Call:
    """A call in a lot.

    Attributes:
        seen: When it was met first; counts for the lamp where `since` is not known.
        is_exact: `since` is the very moment, not one that a listing tells.
        told: What AMI says.
    """

    member: Member
    stay: Stay[str]
    seen: float
    since: float | None
    is_exact: bool
    told: ParkedInfo | None = None

    @property
    def parker(self) -> str | None:
        if self.told is not None and self.told.parker is not None:
            return self.told.parker
        return self.member.parker.endpoint if self.member.parker is not None else None

    @property
    def waiting(self) -> float:
        return self.seen if self.since is None else self.since


Parkers = set[str]


class Parking:
    """Parked calls of one server; the thread that owns the model calls it.

    Times are seconds since the epoch. What changes something gives the endpoints of those whose lamp may have changed.
    """

    def __init__(self) -> None:
        """Start with nothing known: the first listing may find calls that are parked already."""
        self._calls: dict[str, _Call] = {}
        self._spaces: dict[Space, Stay[Space]] = {}
        self._ended: deque[tuple[float, Stay[Any]]] = deque(maxlen=CALLS_AT_MOST)
        self._transfers: dict[str, tuple[Parker, float]] = {}
        self._left: dict[str, float] = {}
        self._freed: dict[Space, float] = {}
        self._held_open: dict[str, set[str]] = {}  # channel of who parked, to the calls whose space may still come
        self._told_at = -inf
        self._listed_at = -inf  # what a listing shows without an event for it began after this, or after `_lost`
        self._lost: float | None = None
        self._spaces_from = -inf  # the same for spaces, which are listed apart
        self._are_spaces_known = False
        self._unsure: set[Space] = set()  # somebody else may be in them since a gap
        self._alerted_at = -inf
        self._next: tuple[float, float | None] | None = None  # for which alert time, and the deadline

    # --- what ARI tells -----------------------------------------------------------------------------------------

    def entered(self, channel: str, lot: str, caller: tuple[str, str], parker: Parker | None, at: float) -> Parkers:
        """Take that a channel entered a lot's bridge; `parker` is a guess, which a transfer or AMI overrules."""
        old = self._calls.get(channel)
        if old is None or old.member.lot != lot:
            touched = self._end(channel, at)
            self._left.pop(channel, None)
            return touched | self._add(Member(channel, lot, caller, parker), at, at, at)
        if old.is_exact:
            return set()
        # A listing was quicker than its event, which tells the very moment.
        del self._calls[channel]
        touched = self._who(old) | self._add(Member(channel, lot, caller, old.member.parker or parker), at, at, at)
        self._calls[channel].told = old.told
        self._calls[channel].stay.number = old.stay.number
        return touched | self._who(self._calls[channel])

    def left(self, channel: str, at: float) -> Parkers:
        """Take that a channel left its lot: retrieved, timed out or hung up."""
        return self._end(channel, at)

    def gone(self, channel: str, at: float) -> Parkers:
        """Take that a channel is no more: a parked one, or that of somebody who parked one."""
        for parked in self._held_open.pop(channel, ()):
            call = self._calls.get(parked)
            if call is not None:
                call.stay.high = min(call.stay.high, max(at, call.seen))
        return self._end(channel, at)

    def lot_gone(self, lot: str, at: float) -> Parkers:
        """Take that the bridge of a lot is no more."""
        ended = [channel for channel, call in self._calls.items() if call.member.lot == lot]
        return set().union(*(self._end(channel, at) for channel in ended))

    def transferred(self, parker: Parker, transferee: str, at: float) -> Parkers:
        """Take a blind transfer, which may be into a lot; before or after the transferee is in it."""
        call = self._calls.get(transferee)
        if call is not None and at - call.seen <= TRANSFER_S:
            before = self._who(call)
            call.member = call.member._replace(parker=parker)
            self._hold_open(call)
            return before | self._who(call)
        self._transfers.pop(transferee, None)
        self._transfers[transferee] = (parker, at)
        _expire(self._transfers, lambda value: value[1], at - TRANSFER_S)
        return set()

    def space_seen(self, space: Space, in_use: bool, at: float) -> Parkers:
        """Take that a space was taken or is free, from its device."""
        if in_use:
            self._spaces.setdefault(space, Stay(space, at, at, at, space.number))
        elif (stay := self._spaces.pop(space, None)) is not None:
            self._freed[space] = at
            self._note_end(stay, at)
        return set()

    # --- listings -----------------------------------------------------------------------------------------------

    def lost(self, at: float) -> None:
        """Take that no events of ARI come any more."""
        self._lost = at if self._lost is None else self._lost
        if self._are_spaces_known:
            self._spaces_from, self._are_spaces_known = at, False

    def restored(self, members: Iterable[Member], at: float) -> Parkers:
        """Take every channel that is in a lot, asked for at `at`: what began or ended before was perhaps not seen.

        Who parked a call that is found so is not told by a listing, and is not guessed.
        """
        rows = {member.channel: member for member in members}
        start = self._listed_at if self._lost is None else self._lost
        was_long = self._lost is not None and at - self._lost > KEEP_S
        if self._lost is not None or rows.keys() != self._calls.keys():  # else nothing was missed
            pairs = {} if was_long else self._match(at if self._lost is None else self._lost)
            self._unsure |= self._spaces.keys() - {space for channel, space in pairs.items() if channel in rows}
        self._listed_at, self._lost = at, None
        touched: Parkers = set()
        for channel, call in list(self._calls.items()):
            if channel not in rows and call.seen < at:
                touched |= self._end(channel, at)
            elif was_long and call.seen < at:
                call.stay.high = call.stay.moved = at
                if self._told_at < start:
                    call.told = call.stay.number = None
        for member in rows.values():
            if member.channel not in self._calls and self._left.get(member.channel, -inf) < at:
                touched |= self._add(member._replace(parker=None), start, at, None)
        return touched

    def spaces_listed(self, in_use: Iterable[Space], at: float) -> Parkers:
        """Take every watched space that is in use, asked for at `at`, after `restored` and when they were watched."""
        taken = set(in_use)
        for space, stay in list(self._spaces.items()):
            if space not in taken and stay.low < at:
                self.space_seen(space, False, at)
            elif space in self._unsure and stay.low < at:
                stay.high = stay.moved = at
        for space in taken:
            if self._freed.get(space, -inf) < at:
                self._spaces.setdefault(space, Stay(space, self._spaces_from, at, at, space.number))
        self._spaces_from, self._are_spaces_known, self._unsure = at, True, set()
        return set()

    def listed(self, calls: tuple[ParkedInfo, ...] | None, at: float) -> Parkers:
        """Take a whole listing of AMI, asked for at `at`; None when AMI is gone: what it said of calls that wait stays."""
        if calls is None:
            return set()
        self._told_at = at
        rows = {info.channel: info for info in calls}
        touched: Parkers = set()
        for info in rows.values():
            if at - self._left.get(info.channel, -inf) > STALE_S:  # else it has left while the listing was made
                touched |= self._told(info, at)
        old = [c for c, call in self._calls.items() if c not in rows and at - call.seen > STALE_S]
        return touched.union(*(self._end(channel, at) for channel in old))

    def _told(self, info: ParkedInfo, at: float) -> Parkers:
        call = self._calls.get(info.channel)
        touched = self._who(call) if call is not None else set()
        if call is None:
            touched |= self._add(Member(info.channel, info.lot, info.caller), info.since - 1, at, info.since)
            call = self._calls.get(info.channel)
        if call is None:
            return touched
        call.told = info
        call.stay.number = info.space
        call.member = call.member._replace(lot=info.lot)
        if call.since is None:
            call.since, self._next = info.since, None
        return touched | self._who(call)

    # --- what it means ------------------------------------------------------------------------------------------

    def calls(self, at: float) -> tuple[ParkedCall, ...]:
        """Give the parked calls, sorted by lot and space; work is done here, not at each event."""
        found = self._match(at)
        rows = []
        for channel, call in self._calls.items():
            space = found.get(channel)
            if (info := call.told) is not None:
                rows.append(_row(call, info.space, space and space.context, "ami"))
            elif space is not None:
                rows.append(_row(call, space.number, space.context, "correlated"))
            else:
                rows.append(_row(call, None, None, "unknown"))
        return tuple(sorted(rows, key=_order))

    def waiting(self) -> dict[str, float]:
        """Give who parked calls that wait, by endpoint, and since when the oldest of each does."""
        oldest: dict[str, float] = {}
        for call in self._calls.values():
            if (parker := call.parker) is not None:
                oldest[parker] = min(call.waiting, oldest.get(parker, inf))
        return oldest

    def next_deadline(self, alert_s: float) -> float | None:
        """Tell when `due` will have something to say."""
        if self._next is None or self._next[0] != alert_s:
            times = [call.waiting + alert_s for call in self._calls.values() if call.parker is not None]
            self._next = (alert_s, min((time for time in times if time > self._alerted_at), default=None))
        return self._next[1]

    def due(self, at: float, alert_s: float) -> Parkers:
        """Give the endpoints of those who parked a call that waits for too long since just now."""
        deadline = self.next_deadline(alert_s)
        if deadline is None or deadline > at:
            return set()
        late = [call for call in self._calls.values() if self._alerted_at < call.waiting + alert_s <= at]
        self._alerted_at, self._next = at, None
        return set().union(*map(self._who, late))

    def _match(self, at: float) -> dict[str, Space]:
        """Tell which call is in which of the watched spaces, as far as it is certain."""
        calls = [call.stay for call in self._calls.values()]
        return match(calls, self._spaces.values(), [stay for when, stay in self._ended if when > at - WINDOW_S], at)

    # --- book-keeping -------------------------------------------------------------------------------------------

    def _add(self, member: Member, low: float, high: float, since: float | None) -> Parkers:
        """Add a call that began between two times, as known at `high`."""
        if len(self._calls) >= CALLS_AT_MOST:
            return set()
        parker, when = self._transfers.pop(member.channel, (None, -inf))
        if parker is not None and abs(high - when) <= TRANSFER_S:
            member = member._replace(parker=parker)
        call = _Call(member, Stay(member.channel, low, high, high), high, since, low == high)
        self._calls[member.channel] = call
        self._hold_open(call)
        self._next = None
        return self._who(call)

    def _hold_open(self, call: _Call) -> None:
        """Let the space come until who parked the call has hung up."""
        parker = call.member.parker
        self._next = None
        if parker is not None and parker.channel != call.member.channel:
            call.stay.high = max(call.stay.high, call.seen + PARKER_STAYS_S)
            self._held_open.setdefault(parker.channel, set()).add(call.member.channel)

    def _end(self, channel: str, at: float) -> Parkers:
        call = self._calls.pop(channel, None)
        if call is None:
            return set()
        parker = call.member.parker
        if parker is not None and (open_ := self._held_open.get(parker.channel)) is not None:
            open_.discard(channel)
            if not open_:
                del self._held_open[parker.channel]
        self._note_end(call.stay, at)
        self._left.pop(channel, None)
        self._left[channel] = at
        _expire(self._left, lambda when: when, at - STALE_S)
        self._next = None
        return self._who(call)

    def _note_end(self, stay: Stay[Any], at: float) -> None:
        stay.high = min(stay.high, max(at, stay.low))
        self._ended.append((at, stay))
        while self._ended and self._ended[0][0] <= at - WINDOW_S:
            self._ended.popleft()

    @staticmethod
    def _who(call: _Call) -> Parkers:
        return {call.parker} if call.parker is not None else set()


def _row(
    call: _Call, space: str | None, context: str | None, source: Literal["ami", "correlated", "unknown"]
) -> ParkedCall:
    number, name = call.told.caller if call.told is not None and any(call.told.caller) else call.member.caller
    caller = (number or None, name or None)
    return ParkedCall(call.member.channel, call.member.lot, space, context, caller, call.parker, call.since, source)


def _order(row: ParkedCall) -> tuple[str, float, float, str]:
    return row.lot, inf if row.space is None else int(row.space), row.since or 0.0, row.channel


def _expire(notes: dict[str, Any], time_of: Callable[[Any], float], before: float) -> None:
    """Drop the oldest notes, which come first."""
    while notes and time_of(notes[first := next(iter(notes))]) < before:
        del notes[first]
