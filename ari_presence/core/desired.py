"""What a user's lamps and presence state should show, by the model: one half of every comparison with a server."""

from operator import is_

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import NOT_SET, Presence, Vector
from ari_presence.core.model import Model
from ari_presence.core.names import UserId

DESIRED_REMEMBERED = 64  # users: what is wanted of one is asked for several times in a row, by each who compares


def desired(model: Model, user: UserId) -> tuple[Vector, Presence] | None:
    """Say what a user's lamps should show.

    Returns:
        All off for nobody and after a reset; None while it is not known who it is: a server has not listed its endpoints
        yet, or theirs are missing for less than a minute.
    """
    layout, person = model.settings.layout, model.users.get(user)
    if person is None and user in model.lit:
        return None
    if person is None or person.hushed:
        return layout.off, NOT_SET
    basis = (person.entries, model.parked.get(user, DeviceState.NOT_INUSE), layout, person.settings.zone)
    known = model.desired.get(user)
    if known is not None and all(map(is_, known[0], basis)):
        return known[1]
    if len(model.desired) >= DESIRED_REMEMBERED:
        model.desired.clear()
    found = layout.desired(basis[0], basis[1]), layout.presence(basis[0], basis[3])
    model.desired[user] = basis, found
    return found
