"""Layers together: what is shown when several apply, as cases that are played through the reducer, and their table.

The README holds the table between two comments: `make table` (`python -m tests.scenarios.layers`) writes it there, and
`test_layers.py` compares. What each row should show is written beside it; what the table shows is what the model did.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome, set_automatic
from ari_presence.core.features import Action
from ari_presence.core.lamps import JOINED, WHOLE, LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.schedule import Schedule, ScheduleTable
from ari_presence.core.timers import clock_text, next_time_of_day, parse_time_of_day
from ari_presence.core.userstate import OFFLINE, ON_CALL, Entry, Layer, StateTable

README = Path(__file__).resolve().parents[2] / "README.rst"
BEGIN, END = ".. layers begin\n", ".. layers end\n"
ZONE = ZoneInfo("Europe/Berlin")
ALICE = UserId("100")
TABLE = StateTable()
LAYOUT = LampLayout(TABLE)
OFFICE = Schedule("office", (((9 * 3600, 17 * 3600),),) * 7, None, StateId("out"))
MIDNIGHT = datetime(2026, 11, 26, tzinfo=ZONE).timestamp()
COLUMNS = ("", "what happens", "shown", "from", "joined lamp", "whole lamp", "presence state")


class Day:
    """One day of Alice, who works from nine to five."""

    def __init__(self) -> None:
        """Begin at midnight."""
        self.now = MIDNIGHT
        settings = UserSettings("Alice", zone=ZONE)
        schedules = ScheduleTable(everybody=OFFICE)
        self.model = Model(Settings(TABLE, LAYOUT, {ALICE: settings}, pbxs=("hq",), schedules=schedules))
        reduce(self.model, ev.Started(self.now, {}))

    def come(self, clock: str) -> None:
        """Let it become a time of day, and do what is due on the way, when it is due."""
        then = self.at(clock)
        while (due := self.model.next_deadline()) is not None and due <= then:
            reduce(self.model, ev.TimerDue(max(due, self.now)))
        self.now = then

    def at(self, clock: str) -> float:
        """Give the next such time of day."""
        return next_time_of_day(parse_time_of_day(clock), self.now, ZONE)

    def ask(self, action: Action, state: str | None = None, until: float | None = None) -> None:
        """Change the state set by hand."""
        reduce(self.model, ev.ChangeAsked(self.now, 1, ALICE, action, "phone:PJSIP/100", state, None, until))

    def put(self, layer: Layer, entry: Entry | None) -> None:
        """Put what a call, a calendar or the registration gives."""
        set_automatic(self.model, self.model.users[ALICE], layer, entry, self.now, Outcome())

    def row(self) -> tuple[str, ...]:
        """Tell what is shown."""
        person = self.model.users[ALICE]
        layer, entry, state = person.effective(TABLE)
        until = "" if entry.until is None else f" until {clock_text(entry.until, ZONE)}"
        lamps = dict(zip(LAYOUT.kinds, LAYOUT.desired(person.entries), strict=True))
        said = LAYOUT.presence(person.entries, ZONE)
        presence = " ".join(filter(None, (said.type, said.subtype, said.message)))
        return f"{state.label}{until}", layer.value, str(lamps[JOINED]), str(lamps[WHOLE]), presence


Do = Callable[[Day], None]


def nothing(day: Day) -> None:
    """Only let time pass."""


def by_hand(state: str, minutes: int | None = None, until: str | None = None) -> Do:
    """Set a state, for so long or until then."""

    def do(day: Day) -> None:
        end = day.now + minutes * 60 if minutes is not None else day.at(until) if until is not None else None
        day.ask(Action.SET, state, end)

    return do


def toggle(state: str) -> Do:
    """Dial the code of a state again."""
    return lambda day: day.ask(Action.TOGGLE, state)


def clear(day: Day) -> None:
    """Take away what was set by hand."""
    day.ask(Action.CLEAR)


def meeting(until: str) -> Do:
    """Let a calendar entry begin."""
    return lambda day: day.put(
        Layer.CALENDAR, Entry(StateId("meeting"), "calendar:alice", day.now, day.at(until), "Budget")
    )


def over(layer: Layer) -> Do:
    """Let what a layer gives be over."""
    return lambda day: day.put(layer, None)


def call(day: Day) -> None:
    """Let a call begin."""
    day.put(Layer.CALLS, Entry(ON_CALL, "phone:PJSIP/100", day.now))


def unplug(day: Day) -> None:
    """Let the phone be gone."""
    day.put(Layer.REGISTRATION, Entry(OFFLINE, "registration", day.now))


@dataclass(frozen=True)
class Step:
    """At a time of day something happens, and then a state is shown."""

    clock: str
    what: str
    do: Do
    shown: str


@dataclass(frozen=True)
class Case:
    """A few steps of one day."""

    title: str
    steps: tuple[Step, ...]


HOURS_BEGIN = Step("09:00", "the hours begin", nothing, "available")
HOURS_END = Step("17:00", "the hours end", nothing, "out")
MEETING = Step("10:00", "a meeting in the calendar, until 11:00", meeting("11:00"), "meeting")
MEETING_OVER = Step("11:00", "the meeting is over", over(Layer.CALENDAR), "available")

CASES = (
    Case("The hours alone", (Step("08:00", "early in the morning", nothing, "out"), HOURS_BEGIN, HOURS_END)),
    Case(
        "Available by hand, held against the schedule until it is cleared",
        (
            Step("16:50", "sets available", by_hand("available"), "available"),
            Step("17:00", "the hours end", nothing, "available"),
            Step("17:20", "dials *840", clear, "out"),
        ),
    ),
    Case(
        "Available by hand, until a time",
        (
            Step("16:50", "sets available until 18:00", by_hand("available", until="18:00"), "available"),
            Step("17:00", "the hours end", nothing, "available"),
            Step("18:00", "the end", nothing, "out"),
        ),
    ),
    Case(
        "Lunch by hand over the hours",
        (
            Step("12:00", "dials *843*45", by_hand("lunch", 45), "lunch"),
            Step("12:30", "dials *843*45 again", by_hand("lunch", 45), "lunch"),
            Step("13:15", "the end", nothing, "available"),
        ),
    ),
    Case(
        "Away by hand over a meeting, and taken back",
        (
            MEETING,
            Step("10:10", "dials *841", toggle("away"), "away"),
            Step("10:20", "dials *841 again", toggle("away"), "meeting"),
            MEETING_OVER,
        ),
    ),
    Case(
        "A meeting that ends during a call",
        (
            MEETING,
            Step("10:50", "a call", call, "on-call"),
            Step("11:00", "the meeting is over", over(Layer.CALENDAR), "on-call"),
            Step("11:05", "hangs up", over(Layer.CALLS), "available"),
        ),
    ),
    Case(
        "Do not disturb during a meeting, ending after it",
        (
            MEETING,
            Step("10:30", "dials *842*45", by_hand("dnd", 45), "dnd"),
            Step("11:00", "the meeting is over", over(Layer.CALENDAR), "dnd"),
            Step("11:15", "the end", nothing, "available"),
        ),
    ),
    Case(
        "Do not disturb during a meeting, ending before it",
        (
            MEETING,
            Step("10:30", "dials *842*15", by_hand("dnd", 15), "dnd"),
            Step("10:45", "the end", nothing, "meeting"),
            MEETING_OVER,
        ),
    ),
    Case(
        "Lunch during a call",
        (
            Step("12:00", "a call", call, "on-call"),
            Step("12:05", "dials *843*45", by_hand("lunch", 45), "on-call"),
            Step("12:20", "hangs up", over(Layer.CALLS), "lunch"),
            Step("12:50", "the end", nothing, "available"),
        ),
    ),
    Case(
        "Do not disturb during a call, ending in it",
        (
            Step("14:00", "a call", call, "on-call"),
            Step("14:05", "dials *842*10", by_hand("dnd", 10), "dnd"),
            Step("14:15", "the end", nothing, "on-call"),
            Step("14:30", "hangs up", over(Layer.CALLS), "available"),
        ),
    ),
    Case(
        "A meeting after the hours",
        (
            HOURS_END,
            Step("17:30", "a meeting in the calendar, until 18:30", meeting("18:30"), "meeting"),
            Step("18:30", "the meeting is over", over(Layer.CALENDAR), "out"),
        ),
    ),
    Case(
        "A phone that is unplugged",
        (
            Step("10:00", "the phone is gone", unplug, "offline"),
            Step("10:30", "a meeting in the calendar, until 11:00", meeting("11:00"), "meeting"),
            Step("11:00", "the meeting is over", over(Layer.CALENDAR), "offline"),
            HOURS_END,
            Step("18:00", "the phone is back", over(Layer.REGISTRATION), "out"),
        ),
    ),
)


def play(case: Case) -> Iterator[tuple[Step, str, tuple[str, ...]]]:
    """Play a case; gives each step, the id of the state that is shown then, and the cells of its row."""
    day = Day()
    for step in case.steps:
        day.come(step.clock)
        step.do(day)
        yield step, day.model.users[ALICE].effective(TABLE)[1].state, day.row()


def table() -> str:
    """Write the cases with what was shown, as a literal block of reStructuredText."""
    rows = [COLUMNS]
    titles: dict[int, str] = {}
    for case in CASES:
        titles[len(rows)] = case.title
        rows += [(step.clock, step.what, *cells) for step, _, cells in play(case)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        if number in titles:
            lines += ["", titles[number]]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "::\n\n" + "".join(f"    {line}\n" if line else "\n" for line in lines)


def written(readme: str) -> str:
    """Give the text of the README with the present table."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, "README.rst has no place for the table of layers"
    return f"{before}{begin}\n{table()}\n{end}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
