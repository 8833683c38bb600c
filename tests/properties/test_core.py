"""What holds for any sequence of events, any vectors and any order."""

import re
from collections import Counter
from dataclasses import replace
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from ari_presence.core import events as ev
from ari_presence.core.commands import Claim, Save
from ari_presence.core.devstate import DeviceState, aggregate
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout, Vector, Wish
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.plan import apply, lamps_text, parse_lamps, plan
from ari_presence.core.reducer import reduce
from ari_presence.core.timers import next_time_of_day
from ari_presence.core.userstate import BUILTIN, Entry, StateTable
from ari_presence.core.view import user_json, why_json

AT = 1_800_000_000.0
SMALL = StateTable([state for state in BUILTIN if state.id not in ("lunch", "away")])
FULL = StateTable([replace(state, expires_s=90) if state.id == "brb" else state for state in BUILTIN])
USERS = ("100", "101", "200", "300", "nobody")
ENDPOINTS = ("PJSIP/100", "PJSIP/100-mobile", "PJSIP/101", "PJSIP/200", "PJSIP/300", "PJSIP/trunk", "Local/x", "")
CODES: tuple[str, ...] = (
    "dnd,on",
    "dnd,off",
    "dnd,toggle",
    "dnd-key,100",
    "dnd-key,101",
    "state,0",
    "state,3",
    "state,3101",
    "state,9",
)
CODES = (*CODES, "state,5*7", "state,3*0", "state,2**1330", "state,7", "", "x")
LAYOUT = LampLayout(FULL)


def settings(table: StateTable, *listed: str) -> Settings:
    """Make a configuration."""
    rows = {
        UserId(user): UserSettings(rights=frozenset({"set_others" if user == "101" else "set_self"})) for user in listed
    }
    owners = {"PJSIP/100-mobile": UserId("100")} if "100" in listed else {}
    pattern = re.compile(r"PJSIP/(?P<user>\d{3})")
    return Settings(table, LampLayout(table), rows, owners, pattern, re.compile("PJSIP/3"), pbxs=("hq", "branch"))


CONFIGS = (settings(FULL, "100", "101"), settings(SMALL, "100"), settings(FULL), settings(SMALL, "101", "300"))
states = st.sampled_from([state.id for state in FULL.dialled])
devices = st.sampled_from(list(DeviceState))
vectors = st.tuples(*[devices] * len(LAYOUT.kinds)).map(LAYOUT.vector)
settable = st.tuples(*[devices.filter(lambda s: s is not DeviceState.UNKNOWN)] * len(LAYOUT.kinds)).map(LAYOUT.vector)
pbxs = st.sampled_from(["hq", "branch"])
channels = st.sampled_from(["c1", "c2"])
users = st.sampled_from([UserId(user) for user in USERS])
wishes = st.builds(
    Wish,
    st.dictionaries(states, st.booleans()),
    st.sampled_from([None, (None,), (StateId("dnd"),), (StateId("away"),)]),
    st.sampled_from(["dialplan", "pbx:hq"]),
)


def _events(at: float = 0.0) -> st.SearchStrategy[ev.Event]:
    return st.one_of(
        st.builds(ev.ConfigChanged, st.just(at), st.sampled_from(CONFIGS)),
        st.builds(ev.EndpointsSeen, st.just(at), pbxs, st.lists(st.sampled_from(ENDPOINTS)).map(tuple)),
        st.builds(
            ev.CodeDialled,
            st.just(at),
            pbxs,
            channels,
            st.sampled_from(ENDPOINTS).map(lambda name: f"{name}-0000001f"),
            st.sampled_from(CODES).map(lambda code: tuple(code.split(","))),
            st.sampled_from(ev.ClaimState),
        ),
        st.builds(ev.PlaybackEnded, st.just(at), pbxs, channels.map(lambda c: f"{c}-presence")),
        st.builds(ev.CallerLeft, st.just(at), pbxs, channels),
        st.builds(ev.LinkLost, st.just(at), pbxs),
        st.builds(
            ev.ChangeAsked,
            st.just(at),
            st.integers(1, 3),
            users,
            st.sampled_from(Action).filter(lambda action: action is not Action.SAY),
            st.just("cli"),
            st.one_of(states, st.sampled_from(["available", "on-call", "gym"])),
            st.one_of(st.none(), st.text(max_size=130)),
            st.sampled_from([None, None, -10.0, 0.0, 0.5, 30.0, 300.0]),
        ),
        st.builds(ev.LampsChanged, st.just(at), users, wishes),
        st.builds(ev.Settled, st.just(at), st.integers(-5, 3), st.booleans()),
        st.builds(ev.ResetAsked, st.just(at), st.integers(1, 3), st.one_of(st.none(), users), st.just("cli")),
        st.just(ev.TimerDue(at)),
    )


EVENTS = _events()


def moved(event: ev.Event, at: float) -> ev.Event:
    """Let an event happen at a time, and end what it asks for so much later."""
    if isinstance(event, ev.ChangeAsked) and event.until is not None:
        return replace(event, at=at, until=at + event.until)
    return replace(event, at=at)


@st.composite
def histories(draw: st.DrawFn) -> list[ev.Event]:
    """Make any sequence of events whose clock never goes back."""
    at = AT
    stored = draw(st.dictionaries(users, st.builds(Entry, states, st.just("cli"), st.just(AT - 5), st.just(AT + 20))))
    events: list[ev.Event] = [ev.Started(at, stored, frozenset(draw(st.sets(users))))]
    for wait, event in draw(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 30.0, 61.0]), EVENTS), max_size=25)):
        at += wait
        events.append(moved(event, at))
    return events


def fingerprint(model: Model) -> tuple[Any, ...]:
    """Tell everything that people can see of a model."""
    return (
        {user: (dict(person.entries), person.hushed) for user, person in model.users.items()},
        dict(model.parted),
        set(model.missing),
    )


@given(histories())
def test_no_sequence_of_events_makes_reduce_raise(history: list[ev.Event]) -> None:
    """And whatever is left can be shown, compared and written."""
    model = Model(CONFIGS[0])
    for each in history:
        out = reduce(model, each)
        for command in out.commands:
            if isinstance(command, Claim) and command.then is not None:
                reduce(model, command.then)
        layout = model.settings.layout
        for person in model.users.values():
            why_json(model, person)
            assert user_json(model, person)["user"] == person.id
            assert DeviceState.UNKNOWN not in layout.desired(person.entries)
            layout.presence(person.entries, person.settings.zone)


@given(histories())
def test_what_changes_is_touched(history: list[ev.Event]) -> None:
    """Lamps follow, because nobody's wanted lamps change without a word."""
    model = Model(CONFIGS[0])
    for each in history:
        before = {user: model.settings.layout.desired(person.entries) for user, person in model.users.items()}
        out = reduce(model, each)
        after = {user: model.settings.layout.desired(person.entries) for user, person in model.users.items()}
        differ = {user for user in before.keys() | after.keys() if before.get(user) != after.get(user)}
        assert differ <= out.touched


@given(histories())
def test_what_is_stored_is_what_is_set(history: list[ev.Event]) -> None:
    """The saves, replayed, give the manual states of the model: a restart loses nothing."""
    model = Model(CONFIGS[0])
    stored: dict[UserId, Entry | None] = {}
    for each in history:
        if isinstance(each, ev.Started):
            stored.update(each.manual)
        for command in reduce(model, each).commands:
            if isinstance(command, Save):
                stored[command.user] = command.entry
        for user, person in model.users.items():
            assert stored.get(user) == person.manual


@given(histories(), st.lists(st.sampled_from(ENDPOINTS)).map(tuple))
def test_listing_seen_twice_is_as_good_as_once(history: list[ev.Event], endpoints: tuple[str, ...]) -> None:
    """A snapshot may be repeated."""
    model = Model(CONFIGS[0])
    for each in history:
        reduce(model, each)
    listing = ev.EndpointsSeen(history[-1].at, "hq", endpoints)
    reduce(model, listing)
    once = fingerprint(model)
    out = reduce(model, listing)
    assert fingerprint(model) == once
    assert out.touched == set()


@given(histories(), wishes, users)
def test_wish_adopted_twice_is_as_good_as_once(history: list[ev.Event], wish: Wish, user: str) -> None:
    """Two servers that tell the same story do not fight."""
    model = Model(CONFIGS[0])
    for each in history:
        reduce(model, each)
    told = ev.LampsChanged(history[-1].at, UserId(user), wish)
    reduce(model, told)
    once = fingerprint(model)
    again = reduce(model, told)
    lit = any(wish.states.get(state.id) for state in model.settings.states.dialled)
    if lit or not wish.states:  # else a dark lamp cleared the state and the main lamp speaks the second time
        assert not [command for command in again.commands if isinstance(command, Save)]
        assert fingerprint(model) == once


@given(st.lists(st.tuples(st.sampled_from(USERS[:3]), st.integers(1, 50), st.integers(0, 60)), max_size=30))
def test_every_end_fires_exactly_once(asked: list[tuple[str, int, int]]) -> None:
    """However often ends are moved, each one that is left at its time is recorded once, at that time or the next look."""
    model = Model(settings(FULL, *USERS[:3]))
    reduce(model, ev.Started(AT, {}))
    at, due, fired = AT, Counter[tuple[str, float]](), Counter[tuple[str, float]]()
    pending: dict[str, float] = {}

    def look(now: float) -> None:
        for user, until in [(u, t) for u, t in pending.items() if t <= now]:
            due[user, until] += 1
            del pending[user]
        ends = {user: person.manual.until for user, person in model.users.items() if person.manual}
        for command in reduce(model, ev.TimerDue(now)).commands:
            if isinstance(command, Save) and command.record.source == "expiry":
                fired[command.user, ends[command.user] or 0.0] += 1

    for user, seconds, wait in asked:
        reduce(model, ev.ChangeAsked(at, 1, user, Action.SET, "cli", "dnd", None, at + seconds))
        pending[user] = at + seconds
        at += wait
        look(at)
        look(at)
    look(at + 100)
    assert fired == due
    assert model.next_deadline() is None


@given(st.lists(devices, max_size=12), st.randoms(use_true_random=False))
def test_aggregate_ignores_order_and_repetition(seen: list[DeviceState], chance: Any) -> None:
    """A hint's devices are a set."""
    shuffled = [*seen, *seen[:3]]
    chance.shuffle(shuffled)
    assert aggregate(shuffled) is aggregate(seen)


@given(st.lists(devices, max_size=12))
def test_invalid_adds_nothing(seen: list[DeviceState]) -> None:
    """The joined lamp of somebody available never changes a hint."""
    assert aggregate([*seen, DeviceState.INVALID]) is aggregate(seen)


@given(vectors, settable)
def test_plan_applied_gives_the_desired_vector(published: Vector, desired: Vector) -> None:
    """And once applied, nothing is left to do."""
    assert apply(plan(desired, published), published) == desired
    assert plan(desired, desired) == ()


@given(settable)
def test_lamps_survive_the_store(shown: Vector) -> None:
    """Text and back, for any values that a lamp can have."""
    assert parse_lamps(LAYOUT, lamps_text(LAYOUT, shown)) is shown


@given(vectors, vectors)
def test_wish_comes_from_what_changed(before: Vector, after: Vector) -> None:
    """A lamp that did not change has no vote."""
    wish = LAYOUT.wish(before, after, "hq")
    changed = {kind for kind, b, a in zip(LAYOUT.kinds, before, after, strict=True) if a is not b}
    assert wish is None or set(wish.states) | ({"main-joined"} if wish.main else set()) <= changed


@given(
    st.times().map(lambda at: time(at.hour, at.minute)),
    st.floats(0, 4_000_000_000),
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia", "UTC"]
    ),
)
def test_next_time_of_day_is_soon_and_later_than_now(at: time, now: float, zone: str) -> None:
    """At most two days ahead (a whole day can be skipped) and never past."""
    then = next_time_of_day(at, now, ZoneInfo(zone))
    assert now < then <= now + 2 * 86400 + 3600
