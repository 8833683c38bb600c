"""The registration layer: who has no phone that can be reached. Part of the reducer.

Fed by listings of endpoints and by the device states of lines. Coming back counts at once, going away after a while, and the
longer the more often a phone comes and goes.
"""

from ari_presence.core import events as ev
from ari_presence.core import forgotten
from ari_presence.core.change import Outcome, set_automatic
from ari_presence.core.devstate import DeviceState
from ari_presence.core.model import Model, User
from ari_presence.core.userstate import OFFLINE, Entry, Layer

AWAY_S = 3.0
FLAP_WITHIN_S = 120.0
FLAPS_COUNTED = 4  # each doubles the wait
SOURCE = "registration"
_GONE = frozenset({DeviceState.UNAVAILABLE, DeviceState.INVALID})


def on_listed(model: Model, event: ev.EndpointsSeen, out: Outcome, *, first: bool) -> None:
    """Count the endpoints of everybody; what is found at the first listing of a server counts at once."""
    model.offline[event.pbx] = set(event.offline)
    recount(model, event.at, out, at_once=first)


def recount(model: Model, at: float, out: Outcome, *, at_once: bool) -> None:
    """Count the endpoints of everybody anew."""
    for person in model.users.values():
        person.lines = person.reachable = 0
    for pbx, listing in model.endpoints.items():
        offline = model.offline.get(pbx, set())
        for endpoint in listing:
            user = model.owner(endpoint)
            if user is not None and (owner := model.users.get(user)) is not None:
                owner.lines += 1
                owner.reachable += endpoint not in offline
    entry = Entry(OFFLINE, SOURCE, at)
    alone = {
        Layer.REGISTRATION: entry
    }  # one for all who have nothing else: layers are replaced, never changed in place
    for person in model.users.values():
        if at_once and person.lines and not person.reachable and not person.entries:
            model.leaving.pop(person.id, None)
            set_automatic(model, person, Layer.REGISTRATION, entry, at, out)
            person.entries = alone
        else:
            _settle(model, person, at, out, at_once=at_once)
    model.forget_owners()  # of all endpoints, of which few are ever in a call at once


def on_line(model: Model, event: ev.LineSeen, out: Outcome) -> None:
    """Take whether one endpoint can be reached."""
    offline = model.offline.get(event.pbx)
    gone = event.state in _GONE
    if offline is None or (event.line in offline) is gone:
        return
    user = model.owner(event.line)
    person = model.users.get(user) if user is not None else None
    if person is None:
        return
    (offline.add if gone else offline.discard)(event.line)
    person.reachable = max(0, person.reachable - 1) if gone else min(person.lines, person.reachable + 1)
    _settle(model, person, event.at, out)


def on_due(model: Model, person: User, due: float, out: Outcome) -> None:
    """Take somebody for offline who has been away for long enough."""
    if model.leaving.get(person.id) == due:
        del model.leaving[person.id]
        if person.lines and not person.reachable:
            set_automatic(model, person, Layer.REGISTRATION, Entry(OFFLINE, SOURCE, due), due, out)


def _settle(model: Model, person: User, at: float, out: Outcome, *, at_once: bool = False) -> None:
    shown = Layer.REGISTRATION in person.entries
    if person.reachable or not person.lines:
        model.leaving.pop(person.id, None)
        if shown:
            set_automatic(model, person, Layer.REGISTRATION, None, at, out)
            forgotten.on_back(model, person, at, out)
    elif shown or person.id in model.leaving:
        return
    elif at_once:
        set_automatic(model, person, Layer.REGISTRATION, Entry(OFFLINE, SOURCE, at), at, out)
    else:
        count, last = model.flaps.get(person.id, (0, 0.0))
        flaps = min(count + 1, FLAPS_COUNTED) if at - last < FLAP_WITHIN_S else 0
        model.flaps[person.id] = (flaps, at)
        due = at + AWAY_S * 2**flaps
        model.leaving[person.id] = due
        model.ends.add(due, person.id)
