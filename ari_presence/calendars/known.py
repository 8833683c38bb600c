"""One place of a calendar and what is known of it: as it is told to people and to the log."""

from dataclasses import dataclass, field
from typing import Any

import structlog

from ari_presence.calendars.plan import Calendar, Place
from ari_presence.calendars.source import Answer
from ari_presence.core.names import UserId
from ari_presence.core.occurrences import Occurrences
from ari_presence.core.timers import rfc3339

NAMES_LOGGED = 5

log = structlog.get_logger(__name__)

ZoneKey = tuple[str, bool]
"""The name of a zone, and whether it is that of everybody."""


@dataclass
class Source:
    """One place of a calendar, and what is known of it; its fields change under the keeper's lock."""

    calendar: Calendar
    place: Place
    answer: Answer = field(default_factory=Answer)
    posted: dict[ZoneKey, tuple[tuple[UserId, ...], Occurrences]] = field(default_factory=dict)
    worked_out_at: float | None = None  # when its occurrences were, seconds since the epoch
    looks: int = 0
    failures: int = 0
    due: float = 0.0  # by the monotonic clock


def is_of(source: Source, user: UserId) -> bool:
    """Tell whether somebody has this calendar."""
    calendar, place = source.calendar, source.place
    if place.user is not None:
        return place.user == user
    return calendar.users is None or user in calendar.users


def status_of(source: Source) -> dict[str, Any]:
    """Give it as `calendars` shows it."""
    answer, calendar, place = source.answer, source.calendar, source.place
    users = [place.user] if place.user is not None else None if calendar.users is None else sorted(calendar.users)
    return {
        "calendar": calendar.name,
        "users": users,
        "read": None if answer.read_at is None else rfc3339(answer.read_at),
        "entries": answer.entries,
        "occurrences": max((len(found) for _, found in list(source.posted.values())), default=0),
        "failure": answer.failure or None,
        "problems": list(answer.problems),
    }


def log_changes(calendar: Calendar, changed: list[Source]) -> None:
    """Say once what failed, what works again, and what is wrong with entries: a line for each reason, not each user."""
    failed: dict[str, list[str]] = {}
    for source in changed:
        if source.answer.failure:
            failed.setdefault(source.answer.failure, []).append(source.place.user or "")
        elif source.answer.problems:
            problems, user = source.answer.problems, source.place.user
            more = len(problems) - NAMES_LOGGED
            log.warning(
                "calendar has entries that are not right",
                calendar=calendar.name,
                **({"user": user} if user else {}),
                problems=problems[:NAMES_LOGGED],
                **({"more": more} if more > 0 else {}),
            )
    for reason, users in failed.items():
        named = {"users": len(users), "first": users[:NAMES_LOGGED]} if any(users) else {}
        log.warning("calendar not read, the last good copy counts", calendar=calendar.name, reason=reason, **named)
    good = sum(not source.answer.failure for source in changed)
    if good:
        log.info("calendar read", calendar=calendar.name, sources=good)
