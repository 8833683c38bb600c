"""Which entries of an iCalendar text can matter, found without parsing it: nine of ten are over or far away.

Text in, pieces of text out; what they mean is for `entries.py` and its libraries. When in doubt an entry is kept: leaving
one out is only right where it surely lies outside the days that are asked for. Terms are those of RFC 5545.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

MARGIN = timedelta(days=2)  # days are compared without time zones, which are up to 14 hours from UTC
NEVER = 99999999

# What is needed of an entry. The rest (descriptions, attachments) is neither parsed nor kept on the disk.
_NEEDED = frozenset(
    b"BEGIN END UID DTSTART DTEND DURATION RRULE RDATE EXDATE RECURRENCE-ID SEQUENCE SUMMARY CATEGORIES CLASS STATUS "
    b"TRANSP FREEBUSY X-MICROSOFT-CDO-BUSYSTATUS ATTENDEE".split()
)
_LONGEST_LINE = 65_536  # of what is needed: a list of thousands of dates is that long
_LOWER = re.compile(rb"\n[A-Za-z0-9-]*[a-z][A-Za-z0-9-]*[;:]")
_LINE_NAME = re.compile(rb"^[A-Za-z0-9-]+", re.MULTILINE)
_BEGIN_END = re.compile(rb"^(?:BEGIN|END):.*$", re.MULTILINE)
_COMPONENT = re.compile(rb"\nBEGIN:(VEVENT|VFREEBUSY|VTIMEZONE)(?=\n)")
_ALARM = re.compile(rb"\nBEGIN:VALARM\n.*?\nEND:VALARM(?=\n)", re.DOTALL)
_UNTIL = re.compile(rb"[:;]UNTIL=(\d{8})")
_SHORT = re.compile(rb":\+?P(?:\d{1,2}D)?(?:T(?:\d{1,3}[HMS]){1,3})?")
_ANSWER = re.compile(rb"PARTSTAT=(?:DECLINED|TENTATIVE)", re.IGNORECASE)
_SHORT_DAYS = 150  # what `_SHORT` matches is no longer


class NotACalendar(ValueError):
    """The text is not a whole iCalendar object; the text of the error says why and what to do."""


@dataclass(slots=True)
class Scan:
    """What a text holds; entries are reduced to what is needed.

    Attributes:
        total: How many entries there are.
        zones: VTIMEZONE components.
        near: VEVENT and VFREEBUSY components that can matter in the days that were asked for.
        later: Those that can only matter afterwards.
    """

    total: int = 0
    zones: list[bytes] = field(default_factory=list)
    near: list[bytes] = field(default_factory=list)
    later: list[bytes] = field(default_factory=list)

    def text(self) -> bytes:
        """Give a calendar of all that is not over."""
        head = b"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ari-presence//EN\n"
        return b"".join((head, *self.zones, *self.near, *self.later, b"END:VCALENDAR\n"))


def scan(data: bytes, first: date, last: date) -> Scan:
    """Find the entries that can matter from one day to another, both included.

    Raises:
        NotACalendar: The text is something else, or the end of it is missing.
    """
    text = _unfolded(data)
    if not text.startswith(b"BEGIN:VCALENDAR\n"):
        raise NotACalendar(f"not an iCalendar text, it begins with {data[:30].decode(errors='replace')!r}")
    if not text.endswith(b"\nEND:VCALENDAR\n"):
        raise NotACalendar("the end of the text is missing (END:VCALENDAR): it was cut off on the way")
    found = Scan()
    low, high = _number(first - MARGIN), _number(last + MARGIN)
    masters: dict[bytes, list[bytes]] = {}  # entries that are not near, by UID; without those that change an occurrence
    for kind, body in _components(text):
        if kind == b"VTIMEZONE":
            found.zones.append(_whole(kind, body))
            continue
        found.total += 1
        entry = _ALARM.sub(b"", body) if b"\nBEGIN:" in body else body
        begins, ends = _free_busy_days(entry) if kind == b"VFREEBUSY" else _days(entry)
        near, over = begins <= high and ends >= low, ends < low
        if near:
            found.near.append(_whole(kind, _reduced(entry)))
        elif not over:
            found.later.append(_whole(kind, _reduced(entry)))
        if not near and b"\nRECURRENCE-ID" not in entry:
            masters.setdefault(_line(entry, b"\nUID"), []).append(_whole(kind, _reduced(entry)) if not over else entry)
    _add_versions(found, masters)
    return found


def _add_versions(found: Scan, masters: dict[bytes, list[bytes]]) -> None:
    """Bring other versions of entries that are near: the newest (SEQUENCE) may say that it lies elsewhere."""
    for entry in list(found.near):
        for other in masters.pop(_line(entry, b"\nUID"), ()):
            is_later = other.startswith(b"BEGIN:")
            found.near.append(other if is_later else _whole(b"VEVENT", _reduced(other)))
            if is_later:
                found.later.remove(other)


def _unfolded(data: bytes) -> bytes:
    """Undo line folding (section 3.1), tolerate other line ends, and write names in upper case."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip()
    text = text.replace(b"\n ", b"").replace(b"\n\t", b"").rstrip(b"\n\0 ") + b"\n"
    if text[:15].upper() == b"BEGIN:VCALENDAR" and (text[:15].islower() or _LOWER.search(text)):
        text = _LINE_NAME.sub(lambda name: name[0].upper(), text)
        text = _BEGIN_END.sub(lambda line: line[0].upper(), text)
    return text


def _components(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give kind and body of each entry and time zone; a body begins and ends with a newline."""
    place = 0
    while begin := _COMPONENT.search(text, place):
        kind = begin[1]
        end = text.find(b"\nEND:" + kind + b"\n", begin.end())
        if end < 0 or text.find(begin[0] + b"\n", begin.end(), end) >= 0:
            line = text.count(b"\n", 0, begin.start() + 1) + 1
            raise NotACalendar(f"the {kind.decode()} of line {line} (unfolded) has no end: it is damaged")
        yield kind, text[begin.end() : end + 1]
        place = end


def _whole(kind: bytes, body: bytes) -> bytes:
    return b"BEGIN:" + kind + body + b"END:" + kind + b"\n"


def _reduced(entry: bytes) -> bytes:
    """Keep what is needed; of guests only those who do not simply come."""
    kept = [b""]
    for line in entry[1:-1].split(b"\n"):
        name = line.partition(b":")[0].partition(b";")[0]
        if name in _NEEDED and len(line) <= _LONGEST_LINE and (name != b"ATTENDEE" or _ANSWER.search(line)):
            kept.append(line)
    return b"\n".join(kept) + b"\n"


def _line(entry: bytes, name: bytes) -> bytes:
    """Give the first line that begins with a name (which begins with a newline); empty if there is none."""
    start = entry.find(name)
    return entry[start + 1 : entry.find(b"\n", start + 1)] if start >= 0 else b""


def _day(entry: bytes, name: bytes) -> int:
    """Give the day of a date or time as a number, 20260131; 0 if it cannot be told."""
    line = _line(entry, name)
    text = line[line.rfind(b":") + 1 :][:8]
    return int(text) if len(text) == 8 and text.isdigit() else 0


def _days(entry: bytes) -> tuple[int, int]:
    """Give the first and the last day on which a VEVENT can matter; from 0 to `NEVER` in doubt."""
    start = _day(entry, b"\nDTSTART")
    end = _day(entry, b"\nDTEND") or _with_duration(entry, start)
    if not start or not end or b"\nBEGIN:" in entry or b"\nRDATE" in entry:
        return 0, NEVER
    if b"\nRRULE" in entry:
        until = _UNTIL.search(_line(entry, b"\nRRULE"))
        endless = until is None or entry.count(b"\nRRULE") > 1
        return start, NEVER if until is None or endless else _later(int(until[1]), _between(start, end)) or NEVER
    if b"\nRECURRENCE-ID" in entry:
        instead_of = _day(entry, b"\nRECURRENCE-ID")
        if not instead_of or b"RANGE" in _line(entry, b"\nRECURRENCE-ID"):
            return 0, NEVER
        return min(start, end, instead_of), max(start, end, instead_of)
    return min(start, end), max(start, end)


def _with_duration(entry: bytes, start: int) -> int:
    """Give the last day of an entry without DTEND; 0 if it cannot be told."""
    line = _line(entry, b"\nDURATION")
    if not line:
        return _later(start, 1)
    return _later(start, _SHORT_DAYS) if _SHORT.fullmatch(line[line.rfind(b":") :]) else 0


def _free_busy_days(entry: bytes) -> tuple[int, int]:
    start, end = _day(entry, b"\nDTSTART"), _day(entry, b"\nDTEND")
    return (start, end) if start and end >= start else (0, NEVER)


def _number(day: date) -> int:
    return day.year * 10000 + day.month * 100 + day.day


def _later(day: int, days: int) -> int:
    """Give a day that is not before so many days after another; 0 if there is no such day."""
    try:
        return _number(date(day // 10000, day // 100 % 100, day % 100) + timedelta(days=days))
    except (ValueError, OverflowError):
        return 0


def _between(start: int, end: int) -> int:
    try:
        days = date(end // 10000, end // 100 % 100, end % 100) - date(start // 10000, start // 100 % 100, start % 100)
    except ValueError:
        return 3_000_000  # later than every day: `_later` cannot tell then
    return max(days.days, 0) + 1
