"""The model as JSON: users, layers and history as `contract.md` shows them to HTTP and CLI."""

from typing import Any

from ari_presence.core.commands import Record
from ari_presence.core.model import Model, User
from ari_presence.core.timers import rfc3339
from ari_presence.core.userstate import Entry, Layer, StateDef, StateTable

_NOTHING = {
    "state": None,
    "label": None,
    "layer": None,
    "source": None,
    "since": None,
    "until": None,
    "message": None,
    "applies": False,
}


def _entry(layer: Layer, entry: Entry, state: StateDef) -> dict[str, Any]:
    return {
        "state": entry.state,
        "label": state.label,
        "layer": layer.value,
        "source": entry.source,
        "since": rfc3339(entry.since),
        "until": None if entry.until is None else rfc3339(entry.until),
        "message": entry.message,
    }


def user_json(model: Model, user: User) -> dict[str, Any]:
    """Show one user with the effective state."""
    head = {"user": user.id, "name": user.settings.name}
    return {**head, **_entry(*user.effective(model.settings.states)), "groups": list(user.settings.groups)}


def why_json(model: Model, user: User) -> dict[str, Any]:
    """Show one user with every layer, in the order of precedence; the first of those that apply is the winner."""
    present = list(user.layers(model.settings.states))
    layers = [{**_entry(*row), "applies": True} for row in present]
    absent = [layer for layer in Layer if layer not in {row[0] for row in present}]
    layers += [{**_NOTHING, "layer": layer.value} for layer in absent]
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
