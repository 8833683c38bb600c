"""When states end: relative times and times of day in a person's own zone, and what keeps deadlines in order.

Knows nothing of clocks: every function is given `now`. Times are seconds since the epoch, UTC, but for `Deadlines`.
"""

import heapq
import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Generic, TypeVar

from ari_presence.core.names import UserId
from ari_presence.errors import Refused

K = TypeVar("K")

_DURATION = re.compile(r"(\d{1,9})([smhd])\Z", re.ASCII)
_MINUTES = re.compile(r"\d{1,9}\Z", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_MINUTES = 1440
LAST_YEAR = 9000  # well within what every time zone can show
MAX_DURATION_S = 366 * 86400
JUMP_S = 1.0
USERS_PER_SLICE = 25
"""Of those who change at the same moment: a dialled code never waits for ten thousand others."""


def parse_duration(text: str) -> int:
    """Read `90s`, `45m`, `2h` or `1d`.

    Returns:
        Seconds, 0 allowed.

    Raises:
        Refused: Anything else.
    """
    match = _DURATION.match(text)
    if match is None:
        raise Refused(f"{text[:20]!r} is not a duration: write 90s, 45m, 2h or 1d", code="bad-time")
    seconds = int(match[1]) * _UNIT_S[match[2]]
    if seconds > MAX_DURATION_S:
        raise Refused(f"{text!r} is too long: at most 366d", code="bad-time")
    return seconds


def parse_minutes(text: str) -> int:
    """Read a number of minutes as it is dialled, 1 to 1440.

    Raises:
        Refused: Anything else.
    """
    if _MINUTES.match(text) is None or not 1 <= int(text) <= MAX_MINUTES:
        raise Refused(f"{text[:20]!r} minutes: 1 to {MAX_MINUTES} can be dialled", code="bad-time")
    return int(text)


def parse_time_of_day(text: str) -> time:
    """Read `HHMM` or `HH:MM`.

    Raises:
        Refused: No such time of day.
    """
    digits = text.replace(":", "", 1) if text[2:3] == ":" else text
    if len(digits) != 4 or not (digits.isascii() and digits.isdigit()) or digits[:2] > "23" or digits[2:] > "59":
        raise Refused(f"{text[:20]!r} is not a time of day: write HH:MM, 00:00 to 23:59", code="bad-time")
    return time(int(digits[:2]), int(digits[2:]))


def instant_of(local: datetime, zone: tzinfo) -> float:
    """Turn a naive wall-clock time into an instant: a doubled one is the first, a skipped one the first instant after."""
    first = local.replace(tzinfo=zone, fold=0)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        return first.timestamp()
    # Skipped: find the end of the gap, the first instant whose wall clock shows `local` or later.
    low = int(first.timestamp()) - 86400
    high = int(first.timestamp()) + 86400
    while low < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) >= local:
            high = middle
        else:
            low = middle + 1
    return float(low)


def next_time_of_day(at: time, now: float, zone: tzinfo) -> float:
    """Give the next instant, later than `now`, at which the wall clock in `zone` shows `at`; now means tomorrow."""
    today = datetime.fromtimestamp(now, zone).date()
    for days in range(-1, 3):  # a skipped time can land on the next day
        instant = instant_of(datetime.combine(today + timedelta(days=days), at), zone)
        # "Now" is the running minute: 13:30 dialled at 13:30:20 is past, dialled at 13:30:00 it is now, so tomorrow.
        if instant > now:
            return instant
    raise AssertionError("a day has a next day")


def last_time_of_day(at: time, now: float, zone: tzinfo) -> float:
    """Give the latest instant, not later than `now`, at which the wall clock in `zone` came to show `at`."""
    today = datetime.fromtimestamp(now, zone).date()
    instants = (instant_of(datetime.combine(today - timedelta(days=days), at), zone) for days in range(-1, 3))
    return next(instant for instant in instants if instant <= now)


@lru_cache(maxsize=256)
def clock_text(instant: float, zone: tzinfo) -> str:
    """Show an instant as `HH:MM` in a zone."""
    return datetime.fromtimestamp(instant, zone).strftime("%H:%M")


def rfc3339(instant: float) -> str:
    """Show an instant as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> float:
    """Read an RFC 3339 date and time with an offset.

    Raises:
        Refused: Not one, or out of range.
    """
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None or parsed.year > LAST_YEAR:
            raise ValueError
        return parsed.timestamp()
    except (ValueError, OverflowError):
        raise Refused(f"{text[:40]!r} is not a time: write HH:MM or 2026-01-31T13:30:00Z", code="bad-time") from None


class EndQueue:
    """Ends of states in order of time; an end that was changed or removed is forgotten lazily.

    The valid end of a user is whatever `current` says when it comes up, so setting one again costs one push.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[float, UserId]] = []

    def add(self, until: float, user: UserId) -> None:
        """Note that something of `user` ends at `until`."""
        heapq.heappush(self._heap, (until, user))

    def next(self) -> float | None:
        """Give the time of the earliest noted end, which may be stale, or None."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float, at_most: int | None = None) -> list[tuple[float, UserId]]:
        """Take out every end, or the first so many, not later than `now`, in order; stale ones among them."""
        due: list[tuple[float, UserId]] = []
        while self._heap and self._heap[0][0] <= now and len(due) != at_most:
            due.append(heapq.heappop(self._heap))
        return due


class Deadlines(Generic[K]):
    """One deadline at most of each key, in order of time; by whichever clock the caller goes. One thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._dues: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []  # those that were replaced or dropped among them

    def __len__(self) -> int:
        return len(self._dues)

    def put(self, key: K, due: float) -> None:
        """Set the deadline of a key, in place of the one that it had."""
        if self._dues.get(key) != due:
            self._dues[key] = due
            heapq.heappush(self._heap, (due, key))

    def drop(self, key: K) -> None:
        """Forget a key, known or not."""
        self._dues.pop(key, None)

    def next(self) -> float | None:
        """Give the earliest deadline, or None."""
        while self._heap and self._dues.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float, at_most: int | None = None) -> list[K]:
        """Take out the keys, or the first so many, whose deadline is not later than `now`, in order."""
        keys: list[K] = []
        while len(keys) != at_most and (due := self.next()) is not None and due <= now:
            keys.append(heapq.heappop(self._heap)[1])
            del self._dues[keys[-1]]
        return keys


class ClockWatch:
    """Notices that the wall clock was set, or that the machine slept: both clocks did not go on alike."""

    def __init__(self, wall: float, steady: float) -> None:
        """Start with what both clocks show."""
        self._ahead = wall - steady

    def was_set(self, wall: float, steady: float) -> bool:
        """Tell whether the wall clock has jumped since the last look, by more than a clock that is slowly corrected."""
        before, self._ahead = self._ahead, wall - steady
        return abs(self._ahead - before) > JUMP_S
