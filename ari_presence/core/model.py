"""The model: users, which endpoint belongs to whom, and what is under way. Changed by `reducer.py` alone.

One thread owns a model. Nothing here does I/O or reads a clock.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, time, tzinfo
from math import inf
from types import MappingProxyType

from ari_presence.core.calls import Calls
from ari_presence.core.callview import CallView
from ari_presence.core.devstate import DeviceState
from ari_presence.core.kept import Rules
from ari_presence.core.lamps import LampLayout, Presence, Vector
from ari_presence.core.names import UserId, fold_endpoint, is_user_id
from ari_presence.core.occurrences import Occurrences
from ari_presence.core.parking import Parking
from ari_presence.core.schedule import ScheduleTable
from ari_presence.core.timers import Deadlines, EndQueue
from ari_presence.core.timetable import Timetable
from ari_presence.core.userstate import AVAILABLE, Entry, Layer, StateDef, StateTable
from ari_presence.errors import Refused

OWNERS_REMEMBERED = 100_000  # names of endpoints can come from the network

_NO_ENTRIES: Mapping[Layer, Entry] = MappingProxyType({})  # one for all, since most users have none


@dataclass(frozen=True, slots=True)
class UserSettings:
    """What the configuration says of one user; shared by all who have nothing of their own.

    Attributes:
        rights: Whom the user may set (`rights.RIGHTS`).
        settable: States that the user may set or end, None for all.
    """

    name: str | None = None
    groups: tuple[str, ...] = ()
    rights: frozenset[str] = frozenset({"set_self"})
    zone: tzinfo = UTC
    settable: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """Sounds that every code uses; names as in `core show sounds`, without an extension."""

    activated: tuple[str, ...] = ("activated",)
    deactivated: tuple[str, ...] = ("de-activated",)
    error: tuple[str, ...] = ("beeperr",)


@dataclass(slots=True)
class User:
    """One person.

    Attributes:
        id: Legal user id.
        settings: What the configuration says.
        entries: The layers that are set, without the default; replaced, never changed in place.
        since: When the person was last seen to have no layer at all, for the default state.
        hushed: An operator reset the lamps: they stay off until the next change.
        lines: How many endpoints of the person the servers list.
        reachable: How many of them can be reached.
    """

    id: UserId
    settings: UserSettings
    since: float
    entries: Mapping[Layer, Entry] = field(default_factory=lambda: _NO_ENTRIES)
    hushed: bool = False
    lines: int = 0
    reachable: int = 0

    @property
    def manual(self) -> Entry | None:
        """The state set by hand."""
        return self.entries.get(Layer.MANUAL)

    def layers(self, states: StateTable) -> Iterator[tuple[Layer, Entry, StateDef]]:
        """Yield the layers that apply, the winner first, the default last."""
        yield from states.layers(self.entries)
        yield Layer.DEFAULT, Entry(AVAILABLE, "default", self.since), states.by_id[AVAILABLE]

    def effective(self, states: StateTable) -> tuple[Layer, Entry, StateDef]:
        """Give the layer that wins."""
        return next(self.layers(states))

    def put(self, layer: Layer, entry: Entry | None, at: float) -> None:
        """Set or remove one layer."""
        entries = {key: value for key, value in self.entries.items() if key is not layer}
        if entry is not None:
            entries[layer] = entry
        elif not entries:
            self.since = at
        self.entries = entries or _NO_ENTRIES


@dataclass(frozen=True, slots=True)
class Settings:
    """What the model must know of the configuration; replaced as a whole by a reload.

    Attributes:
        states: All states.
        layout: Which lamps a user has.
        listed: Users of the configuration, with their settings.
        endpoints: Endpoint (folded, `PJSIP/100`) to listed user.
        discover: Whole endpoint name with the group `user`, or None.
        exclude: Endpoint names that are never users, or None.
        no_set: Endpoint names from which no state may be set, or None.
        default: Settings of discovered users.
        pbxs: Names of the servers.
        prompts: Standard prompts.
        keep_s: How long a user whose endpoint is missing from the listings is kept.
        wrap_up_s: How long somebody is wrapping up after a call; 0 for not at all.
        history_of_calls: Whether states that set themselves go into the history.
        parked_alert_s: How long a parked call may wait before its lamp says so.
        schedules: Whose schedule is which.
        remind_after_s: How long a state set by hand may last before its owner is reminded of it, or None.
        reset_at: Time of day at which forgotten states are cleared, or None.
        reset_on_register: Whether they are cleared when an offline user can be reached again.
        rules: Who gets through in spite of a state.
    """

    states: StateTable
    layout: LampLayout
    listed: Mapping[UserId, UserSettings] = field(default_factory=dict)
    endpoints: Mapping[str, UserId] = field(default_factory=dict)
    discover: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    no_set: re.Pattern[str] | None = None
    default: UserSettings = UserSettings()
    pbxs: tuple[str, ...] = ()
    prompts: Prompts = Prompts()
    keep_s: float = 60.0
    wrap_up_s: float = 0.0
    history_of_calls: bool = False
    parked_alert_s: float = 120.0
    schedules: ScheduleTable = field(default_factory=ScheduleTable)
    remind_after_s: float | None = None
    reset_at: time | None = None
    reset_on_register: bool = False
    rules: Rules = field(default_factory=Rules)

    def owner(self, endpoint: str) -> UserId | None:
        """Tell whose endpoint this is, listed or by discovery; None for nobody's."""
        folded = fold_endpoint(endpoint)
        listed = self.endpoints.get(folded)
        if listed is not None:
            return listed
        if folded.endswith("/anonymous") or (self.exclude is not None and self.exclude.search(endpoint)):
            return None
        match = self.discover.fullmatch(endpoint) if self.discover is not None else None
        user = match["user"].lower() if match and match["user"] else ""
        return UserId(user) if is_user_id(user) else None


@dataclass(slots=True)
class Caller:
    """A caller in our Stasis application whose code is being served."""

    pbx: str
    channel: str
    media: tuple[str, ...] = ()


Basis = tuple[Mapping[Layer, Entry], DeviceState, LampLayout, tzinfo]
"""What decides on somebody's lamps: layers (replaced, never changed in place), parked calls, the layout, the zone."""


class Model:
    """Everything the daemon knows about people.

    Attributes:
        settings: The configuration as the model sees it.
        users: Every user, listed or discovered.
        ends: When something of a user is due: a state ends, somebody counts as offline or as gone.
        callers: Request number to the caller who waits for its outcome.
        playing: Playback id to the caller who hears it.
        endpoints: Last listing of each server that ever gave one.
        lit: Stored lamps of people who are nobody (yet): set to off when they stay away.
        parted: Stored manual states of people who are nobody (yet, or any more).
        missing: Users whose endpoint has gone from the listings, and when they are dropped.
        calls: Channels and bridges of each server.
        views: What the lines of users do who are in a call, by server and line.
        changed_lines: Server and line that may do something else, and since when; empty when events have been applied.
        parking: Parked calls of each server.
        parked: Lamps of users who parked a call that waits.
        unheard: Servers whose link was lost while they had calls, and when those are given up.
        offline: Endpoints of each server that cannot be reached.
        leaving: Users who cannot be reached since a moment ago, and when they are offline.
        flaps: How often users have gone and come back lately, and when they went last.
        timetable: Who follows which schedule.
        resets: When forgotten states are cleared next, by zone.
        to_reset: Users in whose zone it is time, and who have not been looked at yet.
        agendas: What each calendar says of a user, also of who is no user yet.
        agenda_of_all: What each calendar says of everybody for whom it says nothing else.
        agenda_dues: When the calendar layer of a user changes next.
        stopping: Calls are not followed any more.
        desired: What is wanted of the lamps of a few users, and what that was worked out from (`desired.py`).
    """

    def __init__(self, settings: Settings) -> None:
        """Start with the listed users; `Started` brings what was stored."""
        self.settings = settings
        self.users: dict[UserId, User] = {}
        self.ends = EndQueue()
        self.callers: dict[int, Caller] = {}
        self.playing: dict[str, Caller] = {}
        self.endpoints: dict[str, tuple[str, ...]] = {}
        self.parted: dict[UserId, Entry] = {}
        self.lit: set[UserId] = set()
        self.missing: dict[UserId, float] = {}
        self.calls: dict[str, Calls] = {}
        self.views: dict[UserId, dict[tuple[str, str], CallView]] = {}
        self.changed_lines: dict[tuple[str, str], float] = {}
        self.parking: dict[str, Parking] = {}
        self.parked: dict[UserId, DeviceState] = {}
        self.unheard: dict[str, float] = {}
        self.offline: dict[str, set[str]] = {}
        self.leaving: dict[UserId, float] = {}
        self.flaps: dict[UserId, tuple[int, float]] = {}
        self.timetable = Timetable()
        self.resets: dict[tzinfo, float] = {}
        self.to_reset: list[UserId] = []
        self.agendas: dict[UserId, dict[str, Occurrences]] = {}
        self.agenda_of_all: dict[str, Occurrences] = {}
        self.agenda_dues: Deadlines[UserId] = Deadlines()
        self.stopping = False
        self.desired: dict[UserId, tuple[Basis, tuple[Vector, Presence]]] = {}
        self._requests = 0
        self._owners: dict[str, UserId | None] = {}
        self._owners_by = settings

    def user(self, name: str) -> User:
        """Give a user.

        Raises:
            Refused: `unknown-user`: there is none with this id.
        """
        user = self.users.get(UserId(name))
        if user is None:
            raise Refused(f"there is no user {name[:60]!r}: 'ari-presence users' lists them", code="unknown-user")
        return user

    def owner(self, line: str) -> UserId | None:
        """Tell whose endpoint this is (`Settings.owner`), remembering the answer."""
        if self._owners_by is not self.settings or len(self._owners) >= OWNERS_REMEMBERED:
            self._owners.clear()
            self._owners_by = self.settings
        try:
            return self._owners[line]
        except KeyError:
            self._owners[line] = owner = self.settings.owner(line)
            return owner

    def forget_owners(self) -> None:
        """Forget the answers of `owner`, to save memory."""
        self._owners = {}

    def new_request(self) -> int:
        """Number the next request of a caller; negative, so that it never meets those of other clients."""
        self._requests -= 1
        return self._requests

    def next_deadline(self) -> float | None:
        """Tell when a `TimerDue` event is wanted, seconds since the epoch (0 for at once), or None."""
        if self.to_reset:
            return 0.0
        due = self.timetable.next if self.timetable.next is not None else inf
        if self.unheard or self.resets:
            due = min(due, *self.unheard.values(), *self.resets.values())
        for queue in (self.ends, self.agenda_dues):
            if (end := queue.next()) is not None and end < due:
                due = end
        for pbx, calls in self.calls.items():
            if pbx not in self.unheard and (wanted := calls.next_deadline()) < due:
                due = wanted
        for parking in self.parking.values():
            if (alert := parking.next_deadline(self.settings.parked_alert_s)) is not None and alert < due:
                due = alert
        return due if due < inf else None
