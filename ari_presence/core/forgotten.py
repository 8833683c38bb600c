"""The forgotten state: set by hand so long ago that its owner may have forgotten it. Part of the reducer.

It is said to whoever dials a code, listed, and, where that is wanted, cleared at a time of day or when a phone comes back.
"""

from ari_presence.core.change import Outcome, set_manual
from ari_presence.core.model import Model, User
from ari_presence.core.timers import USERS_PER_SLICE, last_time_of_day, next_time_of_day
from ari_presence.core.userstate import Entry

SOURCE = "reset"


def forgotten_state(model: Model, person: User, at: float) -> Entry | None:
    """Give the state set by hand if it has lasted longer than `[users] remind_after`."""
    limit, entry = model.settings.remind_after_s, person.manual
    return entry if limit is not None and entry is not None and at - entry.since > limit else None


def arm(model: Model, at: float) -> None:
    """Work out when states are reset next: one deadline for each zone that anybody may live in."""
    settings = model.settings
    model.resets = {}
    if settings.reset_at is not None:
        zones = {settings.default.zone, *(row.zone for row in settings.listed.values())}
        model.resets = {zone: next_time_of_day(settings.reset_at, at, zone) for zone in zones}


def on_timer(model: Model, at: float, out: Outcome) -> None:
    """Clear what was forgotten, of the people in whose zone it is time: of the next slice, the others follow at once."""
    zones = {zone for zone, due in model.resets.items() if due <= at}
    if zones:
        arm(model, at)
        people = (person for person in model.users.values() if person.manual is not None)
        model.to_reset += [person.id for person in people if person.settings.zone in zones]
    some = model.to_reset[:USERS_PER_SLICE]
    del model.to_reset[:USERS_PER_SLICE]
    for person in filter(None, map(model.users.get, some)):
        make_up(model, person, at, out)


def make_up(model: Model, person: User, at: float, out: Outcome) -> None:
    """Clear what the latest reset clears; doing it again changes nothing, so one that was missed is made up for."""
    reset_at = model.settings.reset_at
    if reset_at is not None and person.manual is not None:
        due = last_time_of_day(reset_at, at, person.settings.zone)
        if _is_cleared(model, person.manual, due):
            set_manual(model, person, None, at, SOURCE, None, out)


def on_back(model: Model, person: User, at: float, out: Outcome) -> None:
    """Take that somebody who was offline can be reached again."""
    if model.settings.reset_on_register and person.manual is not None and _is_cleared(model, person.manual, at):
        set_manual(model, person, None, at, SOURCE, None, out)


def _is_cleared(model: Model, entry: Entry, due: float) -> bool:
    """Tell whether a reset at `due` clears a state: one that is old enough and does not end by itself."""
    return entry.until is None and entry.since <= due - (model.settings.remind_after_s or 0.0)
