"""`[[schedule]]`: working hours as they are written, checked, and made into the schedules of the core.

Every reader raises `ValueError` whose text says what is wrong and what to write instead; the place is added elsewhere.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Protocol

from pydantic import BeforeValidator, Field, model_validator

from ari_presence import config_values as values
from ari_presence.config_errors import ProblemsError
from ari_presence.config_section import ForUsers, Id, memberless
from ari_presence.core.names import StateId, UserId
from ari_presence.core.schedule import DAY_S, Days, Schedule, ScheduleTable, Span
from ari_presence.core.timers import instant_of, parse_time_of_day
from ari_presence.core.userstate import StateTable
from ari_presence.errors import Refused

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([0-9:]{5,8})\s*-\s*([0-9:]{5,8})", re.ASCII)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_DAY = re.compile(r"(?:([0-9]{4})-)?([0-9]{2})-([0-9]{2})", re.ASCII)
_HOURS_FORM = 'write hours as "09:00-12:00, 13:00-17:00", 24:00 as the end of a day, "" for a closed day'
_DAY_FORM = 'write "2026-12-25", "12-25" for every year, or "2026-12-24..2026-12-31"'


def time_of_day(value: object) -> time:
    """Read `HH:MM`."""
    try:
        return parse_time_of_day(value if isinstance(value, str) else "")
    except Refused:
        raise ValueError(f'{value!r} is not a time of day: write "04:00", 00:00 to 23:59') from None


def _seconds(text: str, *, is_end: bool) -> int:
    if is_end and text in ("24:00", "24:00:00"):
        return DAY_S
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of day: {_HOURS_FORM}")
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)


def spans(value: object) -> tuple[Span, ...]:
    """Read the hours of a day: spans in any order, the end before the begin where it is in the next day; "" is none."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not hours: {_HOURS_FORM}")
    found = []
    for part in value.split(",") if value.strip() else []:
        match = _SPAN.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a span of hours: {_HOURS_FORM}")
        start, end = _seconds(match[1], is_end=False), _seconds(match[2], is_end=True)
        if start == end:
            raise ValueError(f"{part.strip()!r} is no time at all: write 00:00-24:00 for a whole day")
        found.append((start, end if end > start else end + DAY_S))
    found.sort()
    for one, other in pairwise(found):
        if other[0] < one[1]:
            raise ValueError(f"{_text(one)} and {_text(other)} overlap: make one span of them")
    return tuple(found)


def _text(span: Span) -> str:
    return "-".join(f"{edge % DAY_S // 3600:02}:{edge % 3600 // 60:02}" for edge in span)


def week(value: object) -> tuple[tuple[Span, ...], ...]:
    """Read the table of a week: keys are days (`mon`), ranges (`mon-fri`) or several of them (`"mon, wed-fri"`)."""
    if not isinstance(value, dict):
        raise ValueError('must be a table: write hours = { mon-fri = "09:00-17:00" }')
    days: dict[int, tuple[Span, ...]] = {}
    for key, text in value.items():
        read = spans(text)
        for day in _days_of(key):
            if day in days:
                raise ValueError(f"{WEEK[day]} is given twice: keep one (the second is {key!r})")
            days[day] = read
    found = tuple(days.get(day, ()) for day in range(7))
    for day, each in enumerate(found):
        late = [span for span in each if span[1] > DAY_S]
        after = found[(day + 1) % 7]
        if late and after and after[0][0] < late[-1][1] - DAY_S:
            late_text = f"{_text(late[-1])} of {WEEK[day]}"
            raise ValueError(f"{late_text} and {_text(after[0])} of {WEEK[(day + 1) % 7]} overlap: let one end earlier")
    return found


def _days_of(key: str) -> Iterator[int]:
    for part in key.split(","):
        first, dash, last = part.strip().lower().partition("-")
        if first not in WEEK or (dash and last not in WEEK):
            raise ValueError(f"{key!r} is not a day: write mon, tue, wed, thu, fri, sat or sun, or a range as mon-fri")
        begin, length = WEEK.index(first), 1
        if dash:
            length = (WEEK.index(last) - begin) % 7 + 1
        yield from ((begin + number) % 7 for number in range(length))


def _day(text: str) -> tuple[int, ...]:
    match = _DAY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date: {_DAY_FORM}")
    try:
        date(int(match[1] or 2024), int(match[2]), int(match[3]))  # a leap year: 02-29 is a day of some years
    except ValueError:
        raise ValueError(f"{text!r} is a date that does not exist: {_DAY_FORM}") from None
    return tuple(int(part) for part in match.groups() if part)


def holiday_list(value: object) -> tuple[Days, ...]:
    """Read a list of holidays."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list: {_DAY_FORM}")
    return tuple(_days(text) for text in value)


def _days(text: object) -> Days:
    if not isinstance(text, str):
        raise ValueError(f"{str(text)!r} is not a date in quotes: {_DAY_FORM}")
    first, dots, last = text.partition("..")
    days = Days(_day(first), _day(last) if dots else _day(first))
    if len(days.first) != len(days.last):
        raise ValueError(f"{text!r}: give the year with both days or with neither: {_DAY_FORM}")
    if len(days.first) == 3 and days.first > days.last:
        raise ValueError(f"{text!r} ends before it begins: turn it round")
    return days


def exception_table(value: object) -> Mapping[date, tuple[Span, ...]]:
    """Read a list of days with hours of their own."""
    form = 'write exceptions = [{ date = "2026-12-24", hours = "09:00-12:00" }]'
    found: dict[date, tuple[Span, ...]] = {}
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of tables: {form}")
    for each in value:
        if not isinstance(each, dict) or each.keys() != {"date", "hours"}:
            raise ValueError(f"each needs date and hours, and nothing else: {form}")
        days = _days(each["date"])
        if len(days.first) != 3 or days.first != days.last:
            raise ValueError(f"{each['date']!r} is not one day: {form}")
        day = date(*days.first)
        if day in found:
            raise ValueError(f"{day} is given twice: keep one")
        found[day] = spans(each["hours"])
    return found


class ScheduleSection(ForUsers):
    """`[[schedule]]`: working hours, for the users it names, the members of groups, or all; "" as a state is none."""

    name: Id
    timezone: Annotated[tzinfo | None, BeforeValidator(values.optional(values.zone))] = None
    hours: Annotated[tuple[tuple[Span, ...], ...], BeforeValidator(week)] = ((),) * 7
    inside: str = ""
    outside: str = ""
    holiday: str | None = None
    holidays: Annotated[tuple[Days, ...], BeforeValidator(holiday_list)] = ()
    exceptions: Annotated[Mapping[date, tuple[Span, ...]], BeforeValidator(exception_table)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _does_something(self) -> "ScheduleSection":
        if not (self.inside or self.outside or self.holiday):
            raise ProblemsError(("outside", 'no state is given: write outside = "out", or inside = "..."'))
        if not any(self.hours) and not self.holidays and not any(self.exceptions.values()):
            raise ProblemsError(("hours", 'is missing, so nothing ever changes: write hours = { mon-fri = "..." }'))
        if self.holiday and not self.holidays:
            raise ProblemsError(("holiday", 'no day is given: write holidays = ["2026-12-25"]'))
        return self

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule of the core."""
        inside, outside = (StateId(state) if state else None for state in (self.inside, self.outside))
        holiday = outside if self.holiday is None else StateId(self.holiday) if self.holiday else None
        return Schedule(
            self.name, self.hours, inside, outside, holiday, self.holidays, dict(self.exceptions), self.timezone
        )


class _User(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


class _Config(Protocol):
    """What is needed of the whole configuration."""

    @property
    def schedule_list(self) -> tuple[ScheduleSection, ...]: ...

    @property
    def user_list(self) -> tuple[_User, ...]: ...

    @property
    def states(self) -> StateTable: ...


def schedule_problems(config: _Config) -> list[tuple[str, str]]:
    """Find names given twice, states that nobody can set, and users for whom two schedules of one rank are meant."""
    problems: list[tuple[str, str]] = []
    settable = [state.id for state in config.states.settable]
    taken: dict[tuple[str, str], str] = {}
    for number, each in enumerate(config.schedule_list, 1):
        where = f"[[schedule]] {number}"
        for key in ("inside", "outside", "holiday"):
            state = getattr(each, key)
            if state and state not in settable:
                problems.append(
                    (f"{where}, {key}", f"there is no state {state!r} to set: one of {', '.join(settable)}")
                )
        for kind, key, value in _claims(each):
            first = taken.setdefault((kind, value), where)
            if first != where:
                problems.append((f"{where}, {key}", _claimed(kind, value, first)))
    groups = {group for user in config.user_list for group in user.groups}
    return problems or [*memberless("schedule", config.schedule_list, groups), *_two_groups(config)]


def _claims(section: ScheduleSection) -> Iterator[tuple[str, str, str]]:
    """Yield what only one schedule can have: (kind, key, value)."""
    yield "name", "name", section.name
    yield from (("user", "users", user) for user in dict.fromkeys(section.users))
    yield from (("group", "groups", group) for group in dict.fromkeys(section.groups))
    if section.everybody:
        yield "everybody", "all", ""


def _claimed(kind: str, value: str, first: str) -> str:
    if kind == "name":
        return f"{value!r} is that of {first} already: keep one"
    whom = f"{kind} {value}" if value else kind
    return f"{whom} has a schedule in {first} already: one schedule for each, take it out of one of them"


def _two_groups(config: _Config) -> list[tuple[str, str]]:
    """Find users without a schedule of their own whose groups have different ones."""
    named = {user for each in config.schedule_list for user in each.users}
    of = {group: number for number, each in enumerate(config.schedule_list, 1) for group in each.groups}
    problems = []
    for number, user in enumerate(config.user_list, 1):
        groups = {of[group]: group for group in user.groups if group in of}
        if len(groups) > 1 and user.id not in named:
            (one, first), (other, second) = sorted(groups.items())[:2]
            text = (
                f"{user.id} is in {first} and {second}, which have different schedules ([[schedule]] {one} and {other}): "
                f'give {user.id} one of their own with users = ["{user.id}"], or take a group away'
            )
            problems.append((f"[[user]] {number}, groups", text))
    return problems


def table_of(config: _Config) -> ScheduleTable:
    """Tell whose schedule is which."""
    sections = config.schedule_list
    return ScheduleTable(
        {UserId(user): each.schedule for each in sections for user in each.users},
        {group: each.schedule for each in sections for group in each.groups},
        next((each.schedule for each in sections if each.everybody), None),
    )


def schedule_remarks(sections: Sequence[ScheduleSection], zones: Iterable[tzinfo], at: float) -> list[str]:
    """Say what is legal and yet surely not meant, a line each: times that a day of the next year skips, old dates only.

    Args:
        sections: All schedules.
        zones: Those in which people live, for schedules without a zone of their own.
        at: Now.
    """
    remarks = []
    everywhere = list(dict.fromkeys(zones))
    for number, each in enumerate(sections, 1):
        where = f"[[schedule]] {number} ({each.name})"
        for zone in [each.timezone] if each.timezone is not None else everywhere:
            today = datetime.fromtimestamp(at, zone).date()
            remarks += [f"{where}: {text}" for text in _skipped(each.schedule, zone, today)]
        dated = [days.last for days in each.holidays if len(days.last) == 3]
        if dated and date(*max(dated)) < datetime.fromtimestamp(at, each.timezone or UTC).date():
            last = date(*max(dated))
            remarks.append(
                f"{where}: the last of its holidays with a year was {last}: add those to come, or write MM-DD"
            )
    return remarks


def _skipped(schedule: Schedule, zone: tzinfo, today: date) -> Iterator[str]:
    """Find the first edge in a year that the wall clock of a zone jumps over."""
    for number in range(366):
        day = today + timedelta(days=number)
        midnight = datetime.combine(day, time())
        if midnight.replace(tzinfo=zone).utcoffset() == (midnight + timedelta(days=1)).replace(tzinfo=zone).utcoffset():
            continue
        for edge in sorted({edge for span in schedule.spans(day) for edge in span}):
            local = midnight + timedelta(seconds=edge)
            shown = datetime.fromtimestamp(instant_of(local, zone), zone).replace(tzinfo=None)
            if shown != local:
                yield (
                    f"{local:%H:%M} does not exist on {day} in {zone} (daylight saving begins): {shown:%H:%M} counts; "
                    "choose another time if that is not meant"
                )
                return
