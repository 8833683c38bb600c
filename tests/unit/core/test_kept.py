"""The texts that the dialplan keeps: what becomes of calls to a user, and who gets through."""

import fnmatch
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core.kept import (
    LIST_BYTES,
    TEXT_BYTES,
    Rules,
    caller_number,
    emergency,
    is_listed,
    kept_text,
    site_texts,
    through,
)
from ari_presence.core.names import StateId
from ari_presence.core.userstate import BUILTIN, CALL_STATES, Entry, Layer, StateTable

TABLE = StateTable()
END = 1_800_000_000.5  # 08:00 UTC
BERLIN = ZoneInfo("Europe/Berlin")


def entry(state: str, until: float | None = None) -> Entry:
    """Make an entry."""
    return Entry(StateId(state), "cli", 0.0, until)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("available", ""),
        ("away", ""),
        ("dnd", "refuse^0^^do-not-disturb"),
        ("lunch", "voicemail^0^^digits/3"),
        ("meeting", "voicemail^0^^digits/4"),
        ("brb", ""),
        ("out", "voicemail^0^^digits/6"),
    ],
)
def test_manual_state_keeps_what_the_table_says(state: str, text: str) -> None:
    """States that ring keep nothing."""
    assert kept_text(TABLE, {Layer.MANUAL: entry(state)}, UTC) == text


def test_user_without_layers_keeps_nothing() -> None:
    """Nobody who is available costs a write."""
    assert kept_text(TABLE, {}, UTC) == ""


def test_end_is_kept_in_seconds_and_as_a_clock_of_the_users_zone() -> None:
    """The dialplan compares the seconds and says the clock."""
    assert kept_text(TABLE, {Layer.MANUAL: entry("lunch", END)}, BERLIN) == "voicemail^1800000000^0900^digits/3"


def test_what_comes_after_an_end_is_kept_too() -> None:
    """Lunch ends while the daemon is down: then the schedule counts, not "ring"."""
    entries = {Layer.MANUAL: entry("dnd", END), Layer.SCHEDULE: entry("out", END + 3600)}
    kept = kept_text(TABLE, entries, UTC)
    assert kept == "refuse^1800000000^0800^do-not-disturb|voicemail^1800003600^0900^digits/6"


def test_layers_below_one_without_end_are_left_out() -> None:
    """They never come up without the daemon."""
    entries = {Layer.MANUAL: entry("dnd"), Layer.SCHEDULE: entry("out")}
    assert kept_text(TABLE, entries, UTC) == "refuse^0^^do-not-disturb"


def test_state_that_rings_goes_before_one_that_does_not_until_it_ends() -> None:
    """Back early, until two: then out of office again."""
    entries = {Layer.MANUAL: entry("brb", END), Layer.CALENDAR: entry("meeting")}
    assert kept_text(TABLE, entries, UTC) == "ring^1800000000^0800^digits/5|voicemail^0^^digits/4"


@pytest.mark.parametrize("state", sorted(CALL_STATES))
def test_call_leaves_it_to_the_layers_below(state: str) -> None:
    """Who is at lunch is at lunch on the phone, too."""
    below = {Layer.MANUAL: entry("lunch")}
    assert kept_text(TABLE, {**below, Layer.CALLS: entry(state)}, UTC) == kept_text(TABLE, below, UTC)


def test_state_of_calls_with_a_treatment_of_its_own_counts() -> None:
    """A site may send second calls to voicemail."""
    table = StateTable(replace(state, treatment="voicemail") if state.id == "on-call" else state for state in BUILTIN)
    assert kept_text(table, {Layer.CALLS: entry("on-call")}, UTC) == "voicemail^0^^vm-isonphone"


def test_treatment_of_available_counts_for_everybody() -> None:
    """A state like any other: a hot line that is always forwarded."""
    table = StateTable(replace(state, treatment="forward:9") if state.id == "available" else state for state in BUILTIN)
    assert kept_text(table, {}, UTC) == "forward:9^0^^digits/0"


def test_prompts_that_do_not_fit_are_left_out() -> None:
    """A presence state holds 1,300 characters; the treatment matters more than the prompt."""
    long = tuple(f"custom/{'x' * 100}{number}" for number in range(20))
    table = StateTable(replace(state, prompt=long) if state.id == "dnd" else state for state in BUILTIN)
    kept = kept_text(table, {Layer.MANUAL: entry("dnd")}, UTC)
    assert kept == "refuse^0^^"
    assert len(kept) < TEXT_BYTES


@pytest.mark.parametrize(
    ("pattern", "number", "listed"),
    [
        ("0170555*", "0170555", True),
        ("0170555*", "01705551234", True),
        ("0170555*", "0170556", False),
        ("0170555*", "90170555", False),
        ("+49*", "+4930", True),
        ("+49*", "4930", False),
        ("*1234", "0301234", True),
        ("1?3", "123", True),
        ("1?3", "1233", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
    ],
)
def test_wildcards_match_as_people_expect(pattern: str, number: str, listed: bool) -> None:
    """`*` is anything, `?` one character, all else itself."""
    assert is_listed(number, through(Rules(vip=(pattern,)))) is listed is fnmatch.fnmatchcase(number, pattern)


def test_star_in_an_emergency_number_is_a_digit() -> None:
    """Numbers that are dialled have stars of their own."""
    rules = Rules(emergency=("*112",))
    assert is_listed("*112", emergency(rules))
    assert not is_listed("9112", emergency(rules))


def test_empty_lists_match_nobody() -> None:
    """Neither the dialplan nor we take an empty expression for "anything"."""
    assert through(Rules()) == emergency(Rules()) == ()
    texts = {"through-1": "", "emergency-1": "", "site": "^"}
    assert dict(site_texts(Rules())) == texts


def test_long_lists_are_divided_and_end_with_an_empty_text() -> None:
    """A presence state holds only so much; an older, longer list must not shine through behind the end."""
    numbers = tuple(f"0170{number:06}" for number in range(500))
    rules = Rules(vip=numbers, emergency=("112",), override_code="*86", repeat_within_s=180)
    texts = dict(site_texts(rules))
    lists = [text for name, text in site_texts(rules) if name.startswith("through-")]
    assert len(lists) > 5
    assert lists[-1] == ""
    assert all(0 < len(text) <= LIST_BYTES for text in lists[:-1])
    assert all(is_listed(number, lists[:-1]) for number in (*numbers, "112"))
    assert not is_listed("0170000500", lists[:-1])
    assert (texts["emergency-1"], texts["emergency-2"], texts["site"]) == ("112", "", "180^*86")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+49 (30) 123", "+4930123"),
        ('5"${DB(x/y)}:5=6!7&,)', "5DBxy567"),
        ("", ""),
        ('"${}', ""),
        ("٣", ""),
        ("1" * 60, "1" * 40),
        ("Anonymous", ""),
        ("anonymous1", "anonymous1"),
    ],
    ids=["spaces", "functions", "empty", "nothing-left", "other-digits", "long", "hidden", "somebody"],
)
def test_number_of_a_caller_is_filtered(text: str, number: str) -> None:
    """Nothing of it can end an argument, an expression or a key."""
    assert caller_number(text) == number
