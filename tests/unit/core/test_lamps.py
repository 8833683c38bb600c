"""What every lamp should show, and what somebody else's change of lamps asks for."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core.devstate import DeviceState
from ari_presence.core.kept import kept_text
from ari_presence.core.lamps import OWN, LampLayout, Presence, Vector, main_vote, presence_message
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import BUILTIN, CALL_STATES, Entry, Layer, StateDef, StateTable

TABLE = StateTable()
LAYOUT = LampLayout(TABLE)
USER = UserId("100")
BERLIN = ZoneInfo("Europe/Berlin")
DIALLED = ("away", "dnd", "lunch", "meeting", "brb", "out")
MANUAL = {
    "available": ("INVALID", "NOT_INUSE", ("available", "")),
    "away": ("ONHOLD", "ONHOLD", ("away", "")),
    "dnd": ("BUSY", "BUSY", ("dnd", "")),
    "lunch": ("ONHOLD", "ONHOLD", ("away", "lunch")),
    "meeting": ("BUSY", "BUSY", ("dnd", "meeting")),
    "brb": ("ONHOLD", "ONHOLD", ("away", "brb")),
    "out": ("ONHOLD", "UNAVAILABLE", ("xa", "")),
}
CALLS = {
    "ringing": "RINGING",
    "on-call": "INUSE",
    "on-hold": "ONHOLD",
    "in-conference": "INUSE",
    "wrap-up": "ONHOLD",
}


def entry(state: str, until: float | None = None, message: str | None = None) -> Entry:
    """Make an entry."""
    return Entry(StateId(state), "cli", 0.0, until, message)


def lamps(vector: Vector, layout: LampLayout = LAYOUT) -> dict[str, str]:
    """Name the values of a vector by device."""
    return {layout.device(i, USER): str(value) for i, value in enumerate(vector)}


def vector(**values: str) -> Vector:
    """Make a vector that is off but for some kinds."""
    names = [kind.removeprefix("main-") for kind in LAYOUT.kinds]
    assert set(values) <= set(names)
    pairs = zip(names, LAYOUT.off, strict=True)
    return LAYOUT.vector(tuple(DeviceState(values.get(name, off)) for name, off in pairs))


# -- desired


@pytest.mark.parametrize("state", MANUAL)
def test_manual_state_lights_its_lamps(state: str) -> None:
    """Both main lamps as in the table, INUSE on the lamp of that state and NOT_INUSE on the others."""
    joined, whole, _ = MANUAL[state]
    wanted = {f"Custom:{each}-100": "INUSE" if each == state else "NOT_INUSE" for each in DIALLED}
    wanted |= {"Custom:presence-100": joined, "Stasis:presence-100": whole, "Stasis:parked-100": "NOT_INUSE"}
    assert lamps(LAYOUT.desired({Layer.MANUAL: entry(state)})) == wanted


@pytest.mark.parametrize("state", MANUAL)
def test_manual_state_has_its_presence(state: str) -> None:
    """Type and subtype as in the table, and what becomes of calls beside it."""
    entries = {Layer.MANUAL: entry(state)}
    kept = kept_text(TABLE, entries, UTC)
    assert LAYOUT.presence(entries, UTC) == Presence(*MANUAL[state][2], kept=kept)


def test_user_without_layers_is_available() -> None:
    """Nothing set is the default state: dark lamps, and phones that show text show "available"."""
    assert LAYOUT.desired({}) is LAYOUT.off
    assert LAYOUT.presence({}, UTC) == Presence("available")


@pytest.mark.parametrize("state", CALLS)
def test_call_shows_on_the_whole_lamp_alone(state: str) -> None:
    """A call writes neither the joined lamp nor the presence: Asterisk adds the call itself."""
    entries = {Layer.CALLS: entry(state), Layer.MANUAL: entry("lunch")}
    assert LAYOUT.desired(entries) == vector(joined="ONHOLD", whole=CALLS[state], lunch="INUSE")
    assert LAYOUT.presence(entries, UTC) == Presence("away", "lunch", kept="voicemail^0^^digits/3")


@pytest.mark.parametrize("state", CALLS)
def test_call_of_somebody_available_leaves_the_rest_as_it_was(state: str) -> None:
    """The layers below are the default."""
    entries = {Layer.CALLS: entry(state)}
    assert LAYOUT.desired(entries) == vector(whole=CALLS[state])
    assert LAYOUT.presence(entries, UTC) == Presence("available")


def test_dnd_hides_a_call() -> None:
    """Dnd overrides calls on the whole lamp too."""
    entries = {Layer.CALLS: entry("on-call"), Layer.MANUAL: entry("dnd")}
    assert LAYOUT.desired(entries) == vector(joined="BUSY", whole="BUSY", dnd="INUSE")


def test_available_held_by_hand_hides_the_schedule() -> None:
    """`set USER available` holds against schedule and calendar, on both lamps and in the presence."""
    entries = {Layer.MANUAL: entry("available"), Layer.SCHEDULE: entry("out")}
    assert LAYOUT.desired(entries) == LAYOUT.off
    assert LAYOUT.presence(entries, UTC) == Presence("available")


def test_schedule_lights_no_state_lamp() -> None:
    """A state lamp is lit by the manual state alone."""
    assert LAYOUT.desired({Layer.SCHEDULE: entry("out")}) == vector(joined="ONHOLD", whole="UNAVAILABLE")


def test_offline_shows_as_the_table_says() -> None:
    """Nobody's phone is reachable."""
    entries = {Layer.REGISTRATION: entry("offline")}
    assert LAYOUT.desired(entries) == vector(whole="UNAVAILABLE")
    assert LAYOUT.presence(entries, UTC) == Presence("unavailable")


def test_configured_available_is_followed_by_users_without_layers() -> None:
    """All of a built-in state can be changed, that of the default layer too."""
    mine = replace(BUILTIN[0], joined=DeviceState.NOT_INUSE, whole=DeviceState.ONHOLD, presence=("chat", "desk"))
    layout = LampLayout(StateTable([mine, *BUILTIN[1:]]))
    assert layout.desired({})[:2] == (DeviceState.NOT_INUSE, DeviceState.ONHOLD)
    assert layout.presence({}, UTC) == Presence("chat", "desk")


@pytest.mark.parametrize("state", [state.id for state in BUILTIN])
def test_no_lamp_is_ever_unknown(state: str) -> None:
    """Asterisk refuses to be told UNKNOWN."""
    layer = Layer.CALLS if state in CALL_STATES else Layer.MANUAL
    assert DeviceState.UNKNOWN not in LAYOUT.desired({layer: entry(state)})


def test_whole_lamp_can_be_turned_off() -> None:
    """`[lamps] whole = false`: there is none."""
    layout = LampLayout(TABLE, whole=False)
    devices = lamps(layout.desired({Layer.MANUAL: entry("dnd")}), layout)
    assert "Stasis:presence-100" not in devices
    assert devices["Custom:presence-100"] == "BUSY"


def test_parked_call_lights_its_own_lamp_alone() -> None:
    """Whatever the user's state is."""
    plain, parked = (
        LAYOUT.desired({Layer.MANUAL: entry("dnd")}, value) for value in (LAYOUT.off[-1], DeviceState.RINGING)
    )
    assert lamps(parked) == lamps(plain) | {"Stasis:parked-100": "RINGING"}


def test_equal_vectors_are_one_object() -> None:
    """The publisher compares ten thousand users by identity."""
    assert LAYOUT.desired({Layer.MANUAL: entry("dnd")}) is LAYOUT.desired({Layer.MANUAL: entry("dnd", 5.0, "x")})


# -- names


def test_whole_lamp_is_not_watched() -> None:
    """The daemon is its only provider: nobody else's change of it is adopted."""
    assert set(LAYOUT.watched(USER)) == {"Custom:presence-100", *(f"Custom:{state}-100" for state in DIALLED)}


@pytest.mark.parametrize("user", ["100", "a-b.c_d", "presence-1", "dnd-1"])
def test_every_lamp_is_found_by_its_name(user: str) -> None:
    """What Asterisk reports is the name that was written, its prefix in any case."""
    for i in range(len(LAYOUT.kinds)):
        device = LAYOUT.device(i, UserId(user))
        assert LAYOUT.locate(device) == LAYOUT.locate(device.replace("Custom", "CUSTOM")) == (user, i)


@pytest.mark.parametrize(
    "device",
    [
        "",
        "Custom:",
        "Custom:lamp",
        "Custom:nosuch-100",
        "Custom:joined-100",
        "Custom:whole-100",
        "Custom:main-joined-100",
        "Stasis:dnd-100",
        "Stasis:group-sales",
        "PJSIP/presence-100",
        "park:presence-100",
        "MWI:dnd-100",
        "presence-100",
    ],
    ids=repr,
)
def test_device_of_others_is_no_lamp(device: str) -> None:
    """Only Custom: and the one Stasis: name are ours."""
    assert LAYOUT.locate(device) is None


@pytest.mark.parametrize("name", ["joined", "whole"])
def test_state_may_be_named_like_a_kind_of_lamp(name: str) -> None:
    """A legal state id never collides with the main lamps."""
    extra = StateDef(StateId(name), "x", "7", DeviceState.ONHOLD, DeviceState.ONHOLD, ("away", name))
    layout = LampLayout(StateTable([*BUILTIN, extra]))
    shown = lamps(layout.desired({Layer.MANUAL: entry(name)}), layout)
    assert len(shown) == len(layout.kinds)
    assert (shown["Custom:presence-100"], shown[f"Custom:{name}-100"]) == ("ONHOLD", "INUSE")
    assert all(layout.locate(layout.device(i, USER)) == (USER, i) for i in range(len(layout.kinds)))


def test_lamp_that_asterisk_does_not_know_counts_as_off() -> None:
    """UNKNOWN is read as the off of that lamp, everything else as it is."""
    assert [LAYOUT.seen(i, DeviceState.UNKNOWN) for i in range(len(LAYOUT.kinds))] == list(LAYOUT.off)
    assert LAYOUT.seen(2, DeviceState.INVALID) is DeviceState.INVALID


# -- message

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("message", "until", "shown"),
    [
        pytest.param(None, None, "", id="nothing"),
        pytest.param("Back at 2", None, "Back at 2", id="message"),
        pytest.param(None, NOON, "until 12:00", id="end"),
        pytest.param("In town", NOON, "In town (until 12:00)", id="both"),
        pytest.param("", NOON, "until 12:00", id="empty-message"),
    ],
)
def test_message_carries_the_end(message: str | None, until: float | None, shown: str) -> None:
    """`<message> (until HH:MM)`, in the person's own time."""
    assert presence_message(entry("lunch", until, message), BERLIN) == shown


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("x" * 300, 180),
        ("\u00e9" * 120, 180),
        ("\u20ac" * 80, 180),
        ("\U0001f600" * 50, 180),
        ("x" + "\u20ac" * 80, 178),
    ],
    ids=["ascii", "two", "three", "four", "shifted"],
)
def test_message_is_cut_on_a_character_boundary(message: str, size: int) -> None:
    """180 bytes at most, whole characters only."""
    shown = presence_message(entry("lunch", None, message), UTC)
    assert len(shown.encode()) == size
    assert message.startswith(shown)


def test_message_belongs_to_the_layer_that_is_shown() -> None:
    """During a call the message of the manual state stays."""
    entries = {Layer.CALLS: entry("on-call", None, "secret"), Layer.MANUAL: entry("lunch", None, "Pizza")}
    assert LAYOUT.presence(entries, UTC) == Presence("away", "lunch", "Pizza", "voicemail^0^^digits/3")


# -- wishes

OFF = LAYOUT.off


@pytest.mark.parametrize(
    ("before", "after", "states", "main", "source"),
    [
        pytest.param(OFF, vector(dnd="INUSE"), {"dnd": True}, None, "pbx:hq", id="lit"),
        pytest.param(OFF, vector(dnd="BUSY"), {"dnd": True}, None, "dialplan", id="lit-by-fallback"),
        pytest.param(OFF, vector(dnd="RINGING"), {"dnd": True}, None, "pbx:hq", id="lit-oddly"),
        pytest.param(vector(dnd="INUSE"), OFF, {"dnd": False}, None, "pbx:hq", id="dark"),
        pytest.param(
            vector(dnd="INUSE"), vector(dnd="INVALID"), {"dnd": False}, None, "dialplan", id="dark-by-fallback"
        ),
        pytest.param(OFF, vector(joined="BUSY"), {}, ("dnd",), "pbx:hq", id="main-busy"),
        pytest.param(OFF, vector(joined="ONHOLD"), {}, ("away",), "pbx:hq", id="main-onhold"),
        pytest.param(vector(joined="BUSY"), OFF, {}, (None,), "pbx:hq", id="main-invalid"),
        pytest.param(vector(joined="BUSY"), vector(joined="NOT_INUSE"), {}, (None,), "pbx:hq", id="main-not-inuse"),
        pytest.param(vector(joined="BUSY"), vector(joined="UNAVAILABLE"), {}, (None,), "pbx:hq", id="main-unavailable"),
        pytest.param(
            vector(joined="BUSY", dnd="INUSE"),
            vector(joined="ONHOLD", dnd="INVALID", lunch="BUSY"),
            {"dnd": False, "lunch": True},
            ("away",),
            "dialplan",
            id="fallback-switches",
        ),
    ],
)
def test_changed_lamps_vote(
    before: Vector, after: Vector, states: dict[str, bool], main: tuple[str | None] | None, source: str
) -> None:
    """Only lamps that changed vote."""
    wish = LAYOUT.wish(before, after, "hq")
    assert wish is not None
    assert (wish.states, wish.main, wish.source) == (states, main, source)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(OFF, id="nothing-changed"),
        pytest.param(vector(joined="INUSE"), id="main-inuse"),
        pytest.param(vector(joined="RINGING"), id="main-ringing"),
        pytest.param(vector(joined="RINGINUSE"), id="main-ringinuse"),
        pytest.param(vector(whole="BUSY"), id="whole"),
    ],
)
def test_meaningless_change_is_no_wish(after: Vector) -> None:
    """It is corrected."""
    assert LAYOUT.wish(OFF, after, "hq") is None


def test_restart_takes_values_of_our_own_kind_for_stale() -> None:
    """AstDB is flushed about once a second: a crash brings older values of ours back."""
    before = vector(joined="BUSY", dnd="INUSE")
    assert LAYOUT.wish(before, vector(joined="ONHOLD", lunch="INUSE"), "hq", restarted=True) is None
    assert LAYOUT.wish(before, OFF, "hq", restarted=True) is None


def test_restart_leaves_the_fallback_its_voice() -> None:
    """The fallback writes BUSY and INVALID to state lamps, which the daemon never does."""
    wish = LAYOUT.wish(OFF, vector(joined="ONHOLD", lunch="BUSY"), "hq", restarted=True)
    assert wish is not None
    assert (wish.states, wish.main, wish.source) == ({"lunch": True}, None, "dialplan")


@pytest.mark.parametrize("value", list(DeviceState), ids=str)
def test_main_lamp_votes_for_dnd_away_or_nothing(value: DeviceState) -> None:
    """BUSY is dnd, ONHOLD is away, dark clears, the rest means nothing."""
    votes = {"BUSY": ("dnd",), "ONHOLD": ("away",)}
    votes |= dict.fromkeys(("INVALID", "UNAVAILABLE", "NOT_INUSE", "UNKNOWN"), (None,))  # type: ignore[arg-type]
    assert main_vote(value) == votes.get(value)


def test_lamps_without_their_provider_are_told_from_the_fallbacks_off() -> None:
    """Without func_devstate every Custom lamp reads INVALID; the plain dialplan leaves at least one that does not."""
    layout = LampLayout(StateTable())
    nothing = [DeviceState.UNKNOWN if kind in OWN else DeviceState.INVALID for kind in layout.kinds]
    assert layout.has_no_provider(nothing)
    nothing[layout.kinds.index("dnd")] = DeviceState.NOT_INUSE
    assert not layout.has_no_provider(nothing)
