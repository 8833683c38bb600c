"""What one channel makes of its line."""

import pytest

from ari_presence.core.callview import CallView, Party, view_of
from ari_presence.core.channels import Bridge, BridgeInfo, Channel, Channels
from ari_presence.core.devstate import DeviceState
from ari_presence.core.userstate import IN_CONFERENCE, ON_CALL, ON_HOLD, RINGING

LINE = "PJSIP/100"
TALK = BridgeInfo("b", "mixing", "basic", "", "")
BOB = Party("101", "Bob", "PJSIP/101")


def call(people: int = 2, info: BridgeInfo | None = TALK) -> Channels:
    """Make so many people, 100 and up, all in one bridge; `None` for in none."""
    made = Channels()
    bridge = Bridge(info) if info is not None else None
    for number in range(people):
        id_ = str(number)
        caller = (f"{100 + number}", ["Alice", "Bob", "Carl"][number])
        channel = Channel(id_, "", None, None, "Up", 5.0, caller, ("", ""), bridge, talked_with="1" if bridge else "")
        made.channels[id_] = channel
        made.index(channel, f"PJSIP/{100 + number}-0000000{number}")
        if bridge is not None:
            bridge.members[id_] = 7.0
    return made


def view(channels: Channels, device: DeviceState = DeviceState.INUSE) -> CallView | None:
    """Look at Alice."""
    return view_of(channels, channels.channels["0"], LINE, device)


def test_two_people_talk() -> None:
    """With whom, since when the line is busy."""
    assert view(call()) == CallView(ON_CALL, LINE, 5.0, (BOB,), talked=True)


def test_three_people_are_a_conference() -> None:
    """However the bridge was made."""
    found = view(call(3))
    assert found is not None and found.state == IN_CONFERENCE and len(found.parties) == 2


@pytest.mark.parametrize(
    ("info", "room"),
    [
        (TALK._replace(creator="ConfBridge", name="500"), "500"),
        (TALK._replace(bridge_class="stasis"), "conference"),
    ],
)
def test_room_is_a_conference_even_for_one(info: BridgeInfo, room: str) -> None:
    """ConfBridge, or a bridge of another application."""
    assert view(call(1, info)) == CallView(IN_CONFERENCE, LINE, 7.0, (), "", room, True)


def test_both_sides_of_a_hold_are_told_apart() -> None:
    """Who pressed hold, and who is held by whom."""
    channels = call()
    channels.channels["0"].holding = 9.0
    assert view(channels) == CallView(ON_HOLD, LINE, 9.0, (BOB,), "holding", talked=True)
    channels = call()
    channels.channels["0"].held_by, channels.channels["0"].held = "1", 8.0
    assert view(channels, DeviceState.ONHOLD) == CallView(ON_HOLD, LINE, 8.0, (BOB,), "held", talked=True)


def test_parked_caller_is_held_by_the_lot() -> None:
    """Nobody is at the other end."""
    lot = BridgeInfo("p", "holding", "parking", "Park", "default")
    assert view(call(1, lot)) == CallView(ON_HOLD, LINE, 7.0, (), "parked", "default", True)


def test_caller_by_number_is_known_until_the_call_is_answered() -> None:
    """Then it may be whoever was connected before."""
    channels = call(1, None)
    alice = channels.channels["0"]
    alice.connected, alice.state = ("0301234", "Zoe"), "Ringing"
    found = view(channels, DeviceState.RINGING)
    assert found == CallView(RINGING, LINE, 5.0, (Party("0301234", "Zoe", None),))
    alice.state = "Up"
    assert view(channels) == CallView(ON_CALL, LINE, 5.0)


def test_who_is_called_is_known_before_anybody_answers() -> None:
    """By the dial, not by the bridge."""
    channels = call(2, None)
    channels.channels["0"].linked, channels.channels["1"].linked = "1", "0"
    assert view(channels) == CallView(ON_CALL, LINE, 5.0, (BOB,))


def test_idle_line_and_dialled_code_are_no_call() -> None:
    """A code is a call for Asterisk, and nobody is talked to."""
    channels = call(1, None)
    assert view(channels, DeviceState.NOT_INUSE) is None
    channels.channels["0"].dials_code = True
    assert view(channels) is None
