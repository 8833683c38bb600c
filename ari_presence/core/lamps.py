"""Users to wanted lamps: which value every lamp of a user should have.

A user's lamps are a *vector*: one device state for each kind of lamp, in the order of `LampLayout.kinds`. Equal vectors are
one object, so ten thousand users who are available cost ten thousand references.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import NamedTuple

from ari_presence.core import freepbx as pbx_dnd
from ari_presence.core.devstate import DeviceState, is_off
from ari_presence.core.freepbx import FreepbxLamps
from ari_presence.core.kept import kept_text
from ari_presence.core.names import StateId, UserId, joined_device, parked_device, state_device, whole_device
from ari_presence.core.timers import clock_text
from ari_presence.core.userstate import AVAILABLE, AWAY, DND, Entry, Layer, StateDef, StateTable

Vector = tuple[DeviceState, ...]
PRESENCE_BYTES = 180

# Kinds of lamps that are of no state; with a dash, which neither an id of a dialled state nor a located kind has.
JOINED = "main-joined"
WHOLE = "main-whole"
PARKED = "parked-call"
_OFF = {JOINED: DeviceState.INVALID}
OWN = frozenset({WHOLE, PARKED})
"""Lamps that follow calls: `Stasis:` devices, which nobody else provides, so what others make of them is no wish, and what
they were shown to be is not worth storing."""


class Presence(NamedTuple):
    """A presence state: type, subtype and message, as `PRESENCE_STATE` takes them (`func_presencestate.c`).

    `kept` is what the dialplan keeps beside it, under a name of its own, about calls to the user (`kept.py`).
    """

    type: str
    subtype: str = ""
    message: str = ""
    kept: str = ""


NOT_SET = Presence("not_set")
# What the main lamp votes for: one state, or None for "clear".
MainVote = tuple[StateId | None]
_MAIN: Mapping[str, Callable[[UserId], str]] = {JOINED: joined_device, WHOLE: whole_device, PARKED: parked_device}
# Values that only the plain dialplan writes to a state lamp (`dialplan/presence-codes.conf`), for on and for off.
_FALLBACK = frozenset({DeviceState.BUSY, DeviceState.INVALID})


class LampLayout:
    """Which lamps a user has under one configuration, and what they should show; immutable."""

    def __init__(self, states: StateTable, *, whole: bool = True, freepbx: FreepbxLamps | None = None) -> None:
        """Lay out the joined lamp, the whole lamp if wanted, one for each digit, that of parked calls, and FreePBX's."""
        self._states = states
        self.freepbx = freepbx
        own = (JOINED, *([WHOLE] if whole else []), *(s.id for s in states.dialled), PARKED)
        self._first = len(own)  # of FreePBX's
        self._freepbx_kinds = freepbx.kinds if freepbx is not None else ()
        self._places = freepbx.places() if freepbx is not None else {}
        self.kinds: tuple[str, ...] = (*own, *self._freepbx_kinds)
        off = {**_OFF, **dict.fromkeys(self._freepbx_kinds, pbx_dnd.OFF)}
        self.off: Vector = tuple(off.get(kind, DeviceState.NOT_INUSE) for kind in self.kinds)
        self._index = {kind: index for index, kind in enumerate(self.kinds)}
        self._vectors: dict[Vector, Vector] = {self.off: self.off}
        self._desired: dict[tuple[object, ...], Vector] = {}  # by the states of the layers, which are few
        self._presences: dict[tuple[object, ...], Presence] = {}  # of those with neither message nor end, likewise
        kind = states.by_id[AVAILABLE].presence or ("available", "")
        self._nothing = Presence(*kind, kept=kept_text(states, {}, UTC))

    def equals(self, other: "LampLayout") -> bool:
        """Tell whether another layout names the same lamps."""
        return self.kinds == other.kinds and self.freepbx == other.freepbx

    def device(self, index: int, user: UserId) -> str:
        """Name the device of one kind of lamp."""
        if self.freepbx is not None and index >= self._first:
            return self.freepbx.device(index - self._first, user)
        kind = self.kinds[index]
        main = _MAIN.get(kind)
        return main(user) if main is not None else state_device(StateId(kind), user)

    def watched(self, user: UserId) -> tuple[str, ...]:
        """Name the devices of a user whose outside changes are adopted."""
        return tuple(dict.fromkeys(self.device(i, user) for i, kind in enumerate(self.kinds) if kind not in OWN))

    def locate(self, device: str) -> tuple[UserId, int] | None:
        """Tell whose lamp a device is and of which kind; None if it is not a user's lamp."""
        provider, _, name = device.partition(":")
        kind, dash, owner = name.partition("-")
        provider = provider.lower()
        if self.freepbx is not None and provider == "custom" and name[:3] in ("DND", "DEV"):
            found = self.freepbx.locate(name, self._places)
            return found and (found[0], self._first + found[1])
        if not dash or provider not in ("custom", "stasis"):
            return None
        if kind == "presence":
            kind = JOINED if provider == "custom" else WHOLE
        elif provider == "stasis":
            kind = PARKED if kind == "parked" else ""
        index = self._index.get(kind)
        return None if index is None else (UserId(owner), index)

    def seen(self, index: int, value: DeviceState) -> DeviceState:
        """Give what a lamp shows: one that Asterisk does not know yet counts as off."""
        if index >= self._first:
            return pbx_dnd.seen(value)
        return self.off[index] if value is DeviceState.UNKNOWN else value

    def has_no_provider(self, values: Sequence[DeviceState | None]) -> bool:
        """Tell whether lamps read as they do without func_devstate: every `Custom:` lamp is INVALID.

        The plain dialplan writes INVALID too, but only where a state lamp was lit.
        """
        custom = [value for kind, value in zip(self.kinds, values, strict=True) if kind not in OWN]
        return len(custom) > 3 and all(value is DeviceState.INVALID for value in custom)

    def vector(self, values: Vector) -> Vector:
        """Give the one object that stands for equal vectors."""
        return self._vectors.setdefault(values, values)

    def desired(self, entries: Mapping[Layer, Entry], parked: DeviceState = DeviceState.NOT_INUSE) -> Vector:
        """Work out what the lamps of a user with these layers, and this state of the calls parked, should show."""
        key = (parked, *((layer, entry.state) for layer, entry in entries.items()))
        found = self._desired.get(key)
        if found is None:
            found = self._desired[key] = self._work_out(entries, parked)
        return found

    def _work_out(self, entries: Mapping[Layer, Entry], parked: DeviceState) -> Vector:
        joined: DeviceState | None = None
        whole: DeviceState | None = None
        for state in (*(row[2] for row in self._states.layers(entries)), self._states.by_id[AVAILABLE]):
            whole = whole or state.whole
            joined = joined or state.joined
        manual = entries.get(Layer.MANUAL)
        values = {JOINED: joined or self.off[0], WHOLE: whole, PARKED: parked}
        if self._freepbx_kinds:
            on = pbx_dnd.is_dnd(self._without_calls(entries))
            values.update(dict.fromkeys(self._freepbx_kinds, pbx_dnd.ON if on else pbx_dnd.OFF))
        lit = manual.state if manual else None
        return self.vector(
            tuple(
                values.get(kind) or (DeviceState.INUSE if kind == lit else DeviceState.NOT_INUSE) for kind in self.kinds
            )
        )

    def _without_calls(self, entries: Mapping[Layer, Entry]) -> StateDef:
        """Give the state that decides on the presence state, as `presence` does."""
        found = (state for _, _, state in self._states.layers(entries) if state.presence is not None)
        return next(found, self._states.by_id[AVAILABLE])

    def is_dnd(self, vector: Vector) -> bool:
        """Tell whether FreePBX is told "do not disturb" by these lamps."""
        return self.freepbx is not None and vector[self._first] is pbx_dnd.ON

    def presence(self, entries: Mapping[Layer, Entry], zone: tzinfo) -> Presence:
        """Work out the presence state: of the highest layer that is no call, with its message and its end."""
        if not entries:
            return self._nothing
        by_id = self._states.by_id
        for entry in entries.values():
            if entry.until is not None or (entry.message and by_id[entry.state].presence is not None):
                return self._work_out_presence(entries, zone)
        key = tuple([(layer, entry.state) for layer, entry in entries.items()])
        found = self._presences.get(key)
        if found is None:
            found = self._presences[key] = self._work_out_presence(entries, zone)
        return found

    def _work_out_presence(self, entries: Mapping[Layer, Entry], zone: tzinfo) -> Presence:
        kept = kept_text(self._states, entries, zone)
        for _, entry, state in self._states.layers(entries):
            if state.presence is not None:
                return _presence(*state.presence, presence_message(entry, zone), kept)
        return _presence(self._nothing.type, self._nothing.subtype, "", kept)

    def wish(self, before: Vector, after: Vector, pbx: str, *, restarted: bool = False) -> "Wish | None":
        """Read what somebody else's change of a user's lamps asks for.

        Args:
            before: What we last knew the lamps to show.
            after: What they show now.
            pbx: Name of the server, for the source.
            restarted: Asterisk has restarted since `before`: a value of our own kind is then an older one of ours that
                came back from AstDB, not a wish.

        Returns:
            The wish, or None where nothing that changed means anything (it is then corrected).
        """
        states: dict[StateId, bool] = {}
        main: MainVote | None = None
        source = f"pbx:{pbx}"
        dnd: DeviceState | None = None
        for kind, old, new in zip(self.kinds, before, after, strict=True):
            if old is new or kind in OWN or (restarted and new in self._own(kind)):
                continue
            if kind == JOINED:
                main = main_vote(new)
                continue
            if kind in self._freepbx_kinds:
                dnd = dnd or (new if new in (pbx_dnd.ON, pbx_dnd.OFF) else None)  # that of the user comes first
                continue
            states[StateId(kind)] = not is_off(new)
            if new in _FALLBACK:
                source = "dialplan"
        if dnd is pbx_dnd.ON:
            states.setdefault(DND, True)
        elif dnd is pbx_dnd.OFF:
            states = {**{state.id: False for state in self._states.all if pbx_dnd.is_dnd(state)}, **states}
        return Wish(states, main, source) if states or main is not None else None

    def _own(self, kind: str) -> frozenset[DeviceState]:
        if kind == JOINED:
            return frozenset(s.joined for s in self._states.all if s.joined)
        if kind in self._freepbx_kinds:
            return frozenset({pbx_dnd.ON, pbx_dnd.OFF})
        return frozenset({DeviceState.INUSE, DeviceState.NOT_INUSE})


@dataclass(frozen=True, slots=True)
class Wish:
    """What changed lamps ask for: state lamps and whether each is lit, the vote of the main lamp, and the source."""

    states: Mapping[StateId, bool]
    main: MainVote | None
    source: str


@lru_cache(maxsize=64)
def _presence(kind: str, subtype: str, message: str, kept: str) -> Presence:
    """Give one object for all whose schedule says the same."""
    return Presence(kind, subtype, message, kept)


def presence_message(entry: Entry, zone: tzinfo) -> str:
    """Give the message with the end behind it, cut on a character boundary to 180 bytes."""
    message = entry.message or ""
    if entry.until is not None:
        end = f"until {clock_text(entry.until, zone)}"
        message = f"{message} ({end})" if message else end
    return message.encode()[:PRESENCE_BYTES].decode(errors="ignore")


def main_vote(value: DeviceState) -> MainVote | None:
    """Read the joined main lamp as a wish: BUSY is dnd, ONHOLD is away, dark clears; None means nothing."""
    if value is DeviceState.BUSY:
        return (DND,)
    if value is DeviceState.ONHOLD:
        return (AWAY,)
    return (None,) if is_off(value) else None
