"""The schedule layer: what schedules give the people who follow them. Part of the reducer.

A change reaches people in slices, one for each `TimerDue`, so that a dialled code never waits for ten thousand others.
"""

from datetime import tzinfo

from ari_presence.core.change import Outcome, put_automatic
from ari_presence.core.commands import Note
from ari_presence.core.model import Model, User, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.schedule import DAY_S, LOOK_AHEAD_DAYS, Schedule, present
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.timetable import Course, Timetable
from ari_presence.core.userstate import Entry, Layer


def join(model: Model, person: User, at: float, out: Outcome) -> None:
    """Let somebody new, or with new settings, follow the schedule that is meant for them."""
    followed = schedule_of(model, person.id, person.settings)
    course = _course(model, *followed, at) if followed is not None else None
    if course is not None:
        course.members.add(person.id)
    _give(model, person, course, at, out)


def leave(model: Model, user: UserId) -> None:
    """Forget somebody who is no user any more."""
    for course in model.timetable.courses.values():
        course.members.discard(user)


def restart(model: Model, at: float) -> None:
    """Begin anew for new settings, before anybody looks up a state that is gone; then everybody is to `join`."""
    model.timetable = Timetable()
    for person in model.users.values():
        entry = person.entries.get(Layer.SCHEDULE)
        if entry is not None and entry.state not in model.settings.states.by_id:
            person.put(Layer.SCHEDULE, None, at)


def on_timer(model: Model, at: float, out: Outcome) -> None:
    """Turn the schedules that are due, and give the next slice of people what theirs gives now."""
    table = model.timetable
    if table.next is None or table.next > at:
        return
    for course in sorted(table.courses.values(), key=lambda course: course.due):
        if course.due <= at:
            _turn(course, at, out)
    _next_slice(model, at, out)
    table.settle()


def on_clock_set(model: Model, at: float, out: Outcome) -> None:
    """Look at every schedule again: the clock may have gone back over an edge."""
    for course in model.timetable.courses.values():
        _turn(course, at, out)
    model.timetable.settle()


def schedule_of(model: Model, user: UserId, settings: UserSettings) -> tuple[Schedule, tzinfo] | None:
    """Tell which schedule somebody follows, and in which zone; None for none."""
    schedule = model.settings.schedules.of(user, settings.groups)
    return None if schedule is None else (schedule, schedule.zone or settings.zone)


def note_idle(model: Model, out: Outcome) -> None:
    """Name the schedules that nobody follows, once it is known who is a user."""
    followed = {course.schedule for course in model.timetable.courses.values() if course.members}
    for schedule in model.settings.schedules.all():
        if schedule not in followed:
            remedy = "are its users and groups written as in [[user]], and do they have no schedule of their own?"
            fields = (("schedule", schedule.name), ("remedy", remedy))
            out.commands.append(Note("schedule applies to nobody", fields, warning=True))


def _course(model: Model, schedule: Schedule, zone: tzinfo, at: float) -> Course:
    table = model.timetable
    course = table.courses.get((schedule, zone))
    if course is None:
        course = table.courses[schedule, zone] = Course(schedule, zone)
        _look(course, at)
        table.settle()
    return course


def _look(course: Course, at: float) -> bool:
    """Find out what a course gives now and tell whether that has changed."""
    now = present(course.schedule, course.zone, at)
    far = now.end == float("inf")
    course.due = at + LOOK_AHEAD_DAYS * DAY_S / 2 if far else now.end
    entry = None
    if now.state is not None:
        entry = Entry(now.state, course.schedule.source, now.start, None if far else now.end)
    if entry == course.entry:
        return False
    course.entry = entry
    course.entries = {} if entry is None else {Layer.SCHEDULE: entry}
    return True


def _turn(course: Course, at: float, out: Outcome) -> None:
    if _look(course, at):
        course.todo = sorted(course.members, reverse=True)
        state = course.entry.state if course.entry else None
        out.note("schedule", schedule=course.schedule.name, zone=str(course.zone), state=state, users=len(course.todo))


def _next_slice(model: Model, at: float, out: Outcome) -> None:
    left = USERS_PER_SLICE
    for course in model.timetable.courses.values():
        while course.todo and left:
            user = course.todo.pop()
            if user in course.members:
                left -= 1
                _give(model, model.users[user], course, at, out)


def _give(model: Model, person: User, course: Course | None, at: float, out: Outcome) -> None:
    entry = course.entry if course is not None else None
    if person.entries.get(Layer.SCHEDULE) == entry:
        return
    put_automatic(model, person, Layer.SCHEDULE, entry, at, out)
    if course is not None and len(person.entries) == 1 and Layer.SCHEDULE in person.entries:
        person.entries = course.entries
