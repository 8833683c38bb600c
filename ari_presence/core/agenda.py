"""What schedules will do, as JSON for HTTP and CLI: each schedule in each zone, or that of one user."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from math import isinf
from typing import Any

from ari_presence.core.model import Model, User
from ari_presence.core.schedule import DAY_S, Schedule, Stretch, coming
from ari_presence.core.schedulestate import schedule_of
from ari_presence.core.timers import rfc3339
from ari_presence.core.userstate import StateTable

DAYS = 1
WEEK_DAYS = 7


@dataclass(frozen=True, slots=True)
class Followed:
    """A schedule in one zone, and how many users follow it."""

    schedule: Schedule
    zone: tzinfo
    users: int


def followed(model: Model) -> list[Followed]:
    """List all schedules, those that nobody follows too, by name and zone."""
    courses = model.timetable.courses.values()
    found = [Followed(course.schedule, course.zone, len(course.members)) for course in courses]
    known = {each.schedule for each in found if each.users}
    found = [each for each in found if each.users]
    rest = [schedule for schedule in model.settings.schedules.all() if schedule not in known]
    found += [Followed(schedule, schedule.zone or model.settings.default.zone, 0) for schedule in rest]
    return sorted(found, key=lambda each: (each.schedule.name, str(each.zone)))


def followed_by(model: Model, person: User) -> list[Followed]:
    """Give the schedule of one user, or nothing."""
    found = schedule_of(model, person.id, person.settings)
    return [] if found is None else [Followed(*found, 1)]


def agenda_json(each: Followed, states: StateTable, at: float, *, week: bool) -> dict[str, Any]:
    """Show what a schedule gives now and what comes; takes a few milliseconds, so not for the engine's thread."""
    until = at + (WEEK_DAYS if week else DAYS) * DAY_S
    rows = [_row(stretch, each.zone, states) for stretch in coming(each.schedule, each.zone, at, until)]
    return {"schedule": each.schedule.name, "timezone": str(each.zone), "users": each.users, "coming": rows}


def _row(stretch: Stretch, zone: tzinfo, states: StateTable) -> dict[str, Any]:
    end = None if isinf(stretch.end) else stretch.end
    return {
        "state": stretch.state,
        "label": None if stretch.state is None else states.by_id[stretch.state].label,
        "reason": stretch.reason.value,
        "since": rfc3339(stretch.start),
        "until": None if end is None else rfc3339(end),
        "local_since": _local(stretch.start, zone),
        "local_until": None if end is None else _local(end, zone),
    }


def _local(instant: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(instant, zone).isoformat(timespec="seconds")
