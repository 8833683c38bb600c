"""What can happen: the only way the world reaches the model.

The counterpart is `commands.py`. Every event carries `at`, seconds since the epoch, UTC; the core reads no clock. An event
that exists is well-formed; whether it makes sense is the reducer's to decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action, Intent
from ari_presence.core.lamps import Presence, Wish
from ari_presence.core.model import Settings
from ari_presence.core.names import UserId
from ari_presence.core.occurrences import CalendarRead
from ari_presence.core.parked import ParkingListed, Space
from ari_presence.core.userstate import Entry


@dataclass(frozen=True, slots=True)
class Started:
    """The store was read.

    Attributes:
        manual: What was set by hand before the daemon ended.
        lit: Users who had lamps on some server; those who are nobody any more get them set to off.
    """

    at: float
    manual: Mapping[UserId, Entry]
    lit: frozenset[UserId] = frozenset()


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """The configuration was read again."""

    at: float
    settings: Settings


@dataclass(frozen=True, slots=True)
class EndpointsSeen:
    """All endpoints of one server, as listed at a connect or later on, and which of them cannot be reached."""

    at: float
    pbx: str
    endpoints: tuple[str, ...]
    offline: frozenset[str] = frozenset()


class ChannelSeen(NamedTuple):
    """A channel came into being or changed its state."""

    at: float
    pbx: str
    channel: ChannelInfo


@dataclass(frozen=True, slots=True)
class HoldPressed:
    """A channel's side put the other on hold, or took it back (`pressed` false)."""

    at: float
    pbx: str
    channel: ChannelInfo
    pressed: bool


class Dialling(NamedTuple):
    """One channel calls another."""

    at: float
    pbx: str
    caller: ChannelInfo
    peer: ChannelInfo


class BridgeEntered(NamedTuple):
    """A channel entered a bridge."""

    at: float
    pbx: str
    bridge: BridgeInfo
    channel: ChannelInfo


class BridgeLeft(NamedTuple):
    """A channel left a bridge."""

    at: float
    pbx: str
    bridge: BridgeInfo
    channel: ChannelInfo


@dataclass(frozen=True, slots=True)
class BridgesMerged:
    """All channels of the bridge `source` (an id) went to another."""

    at: float
    pbx: str
    bridge: BridgeInfo
    source: str


@dataclass(frozen=True, slots=True)
class BridgeGone:
    """A bridge ended."""

    at: float
    pbx: str
    bridge: BridgeInfo


@dataclass(frozen=True, slots=True)
class Transferred:
    """A channel sent another (its id, if Asterisk says) somewhere else without asking there."""

    at: float
    pbx: str
    channel: ChannelInfo
    transferee: str | None


@dataclass(frozen=True, slots=True)
class CallsMoved:
    """An attended transfer, which may move a channel without an event of its own."""

    at: float
    pbx: str


class LineSeen(NamedTuple):
    """Asterisk reports the device state of an endpoint, `PJSIP/100`."""

    at: float
    pbx: str
    line: str
    state: DeviceState


@dataclass(frozen=True, slots=True)
class SpacesWatched:
    """From now on Asterisk reports these parking spaces; what they are now is to be asked."""

    at: float
    pbx: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpaceSeen:
    """Asterisk reports the device state of a parking space."""

    at: float
    pbx: str
    space: Space
    state: DeviceState


@dataclass(frozen=True, slots=True)
class CallsListed:
    """All channels and bridges of one server, and the states of the devices that were asked for.

    Attributes:
        at: When the listing was asked for.
        reported: Lines, `PJSIP/100`, and parking spaces, `park:701@parkedcalls`.
    """

    at: float
    pbx: str
    channels: tuple[ChannelInfo, ...]
    bridges: tuple[BridgeInfo, ...]
    reported: Mapping[str, DeviceState]


class ClaimState(Enum):
    """How sure it is that a channel in our application is still ours to serve.

    A daemon that was frozen finds old StasisStarts in its socket, after the dialplan has dealt with their callers.
    """

    FRESH = "fresh"  # it just entered: claim it and go ahead at once
    UNSURE = "unsure"  # claim it, and go ahead when Asterisk has agreed
    CLAIMED = "claimed"
    EARLIER = "earlier"  # an earlier session has claimed it, and nobody knows what its caller has heard


@dataclass(frozen=True, slots=True)
class CodeDialled:
    """A caller entered our Stasis application.

    Attributes:
        channel: Channel id.
        name: Channel name, which tells the endpoint that was authenticated.
        args: Arguments of `Stasis()`.
        claim: Whether the channel is surely ours to serve.
    """

    at: float
    pbx: str
    channel: str
    name: str
    args: tuple[str, ...]
    claim: ClaimState


@dataclass(frozen=True, slots=True)
class AgiAsked:
    """A dialplan asks over AGI.

    Attributes:
        request: Number under which the outcome is reported.
        channel: Channel id, as the peer says: not proven.
        name: Channel name, which tells the endpoint that was authenticated.
        intent: What it asks for.
    """

    at: float
    request: int
    channel: str
    name: str
    intent: Intent


@dataclass(frozen=True, slots=True)
class PlaybackEnded:
    """A prompt ended, well or not."""

    at: float
    pbx: str
    playback: str


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """A channel left our application or is gone."""

    at: float
    pbx: str
    channel: str


@dataclass(frozen=True, slots=True)
class ChannelGone(CallerLeft):
    """A channel is no more."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The link to one server ended; what its callers were waiting for will not come."""

    at: float
    pbx: str


@dataclass(frozen=True, slots=True)
class ChangeAsked:
    """Somebody wants to change a manual state, over HTTP, CLI or AGI.

    Attributes:
        request: Number under which the outcome is reported.
        action: SET, TOGGLE, CLEAR or CLEAR_IF.
        until: When it ends; None for the state's own end, if it has one.
    """

    at: float
    request: int
    user: str
    action: Action
    source: str
    state: str | None = None
    message: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class LampsChanged:
    """Lamps of one user were changed by somebody else."""

    at: float
    user: UserId
    wish: Wish


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """The presence state of one user was changed by somebody else."""

    at: float
    user: UserId
    presence: Presence
    source: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A change was stored and the lamps were confirmed, or the time for it is over.

    Attributes:
        ok: Stored and confirmed.
    """

    at: float
    request: int
    ok: bool


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """An operator wants the lamps of a user (None: of all) off."""

    at: float
    request: int
    user: str | None
    source: str


@dataclass(frozen=True, slots=True)
class NotStored:
    """A change that somebody waited for was not stored: it did not happen, `before` holds again."""

    at: float
    user: UserId
    entry: Entry | None
    before: Entry | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon is about to end: nobody will follow the calls any more."""

    at: float


@dataclass(frozen=True, slots=True)
class TimerDue:
    """The clock reached the next deadline.

    Attributes:
        clock_set: It did not get there by itself: it was set, in either direction, or the machine slept.
    """

    at: float
    clock_set: bool = False


Event = (
    Started
    | ConfigChanged
    | EndpointsSeen
    | ChannelSeen
    | ChannelGone
    | HoldPressed
    | Dialling
    | BridgeEntered
    | BridgeLeft
    | BridgesMerged
    | BridgeGone
    | Transferred
    | CallsMoved
    | LineSeen
    | SpaceSeen
    | SpacesWatched
    | CallsListed
    | ParkingListed
    | CalendarRead
    | Stopping
    | CodeDialled
    | AgiAsked
    | PlaybackEnded
    | CallerLeft
    | LinkLost
    | ChangeAsked
    | LampsChanged
    | PresenceChanged
    | Settled
    | ResetAsked
    | NotStored
    | TimerDue
)
