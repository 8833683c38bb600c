"""Desired minus published: the writes that make one user's lamps right.

Values, not actions: `publish` turns them into requests. Sorted by kind, the main lamp first, so logs and tests repeat.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import WHOLE, LampLayout, Vector
from ari_presence.core.names import StateId, UserId, is_state_id, state_device, whole_device
from ari_presence.errors import PublishError


@dataclass(frozen=True, slots=True)
class Change:
    """One lamp to be written: its place in `LampLayout.kinds`, what it showed, what it should show."""

    index: int
    before: DeviceState
    after: DeviceState


def plan(desired: Vector, published: Vector) -> tuple[Change, ...]:
    """Compare two vectors of one layout.

    Raises:
        PublishError: A desired lamp is UNKNOWN, which Asterisk refuses (`func_devstate.c`).
    """
    if desired is published:
        return ()
    changes = tuple(
        Change(index, old, new)
        for index, (new, old) in enumerate(zip(desired, published, strict=True))
        if new is not old
    )
    if any(change.after is DeviceState.UNKNOWN for change in changes):
        raise PublishError("no lamp can be set to UNKNOWN")
    return changes


def apply(changes: tuple[Change, ...], published: Vector) -> Vector:
    """Give the vector after the changes."""
    values = list(published)
    for change in changes:
        values[change.index] = change.after
    return tuple(values)


def lamps_text(layout: LampLayout, vector: Vector) -> str:
    """Write down the lamps that are not off, for the store: `main-joined=BUSY dnd=INUSE`; "" when all are off."""
    rows = zip(layout.kinds, vector, layout.off, strict=True)
    return " ".join(f"{kind}={value}" for kind, value, off in rows if value is not off)


def parse_lamps(layout: LampLayout, text: str) -> Vector:
    """Read what `lamps_text` wrote; kinds that are gone and values that are none are left out."""
    stored = dict(part.split("=", 1) for part in text.split() if "=" in part)
    values = []
    for kind, off in zip(layout.kinds, layout.off, strict=True):
        try:
            values.append(DeviceState(stored.get(kind, off)))
        except ValueError:
            values.append(off)
    return layout.vector(tuple(values))


def gone_lamps(layout: LampLayout, user: UserId, text: str) -> Iterator[str]:
    """Name the devices of lamps that `lamps_text` wrote down under another layout and that are of no kind any more."""
    for part in text.split():
        kind = part.partition("=")[0]
        if kind in layout.kinds:
            continue
        if kind == WHOLE:
            yield whole_device(user)
        elif is_state_id(kind):
            yield state_device(StateId(kind), user)
