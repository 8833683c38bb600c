"""What calendars say of a user, as the core sees it: occurrences, and which of them counts at a moment.

An occurrence is one happening of a calendar's entry that stands for a state. Of several at the same time the one with
the lowest rank counts (the rule that stands first in the configuration), then the one that started last, then the one
that ends first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ari_presence.core.names import StateId, UserId


class Occurrence(NamedTuple):
    """From `start` to `end` (not included), seconds since the epoch, UTC; `end` is later than `start`.

    Attributes:
        message: The title of the entry, or None.
        rank: Lower is stronger: of the calendars in the configuration, and of their rules.
    """

    start: float
    end: float
    state: StateId
    message: str | None = None
    rank: int = 0


Occurrences = tuple[Occurrence, ...]


@dataclass(frozen=True, slots=True)
class CalendarRead:
    """A calendar was read: these occurrences replace those that it gave before.

    Attributes:
        calendar: Its name in the configuration.
        occurrences: Sorted by start; None where the calendar is no longer one of theirs.
        users: Whose they are; legal ids, which may be nobody's yet.
        everyone: They are those of everybody who has none of this calendar alone; `users` are then those to look at now.
    """

    at: float
    calendar: str
    occurrences: Occurrences | None
    users: tuple[UserId, ...] = ()
    everyone: bool = False


def at_moment(occurrences: Iterable[Occurrence], at: float) -> Occurrence | None:
    """Give the occurrence that counts at a moment."""
    now = [each for each in occurrences if each.start <= at < each.end]
    return min(now, key=lambda each: (each.rank, -each.start, each.end, each.state, each.message or ""), default=None)


def next_change(occurrences: Iterable[Occurrence], at: float) -> float | None:
    """Give the next moment after `at` at which an occurrence begins or ends."""
    return min((time for each in occurrences for time in each[:2] if time > at), default=None)
