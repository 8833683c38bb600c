"""Schedules against a reference that walks through time minute by minute and knows nothing of instants."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from ari_presence.core.names import StateId
from ari_presence.core.schedule import DAY_S, Days, Schedule, Stretch, coming, present

# Zones and days around which the clocks change, in both directions; Cairo at midnight, Lord Howe by half an hour, and Apia
# left out a whole day.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Cairo", date(2026, 10, 30)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Kolkata", date(2026, 1, 1)),
]
IN, OUT, OFF = StateId("available"), StateId("out"), StateId("away")
QUARTER = 900


@st.composite
def days(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Make spans of a day that do not overlap; the last may reach into the next day."""
    night = st.integers(0, 14)  # where the clocks change
    edges = sorted(draw(st.sets(night | night | st.integers(0, 107), max_size=4)))
    spans = [(a * QUARTER, b * QUARTER) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    return tuple(span for span in spans if span[0] < DAY_S)


@st.composite
def schedules(draw: st.DrawFn, around: date) -> Schedule:
    """Make a schedule whose holidays and exceptions lie around a day."""
    near = st.integers(-2, 2).map(lambda number: around + timedelta(days=number))
    holidays = tuple(Days(*[(day.year, day.month, day.day)] * 2) for day in draw(st.sets(near, max_size=2)))
    yearly = tuple(Days(*[(day.month, day.day)] * 2) for day in draw(st.sets(near, max_size=1)))
    states = st.sampled_from([IN, OUT, OFF, None])
    exceptions = draw(st.dictionaries(near, days(), max_size=2))
    hours = tuple(draw(st.tuples(*[days()] * 7)))
    return Schedule("x", hours, draw(states), draw(states), draw(states), holidays + yearly, exceptions)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, date, Schedule]:
    """Make a zone, a day on which something happens, and a schedule."""
    zone, around = draw(st.sampled_from(CHANGES))
    return zone, around, draw(schedules(around))


def walk(schedule: Schedule, zone: ZoneInfo, around: date) -> Iterator[tuple[float, StateId | None]]:
    """Go through five days in steps of a quarter of an hour and say what holds: the clock on the wall, as far as it ever came.

    A skipped time is reached when the clock jumps over it, and one that comes twice is over the first time.
    """
    start = datetime.combine(around - timedelta(days=3), datetime.min.time(), tzinfo=zone).timestamp()
    farthest = datetime.min
    for step in range(7 * 96):
        at = start + step * QUARTER
        farthest = max(farthest, datetime.fromtimestamp(at, zone).replace(tzinfo=None))
        if step >= 96:
            yield at, expected(schedule, farthest)


def expected(schedule: Schedule, wall: datetime) -> StateId | None:
    """Say what holds at a time on the wall, straight from the words of the documentation."""
    today = wall.date()
    for day in (today - timedelta(days=1), today):
        since_midnight = (wall - datetime.combine(day, datetime.min.time())).total_seconds()
        if any(start <= since_midnight < end for start, end in schedule.spans(day)):
            return schedule.inside
    holiday = today not in schedule.exceptions and any(today in each for each in schedule.holidays)
    return schedule.holiday if holiday else schedule.outside


@given(cases())
def test_schedule_gives_at_each_moment_what_the_clock_on_the_wall_says(case: tuple[str, date, Schedule]) -> None:
    """Whatever the hours, over both changes of the clock."""
    name, around, schedule = case
    zone = ZoneInfo(name)
    for at, state in walk(schedule, zone, around):
        if at % 7200:
            continue
        found = present(schedule, zone, at)
        assert found.state == state, datetime.fromtimestamp(at, zone)
        assert found.start <= at < found.end


@given(cases())
def test_what_is_coming_has_no_gap_and_is_what_holds_then(case: tuple[str, date, Schedule]) -> None:
    """The list that an administrator reads is the one that the lamps follow."""
    name, around, schedule = case
    zone = ZoneInfo(name)
    moments = list(walk(schedule, zone, around))
    listed = coming(schedule, zone, moments[0][0], moments[-1][0])
    for one, other in pairwise(listed):
        assert one.end == other.start
        assert (one.state, one.reason) != (other.state, other.reason)

    def at(moment: float) -> Stretch:
        return next(each for each in listed if each.start <= moment < each.end)

    assert [at(moment).state for moment, _ in moments] == [state for _, state in moments]
