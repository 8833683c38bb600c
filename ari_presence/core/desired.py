"""What a user's lamps and presence state should show, by the model: one half of every comparison with a server."""

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import NOT_SET, Presence, Vector
from ari_presence.core.model import Model
from ari_presence.core.names import UserId


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
    vector = layout.desired(person.entries, model.parked.get(user, DeviceState.NOT_INUSE))
    return vector, layout.presence(person.entries, person.settings.zone)
