"""Working hours: what a schedule gives, when it changes, and what is coming; more in tests/properties/test_schedule.py."""

from datetime import date, datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core.names import StateId, UserId
from ari_presence.core.schedule import Days, Reason, Schedule, ScheduleTable, coming, present

HOUR = 3600
OUT, FREE, AWAY = StateId("out"), StateId("available"), StateId("away")
NINE_TO_FIVE = ((9 * HOUR, 17 * HOUR),)
BERLIN = "Europe/Berlin"
OFFICE = Schedule(
    "office",
    (*[NINE_TO_FIVE] * 5, (), ()),
    None,
    OUT,
    AWAY,
    (Days((2026, 12, 24), (2026, 12, 26)), Days((12, 31), (1, 1))),
    {date(2026, 12, 25): ((10 * HOUR, 11 * HOUR),), date(2026, 12, 23): ()},
)
NIGHT = Schedule("night", (((22 * HOUR, 30 * HOUR),),) * 7, FREE, OUT)


def local(text: str, zone: str = BERLIN) -> float:
    """Read a local time, the first of two."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(instant: float, zone: str = BERLIN) -> str:
    """Write an instant as a local time with its offset."""
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).isoformat(timespec="minutes")


CASES = [
    # 2026-11-26 is a Thursday
    pytest.param(OFFICE, "2026-11-26T08:59:59", OUT, "2026-11-25T17:00", "2026-11-26T09:00", id="before"),
    pytest.param(OFFICE, "2026-11-26T09:00", None, "2026-11-26T09:00", "2026-11-26T17:00", id="begins-sharp"),
    pytest.param(OFFICE, "2026-11-26T17:00", OUT, "2026-11-26T17:00", "2026-11-27T09:00", id="ends-sharp"),
    pytest.param(OFFICE, "2026-11-28T12:00", OUT, "2026-11-27T17:00", "2026-11-30T09:00", id="weekend"),
    pytest.param(OFFICE, "2026-12-23T12:00", OUT, "2026-12-22T17:00", "2026-12-24T00:00", id="closed-by-exception"),
    pytest.param(OFFICE, "2026-12-24T12:00", AWAY, "2026-12-24T00:00", "2026-12-25T00:00", id="holiday"),
    pytest.param(OFFICE, "2026-12-25T10:30", None, "2026-12-25T10:00", "2026-12-25T11:00", id="exception-on-a-holiday"),
    pytest.param(OFFICE, "2026-12-25T12:00", OUT, "2026-12-25T11:00", "2026-12-26T00:00", id="rest-of-an-exception"),
    pytest.param(OFFICE, "2027-01-01T12:00", AWAY, "2026-12-31T00:00", "2027-01-02T00:00", id="over-new-year"),
    pytest.param(NIGHT, "2026-11-26T23:00", FREE, "2026-11-26T22:00", "2026-11-27T06:00", id="night-begins"),
    pytest.param(NIGHT, "2026-11-27T05:59", FREE, "2026-11-26T22:00", "2026-11-27T06:00", id="night-ends"),
    pytest.param(NIGHT, "2026-11-27T06:00", OUT, "2026-11-27T06:00", "2026-11-27T22:00", id="day"),
]


@pytest.mark.parametrize(("schedule", "at", "state", "since", "until"), CASES)
def test_schedule_gives_a_state_since_and_until(
    schedule: Schedule, at: str, state: str | None, since: str, until: str
) -> None:
    """Hours, holidays, exceptions and nights, each from edge to edge of the same state."""
    found = present(schedule, ZoneInfo(BERLIN), local(at))
    assert (found.state, shown(found.start)[:16], shown(found.end)[:16]) == (state, since, until)


EARLY = Schedule("early", (((2 * HOUR + 1800, 6 * HOUR),),) * 7, FREE, OUT)
CHANGES = [
    pytest.param(BERLIN, "2026-03-29T04:00", "2026-03-29T03:00+02:00", "2026-03-29T06:00+02:00", id="berlin-gap"),
    pytest.param(BERLIN, "2026-10-25T04:00", "2026-10-25T02:30+02:00", "2026-10-25T06:00+01:00", id="berlin-double"),
    pytest.param(
        "America/New_York", "2026-03-08T04:00", "2026-03-08T03:00-04:00", "2026-03-08T06:00-04:00", id="new-york-gap"
    ),
    pytest.param(
        "America/New_York", "2026-11-01T04:00", "2026-11-01T02:30-05:00", "2026-11-01T06:00-05:00", id="new-york-double"
    ),
    pytest.param(
        "Australia/Lord_Howe",
        "2026-10-04T04:00",
        "2026-10-04T02:30+11:00",
        "2026-10-04T06:00+11:00",
        id="lord-howe-gap",
    ),
    pytest.param(
        "Australia/Lord_Howe",
        "2026-04-05T04:00",
        "2026-04-05T02:30+10:30",
        "2026-04-05T06:00+10:30",
        id="lord-howe-double",
    ),
]


@pytest.mark.parametrize(("zone", "at", "since", "until"), CHANGES)
def test_hours_on_the_day_of_a_change_of_the_clock(zone: str, at: str, since: str, until: str) -> None:
    """From half past two: skipped, it is the first instant after; doubled, the first."""
    found = present(EARLY, ZoneInfo(zone), local(at, zone))
    assert (found.state, shown(found.start, zone), shown(found.end, zone)) == (FREE, since, until)


def test_span_that_is_skipped_as_a_whole_is_no_span() -> None:
    """Nobody is inside hours that do not exist."""
    schedule = Schedule("x", (((2 * HOUR, 2 * HOUR + 1800),),) * 7, FREE, OUT)
    found = present(schedule, ZoneInfo(BERLIN), local("2026-03-29T03:00"))
    assert (found.state, shown(found.start)[:10]) == (OUT, "2026-03-28")


def test_schedule_that_never_changes_has_no_end() -> None:
    """Neither now nor in the list of what comes."""
    always = Schedule("x", (((0, 24 * HOUR),),) * 7, FREE, OUT)
    at = local("2026-11-26T12:00")
    assert (present(always, ZoneInfo(BERLIN), at).end, len(coming(always, ZoneInfo(BERLIN), at, at + 1))) == (inf, 1)


def test_coming_lists_reasons_and_at_least_the_next_change() -> None:
    """A holiday is seen although its state is that of any evening."""
    at = local("2026-12-23T12:00")
    reasons = [
        (each.reason, shown(each.start)[:16])
        for each in coming(OFFICE, ZoneInfo(BERLIN), at, local("2026-12-25T23:00"))
    ]
    assert reasons == [
        (Reason.OUTSIDE, "2026-12-22T17:00"),
        (Reason.HOLIDAY, "2026-12-24T00:00"),
        (Reason.OUTSIDE, "2026-12-25T00:00"),
        (Reason.EXCEPTION, "2026-12-25T10:00"),
        (Reason.OUTSIDE, "2026-12-25T11:00"),
    ]
    assert len(coming(OFFICE, ZoneInfo(BERLIN), at, at)) == 2


def test_own_schedule_comes_before_that_of_a_group_and_that_before_the_one_for_all() -> None:
    """One schedule for each user."""
    own, group, everybody = (Schedule(name) for name in ("own", "group", "all"))
    table = ScheduleTable({UserId("100"): own}, {"sales": group}, everybody)
    names = [
        table.of(UserId(user), groups) for user, groups in (("100", ("sales",)), ("101", ("x", "sales")), ("1", ()))
    ]
    assert names == [own, group, everybody]
    assert ScheduleTable().of(UserId("100"), ("sales",)) is None
    assert [each.name for each in table.all()] == ["all", "group", "own"]
