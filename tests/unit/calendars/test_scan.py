"""Which entries can matter: found without parsing, never one too few."""

from datetime import date

import pytest

from ari_presence.calendars.scan import NotACalendar, Scan, scan
from tests.unit.calendars.samples import WEEK, event, meeting, text


def scanned(*entries: str) -> Scan:
    """Scan entries for the week."""
    return scan(text(*entries), *WEEK)


def where(*lines: str) -> str:
    """Tell whether an entry of these lines is near, later or over."""
    found = scanned(event(*lines))
    assert found.total == 1
    return "near" if found.near else "later" if found.later else "over"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DTSTART:20260310T100000Z", "DTEND:20260310T110000Z"], "near"),
        (["DTSTART:20260306T100000Z", "DTEND:20260306T110000Z"], "over"),
        (["DTSTART:20260307T100000Z", "DTEND:20260307T110000Z"], "near"),
        (["DTSTART:20260317T100000Z", "DTEND:20260317T110000Z"], "near"),
        (["DTSTART:20260318T100000Z", "DTEND:20260318T110000Z"], "later"),
        (["DTSTART:20260101T100000Z", "DTEND:20260401T110000Z"], "near"),
        (["DTSTART;VALUE=DATE:20260306"], "near"),
        (["DTSTART;VALUE=DATE:20260305"], "over"),
        (["DTSTART:20260201T100000Z", "DURATION:PT1H"], "near"),
        (["DTSTART:20250901T100000Z", "DURATION:PT1H"], "over"),
        (["DTSTART:20200101T100000Z", "DURATION:P9999D"], "near"),
        (["DTSTART:20251020T100000Z", "DURATION:P99DT999H"], "near"),
        (["DTSTART:20200101T100000Z", "DTEND:20200101T110000Z", "RRULE:FREQ=DAILY"], "near"),
        (["DTSTART:20200101T100000Z", "DTEND:20200101T110000Z", "RRULE:FREQ=DAILY;COUNT=2"], "near"),
        (["DTSTART:20200101T100000Z", "DTEND:20200101T110000Z", "RRULE:FREQ=DAILY;UNTIL=20260301T000000Z"], "over"),
        (["DTSTART:20200101T100000Z", "DTEND:20200120T110000Z", "RRULE:UNTIL=20260301T000000Z;FREQ=MONTHLY"], "near"),
        (["DTSTART:20300101T100000Z", "DTEND:20300101T110000Z", "RRULE:FREQ=DAILY"], "later"),
        (["DTSTART:20200101T100000Z", "DTEND:20200101T110000Z", "RDATE:20260310T100000Z"], "near"),
        (["DTSTART:20300101T100000Z", "DTEND:20300101T110000Z", "RDATE:20260310T100000Z"], "near"),
        (["DTSTART:20300101T100000Z", "DTEND:20300101T110000Z", "RECURRENCE-ID:20260310T100000Z"], "near"),
        (["DTSTART:20260310T100000Z", "DTEND:20260310T110000Z", "RECURRENCE-ID:20300310T100000Z"], "near"),
        (["DTSTART:20300101T100000Z", "DTEND:20300101T110000Z", "RECURRENCE-ID:20300110T100000Z"], "later"),
        (["DTSTART:20200101T100000Z", "DTEND:20200101T110000Z", "RECURRENCE-ID:20200110T100000Z"], "over"),
        (["DTSTART:20200101T100000Z", "RECURRENCE-ID;RANGE=THISANDFUTURE:20200110T100000Z"], "near"),
        ([], "near"),
        (["DTSTART:nonsense"], "near"),
        (["DTSTART:20200231T100000Z"], "near"),
        (['DTSTART;TZID="(UTC+01:00) Berlin: x":20260310T100000'], "near"),
        (['DTSTART;TZID="(UTC+01:00) Berlin: x":20200310T100000'], "over"),
        (["dtstart:20200310T100000Z", "dtend:20260310T110000Z"], "near"),
        (["DTSTART:20200101T100000Z", "rrule:FREQ=DAILY"], "near"),
        (["DTSTART:20200101T100000Z", "DTEND:2020", " 0101T110000Z"], "over"),
        (
            ["DTSTART:20200101T100000Z", "BEGIN:VALARM", "DURATION:P9999D", "DTEND:20260310T100000Z", "END:VALARM"],
            "over",
        ),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else value,
)
def test_entry_is_near_where_it_can_matter(lines: list[str], expected: str) -> None:
    """With two days to spare for time zones, and in doubt near."""
    assert where(*lines) == expected


def test_entry_is_reduced_to_what_is_needed() -> None:
    """No guests, no description, no alarm; folded lines are whole."""
    lines = ["DESCRIPTION:long", "ATTENDEE;CN=Bob:mailto:bob@example.com", "X-OTHER:1", "LOCATION:Room"]
    found = scanned(meeting("20260310T100000", "20260310T110000", *lines, "CATEGORIES:On", " e,Two"))
    assert found.near == [
        b"BEGIN:VEVENT\nUID:1@test\nSUMMARY:Budget\nDTSTART;TZID=Europe/Berlin:20260310T100000\n"
        b"DTEND;TZID=Europe/Berlin:20260310T110000\nCATEGORIES:One,Two\nEND:VEVENT\n"
    ]


def test_line_without_end_is_left_out() -> None:
    """A title of megabytes is not for a phone, nor for the parser."""
    found = scanned(meeting("20260310T100000", "20260310T110000", title="x" * 2**20))
    assert b"SUMMARY" not in found.near[0] and len(found.near[0]) < 300


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\r\n", b"\r"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\r\n\r\n" + data + b"\r\n\r\n\0",
        lambda data: data.lower().replace(b"t100000", b"T100000"),
        lambda data: data.removesuffix(b"\r\n"),
    ],
    ids=["lf", "cr", "bom", "blank", "lower", "no-newline"],
)
def test_text_that_is_written_otherwise_is_understood(change: object) -> None:
    """Line ends, marks and cases that servers get wrong."""
    data = text(meeting("20260310T100000", "20260310T110000"))
    found = scan(change(data), *WEEK)  # type: ignore[operator]
    assert len(found.near) == 1 and b"\nDTSTART;" in found.near[0]


def test_several_calendars_in_one_text_are_one() -> None:
    """As section 3.4 allows."""
    data = text(meeting("20260310T100000", "20260310T110000")) + text(meeting("20260311T100000", "20260311T110000"))
    assert scan(data, *WEEK).total == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an iCalendar text, it begins with ''"),
        (b"<!DOCTYPE html><html>Please log in</html>", "it begins with '<!DOCTYPE html>"),
        (b"\x1f\x8b\x08\x00", "not an iCalendar text"),
        (text(meeting("20260310T100000", "20260310T110000"))[:-20], "the end of the text is missing"),
        (text("BEGIN:VEVENT\nUID:1"), "the VEVENT of line 4 (unfolded) has no end"),
        (text("BEGIN:VEVENT\nUID:1\nBEGIN:VEVENT\nUID:2\nEND:VEVENT\nEND:VEVENT"), "has no end"),
    ],
    ids=["empty", "html", "gzip", "cut", "no-end", "nested"],
)
def test_text_that_is_no_calendar_is_refused(data: bytes, says: str) -> None:
    """As a whole, so that the last good one stays."""
    with pytest.raises(NotACalendar) as error:
        scan(data, *WEEK)
    assert says in str(error.value)


def test_copy_scans_as_the_text_did() -> None:
    """A day later, a week later: what was later is near then."""
    entries = [meeting(f"202603{day:02}T100000", f"202603{day:02}T110000", uid=str(day)) for day in range(1, 31)]
    copy = scanned(*entries).text()
    for week in (WEEK, (date(2026, 3, 16), date(2026, 3, 22))):
        assert scan(copy, *week).near == scan(text(*entries), *week).near
