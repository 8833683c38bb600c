"""Channels and bridges to lines: what recordings do not show (those are in `tests/scenarios/test_calls.py`)."""

import pytest

from ari_presence.core.calls import DOUBT_S, LIST_EVERY_S, LIST_GAP_S, LIST_PATIENCE_S, Calls
from ari_presence.core.callview import Party
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.devstate import DeviceState

AT = 1000.0
ALICE, BOB, CARL = "PJSIP/100", "PJSIP/101", "PJSIP/102"
TALK = BridgeInfo("b", "mixing", "basic", "", "")


def channel(id_: str, line: str, state: str = "Up", *, caller: str = "", connected: str = "") -> ChannelInfo:
    """Make a channel of a line."""
    return ChannelInfo(id_, f"{line}-0000000{id_}", state, (caller, ""), (connected, ""))


A, B, C = channel("1", ALICE), channel("2", BOB), channel("3", CARL)


def talking(*people: ChannelInfo, bridge: BridgeInfo = TALK) -> Calls:
    """Give calls in which some people are in one bridge."""
    calls = Calls()
    for who in people:
        calls.entered(bridge, who, AT)
    return calls


def view(calls: Calls, line: str) -> tuple[str, str] | None:
    """Give state and hold of a line."""
    found = calls.view(line)
    return None if found is None else (found.state, found.hold)


@pytest.mark.parametrize(
    ("state", "device"),
    [
        ("Down", DeviceState.NOT_INUSE),
        ("Rsrvd", DeviceState.INUSE),
        ("OffHook", DeviceState.INUSE),
        ("Dialing", DeviceState.INUSE),
        ("Ringing", DeviceState.RINGING),
        ("Up", DeviceState.INUSE),
        ("Busy", DeviceState.BUSY),
        ("Dialing Offhook", DeviceState.INUSE),
        ("Pre-ring", DeviceState.RINGING),
        ("Unknown (9)", DeviceState.INUSE),
    ],
    ids=str,
)
def test_state_of_a_channel_becomes_that_of_its_line(state: str, device: DeviceState) -> None:
    """As `ast_state_chan2dev` has it; what a later Asterisk may send counts as in use."""
    calls = Calls()
    assert calls.seen(channel("1", ALICE, state), AT) == {ALICE}
    assert calls.state(ALICE) is device


def test_caller_counts_once_asterisk_counts_it() -> None:
    """A channel in `Ring` may be of no account yet, which only the device tells."""
    calls = Calls()
    calls.seen(channel("1", ALICE, "Ring"), AT)
    assert (calls.state(ALICE), calls.view(ALICE)) == (DeviceState.NOT_INUSE, None)
    assert calls.reported(ALICE, DeviceState.INUSE) == {ALICE}
    assert (calls.state(ALICE), view(calls, ALICE)) == (DeviceState.INUSE, ("on-call", ""))


def test_word_on_a_line_whose_channels_tell_all_touches_nobody() -> None:
    """Asterisk repeats for every line what its channels have said."""
    calls = talking(A, B)
    assert calls.reported(ALICE, DeviceState.INUSE) == set()
    assert calls.reported(ALICE, DeviceState.ONHOLD) == set()
    assert calls.differs(ALICE)  # which a listing settles


def test_same_event_twice_touches_nobody() -> None:
    """What says nothing new costs nothing."""
    calls = talking(A, B)
    assert calls.seen(A, AT) == set()
    assert calls.entered(TALK, A, AT) == set()


def test_channel_that_was_never_introduced_is_taken_up() -> None:
    """Whichever event comes first."""
    calls = Calls()
    calls.hold(A, AT, pressed=True)
    calls.left("b", B, AT)
    calls.dialled(channel("4", CARL), C, AT)
    assert set(calls.channels) == {"1", "2", "3", "4"}
    assert calls.gone("77", AT) == set()
    assert calls.bridge_gone("77") == set()


def test_held_and_holding_are_told_apart() -> None:
    """Asterisk calls the held party ONHOLD; who pressed the key is the other."""
    calls = talking(A, B)
    calls.hold(A, AT, pressed=True)
    assert (view(calls, ALICE), view(calls, BOB)) == (("on-hold", "holding"), ("on-hold", "held"))
    assert (calls.state(ALICE), calls.state(BOB)) == (DeviceState.INUSE, DeviceState.ONHOLD)


def test_holder_who_hangs_up_holds_no_more() -> None:
    """Asterisk says nothing of it."""
    calls = talking(A, B)
    calls.hold(A, AT, pressed=True)
    assert calls.gone("1", AT) == {ALICE, BOB}
    assert view(calls, BOB) == ("on-call", "")


def test_masquerade_moves_the_call_to_another_line() -> None:
    """A channel's name says whose it is, and can change."""
    calls = talking(A, B)
    assert calls.seen(channel("1", CARL), AT) >= {ALICE, CARL}
    assert (calls.view(ALICE), view(calls, CARL)) == (None, ("on-call", ""))


def test_three_people_are_a_conference_and_two_are_not() -> None:
    """Also when they come by way of Local channels."""
    calls = talking(A, B)
    calls.entered(TALK, ChannelInfo("8", "Local/102@x-00000001;1", "Up", ("", ""), ("", "")), AT)
    assert view(calls, ALICE) == ("on-call", "")
    calls.entered(TALK._replace(id="c"), ChannelInfo("9", "Local/102@x-00000001;2", "Up", ("", ""), ("", "")), AT)
    calls.entered(TALK._replace(id="c"), C, AT)
    assert {view(calls, line) for line in (ALICE, BOB, CARL)} == {("in-conference", "")}
    calls.gone("3", AT)
    assert view(calls, ALICE) == ("on-call", "")


def test_crowd_costs_no_more_than_a_room() -> None:
    """In a conference room nobody is asked who else is there."""
    room = BridgeInfo("r", "mixing", "base", "ConfBridge", "room")
    calls = talking(*(channel(str(n), f"PJSIP/{n}") for n in range(100, 400)), bridge=room)
    assert calls.entered(room, channel("900", "PJSIP/900"), AT) == {"PJSIP/900"}
    assert view(calls, "PJSIP/100") == ("in-conference", "")


def test_call_that_rings_while_talking_is_not_what_is_shown() -> None:
    """Of several calls on a line the one that counts most is shown; the line itself is RINGINUSE."""
    calls = talking(A, B)
    calls.seen(channel("5", ALICE, "Ringing", connected="102"), AT)
    assert (view(calls, ALICE), calls.state(ALICE)) == (("on-call", ""), DeviceState.RINGINUSE)


def test_who_calls_is_known_before_the_answer() -> None:
    """By the channel that dials, through Local channels, else by number."""
    calls = Calls()
    local = [ChannelInfo(n, f"Local/101@x-00000001;{n}", "Down", ("", ""), ("", "")) for n in "12"]
    caller = channel("7", ALICE, "Up", caller="100")
    calls.dialled(caller, local[0], AT)
    calls.dialled(local[1], channel("8", BOB, "Ringing", connected="555"), AT)
    found = calls.view(BOB)
    assert found is not None
    assert found.parties == (Party("100", "", ALICE),)
    calls.seen(channel("9", CARL, "Ringing", connected="0301234"), AT)
    found = calls.view(CARL)
    assert found is not None
    assert found.parties == (Party("0301234", "", None),)


def test_disagreement_is_looked_into_and_then_asterisk_is_right() -> None:
    """After a while channels and bridges are listed again; what still differs is as Asterisk says, until something happens."""
    calls = talking(A, B)
    calls.listed((A, B), (TALK._replace(members=("1", "2")),), {ALICE: DeviceState.INUSE, BOB: DeviceState.INUSE}, AT)
    calls.reported(ALICE, DeviceState.RINGING)
    calls.check(ALICE, AT)
    assert calls.wants_listing(AT + DOUBT_S / 2, 9) is None
    later = AT + DOUBT_S
    assert calls.wants_listing(later, 9) == (ALICE,)
    touched = calls.listed((A, B), (TALK._replace(members=("1", "2")),), {ALICE: DeviceState.RINGING}, later)
    assert ALICE in touched
    assert (calls.state(ALICE), view(calls, ALICE), calls.differs(ALICE)) == (
        DeviceState.RINGING,
        ("ringing", ""),
        False,
    )
    calls.seen(channel("1", ALICE, "Busy"), later)
    assert calls.state(ALICE) is DeviceState.BUSY


def test_agreement_ends_the_doubt() -> None:
    """The device's event is often just a little late."""
    calls = talking(A)
    calls.check(ALICE, AT)
    assert calls.doubts
    calls.reported(ALICE, DeviceState.INUSE)
    calls.check(ALICE, AT)
    assert not calls.doubts


def test_listing_is_out_of_date_about_what_moved_meanwhile() -> None:
    """A call that began or ended while the answer was on its way is not undone by it."""
    calls = talking(A, B)
    assert calls.wants_listing(AT + LIST_EVERY_S, 9) is not None
    calls.gone("2", AT)
    calls.seen(C, AT)
    calls.listed((A, B), (TALK._replace(members=("1", "2")),), {}, AT)
    assert set(calls.channels) == {"1", "3"}


def test_listing_ends_what_it_lacks() -> None:
    """A call whose end was missed."""
    calls = talking(A, B)
    assert calls.listed((), (), {}, AT) >= {ALICE, BOB}
    assert not calls.channels
    assert not calls.bridges


def test_listing_that_never_comes_is_asked_for_again() -> None:
    """A request may get lost with the link."""
    calls = talking(A)
    assert calls.wants_listing(AT + LIST_EVERY_S, 9) is not None
    assert calls.wants_listing(AT + LIST_EVERY_S + 1, 9) is None
    assert calls.wants_listing(AT + LIST_EVERY_S + LIST_PATIENCE_S, 9) is not None


def test_channel_that_ends_in_a_bridge_is_looked_into() -> None:
    """Another one may have taken its place (a transfer into a conference), and no event tells which."""
    calls = talking(A, B)
    calls.listed((A, B), (TALK._replace(members=("1", "2")),), {ALICE: DeviceState.INUSE, BOB: DeviceState.INUSE}, AT)
    calls.gone("1", AT + LIST_GAP_S)
    assert calls.wants_listing(AT + LIST_GAP_S + DOUBT_S, 9) is not None


def test_every_line_gets_its_turn() -> None:
    """Where there are more lines than are asked about at once, others come the next time."""
    calls = Calls()
    for number in range(10):
        calls.seen(channel(str(number), f"PJSIP/{number}"), AT)
    asked: set[str] = set()
    for turn in range(1, 5):
        lines = calls.wants_listing(AT + turn * LIST_EVERY_S, 4)
        assert lines is not None
        assert len(lines) == 4
        asked |= set(lines)
        calls.forget_listing()
    assert len(asked) == 10


def test_hold_that_nobody_saw_is_found() -> None:
    """Asterisk says who is held, and the other of two is who holds."""
    calls = talking(A, B)
    calls.listed((A, B), (TALK._replace(members=("1", "2")),), {BOB: DeviceState.ONHOLD}, AT)
    assert (view(calls, ALICE), view(calls, BOB)) == (("on-hold", "holding"), ("on-hold", "held"))


def test_idle_lines_leave_nothing_behind() -> None:
    """Ten thousand lines that were in a call once cost nothing."""
    calls = talking(A, B)
    calls.reported(ALICE, DeviceState.INUSE)
    for id_ in "12":
        calls.gone(id_, AT)
    calls.reported(ALICE, DeviceState.NOT_INUSE)
    calls.reported(BOB, DeviceState.NOT_INUSE)
    calls.check(ALICE, AT)
    assert not (calls._reported or calls._lines or calls._stands or calls.doubts or calls.bridges)
