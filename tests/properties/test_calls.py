"""Calls: whatever is told, and however badly, a listing and Asterisk's own word put every line right."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ari_presence.core import events as ev
from ari_presence.core.calls import Calls
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.commands import Command
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable

LINES = ("PJSIP/100", "PJSIP/101", "PJSIP/102", "PJSIP/trunk")
NAMES = (
    *(f"{line}-0000000{n}" for n, line in enumerate((*LINES, *LINES))),
    "Local/1@x-00000001;1",
    "Local/1@x-00000001;2",
)
STATES = ("Down", "Ring", "Ringing", "Up", "Busy", "Rsrvd", "Unknown (9)")
BRIDGES = (
    BridgeInfo("b1", "mixing", "basic", "", ""),
    BridgeInfo("b2", "mixing", "basic", "", ""),
    BridgeInfo("room", "mixing", "base", "ConfBridge", "room"),
    BridgeInfo("lot", "holding", "parking", "Parking", "default"),
)
numbers = st.integers(0, len(NAMES) - 1)
bridges = st.sampled_from(BRIDGES)
deeds = st.one_of(
    st.tuples(st.just("seen"), numbers, st.sampled_from(STATES)),
    st.tuples(st.just("gone"), numbers),
    st.tuples(st.just("hold"), numbers, st.booleans()),
    st.tuples(st.just("entered"), numbers, bridges),
    st.tuples(st.just("left"), numbers, bridges),
    st.tuples(st.just("merged"), bridges, bridges),
    st.tuples(st.just("bridge_gone"), bridges),
    st.tuples(st.just("dialled"), numbers, numbers),
    st.tuples(st.just("reported"), st.sampled_from(LINES), st.sampled_from(list(DeviceState))),
    st.tuples(st.just("dials_code"), numbers),
)


def channel(number: int, state: str = "Up", name: int | None = None) -> ChannelInfo:
    """Make a channel; with `name` it goes by another one's name, as after a masquerade."""
    return ChannelInfo(str(number), NAMES[number if name is None else name], state, (f"10{number}", ""), ("", ""))


def do(calls: Calls, deed: tuple[Any, ...], at: float) -> set[str]:
    """Tell one thing, and give the lines that it touched."""
    match deed:
        case ("seen", number, state):
            return calls.seen(channel(number, state), at)
        case ("gone", number):
            return calls.gone(str(number), at)
        case ("hold", number, pressed):
            return calls.hold(channel(number), at, pressed=pressed)
        case ("entered", number, bridge):
            return calls.entered(bridge, channel(number), at)
        case ("left", number, bridge):
            return calls.left(bridge.id, channel(number), at)
        case ("merged", into, source):
            return calls.merged(into, source.id, at)
        case ("bridge_gone", bridge):
            return calls.bridge_gone(bridge.id)
        case ("dialled", one, other):
            return calls.dialled(channel(one, "Ring"), channel(other, "Down"), at)
        case ("reported", line, state):
            return calls.reported(line, state)
        case ("dials_code", number):
            return calls.dials_code(str(number), NAMES[number], at)
    raise AssertionError(deed)


def listing(calls: Calls) -> tuple[list[ChannelInfo], list[BridgeInfo]]:
    """List what one set of calls knows, as Asterisk would."""
    rows = [ChannelInfo(c.id, c.name, c.state, c.caller, c.connected) for c in calls.channels.values()]
    return rows, [b.info._replace(members=tuple(b.members)) for b in calls.bridges.values()]


def _shown(calls: Calls) -> dict[str, tuple[str, str] | None]:
    """Give what every line is shown to do; who is at the other end may be told a little later."""
    views = {line: calls.view(line) for line in LINES}
    return {line: None if view is None else (view.state, view.hold) for line, view in views.items()}


@given(st.lists(deeds, max_size=40))
def test_nothing_that_is_told_raises_and_every_view_can_be_had(told: list[tuple[Any, ...]]) -> None:
    """Out of order, twice, for channels never seen; and who changed is among the lines that are named."""
    calls = Calls()
    before = _shown(calls)
    for number, deed in enumerate(told):
        touched = do(calls, deed, float(number))
        now = _shown(calls)
        assert {line for line in LINES if now[line] != before[line]} <= touched, deed
        before = now
        for line in LINES:
            assert isinstance(calls.state(line), DeviceState)
            calls.check(line, float(number))
        assert all(c.bridge is None or c.id in c.bridge.members for c in calls.channels.values())


@given(st.lists(deeds, max_size=30), st.lists(deeds, max_size=30), st.data())
def test_listing_and_asterisks_word_put_every_line_right(
    true: list[tuple[Any, ...]], false: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """Whatever was missed or told wrongly before: afterwards every line is what Asterisk says, and stays so."""
    asterisk, ours = Calls(), Calls()
    for number, deed in enumerate(deed for deed in true if deed[0] != "reported"):
        do(asterisk, deed, float(number))
    for number, deed in enumerate(false):
        do(ours, deed, float(number))
    word = {line: data.draw(st.sampled_from(list(DeviceState)), label=line) for line in LINES}
    ours.listed(*listing(asterisk), word, 100.0)
    ours.listed(*listing(asterisk), word, 101.0)
    assert not any(ours.differs(line) for line in LINES)
    assert set(ours.channels) == set(asterisk.channels)


@given(st.lists(deeds, max_size=30))
def test_listing_of_what_is_known_changes_nothing(told: list[tuple[Any, ...]]) -> None:
    """A snapshot applied once more is the same, holds included."""
    calls = Calls()
    for number, deed in enumerate(told):
        do(calls, deed, float(number))
    before = {line: calls.view(line) for line in LINES}
    calls.listed(*listing(calls), {}, 100.0)
    assert {line: calls.view(line) for line in LINES} == before


@given(st.lists(deeds, max_size=40))
def test_when_all_channels_are_gone_nothing_is_left(told: list[tuple[Any, ...]]) -> None:
    """No line stays busy, and nothing piles up."""
    calls = Calls()
    for number, deed in enumerate(told):
        do(calls, deed, float(number))
    for id_ in list(calls.channels):
        calls.gone(id_, 50.0)
    for line in LINES:
        calls.reported(line, DeviceState.NOT_INUSE)
        calls.check(line, 50.0)
        assert (calls.state(line), calls.view(line)) == (DeviceState.NOT_INUSE, None)
    assert not (calls.channels or calls.bridges or calls.doubts or calls._lines or calls._pairs or calls._reported)


def heard(deed: tuple[Any, ...], at: float) -> ev.Event:
    """Make the event that tells one thing."""
    match deed:
        case ("seen", number, state):
            return ev.ChannelSeen(at, "hq", channel(number, state))
        case ("gone", number):
            return ev.ChannelGone(at, "hq", str(number))
        case ("hold", number, pressed):
            return ev.HoldPressed(at, "hq", channel(number), pressed)
        case ("entered", number, bridge):
            return ev.BridgeEntered(at, "hq", bridge, channel(number))
        case ("left", number, bridge):
            return ev.BridgeLeft(at, "hq", bridge, channel(number))
        case ("merged", into, source):
            return ev.BridgesMerged(at, "hq", into, source.id)
        case ("bridge_gone", bridge):
            return ev.BridgeGone(at, "hq", bridge)
        case ("dialled", one, other):
            return ev.Dialling(at, "hq", channel(one, "Ring"), channel(other, "Down"))
        case ("reported", line, state):
            return ev.LineSeen(at, "hq", line, state)
        case ("dials_code", number):
            return ev.CallsMoved(at, "hq")
    raise AssertionError(deed)


@given(st.lists(st.tuples(deeds, st.booleans()), max_size=40), st.sampled_from([0.0, 30.0]), st.booleans())
def test_what_comes_together_ends_as_one_after_another(
    told: list[tuple[tuple[Any, ...], bool]], wrap_up_s: float, history: bool
) -> None:
    """However events are cut into bursts, their users are in the same calls with the same people since the same time.

    Where they are wanted, the time after a call and the history are the same, too.
    """
    table = StateTable()
    owners = {line: UserId(line.removeprefix("PJSIP/")) for line in LINES if line != "PJSIP/trunk"}
    listed = {user: UserSettings() for user in owners.values()}
    settings = Settings(table, LampLayout(table), listed, owners, pbxs=("hq",), wrap_up_s=wrap_up_s)
    settings = replace(settings, history_of_calls=history)
    one, other = Model(settings), Model(settings)
    burst: list[ev.Event] = []
    touched: set[UserId] = set()
    logged: list[Command] = []
    for model in (one, other):
        reduce(model, ev.Started(1.0, {}))
    for number, (deed, is_last) in enumerate(told):
        event = heard(deed, 10.0 + number)
        outcome = reduce(one, event)
        touched |= outcome.touched
        logged += outcome.commands
        burst.append(event)
        if is_last or number == len(told) - 1:
            shown = {user.id: user.entries for user in other.users.values()}
            outcome = reduce(other, *burst)
            found = outcome.touched
            assert outcome.commands == logged
            assert {user.id for user in other.users.values() if shown[user.id] != user.entries} <= found <= touched
            assert [user.entries for user in other.users.values()] == [user.entries for user in one.users.values()]
            burst, touched, logged = [], set(), []
