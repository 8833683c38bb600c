"""Working hours: which state a schedule gives at an instant, since when and until when. Knows no users and no clock.

A day has spans of local time in which the schedule is *inside*; everything else of the day is outside, or holiday. An
edge is the instant at which the wall clock first reaches it: one that daylight saving skips is the first instant after,
a doubled one the first. Times are seconds since the epoch, UTC.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import count, takewhile

from ari_presence.core.names import StateId, UserId
from ari_presence.core.timers import instant_of

DAY_S = 86400
LOOK_BACK_DAYS = 35  # for since when; Christmas and New Year fit in
LOOK_AHEAD_DAYS = 62  # what lasts longer has no end that anybody has to know yet
FARTHEST_DAYS = 400  # so that what is once a year is found

Span = tuple[int, int]
"""Begin and end, seconds of the wall clock from the midnight of its day; the end may lie in the next day."""


class Reason(StrEnum):
    """Why a schedule gives a state."""

    HOURS = "hours"
    OUTSIDE = "outside hours"
    HOLIDAY = "holiday"
    EXCEPTION = "exception"


@dataclass(frozen=True, slots=True)
class Days:
    """The days from `first` to `last`, both included: (year, month, day), or (month, day) in every year."""

    first: tuple[int, ...]
    last: tuple[int, ...]

    def __contains__(self, day: date) -> bool:
        """Tell whether a day is one of them; yearly ones may go over the end of the year."""
        key = (day.year, day.month, day.day)[-len(self.first) :]
        if self.first <= self.last:
            return self.first <= key <= self.last
        return key >= self.first or key <= self.last


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which a schedule gives one state (None: nothing); `end` is infinite where none is near."""

    start: float
    end: float
    state: StateId | None
    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """One `[[schedule]]`; compared by identity.

    Attributes:
        name: For people and for the source.
        zone: Its time zone; None for that of each user.
        hours: Spans of each day of the week, Monday first.
        inside: State within the spans, or None.
        outside: State of the rest, or None.
        holiday: State of a holiday outside the spans that reach into it from the day before, or None.
        holidays: Days without spans.
        exceptions: Spans of single days, which count even on a holiday.
    """

    name: str
    hours: tuple[tuple[Span, ...], ...] = ((),) * 7
    inside: StateId | None = None
    outside: StateId | None = None
    holiday: StateId | None = None
    holidays: tuple[Days, ...] = ()
    exceptions: Mapping[date, tuple[Span, ...]] = field(default_factory=dict)
    zone: tzinfo | None = None

    @property
    def source(self) -> str:
        """Say who sets its states."""
        return f"schedule:{self.name}"

    def spans(self, day: date) -> tuple[Span, ...]:
        """Give the spans that begin on a day."""
        if day in self.exceptions:
            return self.exceptions[day]
        return () if self._is_holiday(day) else self.hours[day.weekday()]

    def _is_holiday(self, day: date) -> bool:
        return day not in self.exceptions and any(day in days for days in self.holidays)

    def stretches(self, first: date, zone: tzinfo) -> Iterator[Stretch]:
        """Yield what it gives from the midnight of `first` on, without gaps and without end."""
        for number in count():
            day = first + timedelta(days=number)
            yield from self._day(day, zone)

    def _day(self, day: date, zone: tzinfo) -> Iterator[Stretch]:
        rest, why = self.outside, Reason.OUTSIDE
        if self._is_holiday(day):
            rest, why = self.holiday, Reason.HOLIDAY
        here, end_of_day = _edge(day, 0, zone), _edge(day, DAY_S, zone)
        yesterday = day - timedelta(days=1)
        edges = [(yesterday, start, end) for start, end in self.spans(yesterday) if end > DAY_S]
        edges += [(day, start, end) for start, end in sorted(self.spans(day))]
        for origin, start, end in edges:
            begin, over = max(_edge(origin, start, zone), here), min(_edge(origin, end, zone), end_of_day)
            if begin >= over:  # skipped as a whole by daylight saving, or covered
                continue
            if begin > here:
                yield Stretch(here, begin, rest, why)
            by = Reason.EXCEPTION if origin in self.exceptions else Reason.HOURS
            yield Stretch(begin, over, self.inside, by)
            here = over
        if here < end_of_day:
            yield Stretch(here, end_of_day, rest, why)


def _edge(day: date, seconds: int, zone: tzinfo) -> float:
    return instant_of(datetime.combine(day, time()) + timedelta(seconds=seconds), zone)


def _merged(
    schedule: Schedule, zone: tzinfo, first: date, horizon: float, same: Callable[[Stretch], object]
) -> Iterator[Stretch]:
    """Join neighbours that are the same; what still lasts at the horizon has no end."""
    last: Stretch | None = None
    for each in takewhile(lambda stretch: stretch.start < horizon, schedule.stretches(first, zone)):
        if last is not None and same(last) == same(each):
            last = Stretch(last.start, each.end, last.state, last.reason)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield Stretch(last.start, float("inf"), last.state, last.reason)


def present(schedule: Schedule, zone: tzinfo, at: float) -> Stretch:
    """Tell what a schedule gives at an instant, since when, and until when if that is within `LOOK_AHEAD_DAYS`."""
    today = datetime.fromtimestamp(at, zone).date()
    runs = _merged(
        schedule, zone, today - timedelta(days=LOOK_BACK_DAYS), at + LOOK_AHEAD_DAYS * DAY_S, lambda run: run.state
    )
    return next(run for run in runs if run.end > at)


def coming(schedule: Schedule, zone: tzinfo, at: float, until: float) -> list[Stretch]:
    """List what a schedule gives from `at` on, with the reasons: what holds now, the next, and all that begin by `until`."""
    first = datetime.fromtimestamp(at, zone).date() - timedelta(days=LOOK_BACK_DAYS)
    found: list[Stretch] = []
    for run in _merged(schedule, zone, first, at + FARTHEST_DAYS * DAY_S, lambda run: (run.state, run.reason)):
        if run.end <= at:
            continue
        if len(found) > 1 and run.start > until:
            break
        found.append(run)
    return found


@dataclass(frozen=True, slots=True)
class ScheduleTable:
    """Whose schedule is which: a user's own comes before a group's, and that before the one for all."""

    users: Mapping[UserId, Schedule] = field(default_factory=dict)
    groups: Mapping[str, Schedule] = field(default_factory=dict)
    everybody: Schedule | None = None

    def of(self, user: UserId, groups: tuple[str, ...]) -> Schedule | None:
        """Give the one schedule of a user who is in these groups, or None."""
        own = self.users.get(user)
        return own or next((self.groups[group] for group in groups if group in self.groups), self.everybody)

    def all(self) -> list[Schedule]:
        """Give every schedule once, sorted by name."""
        found = {*self.users.values(), *self.groups.values(), *([self.everybody] if self.everybody else [])}
        return sorted(found, key=lambda schedule: schedule.name)
