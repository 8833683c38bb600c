"""The model as JSON, field by field."""

from typing import Any

import pytest

from ari_presence.core.commands import Record
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer, StateTable
from ari_presence.core.view import record_json, user_json, why_json

TABLE = StateTable()
AT = 1_800_000_000.0
FIELDS = ["user", "name", "state", "label", "layer", "source", "since", "until", "message", "groups"]


@pytest.fixture
def model() -> Model:
    """Give a model."""
    return Model(Settings(TABLE, LampLayout(TABLE)))


@pytest.fixture
def user() -> User:
    """Give somebody at lunch who is on the phone."""
    user = User(UserId("100"), UserSettings("Alice", ("sales",)), AT)
    user.put(Layer.MANUAL, Entry(StateId("lunch"), "phone:PJSIP/100", AT + 1, AT + 3601, "Pizza"), AT)
    return user


def test_user_has_exactly_the_fields_of_the_contract(model: Model, user: User) -> None:
    """Scripts rely on names, order and form."""
    shown = user_json(model, user)
    assert list(shown) == FIELDS
    assert shown == {
        "user": "100",
        "name": "Alice",
        "state": "lunch",
        "label": "At lunch",
        "layer": "manual",
        "source": "phone:PJSIP/100",
        "since": "2027-01-15T08:00:01.000Z",
        "until": "2027-01-15T09:00:01.000Z",
        "message": "Pizza",
        "groups": ["sales"],
    }


def test_absent_values_are_null(model: Model) -> None:
    """Nobody has to ask whether a key is there."""
    shown = user_json(model, User(UserId("100"), UserSettings(), AT))
    assert [shown[key] for key in ("name", "until", "message")] == [None, None, None]
    assert (shown["state"], shown["layer"], shown["source"], shown["groups"]) == ("available", "default", "default", [])


def test_why_lists_every_layer_with_the_winner_first(model: Model, user: User) -> None:
    """In the order of precedence, with the fields of a user each; those that apply and those that are empty."""
    user.put(Layer.CALLS, Entry(StateId("on-call"), "calls", AT + 2), AT + 2)
    shown = why_json(model, user)
    layers: list[dict[str, Any]] = shown["layers"]
    assert shown["state"] == layers[0]["state"] == "on-call"
    assert [row["layer"] for row in layers if row["applies"]] == ["calls", "manual", "default"]
    assert {row["layer"] for row in layers} == set(Layer)
    assert all([*FIELDS, "applies"] == list(row) for row in layers)
    assert layers[1]["message"] == "Pizza"


def test_history_shows_states_that_are_gone() -> None:
    """A line of history outlives the state that it names."""
    record = Record(AT, UserId("100"), "gym", Layer.MANUAL, "cli")
    assert record_json(record, TABLE) == {
        "at": "2027-01-15T08:00:00.000Z",
        "user": "100",
        "state": "gym",
        "label": "gym",
        "layer": "manual",
        "source": "cli",
        "until": None,
        "message": None,
    }
