"""Plays a recording of calls to decode and reducer, without lamps, and looks at what they make of it."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

from ari_presence.ari import decode
from ari_presence.ari.background import calls_listed
from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.commands import ListCalls
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Layer, StateTable

PBX = "hq"
TABLE = StateTable()
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {UserId("100"): UserSettings("Alice"), UserId("101"): UserSettings("Bob"), UserId("102"): UserSettings("Carol")},
    {"PJSIP/100": UserId("100"), "PJSIP/100-mobile": UserId("100")},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    re.compile("PJSIP/trunk"),
    pbxs=(PBX,),
)
USERS = {"100": ("100", "100-mobile"), "101": ("101",), "102": ("102",), "103": ("103",)}
IDLE = ("NOT_INUSE", "UNAVAILABLE")


class Player:
    """A model, and a clock that follows the recording.

    Attributes:
        model: What came of it.
        asked: How often channels and bridges had to be listed again, with the lines in doubt.
    """

    def __init__(self, listing: dict[str, Any], at: float) -> None:
        """Connect at a time, seconds since the epoch."""
        self.model = Model(SETTINGS)
        self.asked: list[tuple[str, ...]] = []
        self._now = at
        self._wanted: tuple[str, ...] | None = None
        self._take(ev.Started(at, {}))
        self._take(ev.EndpointsSeen(at, PBX, tuple(listing["endpoints"])))
        self._list(listing)

    def play(self, line: dict[str, Any]) -> None:
        """Take an event at the time when it was sent."""
        sent_at = decode.sent_at(line)
        assert sent_at is not None
        self.pass_until(max(self._now, sent_at))
        event = decode.decode(decode.load(json.dumps(line)), pbx=PBX, at=self._now, fresh=True)
        if isinstance(event, get_args(ev.Event)):
            self._take(event)

    def pass_until(self, at: float) -> None:
        """Let time pass."""
        while (due := self.model.next_deadline()) is not None and due <= at:
            before, self._now = due, max(self._now, due)
            self._take(ev.TimerDue(self._now))
            if self.model.next_deadline() == before:
                break
        self._now = at

    def pass_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.pass_until(self._now + seconds)

    def quiet(self, step: dict[str, Any], *, seconds: int = 0) -> None:
        """Be at a step of the recording, for so many seconds: what is asked for in doubt is answered with it."""
        for _ in range(seconds + 1):
            if self._wanted is not None:
                self._list(step)
            self.pass_until(self._now + bool(seconds))

    def contradictions(self, step: dict[str, Any]) -> list[str]:
        """Say where people or their lines are not what Asterisk says."""
        calls = self.model.calls[PBX]
        own = {f"PJSIP/{name}" for names in USERS.values() for name in names}
        lines = {line: state for line, state in step["devices"].items() if line in own}
        found = [
            f"{line}: {calls.state(line)} instead of {state}"
            for line, state in lines.items()
            if calls.state(line) != ("NOT_INUSE" if state == "UNAVAILABLE" else state)
        ]
        for user, names in USERS.items():
            idle = all(lines[f"PJSIP/{name}"] in IDLE for name in names)
            entry = self.model.users[UserId(user)].entries.get(Layer.CALLS)
            if idle != (entry is None):
                found.append(f"{user}: {entry} with idle {idle}")
        return found

    def shown(self, user: str) -> str:
        """Give what a user's calls layer shows, state and message; empty for none."""
        entry = self.model.users[UserId(user)].entries.get(Layer.CALLS)
        return "" if entry is None else f"{entry.state} {entry.message or ''}".strip()

    def _list(self, rows: dict[str, Any]) -> None:
        devices, lines = rows.get("devices", {}), self._wanted or ()
        reported = {line: DeviceState(devices[line]) for line in lines if line in devices}
        self._wanted = None
        listed = calls_listed(rows["channels"], rows["bridges"], reported, pbx=PBX, at=self._now)
        self._take(listed)

    def _take(self, event: ev.Event) -> Outcome:
        outcome = reduce(self.model, event)
        for command in outcome.commands:
            if isinstance(command, ListCalls):
                self.asked.append(command.lines)
                self._wanted = (*(self._wanted or ()), *command.lines)
        return outcome


def played(
    lines: Iterable[dict[str, Any]],
    at_step: Callable[[Player, dict[str, Any]], None],
    keep: Callable[[int, dict[str, Any]], int] = lambda _index, _line: 1,
) -> Player:
    """Play a recording.

    Args:
        lines: The recording.
        at_step: Called at each step, when everything before it was played.
        keep: How often to play an event, by its number.
    """
    head, *rest = lines
    begin = next(sent_at for line in rest if (sent_at := decode.sent_at(line)) is not None)
    player = Player(head["listing"], begin)
    for index, line in enumerate(rest):
        if "step" in line:
            at_step(player, line)
            continue
        for _ in range(keep(index, line)):
            player.play(line)
    return player
