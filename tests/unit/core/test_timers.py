"""When states end: durations, times of day in a person's own zone across daylight saving, and the queue of ends."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core import timers
from ari_presence.core.names import UserId
from ari_presence.errors import Refused


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("2h", 7200), ("1d", 86400), ("0s", 0), ("366d", 366 * 86400)],
    ids=str,
)
def test_duration_is_read_as_seconds(text: str, seconds: int) -> None:
    """A number and one unit."""
    assert timers.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "45", "m", "45 m", "-5m", "1.5h", "45M", "1w", "1h30m", "45m\n", "367d", "9999999999s", "\u0664\u0665m"],
    ids=repr,
)
def test_duration_that_is_none_is_refused(text: str) -> None:
    """Anything else is refused with what to write."""
    with pytest.raises(Refused) as error:
        timers.parse_duration(text)
    assert error.value.code == "bad-time"


@pytest.mark.parametrize(
    ("text", "clock"),
    [("1330", "13:30"), ("13:30", "13:30"), ("0000", "00:00"), ("23:59", "23:59")],
    ids=str,
)
def test_time_of_day_is_read(text: str, clock: str) -> None:
    """As it is dialled and as it is written."""
    assert timers.parse_time_of_day(text).strftime("%H:%M") == clock


@pytest.mark.parametrize(
    "text",
    ["", "2400", "2460", "1360", "130", "13300", "13-30", "1:30", "13:3", "13:30:", "-100", "\u0661\u0663\u0663\u0660"],
    ids=repr,
)
def test_time_of_day_that_does_not_exist_is_refused(text: str) -> None:
    """00:00 to 23:59 and nothing else."""
    with pytest.raises(Refused) as error:
        timers.parse_time_of_day(text)
    assert error.value.code == "bad-time"


# zone, now (local, with offset), what is asked for, when it is (local, with offset)
NEXT = [
    pytest.param("Europe/Berlin", "2026-01-15T10:00:00+01:00", "1330", "2026-01-15T13:30:00+01:00", id="today"),
    pytest.param("Europe/Berlin", "2026-01-15T14:00:00+01:00", "1330", "2026-01-16T13:30:00+01:00", id="past"),
    pytest.param("Europe/Berlin", "2026-01-15T13:30:00+01:00", "1330", "2026-01-16T13:30:00+01:00", id="now"),
    pytest.param("Europe/Berlin", "2026-01-15T13:30:20+01:00", "1330", "2026-01-16T13:30:00+01:00", id="this-minute"),
    pytest.param("Europe/Berlin", "2026-01-15T13:29:59+01:00", "1330", "2026-01-15T13:30:00+01:00", id="second-before"),
    pytest.param("Europe/Berlin", "2026-01-15T23:59:00+01:00", "0000", "2026-01-16T00:00:00+01:00", id="midnight"),
    pytest.param("Europe/Berlin", "2026-12-31T23:30:00+01:00", "0015", "2027-01-01T00:15:00+01:00", id="new-year"),
    pytest.param(
        "America/New_York", "2026-01-15T22:00:00-05:00", "0700", "2026-01-16T07:00:00-05:00", id="not-utc-day"
    ),
    # Spring: 02:00 becomes 03:00 (Lord Howe: 02:30), what is skipped is the first instant after.
    pytest.param(
        "Europe/Berlin", "2026-03-28T22:00:00+01:00", "0230", "2026-03-29T03:00:00+02:00", id="berlin-skipped"
    ),
    pytest.param("Europe/Berlin", "2026-03-29T01:59:59+01:00", "0200", "2026-03-29T03:00:00+02:00", id="berlin-edge"),
    pytest.param("Europe/Berlin", "2026-03-29T03:00:00+02:00", "0230", "2026-03-30T02:30:00+02:00", id="berlin-over"),
    pytest.param("Europe/Berlin", "2026-03-28T22:00:00+01:00", "0300", "2026-03-29T03:00:00+02:00", id="berlin-after"),
    pytest.param("Europe/Berlin", "2026-03-28T22:00:00+01:00", "0159", "2026-03-29T01:59:00+01:00", id="berlin-before"),
    pytest.param(
        "America/New_York", "2026-03-07T22:00:00-05:00", "0230", "2026-03-08T03:00:00-04:00", id="new-york-skipped"
    ),
    pytest.param(
        "Australia/Lord_Howe", "2026-10-03T22:00:00+10:30", "0215", "2026-10-04T02:30:00+11:00", id="lord-howe-skipped"
    ),
    pytest.param(
        "Africa/Cairo", "2026-04-23T22:00:00+02:00", "0030", "2026-04-24T01:00:00+03:00", id="cairo-skipped-midnight"
    ),
    # Autumn: what is doubled is the first, and once that is past, tomorrow's.
    pytest.param(
        "Europe/Berlin", "2026-10-24T22:00:00+02:00", "0230", "2026-10-25T02:30:00+02:00", id="berlin-doubled"
    ),
    pytest.param(
        "Europe/Berlin", "2026-10-25T02:40:00+02:00", "0230", "2026-10-26T02:30:00+01:00", id="berlin-first-over"
    ),
    pytest.param("Europe/Berlin", "2026-10-25T02:10:00+01:00", "0230", "2026-10-26T02:30:00+01:00", id="berlin-second"),
    pytest.param(
        "America/New_York", "2026-10-31T22:00:00-04:00", "0130", "2026-11-01T01:30:00-04:00", id="new-york-doubled"
    ),
    pytest.param(
        "Australia/Lord_Howe", "2026-04-04T22:00:00+11:00", "0145", "2026-04-05T01:45:00+11:00", id="lord-howe-doubled"
    ),
]


@pytest.mark.parametrize(("zone", "now", "at", "then"), NEXT)
def test_next_time_of_day_is_right(zone: str, now: str, at: str, then: str) -> None:
    """Now means tomorrow; a skipped time is the first instant after, a doubled one the first."""
    instant = timers.next_time_of_day(
        timers.parse_time_of_day(at), datetime.fromisoformat(now).timestamp(), ZoneInfo(zone)
    )
    assert datetime.fromtimestamp(instant, ZoneInfo(zone)).isoformat() == then


def test_instant_is_read_and_written_as_rfc3339() -> None:
    """Any offset is read; UTC with milliseconds is written."""
    assert timers.rfc3339(timers.parse_instant("2026-01-31T13:30:00.5+02:00")) == "2026-01-31T11:30:00.500Z"


@pytest.mark.parametrize(
    "text",
    ["", "13:30", "2026-01-31", "2026-01-31T13:30:00", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "x"],
    ids=repr,
)
def test_instant_that_is_none_is_refused(text: str) -> None:
    """Without an offset nobody knows when it is; at the end of time no zone can show it."""
    with pytest.raises(Refused) as error:
        timers.parse_instant(text)
    assert error.value.code == "bad-time"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "Europe/Berlin"])
def test_latest_instant_can_be_shown_in_every_zone(zone: str) -> None:
    """Whatever is taken as an end can be put on a lamp."""
    latest = timers.parse_instant(f"{timers.LAST_YEAR}-12-31T23:59:59-12:00")
    assert len(timers.clock_text(latest, ZoneInfo(zone))) == len("HH:MM")
    assert timers.rfc3339(latest)


def test_clock_is_that_of_the_zone() -> None:
    """An end is shown in the time of the person's own wall clock."""
    instant = datetime(2026, 7, 1, 12, 0, tzinfo=UTC).timestamp()
    assert timers.clock_text(instant, ZoneInfo("Europe/Berlin")) == "14:00"
    assert timers.clock_text(instant, ZoneInfo("Asia/Kolkata")) == "17:30"


def test_ends_come_out_in_order_and_once() -> None:
    """The queue gives what is due and keeps the rest."""
    queue = timers.EndQueue()
    for until, user in ((30.0, "c"), (10.0, "a"), (20.0, "b"), (10.0, "z")):
        queue.add(until, UserId(user))
    assert queue.next() == 10.0
    assert queue.pop_due(9.9) == []
    assert queue.pop_due(20.0) == [(10.0, "a"), (10.0, "z"), (20.0, "b")]
    assert queue.pop_due(20.0) == []
    assert queue.next() == 30.0


def test_deadlines_come_out_in_order_and_once() -> None:
    """The first so many that are due; the rest stay."""
    deadlines: timers.Deadlines[str] = timers.Deadlines()
    for due, key in ((30.0, "c"), (10.0, "a"), (20.0, "b"), (10.0, "z")):
        deadlines.put(key, due)
    assert (deadlines.next(), len(deadlines)) == (10.0, 4)
    assert deadlines.pop_due(9.9) == []
    assert deadlines.pop_due(20.0, 2) == ["a", "z"]
    assert deadlines.pop_due(20.0) == ["b"]
    assert (deadlines.pop_due(20.0), deadlines.next(), len(deadlines)) == ([], 30.0, 1)


@pytest.mark.parametrize(
    ("dues", "next_"),
    [
        pytest.param([10.0, 30.0], 30.0, id="later"),
        pytest.param([30.0, 10.0], 10.0, id="earlier"),
        pytest.param([10.0, 30.0, 10.0], 10.0, id="there and back"),
        pytest.param([10.0, None], None, id="dropped"),
        pytest.param([10.0, None, 10.0], 10.0, id="dropped and set again"),
    ],
)
def test_only_the_last_deadline_of_a_key_counts(dues: list[float | None], next_: float | None) -> None:
    """Those of before never come up."""
    deadlines: timers.Deadlines[str] = timers.Deadlines()
    for due in dues:
        if due is None:
            deadlines.drop("a")
        else:
            deadlines.put("a", due)
    assert deadlines.next() == next_
    assert deadlines.pop_due(100.0) == (["a"] if next_ else [])
    assert (deadlines.pop_due(100.0), deadlines.next(), len(deadlines)) == ([], None, 0)


def test_empty_queue_has_no_next() -> None:
    """Nothing ends."""
    assert timers.EndQueue().next() is None


# zone, now (local, with offset), what is asked for, when it was last (local, with offset)
LAST = [
    pytest.param("Europe/Berlin", "2026-01-15T10:00:00+01:00", "0400", "2026-01-15T04:00:00+01:00", id="today"),
    pytest.param("Europe/Berlin", "2026-01-15T04:00:00+01:00", "0400", "2026-01-15T04:00:00+01:00", id="now"),
    pytest.param("Europe/Berlin", "2026-01-15T03:59:59+01:00", "0400", "2026-01-14T04:00:00+01:00", id="yesterday"),
    pytest.param("Europe/Berlin", "2026-03-29T03:00:00+02:00", "0230", "2026-03-29T03:00:00+02:00", id="skipped"),
    pytest.param("Europe/Berlin", "2026-10-25T02:40:00+01:00", "0230", "2026-10-25T02:30:00+02:00", id="doubled"),
    pytest.param(
        "America/New_York", "2026-01-15T22:00:00-05:00", "2300", "2026-01-14T23:00:00-05:00", id="not-utc-day"
    ),
]


@pytest.mark.parametrize(("zone", "now", "at", "then"), LAST)
def test_last_time_of_day_is_right(zone: str, now: str, at: str, then: str) -> None:
    """Now counts; what was skipped was the first instant after, what was doubled the first."""
    instant = timers.last_time_of_day(
        timers.parse_time_of_day(at), datetime.fromisoformat(now).timestamp(), ZoneInfo(zone)
    )
    assert datetime.fromtimestamp(instant, ZoneInfo(zone)).isoformat() == then


def test_clock_that_was_set_is_noticed_once_and_a_slow_correction_is_not() -> None:
    """Both directions, and a machine that slept, whose steady clock stood still."""
    watch = timers.ClockWatch(1000.0, 50.0)
    assert not watch.was_set(1030.0, 80.0)
    assert not watch.was_set(1060.5, 110.0)  # half a second in thirty
    assert watch.was_set(1000.0, 111.0)
    assert not watch.was_set(1001.0, 112.0)
    assert watch.was_set(9000.0, 113.0)
    assert not watch.was_set(9010.0, 123.0)
