"""FreePBX's conventions: names of lamps, values, and what presence states of others mean."""

from dataclasses import replace

import pytest

from ari_presence.core import events as ev
from ari_presence.core.devstate import DeviceState
from ari_presence.core.freepbx import FreepbxLamps, seen, state_of_presence
from ari_presence.core.lamps import LampLayout, Wish
from ari_presence.core.model import Model
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import BUILTIN, DND, Entry, Layer, StateTable
from tests.unit.engine_rig import make_settings

ALICE, BOB = UserId("100"), UserId("101")
OWNER = make_settings().owner
LAMPS = FreepbxLamps({ALICE: ("100", "9100"), UserId("nobody"): ()}, OWNER)
STATES = StateTable()
LAYOUT = LampLayout(STATES, freepbx=LAMPS)
PLAIN = LampLayout(STATES)
D = DeviceState


def entry(state: str) -> dict[Layer, Entry]:
    """Make a manual state."""
    return {Layer.MANUAL: Entry(StateId(state), "cli", 1.0)}


def changed(**values: DeviceState) -> tuple[DeviceState, ...]:
    """Give lamps that are off but for these of FreePBX, `user`, `device1` and `device2`."""
    found = list(LAYOUT.off)
    for kind, value in values.items():
        found[LAYOUT.kinds.index(f"freepbx-{kind}")] = value
    return LAYOUT.vector(tuple(found))


def test_layout_without_freepbx_is_as_ever() -> None:
    """Nothing is added for whoever does not use it."""
    assert LAYOUT.kinds[: len(PLAIN.kinds)] == PLAIN.kinds
    assert LAYOUT.kinds[len(PLAIN.kinds) :] == ("freepbx-user", "freepbx-device1", "freepbx-device2")
    assert PLAIN.locate("Custom:DND100") is None
    assert not PLAIN.is_dnd(PLAIN.desired(entry("dnd")))


@pytest.mark.parametrize(
    ("user", "devices"),
    [
        pytest.param(ALICE, ["Custom:DND100", "Custom:DEVDND100", "Custom:DEVDND9100"], id="two-devices"),
        pytest.param(BOB, ["Custom:DND101", "Custom:DEVDND101"], id="discovered"),
        pytest.param(UserId("nobody"), ["Custom:DNDnobody"], id="no-device"),
    ],
)
def test_lamps_are_named_and_found(user: UserId, devices: list[str]) -> None:
    """Each device of a user has its lamp; a kind that a user lacks stands for the user's own once more."""
    kinds = range(len(PLAIN.kinds), len(LAYOUT.kinds))
    named = [LAYOUT.device(index, user) for index in kinds]
    assert list(dict.fromkeys(named)) == devices
    assert [each for each in LAYOUT.watched(user) if "DND" in each] == devices
    for device in devices:
        assert LAYOUT.locate(device) == (user, len(PLAIN.kinds) + named.index(device))


@pytest.mark.parametrize("device", ["Custom:DEVDND555000111", "Custom:DEVxyz", "Stasis:DND100", "Custom:DEVDNDnobody"])
def test_lamps_of_nobody_are_not_found(device: str) -> None:
    """A device that belongs to no user is left alone."""
    assert LAYOUT.locate(device) is None


@pytest.mark.parametrize(
    ("state", "on"), [("dnd", True), ("meeting", True), ("lunch", False), ("away", False), ("out", False)]
)
def test_do_not_disturb_is_what_the_presence_says(state: str, on: bool) -> None:
    """All places say the same: lit just while CustomPresence says dnd."""
    vector = LAYOUT.desired(entry(state))
    assert set(vector[len(PLAIN.kinds) :]) == {D.BUSY if on else D.UNAVAILABLE}
    assert LAYOUT.is_dnd(vector) is on
    assert vector[: len(PLAIN.kinds)] == PLAIN.desired(entry(state))


def test_call_does_not_change_it() -> None:
    """A call hides a meeting on the whole lamp; FreePBX still has to refuse the next one."""
    entries = entry("meeting") | {Layer.CALLS: Entry(StateId("on-call"), "phone:PJSIP/100", 2.0)}
    assert LAYOUT.is_dnd(LAYOUT.desired(entries))
    assert not LAYOUT.is_dnd(LAYOUT.desired({Layer.CALLS: entries[Layer.CALLS]}))


def test_state_named_dnd_counts_whatever_its_presence() -> None:
    """Who dials `*78` gets it, even where the configuration gives dnd another presence."""
    states = StateTable([replace(s, presence=("xa", "")) if s.id == DND else s for s in BUILTIN])
    layout = LampLayout(states, freepbx=LAMPS)
    assert layout.is_dnd(layout.desired(entry("dnd")))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (D.UNKNOWN, D.UNAVAILABLE),
        (D.NOT_INUSE, D.UNAVAILABLE),
        (D.UNAVAILABLE, D.UNAVAILABLE),
        (D.INUSE, D.BUSY),
        (D.BUSY, D.BUSY),
        (D.RINGING, D.RINGING),
    ],
)
def test_values_of_older_releases_are_read(value: DeviceState, shown: DeviceState) -> None:
    """NOT_INUSE is off as well, the hot-desk script's INUSE is on; anything else means nothing and is corrected."""
    assert seen(value) is shown
    assert LAYOUT.seen(len(LAYOUT.kinds) - 1, value) is shown


ON = Wish({DND: True}, None, "pbx:hq")
CLEARED = Wish({DND: False, StateId("meeting"): False}, None, "pbx:hq")


@pytest.mark.parametrize(
    ("before", "after", "wish"),
    [
        pytest.param({}, {"user": D.BUSY, "device1": D.BUSY}, ON, id="toggled-on"),
        pytest.param({}, {"device2": D.BUSY}, ON, id="one-device"),
        pytest.param({"user": D.BUSY, "device1": D.BUSY}, {}, CLEARED, id="toggled-off"),
        pytest.param({"user": D.BUSY}, {"device1": D.BUSY}, CLEARED, id="the-users-comes-first"),
        pytest.param({}, {"user": D.RINGING}, None, id="no-meaning"),
        pytest.param({}, {"user": D.RINGING, "device1": D.BUSY}, ON, id="no-meaning-but-a-device"),
    ],
)
def test_change_by_freepbx_is_a_wish(
    before: dict[str, DeviceState], after: dict[str, DeviceState], wish: Wish | None
) -> None:
    """On is do not disturb; off ends every state that counts as that."""
    assert LAYOUT.wish(changed(**before), changed(**after), "hq") == wish


def test_value_that_came_back_with_a_restart_is_no_wish() -> None:
    """AstDB may hold an older one of ours."""
    assert LAYOUT.wish(changed(), changed(user=D.BUSY), "hq", restarted=True) is None


@pytest.mark.parametrize(
    ("start", "off", "end"),
    [
        pytest.param("dnd", True, None, id="dnd"),
        pytest.param("meeting", True, None, id="meeting"),
        pytest.param("lunch", True, "lunch", id="lunch-is-none-of-its-business"),
        pytest.param("lunch", False, "dnd", id="lunch-then-on"),
        pytest.param(None, False, "dnd", id="on"),
    ],
)
@pytest.mark.parametrize("digit", ["2", ""], ids=["dialled", "without-a-digit"])
def test_wish_becomes_the_state(start: str | None, off: bool, end: str | None, digit: str) -> None:
    """As with the other lamps."""
    states = StateTable([replace(s, digit=digit) if s.id == DND else s for s in BUILTIN])
    model = Model(make_settings(states=states, layout=LampLayout(states, freepbx=LAMPS)))
    reduce(model, ev.Started(1.0, {ALICE: Entry(StateId(start), "cli", 1.0)} if start else {}))
    reduce(model, ev.LampsChanged(2.0, ALICE, CLEARED if off else ON))
    manual = model.users[ALICE].manual
    assert (manual.state if manual else None) == end


@pytest.mark.parametrize(
    ("kind", "subtype", "state"),
    [
        ("dnd", "", "dnd"),
        ("dnd", "meeting", "meeting"),
        ("dnd", "whatever", "dnd"),
        ("away", "", "away"),
        ("away", "Lunch", "lunch"),
        ("away", "brb", "brb"),
        ("xa", "", "out"),
        ("unavailable", "", "out"),
        ("AWAY", "", "away"),
        ("available", "", None),
        ("chat", "", None),
        ("not_set", "", None),
        ("strange", "", None),
    ],
)
def test_presence_of_others_means_a_state(kind: str, subtype: str, state: str | None) -> None:
    """Type and subtype choose; what is not known is nothing."""
    assert state_of_presence(STATES, kind, subtype) == state


def test_layouts_of_other_devices_are_others() -> None:
    """A reload that gives somebody a device reads the lamps anew; one that changes nothing does not."""
    assert LAYOUT.equals(LampLayout(STATES, freepbx=FreepbxLamps(dict(LAMPS.devices), lambda _: None)))
    assert not LAYOUT.equals(LampLayout(STATES, freepbx=FreepbxLamps({ALICE: ("100", "9101")}, OWNER)))
    assert not LAYOUT.equals(PLAIN)
    assert PLAIN.equals(LampLayout(STATES))
