"""Recorded calls told badly: in any order, or with most of it missing; asking Asterisk puts every line right.

A recording holds a listing, events as they came, and after each step what Asterisk answered when all was quiet.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ari_presence.ari import decode
from ari_presence.ari.background import calls_listed
from ari_presence.core import events as ev
from ari_presence.core.calls import DOUBT_S, LIST_EVERY_S, LIST_GAP_S
from ari_presence.core.commands import ListCalls
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable

DATA = Path(__file__).parent / "data" / "ari"
RECORDINGS = sorted(DATA.glob("*/call-*.jsonl"))
IDS = [f"{path.parent.name}-{path.stem.removeprefix('call-')}" for path in RECORDINGS]
AT = 1_800_000_000.0
TABLE = StateTable()
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {UserId("101"): UserSettings("Bob Example")},
    {"PJSIP/101": UserId("101")},
    re.compile(r"PJSIP/(?P<user>\d{3})(-mobile)?"),
    pbxs=("hq",),
)
IDLE = {"UNAVAILABLE", "INVALID", "UNKNOWN"}


@cache
def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read a recording."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Played:
    """A model that is fed with a recording; `at` is its clock."""

    def __init__(self, listing: Mapping[str, Any]) -> None:
        """Connect."""
        self.model, self.at = Model(SETTINGS), AT
        reduce(self.model, ev.Started(AT, {}))
        reduce(self.model, ev.EndpointsSeen(AT, "hq", tuple(listing["endpoints"])))
        self.list({}, listing)

    def list(self, devices: Mapping[str, str], listing: Mapping[str, Any]) -> None:
        """Take a listing."""
        reported = {name: DeviceState(state) for name, state in devices.items() if ":" not in name}
        reduce(self.model, calls_listed(listing["channels"], listing["bridges"], reported, pbx="hq", at=self.at))

    def take(self, message: Mapping[str, Any]) -> None:
        """Take one event as it was received."""
        self.at += 0.01
        event = decode.decode(message, pbx="hq", at=self.at)
        if event is not None and not isinstance(event, decode.DeviceSeen | decode.Replaced):
            reduce(self.model, event)

    def heal(self, step: Mapping[str, Any]) -> None:
        """Let time pass, and answer with the truth whenever a listing is asked for."""
        for _ in range(5):
            self.at += max(DOUBT_S, LIST_GAP_S)
            for command in reduce(self.model, ev.TimerDue(self.at)).commands:
                if isinstance(command, ListCalls):
                    self.list({line: step["devices"].get(line, "NOT_INUSE") for line in command.lines}, step)

    def heal_wholly(self, step: Mapping[str, Any]) -> None:
        """Let so much time pass that what nobody doubts is asked too."""
        self.at += LIST_EVERY_S
        self.heal(step)
        self.at += LIST_EVERY_S
        self.heal(step)

    def wrong(self, step: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Give the lines of users that are not what Asterisk says: theirs and ours."""
        calls = self.model.calls["hq"]
        truth = {
            n: "NOT_INUSE" if s in IDLE else s for n, s in step["devices"].items() if re.fullmatch(r"PJSIP/\d.*", n)
        }
        return {name: (state, calls.state(name)) for name, state in truth.items() if calls.state(name) != state}


def steps(path: Path, shuffle: int) -> Iterator[tuple[Played, dict[str, Any]]]:
    """Play a recording and stop at each step, with the events of each in any order."""
    head, *rest = lines_of(path)
    played, block, chance = Played(head["listing"]), [], random.Random(shuffle)
    for line in rest:
        if "step" not in line:
            block.append(line)
            continue
        chance.shuffle(block)
        for message in block:
            played.take(message)
        block = []
        yield played, line


@pytest.mark.parametrize("path", RECORDINGS, ids=IDS)
@pytest.mark.parametrize("seed", range(3), ids=str)
def test_events_in_any_order_heal(path: Path, seed: int) -> None:
    """What was told in the wrong order is wrong for as long as it takes to ask, and for no longer."""
    for played, step in steps(path, seed):
        played.heal_wholly(step)
        assert not played.wrong(step), step["step"]


@pytest.mark.parametrize("path", RECORDINGS, ids=IDS)
@pytest.mark.parametrize("kept", range(3), ids=str)
def test_missed_events_heal(path: Path, kept: int) -> None:
    """Two of three events are never told."""
    head, *rest = lines_of(path)
    played = Played(head["listing"])
    for number, line in enumerate(rest):
        if "step" in line:
            played.heal_wholly(line)
            assert not played.wrong(line), line["step"]
        elif number % 3 == kept:
            played.take(line)
