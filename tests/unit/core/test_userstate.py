"""The two tables of the contract, literally, and the order of the layers."""

import pytest

from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import StateId
from ari_presence.core.userstate import BUILTIN, CALL_STATES, Entry, Layer, StateDef, StateTable
from ari_presence.errors import Refused

# id, digit, label, joined (- "as the layers below"), whole, presence and subtype, calls
BUILT_IN = """
available     | -  | Available       | INVALID | NOT_INUSE   | available    | ring
away          | 1  | Away            | ONHOLD  | ONHOLD      | away         | ring
dnd           | 2  | Do not disturb  | BUSY    | BUSY        | dnd          | refuse
lunch         | 3  | At lunch        | ONHOLD  | ONHOLD      | away lunch   | voicemail
meeting       | 4  | In a meeting    | BUSY    | BUSY        | dnd meeting  | voicemail
brb           | 5  | Be right back   | ONHOLD  | ONHOLD      | away brb     | ring
out           | 6  | Out of office   | ONHOLD  | UNAVAILABLE | xa           | voicemail
ringing       | -  | Ringing         | -       | RINGING     | -            | ring
on-call       | -  | On the phone    | -       | INUSE       | -            | ring
on-hold       | -  | On hold         | -       | ONHOLD      | -            | ring
in-conference | -  | In a conference | -       | INUSE       | -            | ring
wrap-up       | -  | Wrapping up     | -       | ONHOLD      | -            | ring
offline       | -  | Offline         | INVALID | UNAVAILABLE | unavailable  | ring
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in BUILT_IN.strip().splitlines()]
# layer, example, in the order of rank
RANKS = [
    (Layer.MANUAL, "dnd"),
    (Layer.CALLS, "on-call"),
    (Layer.MANUAL, "away"),
    (Layer.CALENDAR, "meeting"),
    (Layer.SCHEDULE, "out"),
    (Layer.REGISTRATION, "offline"),
]


def entry(state: str) -> Entry:
    """Make an entry."""
    return Entry(StateId(state), "cli", 0.0)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_built_in_state_is_as_the_contract_says(row: list[str]) -> None:
    """Every cell of the table of built-in states."""
    name, digit, label, joined, whole, presence, calls = row
    state = StateTable().by_id[name]
    kind, _, subtype = presence.partition(" ")
    assert (state.digit or "-", state.label, state.joined or "-", state.whole) == (digit, label, joined, whole)
    assert state.presence == (None if presence == "-" else (kind, subtype.strip()))
    assert state.treatment == calls


def test_there_are_no_other_built_in_states() -> None:
    """The table is complete, and in its order."""
    assert [state.id for state in BUILTIN] == [row[0] for row in ROWS]


def test_only_dnd_overrides_calls() -> None:
    """A call hides every other manual state."""
    assert [state.id for state in BUILTIN if state.overrides_calls] == ["dnd"]


@pytest.mark.parametrize("digit", "123456")
def test_state_is_spoken_by_its_digit_but_dnd_by_name(digit: str) -> None:
    """Default prompts: `do-not-disturb` for dnd, the digit for the others."""
    state = StateTable().by_digit[digit]
    assert state.prompt == (("do-not-disturb",) if state.id == "dnd" else (f"digits/{digit}",))


@pytest.mark.parametrize("rank", range(len(RANKS)), ids=[f"{layer}-{state}" for layer, state in RANKS])
def test_layer_wins_over_all_below(rank: int) -> None:
    """The highest row that applies wins, and the next one shows when it ends."""
    entries: dict[Layer, Entry] = {}
    for layer, state in reversed(RANKS[rank:]):
        entries[layer] = entry(state)
    winner = next(iter(StateTable().layers(entries)))
    assert (winner[0], winner[1].state) == RANKS[rank]


def test_each_layer_is_listed_once_in_order() -> None:
    """`why` lists every layer that applies."""
    entries = {layer: entry(state) for layer, state in RANKS if state != "dnd"}
    listed = [row[0] for row in StateTable().layers(entries)]
    assert listed == [Layer.CALLS, Layer.MANUAL, Layer.CALENDAR, Layer.SCHEDULE, Layer.REGISTRATION]


def test_nobody_sets_call_states_or_offline() -> None:
    """What calls and registrations bring is not to be set by hand; `available` is."""
    settable = {state.id for state in StateTable().settable}
    assert settable == {state.id for state in BUILTIN} - CALL_STATES - {"offline"}
    assert "available" in settable


@pytest.mark.parametrize(
    ("states", "text"),
    [
        pytest.param([*BUILTIN, BUILTIN[0]], "share", id="same-id"),
        pytest.param(
            [*BUILTIN, StateDef(StateId("gym"), "Gym", "2", DeviceState.BUSY, DeviceState.BUSY, None)],
            "share",
            id="same-digit",
        ),
        pytest.param(BUILTIN[1:], "available", id="without-available"),
    ],
)
def test_table_that_makes_no_sense_is_refused(states: list[StateDef], text: str) -> None:
    """The configuration says it better; this is the last line."""
    with pytest.raises(ValueError, match=text):
        StateTable(states)


@pytest.mark.parametrize("text", ["nap", "on-call", "offline", "", "dnd\n"])
def test_state_that_nobody_sets_is_refused_with_those_that_can_be(text: str) -> None:
    """HTTP, CLI, codes and AGI say the same."""
    with pytest.raises(Refused, match="to set: one of available, away, dnd") as caught:
        StateTable().to_set(text)
    assert caught.value.code == "bad-state" and "\n" not in str(caught.value)
    assert StateTable().to_set("dnd").label == "Do not disturb"
