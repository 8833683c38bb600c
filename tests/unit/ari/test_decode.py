"""ARI events, recorded and broken ones, to our own."""

import json
from pathlib import Path
from typing import Any

import pytest

from ari_presence.ari.decode import Decoded, DeviceSeen, Replaced, decode, load, orphan, sent_at
from ari_presence.core import events as ev
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import CallerLeft, ClaimState, CodeDialled, PlaybackEnded
from ari_presence.core.parked import Space
from ari_presence.errors import AriDecodeError

DATA = Path(__file__).parent / "data"
AT = 1000.0
EVENTS = sorted(path.stem for path in DATA.glob("[A-Z]*.json") if not path.stem.startswith("REST"))
SEQUENCES = ("sequence-call-with-hold", "sequence-park")

EXPECTED: dict[str, Decoded] = {
    "ApplicationReplaced": Replaced(AT, "hq"),
    "ChannelDestroyed": ev.ChannelGone(AT, "hq", "1795390870.1"),
    "DeviceStateChanged": ev.LineSeen(AT, "hq", "PJSIP/101", DeviceState.RINGING),
    "DeviceStateChanged-onhold": ev.LineSeen(AT, "hq", "PJSIP/101", DeviceState.ONHOLD),
    "DeviceStateChanged-park": ev.SpaceSeen(AT, "hq", Space("701", "parkedcalls"), DeviceState.INUSE),
    "BridgeBlindTransfer": ev.Transferred(
        AT,
        "hq",
        ChannelInfo("1795391907.18", "PJSIP/101-00000011", "Up", ("101", ""), ("100", "Alice")),
        "1795391907.17",
    ),
    "BridgeDestroyed": ev.BridgeGone(
        AT, "hq", BridgeInfo("f6d2e0b3-62d5-4711-91b4-142fd74d34fc", "mixing", "basic", "", "")
    ),
    "ChannelCreated": ev.ChannelSeen(
        AT, "hq", ChannelInfo("1795390870.0", "PJSIP/100-00000000", "Ring", ("100", "Alice"), ("", ""))
    ),
    "ChannelEnteredBridge-parking": ev.BridgeEntered(
        AT,
        "hq",
        BridgeInfo("ba07e986-a346-4655-85c4-7c95561d2651", "holding", "parking", "Parking", "default"),
        ChannelInfo("1795391258.14", "PJSIP/100-00000004", "Up", ("100", "Alice"), ("", "")),
    ),
    "ChannelEnteredBridge": ev.BridgeEntered(
        AT,
        "hq",
        BridgeInfo("f6d2e0b3-62d5-4711-91b4-142fd74d34fc", "mixing", "basic", "", ""),
        ChannelInfo("1795390870.1", "PJSIP/101-00000001", "Up", ("101", ""), ("100", "Alice")),
    ),
    "ChannelHold": ev.HoldPressed(
        AT, "hq", ChannelInfo("1795390870.0", "PJSIP/100-00000000", "Up", ("100", "Alice"), ("101", "")), True
    ),
    "ChannelLeftBridge": ev.BridgeLeft(
        AT,
        "hq",
        BridgeInfo("f6d2e0b3-62d5-4711-91b4-142fd74d34fc", "mixing", "basic", "", ""),
        ChannelInfo("1795390870.0", "PJSIP/100-00000000", "Up", ("100", "Alice"), ("101", "")),
    ),
    "ChannelStateChange": ev.ChannelSeen(
        AT, "hq", ChannelInfo("1795390870.1", "PJSIP/101-00000001", "Ringing", ("101", ""), ("100", "Alice"))
    ),
    "ChannelUnhold": ev.HoldPressed(
        AT, "hq", ChannelInfo("1795390870.0", "PJSIP/100-00000000", "Up", ("100", "Alice"), ("101", "")), False
    ),
    "Dial-begin": ev.Dialling(
        AT,
        "hq",
        ChannelInfo("1795390870.0", "PJSIP/100-00000000", "Ring", ("100", "Alice"), ("", "")),
        ChannelInfo("1795390870.1", "PJSIP/101-00000001", "Down", ("101", ""), ("100", "Alice")),
    ),
    "PlaybackFinished": PlaybackEnded(AT, "hq", "c4c347f3-c2b4-4893-a96c-c31b943b1100"),
    "StasisEnd": CallerLeft(AT, "hq", "1795391249.12"),
    "StasisStart": CodeDialled(AT, "hq", "1795391249.12", "PJSIP/100-00000002", ("dnd", "on"), ClaimState.UNSURE),
    "StasisStart-local": CodeDialled(
        AT, "hq", "1795391997.23", "Local/602@internal-00000001;1", ("a", "b"), ClaimState.UNSURE
    ),
}


def _sample(name: str) -> dict[str, Any]:
    return load((DATA / f"{name}.json").read_bytes())


def _decode(message: dict[str, Any], *, fresh: bool = False) -> Decoded | None:
    return decode(message, pbx="hq", at=AT, fresh=fresh)


@pytest.mark.parametrize("name", EVENTS, ids=str)
def test_recorded_event_becomes_ours_or_nothing(name: str) -> None:
    """Every event that was recorded is decoded as expected; those that we do not use give nothing."""
    assert _decode(_sample(name)) == EXPECTED.get(name)


@pytest.mark.parametrize("name", EVENTS, ids=str)
def test_recorded_event_tells_when_it_was_sent(name: str) -> None:
    """The time of every recorded event is read, in seconds since the epoch."""
    assert 1795390000 < (sent_at(_sample(name)) or 0) < 1795400000


@pytest.mark.parametrize("name", SEQUENCES, ids=str)
def test_recorded_sequence_is_read_to_its_end(name: str) -> None:
    """A whole call and a whole park are decoded without an error, their device states among them."""
    messages = json.loads((DATA / f"{name}.json").read_text())
    events = [_decode(load(json.dumps(message))) for message in messages]
    devices = [message["device_state"]["name"] for message in messages if message["type"] == "DeviceStateChanged"]
    assert devices
    seen = [
        event.device
        if isinstance(event, DeviceSeen)
        else event.line
        if isinstance(event, ev.LineSeen)
        else event.space.device
        for event in events
        if isinstance(event, DeviceSeen | ev.LineSeen | ev.SpaceSeen)
    ]
    assert seen == devices


def test_stasis_start_that_was_just_sent_is_fresh() -> None:
    """Only the link knows whether a start is fresh, and says so."""
    event = _decode(_sample("StasisStart"), fresh=True)
    assert isinstance(event, CodeDialled)
    assert event.claim is ClaimState.FRESH


def test_stasis_start_without_arguments_is_nobody() -> None:
    """A channel that a program created in our application dialled no code."""
    assert _decode({**_sample("StasisStart"), "args": []}) is None


def test_unknown_type_is_counted() -> None:
    """A type that a later Asterisk may send is skipped, and the link counts it."""
    with pytest.raises(AriDecodeError, match="ChannelTeleported"):
        _decode({"type": "ChannelTeleported", "channel": None})


def test_known_type_without_use_gives_nothing() -> None:
    """What exists but is not for us is no error."""
    assert _decode({"type": "ChannelVarset", "variable": "x", "value": ""}) is None


def test_unknown_fields_are_ignored() -> None:
    """Fields that a later Asterisk may add do not matter."""
    assert _decode({**_sample("DeviceStateChanged"), "extra": {"a": [1]}}) == EXPECTED["DeviceStateChanged"]


def test_unknown_device_state_is_unknown() -> None:
    """A state that we do not know reads as UNKNOWN, as Asterisk itself does it."""
    event = _decode({"type": "DeviceStateChanged", "device_state": {"name": "a", "state": "ASLEEP"}})
    assert event == ev.LineSeen(AT, "hq", "a", DeviceState.UNKNOWN)


@pytest.mark.parametrize("name", sorted(EXPECTED), ids=str)
def test_event_with_any_field_broken_raises_decode_error_only(name: str) -> None:
    """Taking away or twisting any field of a known event is a decode error or harmless, never anything else."""
    original = _sample(name)
    for path in _paths(original):
        values: tuple[Any, ...] = (None, 7, "x", [], {}, [None], ...)
        for value in values:
            try:
                _decode(_changed(original, path, value))
            except AriDecodeError as error:
                assert original["type"] in str(error)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [
        each
        for key, inner in items
        if (*path, key) != ("type",)
        for each in ((*path, key), *_paths(inner, (*path, key)))
    ]


def _changed(original: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(original))
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"type": "DeviceStateChanged"}, id="no-device"),
        pytest.param({"type": "DeviceStateChanged", "device_state": {"name": 1, "state": "BUSY"}}, id="number-as-name"),
        pytest.param({"type": "StasisStart", "args": ["a"], "channel": {"id": "1"}}, id="no-channel-name"),
        pytest.param(
            {"type": "StasisStart", "args": [1], "channel": {"id": "1", "name": "x"}}, id="number-as-argument"
        ),
        pytest.param({"type": "StasisEnd", "channel": None}, id="null-channel"),
        pytest.param({"type": "PlaybackFinished", "playback": []}, id="list-as-playback"),
    ],
)
def test_known_event_that_cannot_be_read_raises_decode_error(message: dict[str, Any]) -> None:
    """A known type with a field missing or of the wrong type is an error that names the type."""
    with pytest.raises(AriDecodeError, match=message["type"]):
        _decode(message)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\xfd", id="no-utf8"),
        pytest.param(b'{"type": "A"', id="cut-off"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b'{"type": 1}', id="number-as-type"),
        pytest.param(b"{}", id="no-type"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"type": "A", "n": ' + b"1" * 5000 + b"}", id="huge-number"),
    ],
)
def test_frame_that_is_no_event_raises_decode_error(frame: bytes) -> None:
    """Whatever comes in a frame, loading gives a message or a decode error."""
    with pytest.raises(AriDecodeError):
        load(frame)


@pytest.mark.parametrize("stamp", [None, 5, "", "yesterday", "2026-13-01T00:00:00.000+0000"], ids=repr)
def test_event_without_a_readable_time_has_none(stamp: object) -> None:
    """A timestamp that cannot be read is as good as none."""
    assert sent_at({"type": "A", "timestamp": stamp}) is None


def test_sent_at_minds_the_offset() -> None:
    """Times are instants: the offset counts."""
    east = sent_at({"timestamp": "2026-11-23T01:00:00.500+0200"})
    assert east == sent_at({"timestamp": "2026-11-22T23:00:00.500+0000"})


def _listed(**dialplan: object) -> dict[str, Any]:
    return {"id": "1.2", "name": "PJSIP/100-00000001", "dialplan": {"app_name": "Stasis", **dialplan}}


def test_listed_channel_in_our_application_is_an_orphan() -> None:
    """Its code is in the data of the application; whether it is still ours must be asked."""
    event = orphan(_listed(app_data="ari-presence,state,3*30"), "ari-presence", pbx="hq", at=AT)
    assert event == CodeDialled(AT, "hq", "1.2", "PJSIP/100-00000001", ("state", "3*30"), ClaimState.UNSURE)


def test_listed_channel_that_is_answered_was_claimed_earlier() -> None:
    """Only a claim answers it: what was dialled may be done, and its caller may have heard so."""
    event = orphan({**_listed(app_data="ari-presence,dnd,toggle"), "state": "Up"}, "ari-presence", pbx="hq", at=AT)
    assert event is not None
    assert event.claim is ClaimState.EARLIER


@pytest.mark.parametrize(
    "channel",
    [
        pytest.param(_listed(app_data="other,dnd,on"), id="another-application"),
        pytest.param(_listed(app_data="ari-presence-2,dnd,on"), id="longer-name"),
        pytest.param(_listed(app_data="ari-presence"), id="no-code"),
        pytest.param(_listed(app_name="Dial", app_data="ari-presence,dnd,on"), id="not-in-stasis"),
        pytest.param({**_listed(), "dialplan": {}}, id="no-dialplan"),
    ],
)
def test_listed_channel_elsewhere_is_no_orphan(channel: dict[str, Any]) -> None:
    """Channels that are not waiting for us with a code are left alone."""
    assert orphan(channel, "ari-presence", pbx="hq", at=AT) is None


@pytest.mark.parametrize(
    "channel", [{}, {"dialplan": None}, {"dialplan": {"app_data": None}}], ids=["empty", "null-dialplan", "null-data"]
)
def test_listed_channel_that_cannot_be_read_raises_decode_error(channel: dict[str, Any]) -> None:
    """A broken listing is an error that can be counted."""
    with pytest.raises(AriDecodeError):
        orphan(channel, "ari-presence", pbx="hq", at=AT)
