"""Who follows which schedule, and when each changes next. Data of the model; `schedulestate.py` changes it.

A schedule in one zone is a *course*: one deadline and one entry for all who follow it, however many they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from ari_presence.core.names import UserId
from ari_presence.core.schedule import Schedule
from ari_presence.core.userstate import Entry, Layer


@dataclass(slots=True)
class Course:
    """A schedule in one zone.

    Attributes:
        members: Who follows it.
        due: When to look again, seconds since the epoch, UTC.
        entry: What it gives now, or None.
        entries: The layers of those who have nothing else; one object for all.
        todo: Members who have not been given `entry` yet, the next one last.
    """

    schedule: Schedule
    zone: tzinfo
    members: set[UserId] = field(default_factory=set)
    due: float = 0.0
    entry: Entry | None = None
    entries: Mapping[Layer, Entry] = field(default_factory=dict)
    todo: list[UserId] = field(default_factory=list)


class Timetable:
    """All courses that anybody follows.

    Attributes:
        courses: By schedule and zone.
        next: When something has to be done, seconds since the epoch (0 for at once), or None for never.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.courses: dict[tuple[Schedule, tzinfo], Course] = {}
        self.next: float | None = None

    def settle(self) -> None:
        """Work out `next` after a change of courses."""
        waits = any(course.todo for course in self.courses.values())
        self.next = 0.0 if waits else min((course.due for course in self.courses.values()), default=None)
