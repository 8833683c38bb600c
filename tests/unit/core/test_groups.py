"""Who is free, busy or out, how a group adds that up, and the layout of its lamp."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import EndpointsSeen, Event, Started
from ari_presence.core.groups import (
    Availability,
    GroupLayout,
    Groups,
    Standing,
    group_device,
    group_json,
    standing,
)
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.plan import gone_lamps, lamps_text, parse_lamps
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import BUILTIN, Entry, Layer, StateDef, StateTable

FORWARD = StateDef(
    StateId("elsewhere"), "Elsewhere", "7", DeviceState.ONHOLD, DeviceState.ONHOLD, ("away", ""), "forward:200"
)
FOCUS = StateDef(
    StateId("focus"), "Focus", "8", DeviceState.BUSY, DeviceState.BUSY, ("dnd", ""), "ring", overrides_calls=True
)
TABLE = StateTable([*BUILTIN, FORWARD, FOCUS])
ALICE, BOB, CAROL = UserId("100"), UserId("101"), UserId("102")


def person(lines: int = 1, **layers: str) -> User:
    """Make a user with a state in each of some layers."""
    entries = {Layer(layer): Entry(StateId(state), "cli", 0.0) for layer, state in layers.items()}
    return User(ALICE, UserSettings(), 0.0, MappingProxyType(entries), lines=lines, reachable=lines)


def how(availability: str, state: str = "") -> Standing:
    """Make a standing."""
    default = {"free": "available", "busy": "dnd", "out": "offline"}[availability]
    return Standing(Availability(availability), StateId(state or default))


FREE, BUSY, OUT = how("free"), how("busy"), how("out")


@pytest.mark.parametrize(
    ("layers", "availability", "state"),
    [
        ({}, "free", "available"),
        ({"manual": "available"}, "free", "available"),
        ({"manual": "focus"}, "free", "focus"),
        ({"manual": "away"}, "busy", "away"),
        ({"manual": "brb"}, "busy", "brb"),
        ({"manual": "dnd"}, "busy", "dnd"),
        ({"manual": "lunch"}, "busy", "lunch"),
        ({"manual": "meeting"}, "busy", "meeting"),
        ({"manual": "elsewhere"}, "busy", "elsewhere"),
        ({"manual": "out"}, "out", "out"),
        ({"schedule": "out"}, "out", "out"),
        ({"calendar": "meeting"}, "busy", "meeting"),
        ({"schedule": "out", "manual": "available"}, "free", "available"),
        ({"calls": "ringing"}, "busy", "ringing"),
        ({"calls": "on-call"}, "busy", "on-call"),
        ({"calls": "on-hold"}, "busy", "on-hold"),
        ({"calls": "in-conference"}, "busy", "in-conference"),
        ({"calls": "wrap-up"}, "busy", "wrap-up"),
        ({"calls": "on-call", "manual": "focus"}, "busy", "on-call"),
        ({"calls": "on-call", "manual": "out"}, "busy", "on-call"),
        ({"calls": "on-call", "registration": "offline"}, "busy", "on-call"),
        ({"registration": "offline"}, "out", "offline"),
        ({"registration": "offline", "manual": "available"}, "out", "offline"),
        ({"registration": "offline", "manual": "dnd"}, "out", "offline"),
        ({"registration": "offline", "manual": "out"}, "out", "out"),
    ],
    ids=lambda value: "+".join(value.values()) or "nothing" if isinstance(value, dict) else None,
)
def test_standing_follows_the_contract(layers: dict[str, str], availability: str, state: str) -> None:
    """Free is who can be reached, has no call, whose calls ring, and who is neither away nor back soon."""
    assert standing(person(**layers), TABLE) == how(availability, state)


def test_user_without_a_phone_is_out() -> None:
    """Nobody can be reached on no endpoint."""
    assert standing(person(lines=0), TABLE) == OUT
    assert standing(person(lines=0, manual="available"), TABLE) == OUT


@pytest.mark.parametrize(
    ("members", "value", "availability"),
    [
        ([FREE, BUSY, OUT], "NOT_INUSE", "free"),
        ([OUT, FREE], "NOT_INUSE", "free"),
        ([BUSY, OUT], "INUSE", "busy"),
        ([BUSY], "INUSE", "busy"),
        ([OUT, OUT], "UNAVAILABLE", "out"),
    ],
    ids=["one-of-each", "one-free", "nobody-free", "one-busy", "all-out"],
)
def test_lamp_says_whether_anybody_is_free(members: list[Standing], value: str, availability: str) -> None:
    """NOT_INUSE while somebody is free, UNAVAILABLE when all are out, INUSE otherwise."""
    groups = Groups()
    for number, each in enumerate(members):
        groups.update(UserId(f"u{number}"), ["sales"], each)
    assert groups.value("sales") == value
    (seen,) = groups.seen()
    assert (seen.name, seen.availability, seen.lamp) == ("sales", availability, value)
    assert list(seen.members.values()) == members


def test_change_is_told_only_where_the_lamp_changes() -> None:
    """One who gets busy while another is free changes no lamp."""
    groups = Groups()
    assert groups.update(ALICE, ["sales", "all"], FREE) == {"sales", "all"}
    assert groups.update(BOB, ["sales"], FREE) == frozenset()
    assert groups.update(ALICE, ["sales", "all"], BUSY) == {"all"}
    assert groups.update(BOB, ["sales"], BUSY) == {"sales"}
    assert groups.update(BOB, ["sales"], how("busy", "on-call")) == frozenset()
    assert groups.update(BOB, ["sales"], OUT) == frozenset()
    assert groups.update(ALICE, ["sales", "all"], OUT) == {"sales", "all"}
    assert groups.update(ALICE, ["sales", "all"], OUT) == frozenset()


def test_group_without_members_is_forgotten_with_its_lamp_off() -> None:
    """Who is in a group is configuration: without members it has left that."""
    groups = Groups()
    groups.update(ALICE, ["sales", "night"], BUSY)
    groups.update(BOB, ["sales"], OUT)
    assert groups.update(ALICE, ["sales"], BUSY) == {"night"}
    assert ("night" in groups, list(groups), groups.value("night")) == (False, ["sales"], "NOT_INUSE")
    assert groups.update(ALICE, [], BUSY) == {"sales"}
    assert groups.update(BOB, ["sales"], None) == {"sales"}
    assert groups.seen() == []


def test_group_named_twice_counts_once() -> None:
    """A configuration that repeats a group does not make two people of one."""
    groups = Groups()
    groups.update(ALICE, ["sales", "sales"], FREE)
    groups.update(ALICE, ["sales", "sales"], BUSY)
    assert groups.value("sales") == "INUSE"


def test_group_of_people_whose_lamps_were_reset_shows_nothing() -> None:
    """After `reset --all` the lamp is off until the lamps of a member are on again."""
    groups = Groups()
    for user in (ALICE, BOB):
        groups.update(user, ["sales"], BUSY)
    assert groups.update(ALICE, ["sales"], BUSY, hushed=True) == frozenset()
    assert groups.update(BOB, ["sales"], BUSY, hushed=True) == {"sales"}
    assert groups.value("sales") == "NOT_INUSE"
    assert groups.seen()[0].availability == "busy"
    assert groups.update(ALICE, ["sales"], OUT) == {"sales"}
    assert groups.value("sales") == "INUSE"


def test_first_phone_of_somebody_makes_the_group_free() -> None:
    """A listing of endpoints counts, although it changes nobody's state; who is in no group costs nothing."""
    settings = Settings(TABLE, LampLayout(TABLE), {ALICE: UserSettings(groups=("sales",)), BOB: UserSettings()})
    settings = replace(settings, endpoints={"PJSIP/100": ALICE, "PJSIP/101": BOB}, pbxs=("hq",))
    model, groups = Model(settings), Groups()
    event: Event = Started(0.0, {})
    assert groups.follow(model, (event,), reduce(model, event).touched) == {"sales"}
    assert groups.value("sales") == "UNAVAILABLE"
    event = EndpointsSeen(1.0, "hq", ("PJSIP/100", "PJSIP/101"))
    assert groups.follow(model, (event,), reduce(model, event).touched) == {"sales"}
    assert groups.value("sales") == "NOT_INUSE"
    event = EndpointsSeen(2.0, "hq", ("PJSIP/101",))
    groups.follow(model, (event,), reduce(model, event).touched)
    assert groups.value("sales") == "UNAVAILABLE"
    assert set(groups.seen()[0].members) == {ALICE}


def test_json_names_everybody_and_says_why() -> None:
    """Ids by availability, sorted, and each member with the state that decides it."""
    settings = Settings(TABLE, LampLayout(TABLE), {ALICE: UserSettings("Alice Example")})
    groups = Groups()
    groups.update(CAROL, ["sales"], OUT)
    groups.update(BOB, ["sales"], how("busy", "on-call"))
    groups.update(ALICE, ["sales"], FREE)
    (seen,) = groups.seen()
    assert group_json(seen, settings) == {
        "group": "sales",
        "state": "free",
        "lamp": "NOT_INUSE",
        "free": ["100"],
        "busy": ["101"],
        "out": ["102"],
        "members": [
            {
                "user": "100",
                "name": "Alice Example",
                "availability": "free",
                "state": "available",
                "label": "Available",
            },
            {"user": "101", "name": None, "availability": "busy", "state": "on-call", "label": "On the phone"},
            {"user": "102", "name": None, "availability": "out", "state": "offline", "label": "Offline"},
        ],
    }


def test_what_was_seen_does_not_change_any_more() -> None:
    """Other threads may read it."""
    groups = Groups()
    groups.update(ALICE, ["sales"], FREE)
    (seen,) = groups.seen()
    groups.update(ALICE, ["sales"], BUSY)
    assert (seen.lamp, dict(seen.members)) == ("NOT_INUSE", {ALICE: FREE})


# -- the layout of the lamp


@pytest.mark.parametrize(
    ("device", "group"),
    [
        ("Stasis:group-sales", "sales"),
        ("stasis:group-a-b", "a-b"),
        ("Custom:group-sales", None),
        ("Stasis:presence-100", None),
        ("Stasis:group-", None),
        ("PJSIP/group-sales", None),
    ],
    ids=str,
)
def test_only_the_lamps_of_groups_are_located(device: str, group: str | None) -> None:
    """What the layout names it finds again, and nothing else."""
    layout = GroupLayout()
    assert layout.locate(device) == (None if group is None else (UserId(group), 0))
    if group is not None:
        assert layout.device(0, UserId(group)).lower() == device.lower()
        assert layout.watched(UserId(group)) == (group_device(group),)


def test_somebody_elses_change_is_no_wish() -> None:
    """Nobody can wish a group free: the lamp is corrected, also one that reads INVALID."""
    layout = GroupLayout()
    busy = layout.vector((DeviceState.INUSE,))
    assert layout.wish(layout.off, busy, "hq") is None
    assert layout.wish(busy, layout.off, "hq", restarted=True) is None
    assert not layout.has_no_provider([DeviceState.INVALID])
    assert layout.seen(0, DeviceState.UNKNOWN) is DeviceState.NOT_INUSE
    assert layout.seen(0, DeviceState.UNAVAILABLE) is DeviceState.UNAVAILABLE


def test_lamp_is_written_down_for_the_store() -> None:
    """What was confirmed comes back, and off is nothing to be kept."""
    layout = GroupLayout()
    busy = layout.vector((DeviceState.INUSE,))
    assert lamps_text(layout, busy) == "group=INUSE"
    assert parse_lamps(layout, "group=INUSE") is busy
    assert (lamps_text(layout, layout.off), list(gone_lamps(layout, ALICE, "group=INUSE"))) == ("", [])
