"""User states: what each one means, the layers they live in, and which layer wins.

The order of the layers is `PRECEDENCE` and nothing else; lamps, CLI, HTTP and dialplan all follow it. The built-in
states are `BUILTIN`; the configuration changes them and adds others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import StateId, UserId
from ari_presence.errors import Refused


class Layer(StrEnum):
    """Where a state comes from."""

    MANUAL = "manual"
    CALLS = "calls"
    SCHEDULE = "schedule"
    CALENDAR = "calendar"
    REGISTRATION = "registration"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class StateDef:
    """What one user state means to lamps, phones and callers.

    Attributes:
        id: Legal state id.
        label: For people.
        digit: `1` to `8`, or "" for a state that nobody dials.
        joined: Value of `Custom:presence-<user>`; None means "as the layers below".
        whole: Value of `Stasis:presence-<user>`.
        presence: Presence type and subtype of `CustomPresence:<user>`; None means "as the layers below".
        treatment: `ring`, `refuse`, `voicemail` or `forward:<number>`.
        overrides_calls: Whether the manual state beats the calls layer.
        expires_s: Seconds after which the state ends by itself when no end is given, or None.
        prompt: Sounds said before "activated".
        pauses_queues: Whether the user gets no calls from queues meanwhile.
    """

    id: StateId
    label: str
    digit: str
    joined: DeviceState | None
    whole: DeviceState
    presence: tuple[str, str] | None
    treatment: str = "ring"
    overrides_calls: bool = False
    expires_s: int | None = None
    prompt: tuple[str, ...] = ()
    pauses_queues: bool = False


class Person(NamedTuple):
    """Somebody at the other end of a call; `user` is None for who is no user of ours."""

    number: str
    name: str
    user: UserId | None


class Call(NamedTuple):
    """What is known of the call behind a state of the calls layer.

    Attributes:
        others: Who is at the other end; empty where there is nobody, or a room full.
        hold: `holding`, `held`, `parked`, or "".
        room: Name of the conference or parking lot, or "".
        talked: Whether somebody was at the other end.
    """

    others: tuple[Person, ...] = ()
    hold: str = ""
    room: str = ""
    talked: bool = False

    @property
    def outside(self) -> bool:
        """Tell whether nobody at the other end is a user."""
        return bool(self.others) and all(other.user is None for other in self.others)


class Entry(NamedTuple):
    """A state in one layer: who set it, since when, until when.

    Times are seconds since the epoch, UTC. `source` is `phone:PJSIP/100`, `api:name`, `cli`, `schedule:office`,
    `dialplan`, `pbx:hq` or `default`. `call` belongs to the calls layer alone.
    """

    state: StateId
    source: str
    since: float
    until: float | None = None
    message: str | None = None
    call: Call | None = None


AVAILABLE = StateId("available")
DND = StateId("dnd")
AWAY = StateId("away")
RINGING = StateId("ringing")
ON_CALL = StateId("on-call")
ON_HOLD = StateId("on-hold")
IN_CONFERENCE = StateId("in-conference")
WRAP_UP = StateId("wrap-up")
OFFLINE = StateId("offline")
CALL_STATES = frozenset({RINGING, ON_CALL, ON_HOLD, IN_CONFERENCE, WRAP_UP})


def _builtin() -> Iterable[StateDef]:
    d = DeviceState

    def manual(name: str, digit: str, label: str, lamp: DeviceState, presence: tuple[str, str], treat: str) -> StateDef:
        whole = d.UNAVAILABLE if name == "out" else lamp
        prompt = ("do-not-disturb",) if name == "dnd" else (f"digits/{digit}",)
        return StateDef(
            StateId(name), label, digit, lamp, whole, presence, treat, overrides_calls=name == "dnd", prompt=prompt
        )

    yield StateDef(AVAILABLE, "Available", "", d.INVALID, d.NOT_INUSE, ("available", ""), prompt=("digits/0",))
    yield manual("away", "1", "Away", d.ONHOLD, ("away", ""), "ring")
    yield manual("dnd", "2", "Do not disturb", d.BUSY, ("dnd", ""), "refuse")
    yield manual("lunch", "3", "At lunch", d.ONHOLD, ("away", "lunch"), "voicemail")
    yield manual("meeting", "4", "In a meeting", d.BUSY, ("dnd", "meeting"), "voicemail")
    yield manual("brb", "5", "Be right back", d.ONHOLD, ("away", "brb"), "ring")
    yield manual("out", "6", "Out of office", d.ONHOLD, ("xa", ""), "voicemail")
    for name, label, whole in (
        ("ringing", "Ringing", d.RINGING),
        ("on-call", "On the phone", d.INUSE),
        ("on-hold", "On hold", d.ONHOLD),
        ("in-conference", "In a conference", d.INUSE),
        ("wrap-up", "Wrapping up", d.ONHOLD),
    ):
        yield StateDef(StateId(name), label, "", None, whole, None, prompt=("vm-isonphone",))
    yield StateDef(
        StateId("offline"), "Offline", "", d.INVALID, d.UNAVAILABLE, ("unavailable", ""), prompt=("vm-isunavail",)
    )


BUILTIN: tuple[StateDef, ...] = tuple(_builtin())

# The order of the layers, highest first: (layer, whether this row wants a state with `overrides_calls`; None: either).
PRECEDENCE: tuple[tuple[Layer, bool | None], ...] = (
    (Layer.MANUAL, True),
    (Layer.CALLS, None),
    (Layer.MANUAL, False),
    (Layer.CALENDAR, None),
    (Layer.SCHEDULE, None),
    (Layer.REGISTRATION, None),
    (Layer.DEFAULT, None),
)


class StateTable:
    """All states of one configuration, by id and by digit; immutable."""

    def __init__(self, states: Iterable[StateDef] = BUILTIN) -> None:
        """Index the states.

        Raises:
            ValueError: Two states share an id or a digit, or `available` is missing.
        """
        self.all = tuple(states)
        self.by_id: Mapping[str, StateDef] = {state.id: state for state in self.all}
        self.by_digit: Mapping[str, StateDef] = {state.digit: state for state in self.all if state.digit}
        if len(self.by_id) != len(self.all) or len(self.by_digit) != sum(bool(s.digit) for s in self.all):
            raise ValueError("two states share an id or a digit")
        if AVAILABLE not in self.by_id:
            raise ValueError("there is no state 'available'")
        self.dialled = tuple(sorted(self.by_digit.values(), key=lambda state: state.digit))
        self.pauses_queues = any(state.pauses_queues for state in self.all)
        self.settable = tuple(s for s in self.all if s.id not in CALL_STATES and s.id != OFFLINE)

    def to_set(self, text: str) -> StateDef:
        """Give a state that somebody wants to set.

        Raises:
            Refused: `bad-state`: there is none with this id, or nobody can set it.
        """
        state = self.by_id.get(text)
        if state not in self.settable:
            known = ", ".join(each.id for each in self.settable)
            raise Refused(f"there is no state {text[:60]!r} to set: one of {known}", code="bad-state")
        return state

    def layers(self, entries: Mapping[Layer, Entry]) -> Iterable[tuple[Layer, Entry, StateDef]]:
        """Yield the layers that apply, the winner first; each row of `PRECEDENCE` at most once."""
        for layer, overrides in PRECEDENCE:
            entry = entries.get(layer)
            if entry is None:
                continue
            state = self.by_id[entry.state]
            if overrides is None or state.overrides_calls is overrides:
                yield layer, entry, state
