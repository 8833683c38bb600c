"""The calendar layer: what the calendars of a user say now, and when that changes. Part of the reducer.

One deadline is set for each user, at the next begin or end; whatever the clock says then (after a jump, or a night of
sleep) decides, so nothing is caught up and nothing is left over.
"""

from ari_presence.core.change import Outcome, put_automatic
from ari_presence.core.model import Model, User
from ari_presence.core.occurrences import CalendarRead, Occurrences, at_moment, next_change
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.userstate import Entry, Layer


def on_read(model: Model, event: CalendarRead, out: Outcome) -> None:
    """Take what a calendar says, also for people who are no users yet."""
    if event.everyone:
        _put(model.agenda_of_all, event)
    for user in event.users:
        if not event.everyone:
            _put(model.agendas.setdefault(user, {}), event)
            if not model.agendas[user]:
                del model.agendas[user]
        if (person := model.users.get(user)) is not None:
            refresh(model, person, event.at, out)


def _put(agenda: dict[str, Occurrences], event: CalendarRead) -> None:
    if event.occurrences is None:
        agenda.pop(event.calendar, None)
    else:
        agenda[event.calendar] = event.occurrences


def refresh(model: Model, user: User, at: float, out: Outcome) -> None:
    """Work the layer of a user out again, and note when it changes next."""
    shown = user.entries.get(Layer.CALENDAR)
    agenda = {**model.agenda_of_all, **model.agendas.get(user.id, {})}
    if not agenda and shown is None:
        return
    known = model.settings.states.by_id
    counting = [(name, each) for name, all_ in agenda.items() for each in all_ if each.state in known]
    due = next_change((each for _, each in counting), at)
    if due is None:
        model.agenda_dues.drop(user.id)
    else:
        model.agenda_dues.put(user.id, due)
    best = at_moment((each for _, each in counting), at)
    entry = None
    if best is not None:
        name = next(name for name, each in counting if each is best)
        entry = Entry(best.state, f"calendar:{name}", best.start, best.end, best.message)
    if entry != shown:
        put_automatic(model, user, Layer.CALENDAR, entry, at, out)


def on_timer(model: Model, at: float, out: Outcome) -> None:
    """Show what counts now to the next slice of those whose deadline has come; the others follow at once."""
    for user in model.agenda_dues.pop_due(at, USERS_PER_SLICE):
        refresh(model, model.users[user], at, out)


def forget_states(model: Model, at: float) -> None:
    """Remove layers whose state the new settings do not know, before anybody looks it up."""
    for user in model.users.values():
        entry = user.entries.get(Layer.CALENDAR)
        if entry is not None and entry.state not in model.settings.states.by_id:
            user.put(Layer.CALENDAR, None, at)


def look_again(model: Model, at: float) -> None:
    """Have everybody looked at again, a slice at a time: the clock was set, or other settings know other states."""
    for user in model.users.values():
        if model.agenda_of_all or user.id in model.agendas or Layer.CALENDAR in user.entries:
            model.agenda_dues.put(user.id, at)
