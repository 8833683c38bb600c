"""Recorded ARI events in, published lamps out: what real phones did on real servers, played to the real engine."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ari_presence.core.lamps import LampLayout, Presence
from ari_presence.core.model import Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.userstate import StateTable
from tests.scenarios.replay import Replay

DATA = Path(__file__).parent / "data" / "ari"
TABLE = StateTable()
LAYOUT = LampLayout(TABLE)
SETTINGS = Settings(
    TABLE,
    LAYOUT,
    {UserId("100"): UserSettings(), UserId("102"): UserSettings(rights=frozenset({"set_others"}))},
    {"PJSIP/100": UserId("100"), "PJSIP/100-mobile": UserId("100"), "PJSIP/102": UserId("102")},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    re.compile("PJSIP/trunk"),
    pbxs=("hq",),
)


@dataclass(frozen=True)
class Outcome:
    """What a case must end in.

    Attributes:
        states: User to manual state and source.
        heard: Sounds that were played.
        lit: Lamps that are on.
        presences: Presence states that are not plain "available".
    """

    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    heard: str = ""
    lit: dict[str, str] = field(default_factory=dict)
    presences: dict[str, Presence] = field(default_factory=dict)


def recorded(version: str, case: str) -> list[str]:
    """Read a recording."""
    return (DATA / version / f"{case}.jsonl").read_text().splitlines()


def shown(user: str, state: str, source: str, main: str, kind: str, subtype: str = "", heard: str = "") -> Outcome:
    """Make the outcome of one state of one user."""
    lamps = {f"Custom:presence-{user}": main, f"Stasis:presence-{user}": main, f"Custom:{state}-{user}": "INUSE"}
    return Outcome({user: (state, source)}, heard, lamps, {f"CustomPresence:{user}": Presence(kind, subtype)})


REFUSED = Outcome(heard="sound:beeperr")
CASES = {
    "dnd-on": shown("100", "dnd", "phone:PJSIP/100", "BUSY", "dnd", heard="sound:do-not-disturb sound:activated"),
    "hangup-in-prompt": shown(
        "100", "lunch", "phone:PJSIP/100", "ONHOLD", "away", "lunch", "sound:digits/3 sound:activated"
    ),
    "second-phone": shown(
        "100", "brb", "phone:PJSIP/100-mobile", "ONHOLD", "away", "brb", "sound:digits/5 sound:activated"
    ),
    "forged-caller-id": shown(
        "101", "dnd", "phone:PJSIP/101", "BUSY", "dnd", heard="sound:do-not-disturb sound:activated"
    ),
    "key-with-right": shown(
        "100", "dnd", "phone:PJSIP/102", "BUSY", "dnd", heard="sound:do-not-disturb sound:activated"
    ),
    "orphan": shown("100", "dnd", "phone:PJSIP/100", "BUSY", "dnd", heard="sound:do-not-disturb sound:activated"),
    "devstate-change": shown("100", "dnd", "pbx:hq", "BUSY", "dnd"),
    "main-lamp-change": shown("100", "away", "pbx:hq", "ONHOLD", "away"),
    "unknown-endpoint": REFUSED,
    "unknown-digit": REFUSED,
    "key-without-right": REFUSED,
}


@pytest.mark.parametrize("version", ["22.10.1", "16.28.0"])
@pytest.mark.parametrize("case", CASES)
def test_recorded_case_ends_in_its_lamps(case: str, version: str) -> None:
    """State, source, prompts, every lamp and the presence; callers are let go."""
    replay = Replay(recorded(version, case), SETTINGS)
    trace = "\n".join(["", *replay.asterisk.trace])
    wanted = CASES[case]
    assert replay.states() == wanted.states, trace
    assert replay.asterisk.heard == wanted.heard.split(), trace
    assert replay.lit() == wanted.lit, trace
    assert replay.presences() == wanted.presences, trace
    assert replay.asterisk.callers == set(), trace
    assert replay.is_right(LAYOUT), trace
    assert [(c.user, c.entry.state if c.entry else None) for c in replay.saved] == [
        (user, state) for user, (state, _) in wanted.states.items()
    ], trace


@pytest.mark.parametrize("version", ["22.10.1", "16.28.0"])
def test_lunch_for_minutes_says_and_shows_its_end(version: str) -> None:
    """The end is said to the caller and stands in the message."""
    replay = Replay(recorded(version, "lunch-for-minutes"), SETTINGS)
    trace = "\n".join(["", *replay.asterisk.trace])
    assert replay.asterisk.heard[:2] == ["sound:digits/3", "sound:activated"], trace
    assert [sound.partition(":")[0] for sound in replay.asterisk.heard[2:]][:1] == ["number"], trace
    presence = replay.presences()["CustomPresence:100"]
    assert re.fullmatch(r"until \d\d:\d\d", presence.message), trace
    (change,) = replay.saved
    assert change.entry is not None
    assert change.entry.until == pytest.approx(change.entry.since + 45 * 60)


def test_claim_precedes_prompt_and_leaving() -> None:
    """A caller is answered, hears the prompt and goes back to the dialplan, in this order; lamps come before the prompt."""
    replay = Replay(recorded("22.10.1", "dnd-on"), SETTINGS)
    text = "\n".join(replay.asterisk.trace)
    steps = ["DEVICE_STATE(Custom:presence-100)", "/play/", "/continue"]
    places = [text.index(step) for step in steps]
    assert places == sorted(places), text
    assert text.index("/answer") < text.index("/play/"), text


def test_every_type_of_event_is_survived() -> None:
    """Calls, bridges, parking, endpoints: what is not for us changes nothing of ours."""
    listing = '{"listing": {"endpoints": ["PJSIP/100", "PJSIP/101", "PJSIP/102"], "channels": []}}'
    mine = re.compile('"type": "(StasisStart|ApplicationReplaced)"')
    others = [line for line in recorded("22.10.1", "events-of-every-type") if not mine.search(line)]
    replay = Replay([listing, *others], SETTINGS)
    assert (replay.states(), replay.saved, replay.asterisk.heard) == ({}, [], [])
    assert replay.is_right(LAYOUT)


@pytest.mark.parametrize("cut", range(1, 7))
def test_recording_cut_anywhere_leaves_lamps_right(cut: int) -> None:
    """Whatever did not arrive any more, lamps equal the model."""
    replay = Replay(recorded("22.10.1", "dnd-on")[:cut], SETTINGS)
    assert replay.is_right(LAYOUT)


def test_recording_played_with_every_event_twice_changes_nothing_more() -> None:
    """A repeated event (replayed buffer) is no second wish."""
    listing, *events = recorded("22.10.1", "devstate-change")
    replay = Replay([listing, *(event for event in events for _ in range(2))], SETTINGS)
    assert len(replay.saved) == 1
    assert replay.states() == CASES["devstate-change"].states
