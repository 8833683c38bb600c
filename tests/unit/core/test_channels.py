"""Who is connected with whom, whatever is between them."""

import pytest

from ari_presence.core.channels import SEARCHED, Bridge, BridgeInfo, Channel, ChannelInfo, Channels

TALK = BridgeInfo("b", "mixing", "basic", "", "")
HALF = "Local/101@internal-00000001;"


def channels_of(*names: str) -> Channels:
    """Make channels with these names; the ids count from 1."""
    made = Channels()
    for number, name in enumerate(names, 1):
        channel = made.channels[str(number)] = Channel(str(number), "", None, None, "Up", 0.0, ("", ""), ("", ""))
        made.index(channel, name)
    return made


def join(channels: Channels, info: BridgeInfo, *ids: str) -> None:
    """Put channels into a bridge."""
    bridge = channels.bridges.setdefault(info.id, Bridge(info))
    for id_ in ids:
        channels.channels[id_].bridge = bridge
        bridge.members[id_] = 0.0


def names(found: list[Channel]) -> set[str]:
    """Name what was found."""
    return {channel.id for channel in found}


def test_channels_of_a_line_are_found_by_its_name() -> None:
    """Two calls of one phone, and nothing of an idle one."""
    channels = channels_of("PJSIP/100-00000001", "PJSIP/100-00000002", "PJSIP/101-00000003")
    assert names(channels.on_line("PJSIP/100")) == {"1", "2"}
    assert channels.on_line("PJSIP/102") == []
    assert set(channels.lines()) == {"PJSIP/100", "PJSIP/101"}


def test_masquerade_moves_a_channel_to_another_line() -> None:
    """Nothing is left behind, so that idle lines cost nothing."""
    channels = channels_of("PJSIP/100-00000001")
    channels.update(channels.channels["1"], ChannelInfo("1", "PJSIP/101-00000002", "Up", ("", ""), ("", "")), 5.0)
    assert set(channels.lines()) == {"PJSIP/101"}
    channels.unindex(channels.channels["1"])
    assert not channels.lines()


def test_people_are_connected_through_bridges_and_local_channels() -> None:
    """A call that goes through a Local channel has two bridges, and is one call."""
    channels = channels_of("PJSIP/100-00000001", f"{HALF}1", f"{HALF}2", "PJSIP/101-00000002", "PJSIP/102-00000003")
    join(channels, TALK, "1", "2")
    join(channels, TALK._replace(id="c"), "3", "4")
    assert names(channels.connected(channels.channels["1"])) == {"1", "4"}
    assert names(channels.connected(channels.channels["5"])) == {"5"}


@pytest.mark.parametrize("info", [TALK._replace(kind="holding"), TALK._replace(creator="ConfBridge")])
def test_nobody_is_connected_in_a_room_or_a_holding_bridge(info: BridgeInfo) -> None:
    """In a conference the room counts, in a parking lot there is nobody."""
    channels = channels_of("PJSIP/100-00000001", "PJSIP/101-00000002")
    join(channels, info, "1", "2")
    assert names(channels.connected(channels.channels["1"])) == {"1"}


def test_far_end_of_a_call_that_rings_is_found_through_local_channels() -> None:
    """Nothing is bridged yet: each dials the next."""
    channels = channels_of("PJSIP/100-00000001", f"{HALF}1", f"{HALF}2", "PJSIP/101-00000002")
    for one, other in (("1", "2"), ("3", "4")):
        channels.channels[one].linked, channels.channels[other].linked = other, one
    found = channels.far_end(channels.channels["1"])
    assert found is not None and found.id == "4"
    assert channels.far_end(channels_of("PJSIP/100-00000001").channels["1"]) is None


def test_search_has_an_end() -> None:
    """However many are in a bridge."""
    channels = channels_of(*(f"Local/x@internal-{number:08x};1" for number in range(5 * SEARCHED)))
    join(channels, TALK, *channels.channels)
    assert channels.far_end(channels.channels["1"]) is None
    assert len(channels.connected(channels.channels["1"])) <= SEARCHED


def test_partner_is_the_other_of_two_alone() -> None:
    """Among three nobody can be held."""
    channels = channels_of("PJSIP/100-00000001", "PJSIP/101-00000002", "PJSIP/102-00000003")
    join(channels, TALK, "1", "2")
    partner = channels.partner(channels.channels["1"])
    assert partner is not None and partner.id == "2"
    partner.held_by = "1"
    assert names(channels.held_by(channels.channels["1"])) == {"2"}
    join(channels, TALK, "3")
    assert channels.partner(channels.channels["1"]) is None


def test_whoever_leaves_a_bridge_is_neither_held_nor_holding() -> None:
    """And a bridge without anybody is forgotten."""
    channels = channels_of("PJSIP/100-00000001")
    join(channels, TALK, "1")
    channel = channels.channels["1"]
    channel.holding, channel.held_by, channel.held = 1.0, "2", 1.0
    channels.leave(channel)
    assert (channel.bridge, channel.holding, channel.held_by, channel.held) == (None, 0.0, "", 0.0)
    assert not channels.bridges


def test_channel_that_was_connected_last_is_told_while_it_is_up() -> None:
    """Who parked whom is found by it."""
    channels = channels_of("PJSIP/100-00000001", "PJSIP/101-00000002")
    channels.channels["1"].talked_with = "2"
    assert channels.talked_with("1") == ("2", "PJSIP/101-00000002")
    channels.channels["2"].state = "Down"
    assert (channels.talked_with("1"), channels.talked_with("9")) == (None, None)
