"""Whatever arrives is read, ignored or counted; nothing else is ever raised."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ari_presence.ari import decode
from ari_presence.errors import AriDecodeError

DATA = Path(__file__).parents[1] / "scenarios" / "data" / "ari"
SAMPLES = [json.loads(line) for path in sorted(DATA.rglob("*.jsonl")) for line in path.read_text().splitlines()]
MESSAGES = [sample for sample in SAMPLES if "type" in sample]
TYPES = [
    "DeviceStateChanged",
    "StasisStart",
    "StasisEnd",
    "ChannelDestroyed",
    "PlaybackFinished",
    "ApplicationReplaced",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
shaped = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional=dict.fromkeys(("channel", "args", "device_state", "playback", "timestamp"), anything),
)


def read(message: Any) -> None:
    """Do all that is done with a message."""
    try:
        loaded = decode.load(json.dumps(message))
        decode.sent_at(loaded)
        decode.decode(loaded, pbx="hq", at=0.0)
    except AriDecodeError as error:
        assert str(error)


@given(anything)
def test_any_json_is_read_or_counted(message: Any) -> None:
    """Arbitrary JSON."""
    read(message)


@given(shaped)
def test_known_type_with_any_fields_is_read_or_counted(message: dict[str, Any]) -> None:
    """A type that we use, with fields of any kind."""
    read(message)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_counted(frame: bytes) -> None:
    """A frame that is no text, no JSON, or both."""
    try:
        decode.load(frame)
    except AriDecodeError as error:
        assert str(error)


@given(anything)
def test_any_channel_of_a_listing_is_read_or_counted(channel: Any) -> None:
    """What `GET channels` lists is as foreign as an event."""
    try:
        decode.orphan(channel, "ari-presence", pbx="hq", at=0.0)
    except AriDecodeError as error:
        assert str(error)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*path, key))
    return found


@given(st.data())
def test_damaged_sample_is_read_or_counted(data: st.DataObject) -> None:
    """A recorded message of which one part is gone or replaced."""
    sample = json.loads(json.dumps(data.draw(st.sampled_from(MESSAGES))))
    path = data.draw(st.sampled_from(_paths(sample)))
    if not path:
        read(data.draw(anything))
        return
    inner = sample
    for key in path[:-1]:
        inner = inner[key]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(anything)
    read(sample)


def test_samples_are_there() -> None:
    """The recordings are found, or the property above would be empty."""
    assert len(MESSAGES) > 50


@pytest.mark.parametrize(
    "frame", ["[" * 100_000, '{"type":"x","y":' + "9" * 5000 + "}", "\ud800"], ids=["deep", "long", "half"]
)
def test_absurd_frame_is_counted(frame: str) -> None:
    """Depth and length that Python itself refuses."""
    with pytest.raises(AriDecodeError):
        decode.load(frame)
