"""What entries of calendars say: those of the common servers and clients, recurrence, zones, and broken ones."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from ari_presence.calendars.entries import MOST_OCCURRENCES, Wanted, in_zone, read
from ari_presence.calendars.limits import TooCostly
from ari_presence.calendars.rules import DEFAULT_RULES, Rule
from ari_presence.calendars.scan import scan
from tests.unit.calendars import samples
from tests.unit.calendars.samples import BERLIN, at, clock, event, meeting, text

ALICE = frozenset({"alice@example.com"})


def entries(
    data: bytes,
    zone: ZoneInfo = BERLIN,
    *,
    rules: Sequence[Rule] = DEFAULT_RULES,
    titles: bool = True,
    days: tuple[str, str] = ("03-09 00:00", "03-16 00:00"),
) -> tuple[list[str], list[str]]:
    """Read a calendar for somebody in a zone; gives lines as in `samples.EXPECTED`, and the complaints."""
    start, end = (at(day) for day in days)
    wanted = Wanted(start, end, rules, titles, ALICE)
    first, last = (samples.datetime.fromtimestamp(moment, BERLIN).date() for moment in (start, end))
    reading = read(scan(data, first, last), wanted)
    rows = [
        f"{clock(begin, zone)} {clock(end, zone)} {state} {message}"
        for begin, end, state, message, _ in in_zone(reading, zone, wanted)
    ]
    return rows, reading.problems


@pytest.mark.parametrize("name", samples.EXPECTED, ids=str)
def test_calendar_of_a_common_program_is_understood(name: str) -> None:
    """Recurrence, exceptions, moved occurrences, zones, whole days, private, cancelled, declined, free/busy."""
    data, expected = samples.EXPECTED[name]
    assert entries(data) == (expected, [])


@pytest.mark.parametrize("name", samples.EXPECTED, ids=str)
def test_copy_without_what_is_over_says_the_same(name: str) -> None:
    """What is kept on the disk is reduced, yet means the same."""
    data, expected = samples.EXPECTED[name]
    copy = scan(data, *samples.WEEK).text()
    assert b"DESCRIPTION" not in copy and b"VALARM" not in copy
    assert entries(copy) == (expected, [])


def test_zone_of_the_same_name_is_not_that_of_the_calendar_before() -> None:
    """Outlook calls every zone of its own making alike."""
    assert entries(samples.OUTLOOK)[0] == ["03-09 11:00 03-09 12:00 meeting Customer visit"]
    other = samples.OUTLOOK.replace(b"+0400", b"+0100")
    assert entries(other)[0] == ["03-09 14:00 03-09 15:00 meeting Customer visit"]
    assert entries(samples.OUTLOOK)[0] == ["03-09 11:00 03-09 12:00 meeting Customer visit"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["RRULE:FREQ=DAILY;COUNT=3"], ["09", "10", "11"]),
        (["RRULE:FREQ=DAILY;COUNT=3", "EXDATE;TZID=Europe/Berlin:20260310T100000"], ["09", "11"]),
        (["RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20260310T090000Z"], ["09", "11"]),
        (["RDATE;TZID=Europe/Berlin:20260312T100000"], ["09", "12"]),
        (["RRULE:FREQ=WEEKLY;BYDAY=MO,FR;UNTIL=20260313T090000Z"], ["09", "13"]),
        (["RRULE:FREQ=MONTHLY;BYDAY=2MO"], ["09"]),
        (["RRULE:FREQ=DAILY;INTERVAL=2"], ["09", "11", "13", "15"]),
    ],
    ids=["count", "exdate", "exdate-utc", "rdate", "until", "second-monday", "interval"],
)
def test_recurrence_is_followed(lines: list[str], expected: list[str]) -> None:
    """RRULE, RDATE and EXDATE."""
    data = text(meeting("20260309T100000", "20260309T110000", *lines))
    assert entries(data) == ([f"03-{day} 10:00 03-{day} 11:00 meeting Budget" for day in expected], [])


def test_occurrence_that_was_moved_out_of_or_into_the_week_counts_where_it_is() -> None:
    """RECURRENCE-ID within the week with a time outside it, and the other way round; the series began long ago."""
    zone = "TZID=Europe/Berlin"
    series = meeting("20250106T100000", "20250106T110000", "RRULE:FREQ=WEEKLY")
    away = meeting("20260421T100000", "20260421T110000", f"RECURRENCE-ID;{zone}:20260309T100000")
    here = meeting("20260311T140000", "20260311T150000", f"RECURRENCE-ID;{zone}:20260601T100000", title="Moved")
    assert entries(text(series, away, here))[0] == ["03-11 14:00 03-11 15:00 meeting Moved"]
    copy = scan(text(series, away, here), *samples.WEEK).text()
    assert entries(copy)[0] == ["03-11 14:00 03-11 15:00 meeting Moved"]


def test_change_of_all_that_follow_counts() -> None:
    """RANGE=THISANDFUTURE moves the rest of a series."""
    zone = "TZID=Europe/Berlin"
    series = meeting("20260302T100000", "20260302T110000", "RRULE:FREQ=DAILY")
    later = meeting(
        "20260311T120000", "20260311T130000", f"RECURRENCE-ID;RANGE=THISANDFUTURE;{zone}:20260311T100000", title="Noon"
    )
    rows = entries(text(series, later), days=("03-10 00:00", "03-13 00:00"))[0]
    assert [row[:11] for row in rows] == ["03-10 10:00", "03-11 12:00", "03-12 12:00"]


def test_change_without_its_series_counts_alone() -> None:
    """RECURRENCE-ID of a series that the server did not send."""
    change = meeting("20260311T140000", "20260311T150000", "RECURRENCE-ID;TZID=Europe/Berlin:20260310T100000")
    assert entries(text(change)) == (["03-11 14:00 03-11 15:00 meeting Budget"], [])


def test_newest_of_two_entries_with_one_uid_counts() -> None:
    """The higher SEQUENCE, wherever in time and in the text it stands."""
    old = meeting("20260310T100000", "20260310T110000", "SEQUENCE:1", title="Old")
    for day in ("20250601", "20260311", "20260601"):
        new = meeting(f"{day}T120000", f"{day}T130000", "SEQUENCE:2", title="New")
        expected = ["03-11 12:00 03-11 13:00 meeting New"] if day == "20260311" else []
        for order in ((old, new), (new, old)):
            assert entries(text(*order))[0] == expected


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (
            ("03-28 00:00", "03-31 00:00"),
            ["03-28 02:30 03-28 03:30", "03-30 02:30 03-30 03:30"],
        ),
        (
            ("10-24 00:00", "10-27 00:00"),
            ["10-24 02:30 10-24 03:30", "10-25 02:30 10-25 03:30", "10-26 02:30 10-26 03:30"],
        ),
    ],
    ids=["spring", "autumn"],
)
def test_series_keeps_its_wall_clock_time_over_daylight_saving(days: tuple[str, str], expected: list[str]) -> None:
    """A time that is skipped does not happen (RFC 5545, 3.3.10); a doubled one is the first."""
    data = text(meeting("20260102T023000", "20260102T033000", "RRULE:FREQ=DAILY"))
    assert [row[:23] for row in entries(data, days=days)[0]] == expected


def test_series_of_another_zone_moves_with_that_zone() -> None:
    """Nine in New York is two in the afternoon in Berlin, but one in the weeks between both changes."""
    data = text(
        event(
            "DTSTART;TZID=America/New_York:20260105T090000",
            "DTEND;TZID=America/New_York:20260105T100000",
            "RRULE:FREQ=WEEKLY",
        )
    )
    rows = entries(data, days=("03-01 00:00", "04-12 00:00"))[0]
    assert [row[:11] for row in rows] == [
        "03-02 15:00",
        "03-09 14:00",
        "03-16 14:00",
        "03-23 14:00",
        "03-30 15:00",
        "04-06 15:00",
    ]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Europe/Berlin", "03-09 09:00"), ("Asia/Kathmandu", "03-09 09:00"), ("Pacific/Auckland", "03-09 09:00")],
    ids=str,
)
def test_time_without_a_zone_is_that_of_whoever_looks(zone: str, expected: str) -> None:
    """Floating times and whole days begin when the user's own clock says so."""
    data = text(
        event("DTSTART:20260309T090000", "DTEND:20260309T100000", "RRULE:FREQ=WEEKLY", uid="a"),
        event("DTSTART;VALUE=DATE:20260311", "TRANSP:OPAQUE", uid="b", title="Day"),
    )
    rows, problems = entries(data, ZoneInfo(zone), days=("03-08 00:00", "03-15 00:00"))
    assert ([row[:11] for row in rows], problems) == ([expected, "03-11 00:00"], [])
    assert rows[1].startswith("03-11 00:00 03-12 00:00")


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], None),
        (["TRANSP:OPAQUE"], "meeting"),
        (["TRANSP:TRANSPARENT"], None),
        (["X-MICROSOFT-CDO-BUSYSTATUS:BUSY"], "meeting"),
        (["X-MICROSOFT-CDO-BUSYSTATUS:OOF"], "out"),
        (["X-MICROSOFT-CDO-BUSYSTATUS:FREE", "TRANSP:OPAQUE"], None),
    ],
    ids=["unmarked", "opaque", "transparent", "busy", "oof", "free"],
)
def test_whole_day_counts_only_if_it_is_marked(lines: list[str], state: str | None) -> None:
    """Birthdays and public holidays are whole days on which people work."""
    rows, _ = entries(text(event("DTSTART;VALUE=DATE:20260310", "DTEND;VALUE=DATE:20260311", *lines)))
    assert rows == ([f"03-10 00:00 03-11 00:00 {state} Budget"] if state else [])


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["STATUS:CANCELLED"], None),
        (["STATUS:TENTATIVE"], None),
        (["STATUS:CONFIRMED"], "meeting"),
        (["ATTENDEE;PARTSTAT=DECLINED:mailto:alice@example.com"], None),
        (["ATTENDEE;PARTSTAT=DECLINED:MAILTO:Alice@Example.com"], None),
        (["ATTENDEE;PARTSTAT=TENTATIVE:mailto:alice@example.com"], None),
        (["ATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.com"], "meeting"),
    ],
    ids=["cancelled", "tentative", "confirmed", "declined", "declined-case", "maybe", "other-declined"],
)
def test_what_was_called_off_does_not_count(lines: list[str], state: str | None) -> None:
    """By the organiser, or by the owner of the calendar."""
    rows, _ = entries(text(meeting("20260310T100000", "20260310T110000", *lines)))
    assert [row.split()[4] for row in rows] == ([state] if state else [])


@pytest.mark.parametrize("kind", ["PRIVATE", "CONFIDENTIAL"], ids=str)
def test_private_entry_shows_no_title_and_no_word_of_it_decides(kind: str) -> None:
    """Its state is all that others see."""
    rules = (Rule("lunch", words=("doctor",)), Rule("lunch", categories=("health",)), *DEFAULT_RULES)
    lines = [f"CLASS:{kind}", "CATEGORIES:Health"]
    assert entries(text(meeting("20260310T100000", "20260310T110000", *lines, title="Doctor")), rules=rules)[0] == [
        "03-10 10:00 03-10 11:00 meeting None"
    ]


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("Budget\\, part 2\\; end", "Budget, part 2; end"),
        ("Two\\nlines", "Two lines"),
        ("\x07Bell\x1b[31m", "Bell [31m"),
        ("ü" * 70, "ü" * 58 + "…"),
        ("", "None"),
    ],
    ids=["escapes", "newline", "control", "long", "empty"],
)
def test_title_becomes_a_message_that_phones_can_show(title: str, message: str) -> None:
    """One line of at most 120 bytes without control characters."""
    rows, problems = entries(text(meeting("20260310T100000", "20260310T110000", title=title)))
    assert rows == [f"03-10 10:00 03-10 11:00 meeting {message}"] and problems == []
    assert len(message.encode()) <= 120


def test_titles_can_be_left_out() -> None:
    """`titles = false` shows states alone."""
    data = text(meeting("20260310T100000", "20260310T110000"))
    assert entries(data, titles=False)[0] == ["03-10 10:00 03-10 11:00 meeting None"]


GOOD = meeting("20260310T100000", "20260310T110000", uid="good")
BROKEN = {
    "no-begin": (event(uid="bad"), "has no begin (DTSTART)"),
    "two-begins": (event("DTSTART:20260310T100000Z", "DTSTART:20260310T110000Z", uid="bad"), "two begins"),
    "end-before-begin": (
        event("DTSTART:20260310T100000Z", "DTEND:20260310T090000Z", uid="bad"),
        "ends before it begins",
    ),
    "no-date": (event("DTSTART:20260231T100000Z", "DTEND:20260310T110000Z", uid="bad"), "DTSTART is not valid"),
    "nonsense": (event("DTSTART:tomorrow", uid="bad"), "DTSTART is not valid"),
    "bad-rule": (event("DTSTART:20260310T100000Z", "RRULE:FREQ=SOMETIMES", uid="bad"), "RRULE"),
    "bad-rule-part": (event("DTSTART:20260310T100000Z", "RRULE:FREQ=DAILY;BYDAY=XX", uid="bad"), "RRULE"),
    "secondly": (event("DTSTART:20100310T100000Z", "RRULE:FREQ=SECONDLY", uid="bad"), "repeats every second"),
    "endless": (
        event("DTSTART:19700101T000000Z", "RRULE:FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", uid="bad"),
        "takes too long",
    ),
    "year": (event("DTSTART:99990310T100000Z", "DTEND:99990310T110000Z", "RDATE:20260310T100000Z", uid="bad"), "bad"),
    "nested": ("BEGIN:VEVENT\nUID:bad\n" + "BEGIN:X\n" * 5000 + "END:X\n" * 5000 + "END:VEVENT", "entry bad"),
}


@pytest.mark.parametrize("name", BROKEN, ids=str)
def test_broken_entry_is_named_and_the_others_count(name: str) -> None:
    """What is wrong, in which entry, and what to do."""
    entry, problem = BROKEN[name]
    for order in ((GOOD, entry), (entry, GOOD)):
        rows, problems = entries(text(*order))
        assert "03-10 10:00 03-10 11:00 meeting Budget" in rows
        assert [each for each in problems if "bad" in each and problem in each] == problems and problems


def test_unknown_zone_is_named_and_taken_as_local_time() -> None:
    """A zone that nobody knows and the calendar does not describe."""
    data = text(event("DTSTART;TZID=Middle/Earth:20260310T100000", "DTEND;TZID=Middle/Earth:20260310T110000"))
    rows, problems = entries(data)
    assert rows == ["03-10 10:00 03-10 11:00 meeting Budget"]
    assert problems == ["entry 1@test: unknown time zone 'Middle/Earth', taken as local time: mend it in the calendar"]


@pytest.mark.parametrize(
    "zone",
    ["../../../etc/passwd", "/etc/passwd", "Europe", "A" * 5000, "Caf\u00e9"],
    ids=["up", "abs", "folder", "long", "accent"],
)
def test_zone_that_is_a_path_is_an_unknown_one(zone: str) -> None:
    """Names of zones are looked up as files: none leads out of their folder, and none breaks the rest."""
    data = text(event(f"DTSTART;TZID={zone}:20260310T100000", uid="bad"), GOOD)
    rows, problems = entries(data)
    assert "03-10 10:00 03-10 11:00 meeting Budget" in rows
    assert all("bad" in each for each in problems)


def test_zone_that_takes_for_ever_is_given_up() -> None:
    """A VTIMEZONE may recur, too."""
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Evil\nBEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n"
        "RRULE:FREQ=SECONDLY\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:16010101T000000\nTZOFFSETFROM:+0200\n"
        "TZOFFSETTO:+0100\nRRULE:FREQ=SECONDLY\nEND:DAYLIGHT\nEND:VTIMEZONE"
    )
    data = text(zone, event("DTSTART;TZID=Evil:20260310T100000", "DTEND;TZID=Evil:20260310T110000", uid="bad"), GOOD)
    rows, problems = entries(data)
    assert "03-10 10:00 03-10 11:00 meeting Budget" in rows
    assert len(problems) == 1 and "entry bad: takes too long" in problems[0]


def test_calendar_of_many_costly_entries_is_given_up_as_a_whole() -> None:
    """Each within its limit, all together beyond theirs."""
    one = event("DTSTART:19700101T000000Z", "RRULE:FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", uid="{}")
    data = text(*(one.replace("{}", str(number)) for number in range(5)))
    with pytest.raises(TooCostly):
        read(scan(data, *samples.WEEK), Wanted(samples.START, samples.END, DEFAULT_RULES), 0.5)


def test_flood_of_occurrences_is_cut_and_named() -> None:
    """An entry each five minutes is no reason to fill the memory."""
    data = text(event("DTSTART:20260309T000000Z", "DURATION:PT1M", "RRULE:FREQ=MINUTELY;INTERVAL=5"))
    rows, problems = entries(data)
    assert len(rows) == MOST_OCCURRENCES and "the first 1000 count" in problems[0]


def test_endless_complaints_are_cut() -> None:
    """Thousands of broken entries are no reason to fill the log."""
    data = text(*(event(uid=f"bad{number}") for number in range(1000)))
    assert len(entries(data)[1]) == 50
