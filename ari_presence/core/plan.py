"""Desired minus published: the writes that make one user's lamps right.

Values, not actions: `publish` turns them into requests. Sorted by kind, the main lamp first, so logs and tests repeat.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import OWN, WHOLE, Vector, Wish
from ari_presence.core.names import StateId, UserId, is_state_id, state_device, whole_device
from ari_presence.errors import PublishError


class Layout(Protocol):
    """Which lamps somebody (a user, or in their place a group) has on a server; `off` and vectors follow `kinds`."""

    kinds: tuple[str, ...]
    off: Vector

    def device(self, index: int, user: UserId, /) -> str:
        """Name the device of one kind of lamp."""

    def watched(self, user: UserId, /) -> tuple[str, ...]:
        """Name the devices whose outside changes are to be reported."""

    def locate(self, device: str, /) -> tuple[UserId, int] | None:
        """Tell whose lamp a device is and of which kind; None for all others."""

    def seen(self, index: int, value: DeviceState, /) -> DeviceState:
        """Give what a lamp shows that reads so."""

    def has_no_provider(self, values: Sequence[DeviceState | None], /) -> bool:
        """Tell whether lamps read as they do while a module is missing."""

    def vector(self, values: Vector, /) -> Vector:
        """Give the one object that stands for equal vectors."""

    def wish(self, before: Vector, after: Vector, pbx: str, /, *, restarted: bool = False) -> Wish | None:
        """Read what somebody else's change asks for; None where it is to be corrected."""


class Change(NamedTuple):
    """One lamp to be written: its place in `Layout.kinds`, what it showed, what it should show."""

    place: int
    before: DeviceState
    after: DeviceState


def plan(desired: Vector, published: Vector) -> tuple[Change, ...]:
    """Compare two vectors of one layout.

    Raises:
        PublishError: A desired lamp is UNKNOWN, which Asterisk refuses (`func_devstate.c`).
    """
    if desired is published:
        return ()
    if DeviceState.UNKNOWN in desired:
        raise PublishError("no lamp can be set to UNKNOWN")
    return _difference(published, desired)


@lru_cache(maxsize=1024)  # few vectors exist, and each call goes through the same ones
def _difference(before: Vector, after: Vector) -> tuple[Change, ...]:
    rows = enumerate(zip(before, after, strict=True))
    return tuple(Change(place, old, new) for place, (old, new) in rows if new is not old)


def apply(changes: tuple[Change, ...], published: Vector) -> Vector:
    """Give the vector after the changes."""
    values = list(published)
    for change in changes:
        values[change.place] = change.after
    return tuple(values)


def lamps_text(layout: Layout, vector: Vector) -> str:
    """Write down the lamps that are not off, for the store: `main-joined=BUSY dnd=INUSE`; "" when all are off."""
    rows = zip(layout.kinds, vector, layout.off, strict=True)
    return " ".join(f"{kind}={value}" for kind, value, off in rows if value is not off)


def is_worth_storing(layout: Layout, before: Vector, after: Vector) -> bool:
    """Tell whether a change must be known after a restart: what nobody else changes, and follows each call, must not."""
    return any(layout.kinds[change.place] not in OWN for change in _difference(before, after))


def parse_lamps(layout: Layout, text: str) -> Vector:
    """Read what `lamps_text` wrote; kinds that are gone and values that are none are left out."""
    stored = dict(part.split("=", 1) for part in text.split() if "=" in part)
    values = []
    for kind, off in zip(layout.kinds, layout.off, strict=True):
        try:
            values.append(DeviceState(stored.get(kind, off)))
        except ValueError:
            values.append(off)
    return layout.vector(tuple(values))


def gone_lamps(layout: Layout, user: UserId, text: str) -> Iterator[str]:
    """Name the devices of lamps that `lamps_text` wrote down under another layout and that are of no kind any more."""
    for part in text.split():
        kind = part.partition("=")[0]
        if kind in layout.kinds:
            continue
        if kind == WHOLE:
            yield whole_device(user)
        elif is_state_id(kind):
            yield state_device(StateId(kind), user)
