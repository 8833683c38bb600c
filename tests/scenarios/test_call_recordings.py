"""Recorded calls in, states of lines and people out: at every step they are what Asterisk itself said then."""

import json
from pathlib import Path
from typing import Any

import pytest

from ari_presence.core.calls import LIST_EVERY_S
from tests.scenarios.player import Player, played

DATA = Path(__file__).parent / "data" / "ari"
RECORDINGS = sorted(DATA.glob("*/call-*.jsonl"))
HEAL_S = 8
ALICE, BOB, CAROL = "Alice (100)", "Bob (101)", "Carol (102)"

Lines = list[dict[str, Any]]


def read(path: Path) -> Lines:
    """Read a recording."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def name(path: Path) -> str:
    """Name a recording in the list of tests."""
    return f"{path.parent.name.partition('.')[0]}-{path.stem.removeprefix('call-')}"


@pytest.mark.parametrize("path", RECORDINGS, ids=name)
def test_recorded_call_is_right_at_every_step(path: Path) -> None:
    """Every line is what Asterisk says, and who is in a call has a calls layer; nothing is left at the end."""

    def at_step(player: Player, step: dict[str, Any]) -> None:
        player.quiet(step)
        assert player.contradictions(step) == [], step["step"]

    player = played(read(path), at_step)
    assert [player.shown(user) for user in ("100", "101", "102", "103")] == ["", "", "", ""]
    assert not player.model.calls["hq"].channels


@pytest.mark.parametrize("path", RECORDINGS, ids=name)
def test_recorded_call_with_every_event_twice_is_the_same(path: Path) -> None:
    """An event that comes again says nothing new."""

    def at_step(player: Player, step: dict[str, Any]) -> None:
        player.quiet(step)
        assert player.contradictions(step) == [], step["step"]

    played(read(path), at_step, lambda _index, _line: 2)


@pytest.mark.parametrize("path", RECORDINGS, ids=name)
def test_any_one_missed_event_heals(path: Path) -> None:
    """Whichever event is lost: a moment later a listing has put lines and people right."""
    lines = read(path)
    events = [index for index, line in enumerate(lines[1:]) if "step" not in line]

    def at_step(player: Player, step: dict[str, Any]) -> None:
        player.quiet(step, seconds=HEAL_S)
        assert player.contradictions(step) == [], (step["step"], lost, lines[1 + lost])

    for lost in events:
        played(lines, at_step, lambda index, _line: int(index != lost))  # noqa: B023 - played at once


@pytest.mark.parametrize("path", RECORDINGS, ids=name)
def test_recorded_call_is_known_from_any_step_on(path: Path) -> None:
    """A daemon that starts in the middle of it: the listing, and what Asterisk says of the lines, are enough."""
    lines = read(path)
    steps = [index for index, line in enumerate(lines) if "step" in line]
    for begin in steps:
        listing = lines[0]["listing"] | {kind: lines[begin][kind] for kind in ("channels", "bridges")}
        reports = [
            {"type": "DeviceStateChanged", "timestamp": _before(lines, begin), "device_state": {"name": n, "state": s}}
            for n, s in lines[begin]["devices"].items()
        ]

        def at_step(player: Player, step: dict[str, Any]) -> None:
            player.quiet(step, seconds=HEAL_S)
            assert player.contradictions(step) == [], (step["step"], "from", lines[begin]["step"])  # noqa: B023

        played([{"listing": listing}, *reports, *lines[begin:]], at_step)


def _before(lines: Lines, step: int) -> str:
    """Give the time of the last event before a step."""
    return str(next(line["timestamp"] for line in reversed(lines[:step]) if "timestamp" in line))


@pytest.mark.parametrize("path", RECORDINGS, ids=name)
def test_listing_that_is_out_of_date_takes_nothing_back(path: Path) -> None:
    """A listing asked for at a step and given when the next one is reached: what moved meanwhile stays as events told it."""
    lines = read(path)
    right: list[tuple[str, ...]] = []
    played(lines, lambda player, step: right.append(_everybody(player, step)))
    late: list[tuple[str, ...]] = []
    before: list[dict[str, Any]] = []

    def at_step(player: Player, step: dict[str, Any]) -> None:
        for older in before:
            player.quiet(older)
        late.append(_everybody(player, step))
        before[:] = [step]
        player.pass_for(LIST_EVERY_S + 1)

    played(lines, at_step)
    assert late == right


def _everybody(player: Player, step: dict[str, Any]) -> tuple[str, ...]:
    return (step["step"], *(player.shown(user) for user in ("100", "101", "102", "103")))


SHOWN = {
    ("simple", "ringing"): (f"on-call with {BOB}", f"ringing from {ALICE}", ""),
    ("simple", "talking"): (f"on-call with {BOB}", f"on-call with {ALICE}", ""),
    ("hold-by-caller", "held"): (f"on-hold holding {BOB}", f"on-hold held by {ALICE}", ""),
    ("hold-by-callee", "held"): (f"on-hold held by {BOB}", f"on-hold holding {ALICE}", ""),
    ("blind-transfer", "ringing"): ("", f"on-call with {CAROL}", f"ringing from {BOB}"),
    ("blind-transfer", "talking elsewhere"): ("", f"on-call with {CAROL}", f"on-call with {BOB}"),
    ("attended-transfer", "connected"): ("", f"on-call with {CAROL}", f"on-call with {BOB}"),
    ("transfer-into-conference", "connected"): ("", "in-conference in room room", "in-conference in room room"),
    ("transfer-by-keys", "connected"): ("", f"on-call with {CAROL}", f"on-call with {BOB}"),
    ("transfer-while-ringing", "connected"): ("", f"on-call with {CAROL}", f"on-call with {BOB}"),
    ("three-way", "three"): (
        f"in-conference with {BOB}, {CAROL}",
        f"in-conference with {ALICE}, {CAROL}",
        f"in-conference with {ALICE}, {BOB}",
    ),
    ("two-phones-ring", "talking"): (f"on-call with {CAROL}", "", f"on-call with {ALICE}"),
    ("picked-up", "talking"): (f"on-call with {CAROL}", "", f"on-call with {ALICE}"),
    ("forwarded", "ringing elsewhere"): (f"on-call with {CAROL}", "", f"ringing from {ALICE}"),
    ("forwarded", "talking"): (f"on-call with {CAROL}", "", f"on-call with {ALICE}"),
    ("local-kept", "ringing"): (f"on-call with {BOB}", f"ringing from {ALICE}", ""),
    ("local-kept", "talking"): (f"on-call with {BOB}", f"on-call with {ALICE}", ""),
    ("local-optimised", "talking again"): (f"on-call with {BOB}", f"on-call with {ALICE}", ""),
    ("confbridge", "one"): ("in-conference in room room", "", ""),
    ("confbridge", "three"): ("in-conference in room room", "in-conference in room room", "in-conference in room room"),
    ("ari-bridge-of-two", "2 in the bridge"): ("in-conference in room talk", "in-conference in room talk", ""),
    ("park-and-time-out", "ringing back"): (f"on-call with {BOB}", f"ringing from {ALICE}", ""),
    ("park-and-retrieve", "talking"): (f"on-call with {CAROL}", "", f"on-call with {ALICE}"),
    ("trunk-out", "talking"): ("on-call with 0301234 (outside)", "", ""),
    ("trunk-in", "talking"): ("on-call with trunk (outside)", "", ""),
    ("early-media", "early media"): ("on-call", "", ""),
}


@pytest.mark.parametrize("version", ["22.10.1", "16.28.0"])
@pytest.mark.parametrize(("case", "step"), SHOWN, ids=lambda value: value.replace(" ", "-"))
def test_people_are_shown_with_whom_they_talk(case: str, step: str, version: str) -> None:
    """State and message of the three at one step of a recording."""
    seen: dict[str, tuple[str, ...]] = {}

    def at_step(player: Player, line: dict[str, Any]) -> None:
        player.quiet(line, seconds=2)  # a transfer into a room is found by asking
        seen[line["step"]] = tuple(player.shown(user) for user in ("100", "101", "102"))

    played(read(DATA / version / f"call-{case}.jsonl"), at_step)
    assert seen[step] == SHOWN[case, step]
