"""Groups: who of them is free, busy or out, counted as people change, and the lamp that says so.

One change of one person costs as much as the person has groups, however many members those have. The configuration says who
is in a group, so a group without members is one that has left it. Fed by whoever owns the model, after each event.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import EndpointsSeen, Event
from ari_presence.core.lamps import Vector, Wish
from ari_presence.core.model import Model, Settings, User
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import AWAY, OFFLINE, Layer, StateTable

OFF = DeviceState.NOT_INUSE
BRB = StateId("brb")
OUT = StateId("out")


def group_device(group: str) -> str:
    """Name the lamp of a group."""
    return f"Stasis:group-{group}"


class Availability(StrEnum):
    """What a member means to a group: free for a call, busy, or not there at all."""

    FREE = "free"
    BUSY = "busy"
    OUT = "out"


class Standing(NamedTuple):
    """How available somebody is, and the state that decides it."""

    availability: Availability
    state: StateId


_standing = cache(Standing)  # a handful of objects for any number of people


def standing(person: User, states: StateTable) -> Standing:
    """Tell whether a person is free: a reachable endpoint, no call, calls ring, and neither away nor back soon.

    Out is who is out of office, and whoever has no phone that can be reached, whatever was set by hand. The seconds after a
    call count as the call.
    """
    _, _, state = person.effective(states)
    call = person.entries.get(Layer.CALLS)
    if state.id == OUT:
        return _standing(Availability.OUT, OUT)
    if call is not None:
        return _standing(Availability.BUSY, call.state)
    if not person.lines or Layer.REGISTRATION in person.entries:
        return _standing(Availability.OUT, OFFLINE)
    rings = state.treatment == "ring" and state.id not in (AWAY, BRB)
    return _standing(Availability.FREE if rings else Availability.BUSY, state.id)


@dataclass(slots=True)
class _Group:
    """Members, and how many of them count for what; `awake` are those whose lamps an operator has not reset."""

    members: dict[UserId, Standing] = field(default_factory=dict)
    counts: dict[Availability, int] = field(default_factory=lambda: dict.fromkeys(Availability, 0))
    awake: int = 0

    def add(self, user: UserId, member: "_Member", by: int) -> None:
        """Count somebody in (1) or out (-1)."""
        if by > 0:
            self.members[user] = member.standing
        else:
            del self.members[user]
        self.counts[member.standing.availability] += by
        self.awake += 0 if member.hushed else by

    def best(self) -> Availability:
        """Give what the group as a whole is: free if anybody is, out if everybody is."""
        return next((each for each in Availability if self.counts[each]), Availability.OUT)


class _Member(NamedTuple):
    groups: frozenset[str]
    standing: Standing
    hushed: bool


_LAMP = {
    Availability.FREE: DeviceState.NOT_INUSE,
    Availability.BUSY: DeviceState.INUSE,
    Availability.OUT: DeviceState.UNAVAILABLE,
}


class Groups:
    """All groups with their members; for one thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._groups: dict[str, _Group] = {}
        self._members: dict[UserId, _Member] = {}
        self._alike: dict[_Member, _Member] = {}  # one object for all who are alike

    def __contains__(self, group: object) -> bool:
        return group in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def seen(self) -> list["GroupSeen"]:
        """Give all groups as they are now, sorted; the result does not change any more."""
        return [
            GroupSeen(name, group.best(), self.value(name), dict(group.members))
            for name, group in sorted(self._groups.items())
        ]

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> frozenset[str]:
        """Take what events have made of the people whom they touched, and give the groups as `update` does."""
        if EndpointsSeen in map(type, events):  # a first phone can come, or the last go, without another state
            touched = model.users
        changed: frozenset[str] = frozenset()
        for user in touched:
            person = model.users.get(user)
            if person is None:
                changed |= self.update(user, (), None)
            elif person.settings.groups or user in self._members:
                how = standing(person, model.settings.states)
                changed |= self.update(user, person.settings.groups, how, hushed=person.hushed)
        return changed

    def update(
        self, user: UserId, groups: Iterable[str], how: Standing | None, *, hushed: bool = False
    ) -> frozenset[str]:
        """Take what one person is now.

        Args:
            user: Who.
            groups: The groups of the person.
            how: How available; None for nobody's id any more.
            hushed: An operator has reset the lamps of the person. A group of none but such people shows nothing.

        Returns:
            The groups that appeared, went, or have another lamp than before.
        """
        before = self._members.get(user)
        after = _Member(frozenset(groups), how, hushed) if how is not None else None
        if after is not None and not after.groups:
            after = None
        if after == before:
            return frozenset()
        concerned = (before.groups if before else frozenset()) | (after.groups if after else frozenset())
        lamps = {group: self._lamp(group) for group in concerned}
        if before is not None:
            self._leave(user, before)
        if after is not None:
            self._join(user, after)
        return frozenset(group for group, lamp in lamps.items() if self._lamp(group) is not lamp)

    def _join(self, user: UserId, member: _Member) -> None:
        self._members[user] = member = self._alike.setdefault(member, member)
        for group in member.groups:
            self._groups.setdefault(group, _Group()).add(user, member, 1)

    def _leave(self, user: UserId, member: _Member) -> None:
        del self._members[user]
        for group in member.groups:
            self._groups[group].add(user, member, -1)
            if not self._groups[group].members:
                del self._groups[group]

    def _lamp(self, name: str) -> DeviceState | None:
        group = self._groups.get(name)
        if group is None:
            return None
        return _LAMP[group.best()] if group.awake else OFF

    def value(self, group: str) -> DeviceState:
        """Give what the lamp of a group shows: off for one that is none (any more)."""
        return self._lamp(group) or OFF


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """One group at one moment: what it is as a whole, what its lamp shows, and its members in no order."""

    name: str
    availability: Availability
    lamp: DeviceState
    members: Mapping[UserId, Standing]


def group_json(group: GroupSeen, settings: Settings) -> dict[str, Any]:
    """Show a group: state, lamp, the ids of who is free, busy and out, and each member with the state that decides it."""
    members = [_member_json(user, how, settings) for user, how in sorted(group.members.items())]
    lists = {each.value: [m["user"] for m in members if m["availability"] == each] for each in Availability}
    return {
        "group": group.name,
        "state": group.availability.value,
        "lamp": group.lamp.value,
        **lists,
        "members": members,
    }


def _member_json(user: UserId, how: Standing, settings: Settings) -> dict[str, Any]:
    state = settings.states.by_id.get(how.state)
    return {
        "user": user,
        "name": settings.listed.get(user, settings.default).name,
        "availability": how.availability.value,
        "state": how.state,
        "label": state.label if state else how.state,
    }


class GroupLayout:
    """The one lamp of a group, laid out as a publisher wants it (`plan.Layout`); what is a user there is a group here."""

    kinds: tuple[str, ...] = ("group",)
    off: Vector = (OFF,)

    def __init__(self) -> None:
        """Make the few vectors that there are."""
        self._vectors: dict[Vector, Vector] = {self.off: self.off}

    def device(self, _index: int, user: UserId) -> str:
        """Name the device of a group."""
        return group_device(user)

    def watched(self, user: UserId) -> tuple[str, ...]:
        """Name the devices whose outside changes are looked at."""
        return (group_device(user),)

    def locate(self, device: str) -> tuple[UserId, int] | None:
        """Tell whose lamp a device is; None if it is not a group's."""
        provider, _, name = device.partition(":")
        kind, _, group = name.partition("-")
        return (UserId(group), 0) if provider.lower() == "stasis" and kind == "group" and group else None

    def seen(self, _index: int, value: DeviceState) -> DeviceState:
        """Give what a lamp shows: one that Asterisk does not know yet counts as off."""
        return OFF if value is DeviceState.UNKNOWN else value

    def has_no_provider(self, _values: Sequence[DeviceState | None]) -> bool:
        """Tell that a value is always to be believed: what has no provider reads INVALID, which is then corrected."""
        return False

    def vector(self, values: Vector) -> Vector:
        """Give the one object that stands for equal vectors."""
        return self._vectors.setdefault(values, values)

    def wish(self, _before: Vector, _after: Vector, _pbx: str, *, restarted: bool = False) -> Wish | None:  # noqa: ARG002
        """Read nothing into somebody else's change: nobody can wish a group free, so it is corrected."""
        return None
