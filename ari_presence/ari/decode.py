"""ARI events, as JSON, to events of the core and of the link.

Parsed leniently: types that we do not use give nothing, unknown fields are ignored. What is unknown or cannot be read raises
`AriDecodeError`; the link counts it and goes on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.events import CallerLeft, ClaimState, CodeDialled, PlaybackEnded
from ari_presence.errors import AriDecodeError


@dataclass(frozen=True, slots=True)
class DeviceSeen:
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
        "BridgeAttendedTransfer",
        "BridgeBlindTransfer",
        "BridgeCreated",
        "BridgeDestroyed",
        "BridgeMerged",
        "BridgeVideoSourceChanged",
        "ChannelCallerId",
        "ChannelConnectedLine",
        "ChannelCreated",
        "ChannelDialplan",
        "ChannelDtmfReceived",
        "ChannelEnteredBridge",
        "ChannelHangupRequest",
        "ChannelHold",
        "ChannelLeftBridge",
        "ChannelStateChange",
        "ChannelTalkingFinished",
        "ChannelTalkingStarted",
        "ChannelToneDetected",
        "ChannelTransfer",
        "ChannelUnhold",
        "ChannelUserevent",
        "ChannelVarset",
        "ContactStatusChange",
        "Dial",
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

Decoded = DeviceSeen | Replaced | CodeDialled | CallerLeft | PlaybackEnded


def load(frame: str | bytes) -> dict[str, Any]:
    """Read one websocket frame.

    Raises:
        AriDecodeError: It is no JSON object with a `type`.
    """
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise AriDecodeError("frame is no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise AriDecodeError("frame without a type")
    return message


def sent_at(message: Mapping[str, Any]) -> float | None:
    """Tell when Asterisk made an event, seconds since the epoch by its own clock; None if it does not say."""
    stamp = message.get("timestamp")
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


def _device_state(message: Mapping[str, Any], pbx: str, at: float, _fresh: bool) -> DeviceSeen:
    device = message["device_state"]
    return DeviceSeen(at, pbx, _text(device["name"]), parse_state(_text(device["state"])))


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
    "ChannelDestroyed": lambda m, pbx, at, _: CallerLeft(at, pbx, _text(m["channel"]["id"])),
    "PlaybackFinished": lambda m, pbx, at, _: PlaybackEnded(at, pbx, _text(m["playback"]["id"])),
    "ApplicationReplaced": lambda _m, pbx, at, _f: Replaced(at, pbx),
}
