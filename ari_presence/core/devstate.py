"""Device states as Asterisk names them, and how a hint adds several up.

Source: `include/asterisk/devicestate.h`; the ranks are those of `ast_devstate_aggregate_add` in `main/devicestate.c`.
"""

from collections.abc import Iterable
from enum import StrEnum


class DeviceState(StrEnum):
    """One of the nine device states; UNKNOWN can be read but never written."""

    UNKNOWN = "UNKNOWN"
    NOT_INUSE = "NOT_INUSE"
    INUSE = "INUSE"
    BUSY = "BUSY"
    INVALID = "INVALID"
    UNAVAILABLE = "UNAVAILABLE"
    RINGING = "RINGING"
    RINGINUSE = "RINGINUSE"
    ONHOLD = "ONHOLD"


_RANK = {
    state: rank
    for rank, state in enumerate(
        (
            DeviceState.INVALID,
            DeviceState.UNKNOWN,
            DeviceState.UNAVAILABLE,
            DeviceState.NOT_INUSE,
            DeviceState.ONHOLD,
            DeviceState.RINGING,
            DeviceState.INUSE,
            DeviceState.BUSY,
            DeviceState.RINGINUSE,
        )
    )
}
_BY_NAME = {state.value: state for state in DeviceState}
_IN_CALL = frozenset({DeviceState.INUSE, DeviceState.ONHOLD, DeviceState.BUSY})
_OFF = frozenset({DeviceState.UNKNOWN, DeviceState.NOT_INUSE, DeviceState.INVALID, DeviceState.UNAVAILABLE})


def parse_state(text: str) -> DeviceState:
    """Read a device state in any case; what is not one becomes UNKNOWN, as in `ast_devstate_val`."""
    return _BY_NAME.get(text.upper(), DeviceState.UNKNOWN)


def is_off(state: DeviceState) -> bool:
    """Tell whether a lamp with this state is dark on a dialog subscription."""
    return state in _OFF


def aggregate(states: Iterable[DeviceState]) -> DeviceState:
    """Add up the devices of one hint; the order does not matter, an empty hint is INVALID."""
    seen = set(states)
    if DeviceState.RINGING in seen and seen & _IN_CALL:
        return DeviceState.RINGINUSE
    return max(seen, key=_RANK.__getitem__, default=DeviceState.INVALID)
