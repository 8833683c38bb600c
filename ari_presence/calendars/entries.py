"""Entries of a calendar to occurrences, by the libraries icalendar (format, zones) and recurring-ical-events (recurrence).

Works entry by entry (all components of one UID together), each with its own limit of processor time, so that a broken or
endless one is named and left out while the others count. Runs in the reader process alone: `limits.cpu_limit` needs its
main thread.
"""

import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from icalendar import Calendar
from icalendar.timezone import tzp

from ari_presence.calendars.limits import TooCostly, cpu_limit
from ari_presence.calendars.rules import Facts, Rule, choose
from ari_presence.calendars.scan import Scan
from ari_presence.core.names import MESSAGE_BYTES
from ari_presence.core.timers import LAST_YEAR

ENTRY_CPU_S = 2.0
MOST_OCCURRENCES = 1000
MOST_PROBLEMS = 50
_DAY = timedelta(days=1)
_ZONE_NAME = re.compile(rb"\nTZID[^\n:]*:([^\n]*)")
_ZONE_USED = re.compile(rb";TZID=\"?([^\":;\n]*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FREE_BUSY_TYPES = {"FREE": "free", "BUSY-UNAVAILABLE": "oof", "BUSY-TENTATIVE": "tentative"}
_BUSY_STATUS = {"FREE": "free", "TENTATIVE": "tentative", "OOF": "oof", "WORKINGELSEWHERE": "workingelsewhere"}

# What the library gives is a union of thirty types: `Any` stands for its components below.
Span = tuple[date, date]  # dates, or datetimes; without a zone they are local to whoever looks


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of a calendar.

    Attributes:
        start: Occurrences that end before (seconds since the epoch, UTC) are left out.
        end: Occurrences that start later are left out.
        rules: In order.
        titles: Whether titles become messages.
        addresses: E-mail addresses of the owner, in lower case: what they declined counts as nothing.
    """

    start: float
    end: float
    rules: Sequence[Rule]
    titles: bool = True
    addresses: frozenset[str] = frozenset()


@dataclass(slots=True)
class Found:
    """One occurrence before it is known in which zone it is looked at; `rank` is the number of its rule."""

    span: Span
    state: str
    message: str | None
    rank: int

    def seconds(self, zone: tzinfo) -> tuple[float, float]:
        """Give begin and end in seconds since the epoch; dates and times without a zone are local in `zone`."""
        start, end = (_seconds(moment, zone) for moment in self.span)
        return start, end


@dataclass(slots=True)
class Reading:
    """What was found in a calendar, and complaints about single entries: what is wrong, where, what to do."""

    found: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        """Note a problem once; a hostile calendar does not get more than so many."""
        if text not in self.problems and len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)


def read(scanned: Scan, wanted: Wanted, cpu_s: float = 20.0) -> Reading:
    """Find the occurrences of all entries that are near.

    Raises:
        TooCostly: They take more than `cpu_s` of processor time together.
    """
    reading = Reading()
    deadline = time.process_time() + cpu_s
    unknown = _learn_zones(scanned, reading)
    for uid, pieces in _by_uid(scanned.near).items():
        name = _CONTROL.sub(" ", uid.decode(errors="replace"))[:80]
        for zone in unknown and sorted(unknown.intersection(*map(_ZONE_USED.findall, pieces))):
            shown = zone.decode(errors="replace")[:60]
            reading.complain(f"entry {name}: unknown time zone {shown!r}, taken as local time: mend it in the calendar")
        if time.process_time() > deadline:
            raise TooCostly
        try:
            with cpu_limit(ENTRY_CPU_S), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _read_entry(pieces, wanted, reading, name)
        except TooCostly:
            reading.complain(f"entry {name}: takes too long to work out, left out: does it repeat without end?")
        except MemoryError:
            raise
        except Exception as error:  # whatever the libraries raise for what people write into calendars
            reason = _CONTROL.sub(" ", str(error))[:120] or type(error).__name__
            reading.complain(f"entry {name}: cannot be read, left out ({reason}): mend it in the calendar")
    return reading


def _learn_zones(scanned: Scan, reading: Reading) -> frozenset[bytes]:
    """Teach the library zones that only this calendar knows; give the names that nobody knows."""
    used = {name for piece in scanned.near for name in _ZONE_USED.findall(piece)}
    tzp.use_default()  # forgets those of the calendar before, which may use the same name for another zone
    strange = {name for name in used if _zone(name) is None}
    for component in scanned.zones if strange else ():
        named = _ZONE_NAME.search(component)
        if named is not None and named[1].strip() in strange:
            try:
                with cpu_limit(ENTRY_CPU_S), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    for zone in Calendar.from_ical(_wrapped([component])).walk("VTIMEZONE"):
                        tzp.cache_timezone_component(zone)
            except TooCostly:
                reading.complain(f"time zone {named[1].decode(errors='replace')[:60]!r}: takes too long to work out")
            except Exception as error:
                text = _CONTROL.sub(" ", str(error))[:120]
                reading.complain(f"time zone {named[1].decode(errors='replace')[:60]!r}: cannot be read ({text})")
    return frozenset(name for name in strange if _zone(name) is None)


def _zone(name: bytes) -> tzinfo | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tzp.timezone(name.decode(errors="replace"))
        except (ValueError, OSError):  # a path, or a folder of the zone database
            return None


def _by_uid(pieces: Iterable[bytes]) -> Mapping[bytes, list[bytes]]:
    """Bring together what belongs together; pieces without UID are alone."""
    groups: dict[bytes, list[bytes]] = {}
    for number, piece in enumerate(pieces):
        start = piece.find(b"\nUID")
        line = piece[start + 4 : piece.find(b"\n", start + 1)] if start >= 0 else b""
        uid = line[line.find(b":") + 1 :].strip() or b"number %d" % (number + 1)
        groups.setdefault(uid, []).append(piece)
    return groups


def _wrapped(pieces: Iterable[bytes]) -> str:
    text = b"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n" + b"".join(pieces) + b"END:VCALENDAR\n"
    return text.decode(errors="replace")


def _read_entry(pieces: list[bytes], wanted: Wanted, reading: Reading, name: str) -> None:
    calendar: Any = Calendar.from_ical(_wrapped(pieces))
    for component in calendar.walk("VFREEBUSY"):
        _read_free_busy(component, wanted, reading)
    events = [event for event in calendar.walk("VEVENT") if _is_whole(event, reading, name)]
    if not events:
        return
    if any("RRULE" in event or "RDATE" in event or "RECURRENCE-ID" in event for event in events) or len(events) > 1:
        events = _recurring(events, wanted)
    for event in events:
        _add(event, _span(event), wanted, reading)


def _is_whole(event: Any, reading: Reading, name: str) -> bool:
    """Tell whether an entry has a begin and does not end before it; complain if not."""
    wrong = [key for key, _ in event.errors if key in ("DTSTART", "DTEND", "DURATION", "RRULE", "RECURRENCE-ID")]
    if wrong:
        reading.complain(f"entry {name}: {wrong[0]} is not valid, left out: mend it in the calendar")
    elif event.get("DTSTART") is None:
        reading.complain(f"entry {name}: has no begin (DTSTART), left out: mend it in the calendar")
    elif isinstance(event["DTSTART"], list):
        reading.complain(f"entry {name}: has two begins (DTSTART), left out: mend it in the calendar")
    elif any("SECONDLY" in str(rule.get("FREQ", "")) for rule in _list(event.get("RRULE"))):
        reading.complain(f"entry {name}: repeats every second, left out: mend it in the calendar")
    elif _ends_before_begin(_span(event)):
        reading.complain(f"entry {name}: ends before it begins, left out: mend it in the calendar")
    else:
        return True
    return False


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _recurring(events: list[Any], wanted: Wanted) -> list[Any]:
    from recurring_ical_events import of

    calendar = Calendar()
    for event in events:
        calendar.add_component(event)
    # A day more on both sides, for entries in local time; what is too much is left out afterwards.
    first, last = (datetime.fromtimestamp(moment, UTC) for moment in (wanted.start - 86400, wanted.end + 86400))
    return list(of(calendar).between(first, last))


def _span(event: Any) -> Span:
    """Give begin and end; without an end a day lasts a day and a time is a moment (section 3.6.1)."""
    start = event["DTSTART"].dt
    if (end := event.get("DTEND")) is not None:
        return start, end.dt
    if (duration := event.get("DURATION")) is not None:
        return start, start + duration.dt
    return start, start if isinstance(start, datetime) else start + _DAY


def _ends_before_begin(span: Span) -> bool:
    start, end = (_seconds(moment, UTC) for moment in span)
    return end < start


def _seconds(moment: date, zone: tzinfo) -> float:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.year > LAST_YEAR or moment.year < 2:
        raise ValueError(f"the year {moment.year} is out of range")
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _add(event: Any, span: Span, wanted: Wanted, reading: Reading) -> None:
    facts = _facts(event, wanted)
    chosen = choose(wanted.rules, facts) if facts is not None else None
    if facts is not None and chosen is not None:
        message = _message(facts.title) if wanted.titles and not facts.private else None
        reading.found.append(Found(span, chosen[1], message, chosen[0]))


def _facts(event: Any, wanted: Wanted) -> Facts | None:
    """Give what rules can see; None for what was cancelled or declined."""
    status = str(event.get("STATUS", "")).upper()
    if status == "CANCELLED":
        return None
    answers = [
        str(guest.params.get("PARTSTAT", "")).upper()
        for guest in _list(event.get("ATTENDEE"))
        if _is_owner(guest, wanted)
    ]
    if "DECLINED" in answers:
        return None
    busy = _busy(event, status, answers)
    private = str(event.get("CLASS", "PUBLIC")).upper() in ("PRIVATE", "CONFIDENTIAL")
    categories = [str(name) for each in _list(event.get("CATEGORIES")) for name in each.cats]
    title = "" if event.get("SUMMARY") is None else str(_list(event["SUMMARY"])[0])
    return Facts(title, categories, busy, private)


def _is_owner(guest: object, wanted: Wanted) -> bool:
    return str(guest).lower().removeprefix("mailto:") in wanted.addresses


def _busy(event: Any, status: str, answers: Sequence[str]) -> str:
    """Tell the busy type: the server's own word (Exchange), else TRANSP, and a whole day only if it is marked."""
    marked = _BUSY_STATUS.get(str(event.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper())
    if marked is not None:
        return marked
    transparency = str(event.get("TRANSP", "")).upper()
    is_day = not isinstance(event["DTSTART"].dt, datetime)
    is_marked = transparency == "OPAQUE" or "X-MICROSOFT-CDO-BUSYSTATUS" in event
    if transparency == "TRANSPARENT" or (is_day and not is_marked):
        return "free"
    return "tentative" if status == "TENTATIVE" or "TENTATIVE" in answers else "busy"


def _read_free_busy(component: Any, wanted: Wanted, reading: Reading) -> None:
    for periods in _list(component.get("FREEBUSY")):
        kind = str(periods.params.get("FBTYPE", "BUSY")).upper()
        chosen = choose(wanted.rules, Facts(busy=_FREE_BUSY_TYPES.get(kind, "busy")))
        for period in _list(getattr(periods, "dts", periods)) if chosen is not None else ():
            value = getattr(period, "dt", period)
            start, end = value if isinstance(value, tuple) else (period.start, period.end)
            span = (start, end if isinstance(end, datetime) else start + end)
            if chosen is not None:
                reading.found.append(Found(span, chosen[1], None, chosen[0]))


def _message(title: str) -> str | None:
    """Make a title a message: one line, at most 120 bytes."""
    line = " ".join(_CONTROL.sub(" ", title).split())
    if len(line.encode()) > MESSAGE_BYTES:
        line = line.encode()[: MESSAGE_BYTES - 3].decode(errors="ignore").rstrip() + "…"
    return line or None


def in_zone(reading: Reading, zone: tzinfo, wanted: Wanted) -> Iterator[tuple[float, float, str, str | None, int]]:
    """Give the occurrences as they are for somebody who lives in a zone, sorted by begin."""
    rows = []
    for found in reading.found:
        start, end = found.seconds(zone)
        if start < end and end > wanted.start and start < wanted.end:
            rows.append((start, end, found.state, found.message, found.rank))
    rows = sorted(set(rows), key=lambda row: (row[0], row[1], row[4], row[2], row[3] or ""))
    if len(rows) > MOST_OCCURRENCES:
        reading.complain(f"more than {MOST_OCCURRENCES} occurrences in nine days: the first {MOST_OCCURRENCES} count")
    yield from rows[:MOST_OCCURRENCES]
