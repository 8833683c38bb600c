"""ARI events, as JSON, to events of the core and of the link.

Parsed leniently: types that we do not use give nothing, unknown fields are ignored. What is unknown or cannot be read raises
`AriDecodeError`; the link counts it and goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from ari_presence.core import events as ev
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.events import CallerLeft, ClaimState, CodeDialled, PlaybackEnded
from ari_presence.core.parked import parse_space
from ari_presence.errors import AriDecodeError


class DeviceSeen(NamedTuple):
    """Asterisk reports a device's new state; for lamps of ours it may be our own echo."""

    at: float
    pbx: str
    device: str
    value: DeviceState


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another websocket took our Stasis application."""

    at: float
    pbx: str


# Types that exist (`events.json`) and that we have no use for; any other type is unknown and counted.
UNUSED = frozenset(
    [
        "ApplicationMoveFailed",
        "ApplicationRegistered",
        "ApplicationUnregistered",
        "BridgeCreated",
        "BridgeVideoSourceChanged",
        "ChannelCallerId",
        "ChannelConnectedLine",
        "ChannelDialplan",
        "ChannelDtmfReceived",
        "ChannelHangupRequest",
        "ChannelTalkingFinished",
        "ChannelTalkingStarted",
        "ChannelToneDetected",
        "ChannelTransfer",
        "ChannelUserevent",
        "ChannelVarset",
        "ContactStatusChange",
        "EndpointStateChange",
        "PeerStatusChange",
        "PlaybackContinuing",
        "PlaybackStarted",
        "RecordingFailed",
        "RecordingFinished",
        "RecordingStarted",
        "TextMessageReceived",
    ]
)

CallEvent = (
    ev.ChannelSeen
    | ev.HoldPressed
    | ev.Dialling
    | ev.BridgeEntered
    | ev.BridgeLeft
    | ev.BridgesMerged
    | ev.BridgeGone
    | ev.Transferred
    | ev.CallsMoved
    | ev.LineSeen
    | ev.SpaceSeen
)
_NOBODY = {"number": "", "name": ""}

Decoded = DeviceSeen | Replaced | CodeDialled | CallerLeft | PlaybackEnded | CallEvent


def load(frame: str | bytes) -> dict[str, Any]:
    """Read one websocket frame.

    Raises:
        AriDecodeError: It is no JSON object with a `type`.
    """
    try:
        message = from_json(frame, cache_strings="keys")  # half the time of `json.loads`
    except (ValueError, TypeError):
        raise AriDecodeError("frame is no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise AriDecodeError("frame without a type")
    return message


def sent_at(message: Mapping[str, Any]) -> float | None:
    """Tell when Asterisk made an event, seconds since the epoch by its own clock; None if it does not say."""
    return _instant(message.get("timestamp"))


def _instant(stamp: object) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else None
    except ValueError:
        return None


def decode(message: Mapping[str, Any], *, pbx: str, at: float, fresh: bool = False) -> Decoded | None:
    """Turn one event into ours.

    Args:
        message: What `load` gave.
        pbx: Name of the server.
        at: Now, seconds since the epoch, UTC.
        fresh: Whether the event surely was just sent.

    Returns:
        The event, or None for a type that we do not use.

    Raises:
        AriDecodeError: The type is unknown, or a field is missing or of the wrong type.
    """
    reader = _READERS.get(message["type"])
    if reader is None:
        if message["type"] not in UNUSED:
            raise AriDecodeError(f"unknown type of event: {message['type'][:40]!r}")
        return None
    try:
        return reader(message, pbx, at, fresh)
    except (KeyError, TypeError, AttributeError) as error:
        raise AriDecodeError(f"{message['type']} lacks {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _device_state(
    message: Mapping[str, Any], pbx: str, at: float, _fresh: bool
) -> DeviceSeen | ev.LineSeen | ev.SpaceSeen:
    device = message["device_state"]
    name, state = _text(device["name"]), parse_state(_text(device["state"]))
    if ":" not in name:
        return ev.LineSeen(at, pbx, name, state)
    space = parse_space(name)
    return DeviceSeen(at, pbx, name, state) if space is None else ev.SpaceSeen(at, pbx, space, state)


def channel_info(channel: Mapping[str, Any], *, created: bool = False) -> ChannelInfo:
    """Read a channel as it stands in events and listings; `created` reads its time too, which is slow."""
    caller, connected = channel.get("caller") or _NOBODY, channel.get("connected") or _NOBODY
    return ChannelInfo(
        _text(channel["id"]),
        _text(channel["name"]),
        _text(channel["state"]),
        (_text(caller["number"]), _text(caller["name"])),
        (_text(connected["number"]), _text(connected["name"])),
        (_instant(channel.get("creationtime")) or 0.0) if created else 0.0,
    )


def bridge_info(bridge: Mapping[str, Any], *, members: bool = False) -> BridgeInfo:
    """Read a bridge as it stands in events and listings; `members` reads who is in it too."""
    return BridgeInfo(
        _text(bridge["id"]),
        _text(bridge["bridge_type"]),
        _text(bridge["bridge_class"]),
        _text(bridge.get("creator", "")),
        _text(bridge.get("name", "")),
        tuple(map(_text, bridge["channels"])) if members else (),
    )


def _channel_seen(message: Mapping[str, Any], pbx: str, at: float, _fresh: bool) -> ev.ChannelSeen:
    return ev.ChannelSeen(at, pbx, channel_info(message["channel"]))


def _dial(message: Mapping[str, Any], pbx: str, at: float, _fresh: bool) -> ev.Dialling | None:
    if message["dialstatus"] or "caller" not in message:  # what became of it, the channels tell
        return None
    return ev.Dialling(at, pbx, channel_info(message["caller"]), channel_info(message["peer"]))


def _transfer(message: Mapping[str, Any], pbx: str, at: float, _fresh: bool) -> ev.Transferred | None:
    if message["result"] != "Success":
        return None
    transferee = message.get("transferee")
    return ev.Transferred(
        at, pbx, channel_info(message["channel"]), _text(transferee["id"]) if transferee is not None else None
    )


def _stasis_start(message: Mapping[str, Any], pbx: str, at: float, fresh: bool) -> CodeDialled | None:
    channel = message["channel"]
    args = tuple(_text(arg) for arg in message["args"])
    if not args:  # nobody dialled: a channel that a program made, as we do to read lamps
        return None
    claim = ClaimState.FRESH if fresh else ClaimState.UNSURE
    return CodeDialled(at, pbx, _text(channel["id"]), _text(channel["name"]), args, claim)


def orphan(channel: Mapping[str, Any], app: str, *, pbx: str, at: float) -> CodeDialled | None:
    """Find a channel of a listing that waits in our application although its start was never seen.

    Raises:
        AriDecodeError: The channel cannot be read.
    """
    try:
        dialplan = channel["dialplan"]
        name, *args = _text(dialplan.get("app_data", "")).split(",")
        if dialplan.get("app_name") != "Stasis" or name != app or not args:
            return None
        claim = ClaimState.EARLIER if channel.get("state") == "Up" else ClaimState.UNSURE
        return CodeDialled(at, pbx, _text(channel["id"]), _text(channel["name"]), tuple(args), claim)
    except (KeyError, TypeError, AttributeError) as error:
        raise AriDecodeError(f"channel lacks {error}") from None


_READERS: dict[str, Callable[[Mapping[str, Any], str, float, bool], Decoded | None]] = {
    "DeviceStateChanged": _device_state,
    "StasisStart": _stasis_start,
    "StasisEnd": lambda m, pbx, at, _: CallerLeft(at, pbx, _text(m["channel"]["id"])),
    "ChannelDestroyed": lambda m, pbx, at, _: ev.ChannelGone(at, pbx, _text(m["channel"]["id"])),
    "ChannelCreated": _channel_seen,
    "ChannelStateChange": _channel_seen,
    "ChannelHold": lambda m, pbx, at, _: ev.HoldPressed(at, pbx, channel_info(m["channel"]), True),
    "ChannelUnhold": lambda m, pbx, at, _: ev.HoldPressed(at, pbx, channel_info(m["channel"]), False),
    "Dial": _dial,
    "ChannelEnteredBridge": lambda m, pbx, at, _: ev.BridgeEntered(
        at, pbx, bridge_info(m["bridge"]), channel_info(m["channel"])
    ),
    "ChannelLeftBridge": lambda m, pbx, at, _: ev.BridgeLeft(
        at, pbx, bridge_info(m["bridge"]), channel_info(m["channel"])
    ),
    "BridgeMerged": lambda m, pbx, at, _: ev.BridgesMerged(
        at, pbx, bridge_info(m["bridge"]), _text(m["bridge_from"]["id"])
    ),
    "BridgeDestroyed": lambda m, pbx, at, _: ev.BridgeGone(at, pbx, bridge_info(m["bridge"])),
    "BridgeBlindTransfer": _transfer,
    "BridgeAttendedTransfer": lambda _m, pbx, at, _: ev.CallsMoved(at, pbx),
    "PlaybackFinished": lambda m, pbx, at, _: PlaybackEnded(at, pbx, _text(m["playback"]["id"])),
    "ApplicationReplaced": lambda _m, pbx, at, _f: Replaced(at, pbx),
}
