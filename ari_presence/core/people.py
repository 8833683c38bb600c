"""Who is a user: listed or discovered; missing ones are kept for a while. Part of the reducer."""

from ari_presence.core import calendarstate, callstate, forgotten, parkstate, registration, schedulestate
from ari_presence.core import events as ev
from ari_presence.core.change import Outcome, set_manual
from ari_presence.core.commands import Record, Save
from ari_presence.core.model import Model, User
from ari_presence.core.names import UserId
from ari_presence.core.userstate import AVAILABLE, Layer

MASS_LOSS_FACTOR = 10  # users who go missing by the half are kept that much longer: it may be a broken listing


def on_started(model: Model, event: ev.Started, out: Outcome) -> None:
    """Take what the store remembers, and make the listed users."""
    model.parted.update(event.manual)
    model.lit.update(event.lit)
    forgotten.arm(model, event.at)
    for user in model.settings.listed:
        appear(model, user, event.at, out)
        out.touched.add(user)


def appear(model: Model, user: UserId, at: float, out: Outcome) -> User:
    """Make a user, with the stored manual state if there is one and it still means something."""
    person = User(user, model.settings.listed.get(user, model.settings.default), at)
    model.users[user] = person
    model.missing.pop(user, None)
    schedulestate.join(model, person, at, out)
    entry = model.parted.pop(user, None)
    if entry is not None and entry.state not in model.settings.states.by_id:
        out.note("state removed", user=user, state=entry.state)
        set_manual(model, person, None, at, "configuration", None, out)
    elif entry is not None:
        person.put(Layer.MANUAL, entry, at)
        if entry.until is not None:
            model.ends.add(entry.until, user)
        forgotten.make_up(model, person, at, out)
    calendarstate.refresh(model, person, at, out)
    return person


def on_endpoints(model: Model, event: ev.EndpointsSeen, out: Outcome) -> None:
    """Compare a listing with the users: some appear, some are missing."""
    before, first = len(model.users), event.pbx not in model.endpoints
    model.endpoints[event.pbx] = event.endpoints
    present = _present(model)
    for user in present:
        model.missing.pop(user, None)
        if user not in model.users:
            appear(model, user, event.at, out)
            out.touched.add(user)
    registration.on_listed(model, event, out, first=first)
    if any(pbx not in model.endpoints for pbx in model.settings.pbxs):
        return  # a server that was never heard may know the others
    if first:
        schedulestate.note_idle(model, out)
    gone = (model.users.keys() | model.lit) - present - model.missing.keys()
    keep_s = model.settings.keep_s
    if len(gone) > 3 and len(gone) * 2 > before:
        keep_s *= MASS_LOSS_FACTOR
        out.note("many endpoints missing", pbx=event.pbx, missing=len(gone), known=before, kept_s=keep_s)
    for user in gone:
        model.missing[user] = event.at + keep_s
        model.ends.add(event.at + keep_s, user)


def _present(model: Model) -> set[UserId]:
    owner = model.owner
    present = {user for listing in model.endpoints.values() for user in map(owner, listing) if user is not None}
    return present | model.settings.listed.keys()


def drop(model: Model, user: UserId, out: Outcome) -> None:
    """Let a user leave: the manual state waits in the store in case the person comes back, the lamps go off."""
    person = model.users.pop(user, None)
    if person is not None and person.manual is not None:
        model.parted[user] = person.manual
    model.missing.pop(user, None)
    model.leaving.pop(user, None)
    model.flaps.pop(user, None)
    model.agenda_dues.drop(user)
    model.views.pop(user, None)
    model.parked.pop(user, None)
    model.lit.discard(user)
    schedulestate.leave(model, user)
    out.touched.add(user)
    out.note("user left", user=user)


def on_config(model: Model, event: ev.ConfigChanged, out: Outcome) -> None:
    """Put new settings in force."""
    model.settings = event.settings
    calendarstate.forget_states(model, event.at)
    present = _present(model)
    for user in list(model.users):
        if user not in present and user not in model.missing:  # a listing that lacks somebody is not the configuration
            drop(model, user, out)
    schedulestate.restart(model, event.at)
    forgotten.arm(model, event.at)
    kept = present | model.users.keys()
    for user in kept:
        if user in present:
            model.missing.pop(user, None)
        person = model.users.get(user) or appear(model, user, event.at, out)
        person.settings = event.settings.listed.get(user, event.settings.default)
        manual = person.manual
        if manual is not None and manual.state not in event.settings.states.by_id:
            person.put(Layer.MANUAL, None, event.at)  # before anybody looks it up
            out.note("state removed", user=user, state=manual.state)
            set_manual(model, person, None, event.at, "configuration", None, out)
        schedulestate.join(model, person, event.at, out)
    if all(pbx in model.endpoints for pbx in model.settings.pbxs):
        schedulestate.note_idle(model, out)
    calendarstate.look_again(model, event.at)
    callstate.refresh_all(model, event.at, out)
    parkstate.refresh(model, event.at, out)
    registration.recount(model, event.at, out, at_once=False)
    out.touched.update(kept)


def forget_absent(model: Model, at: float, source: str, request: int, out: Outcome) -> None:
    """Forget people who are no users at the moment: their lamps go off, their stored states are removed."""
    out.touched |= model.lit
    model.lit.clear()
    for user, entry in model.parted.items():
        record = Record(at, user, AVAILABLE, Layer.DEFAULT, source)
        out.commands.append(Save(user, None, record, request, entry))
    model.parted.clear()
