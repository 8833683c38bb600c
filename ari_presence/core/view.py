"""The model as JSON: users, layers and history as `contract.md` shows them to HTTP and CLI."""

from typing import Any, NamedTuple

from ari_presence.core.commands import Record
from ari_presence.core.model import Model, User, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.timers import rfc3339
from ari_presence.core.userstate import PRECEDENCE, Call, Entry, Layer, StateDef, StateTable

_NOTHING = {
    "state": None,
    "label": None,
    "layer": None,
    "source": None,
    "since": None,
    "until": None,
    "message": None,
}


def _entry(layer: Layer, entry: Entry, state: StateDef) -> dict[str, Any]:
    call = {} if entry.call is None else {"call": _call(entry.call)}
    return {
        "state": entry.state,
        "label": state.label,
        "layer": layer.value,
        "source": entry.source,
        "since": rfc3339(entry.since),
        "until": None if entry.until is None else rfc3339(entry.until),
        "message": entry.message,
        **call,
    }


def _call(call: Call) -> dict[str, Any]:
    others = [{"number": who.number, "name": who.name or None, "user": who.user} for who in call.others]
    return {"with": others, "outside": call.outside, "hold": call.hold or None, "room": call.room or None}


def _person(user: UserId, settings: UserSettings, said: dict[str, Any]) -> dict[str, Any]:
    return {"user": user, "name": settings.name, **said, "groups": list(settings.groups)}


class UserSeen(NamedTuple):
    """One user at one moment; put into words only where somebody wants to know."""

    id: UserId
    settings: UserSettings
    layer: Layer
    entry: Entry
    state: StateDef

    def json(self) -> dict[str, Any]:
        """Show the user with the effective state."""
        return _person(self.id, self.settings, _entry(self.layer, self.entry, self.state))


def user_seen(model: Model, user: User) -> UserSeen:
    """Keep what a user is now."""
    return UserSeen(user.id, user.settings, *user.effective(model.settings.states))


def user_json(model: Model, user: User) -> dict[str, Any]:
    """Show one user with the effective state."""
    return user_seen(model, user).json()


def manual_json(model: Model, user: User, entry: Entry) -> dict[str, Any]:
    """Show one user with the state set by hand, whatever covers it."""
    return UserSeen(user.id, user.settings, Layer.MANUAL, entry, model.settings.states.by_id[entry.state]).json()


def why_json(model: Model, user: User) -> dict[str, Any]:
    """Show one user with every layer in the order of precedence; the first of those that apply is the winner."""
    present = {row[0]: row for row in user.layers(model.settings.states)}
    manual_first = next(iter(present)) is Layer.MANUAL and present[Layer.MANUAL][2].overrides_calls
    order = list(dict.fromkeys(layer for layer, overrides in PRECEDENCE if overrides is not (not manual_first)))
    layers = []
    for layer in order:
        row = present.get(layer)
        said = _entry(*row) if row is not None else {**_NOTHING, "layer": layer.value}
        layers.append({**_person(user.id, user.settings, said), "applies": row is not None})
    return {**user_json(model, user), "layers": layers}


def record_json(record: Record, states: StateTable) -> dict[str, Any]:
    """Show one line of history."""
    state = states.by_id.get(record.state)
    return {
        "at": rfc3339(record.at),
        "user": record.user,
        "state": record.state,
        "label": state.label if state else record.state,
        "layer": record.layer.value,
        "source": record.source,
        "until": None if record.until is None else rfc3339(record.until),
        "message": record.message,
    }
