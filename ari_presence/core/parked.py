"""What is said about parked calls: spaces, who parks, a call as AMI lists it and as it is shown. Frozen data and names."""

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import endpoint_of_channel
from ari_presence.core.timers import rfc3339

_DEVICE = re.compile(r"park:(?P<number>[1-9][0-9]{0,8})@(?P<context>[A-Za-z0-9_.-]{1,60})")


class Space(NamedTuple):
    """A parking space: `701` in the context of its lot, which Asterisk spells with upper and lower case apart."""

    number: str
    context: str

    @property
    def device(self) -> str:
        """Its device, as Asterisk names it."""
        return f"park:{self.number}@{self.context}"


class Parker(NamedTuple):
    """Who parks a call: a channel, and the endpoint it belongs to (`PJSIP/101`)."""

    channel: str
    endpoint: str | None

    @classmethod
    def of(cls, channel: str, name: str) -> "Parker":
        """Make it of a channel's id and name."""
        return cls(channel, endpoint_of_channel(name))


class Member(NamedTuple):
    """A channel that is in a lot's bridge; what `Parking.entered` takes too."""

    channel: str
    lot: str
    caller: tuple[str, str] = ("", "")
    parker: Parker | None = None


@dataclass(frozen=True, slots=True)
class ParkedInfo:
    """A parked call as AMI lists it; `caller` is number and name, `parker` an endpoint, `since` seconds since the epoch."""

    channel: str
    lot: str
    space: str
    caller: tuple[str, str]
    parker: str | None
    since: float


@dataclass(frozen=True, slots=True)
class ParkingListed:
    """AMI listed every parked call of a server, or (None) cannot be asked any more.

    Attributes:
        at: When it was asked.
    """

    at: float
    pbx: str
    calls: tuple[ParkedInfo, ...] | None


@dataclass(frozen=True, slots=True)
class ParkedCall:
    """A parked call as far as it is known; what is not is None.

    Attributes:
        caller: Number and name of who waits.
        parker: Endpoint of who parked the call.
        source: Where the space is from: AMI said so, or it was worked out, or it is not known.
    """

    channel: str
    lot: str
    space: str | None
    context: str | None
    caller: tuple[str | None, str | None]
    parker: str | None
    since: float | None
    source: Literal["ami", "correlated", "unknown"]


def parse_space(device: str) -> Space | None:
    """Read a space from the name of its device, `park:701@parkedcalls`; None for anything else."""
    found = _DEVICE.fullmatch(device)
    return Space(found["number"], found["context"]) if found else None


def parked_json(pbx: str, call: ParkedCall, user: str | None) -> dict[str, Any]:
    """Show a parked call; `user` is whose endpoint parked it, if it is anybody's."""
    number, name = call.caller
    return {
        "pbx": pbx,
        "lot": call.lot,
        "space": call.space,
        "caller": {"number": number, "name": name},
        "parked_by": user or call.parker,
        "since": None if call.since is None else rfc3339(call.since),
        "source": call.source,
    }


def parked_lamp(waiting: float | None, at: float, alert_s: float) -> DeviceState:
    """Say what `Stasis:parked-<user>` shows: `waiting` is since when the user's oldest call waits, or None."""
    if waiting is None:
        return DeviceState.NOT_INUSE
    return DeviceState.ONHOLD if at >= waiting + alert_s else DeviceState.RINGING
