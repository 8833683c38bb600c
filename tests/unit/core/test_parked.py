"""Spaces, who parks, the lamp of a parked call and how a parked call is shown."""

import pytest

from ari_presence.core.devstate import DeviceState
from ari_presence.core.parked import ParkedCall, Parker, Space, parked_json, parked_lamp, parse_space


@pytest.mark.parametrize(
    ("device", "space"),
    [
        pytest.param("park:701@parkedcalls", Space("701", "parkedcalls"), id="usual"),
        pytest.param("park:1@A.b-c_9", Space("1", "A.b-c_9"), id="case is kept"),
        pytest.param("Park:701@parkedcalls", None, id="Asterisk never reports this one"),
        pytest.param("park:701", None, id="no context"),
        pytest.param("park:default", None, id="a lot"),
        pytest.param("park:0701@a", None, id="leading zero"),
        pytest.param("park:701@a b", None, id="blank"),
        pytest.param("park:701@parkedcalls\n", None, id="line end"),
        pytest.param("Custom:presence-100", None, id="another provider"),
    ],
)
def test_parse_space_reads_devices_of_spaces_only(device: str, space: Space | None) -> None:
    """What is read can be written again."""
    assert parse_space(device) == space
    assert space is None or space.device == device


@pytest.mark.parametrize(
    ("waiting", "value"),
    [
        pytest.param(None, DeviceState.NOT_INUSE, id="no call"),
        pytest.param(100.0, DeviceState.RINGING, id="just parked"),
        pytest.param(40.1, DeviceState.RINGING, id="not for long"),
        pytest.param(40.0, DeviceState.ONHOLD, id="long"),
    ],
)
def test_parked_lamp_alerts_after_the_time(waiting: float | None, value: DeviceState) -> None:
    """RINGING while a call waits, ONHOLD once it waits for long."""
    assert parked_lamp(waiting, 100.0, 60.0) is value


def test_parker_of_a_local_channel_has_no_endpoint() -> None:
    """Who stands behind a Local channel is not known."""
    assert Parker.of("1.2", "PJSIP/a-b-0000001f") == Parker("1.2", "PJSIP/a-b")
    assert Parker.of("1.2", "Local/601@internal-00000001;2").endpoint is None


def test_parked_json_has_null_for_what_is_not_known() -> None:
    """The user stands for the endpoint where it is somebody's."""
    call = ParkedCall("1.2", "default", "701", "parkedcalls", ("100", "Alice"), "PJSIP/101", 1.5, "ami")
    shown = {"pbx": "hq", "lot": "default", "space": "701", "caller": {"number": "100", "name": "Alice"}}
    shown |= {"parked_by": "101", "since": "1970-01-01T00:00:01.500Z", "source": "ami"}
    assert parked_json("hq", call, "101") == shown
    assert parked_json("hq", call, None)["parked_by"] == "PJSIP/101"
    unknown = ParkedCall("1.2", "default", None, None, (None, None), None, None, "unknown")
    shown = {"pbx": "hq", "lot": "default", "space": None, "caller": {"number": None, "name": None}}
    assert parked_json("hq", unknown, None) == {**shown, "parked_by": None, "since": None, "source": "unknown"}
