"""The schedule layer: who gets what, when it changes, and that it costs one deadline however many follow it."""

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.commands import Log, Note
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.schedule import Schedule, ScheduleTable
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.userstate import BUILTIN, Entry, Layer, StateTable

HOUR = 3600
AT = datetime(2026, 11, 26, 8, 0, tzinfo=UTC).timestamp()  # a Thursday
NINE = AT + HOUR
TABLE = StateTable()
ALICE, BOB, CAROL = UserId("100"), UserId("101"), UserId("102")
NEW_YORK = ZoneInfo("America/New_York")


def office(name: str = "office", inside: str | None = None, outside: str | None = "out", **more: Any) -> Schedule:
    """Make working hours from nine to five."""
    states = (StateId(state) if state else None for state in (inside, outside))
    return Schedule(name, (((9 * HOUR, 17 * HOUR),),) * 7, *states, **more)


def settings(schedules: ScheduleTable, **more: Any) -> Settings:
    """Make a configuration with Alice and Bob in sales, Bob in New York, and everybody else discovered."""
    listed = {ALICE: UserSettings("Alice", ("sales",)), BOB: UserSettings("Bob", ("sales",), zone=NEW_YORK)}
    values = {"states": TABLE, "layout": LampLayout(TABLE), "listed": listed, "pbxs": ("hq",), "schedules": schedules}
    return Settings(**{**values, "discover": re.compile(r"PJSIP/(?P<user>\d{3,5})"), **more})


def started(schedules: ScheduleTable, at: float = AT, **more: Any) -> Model:
    """Make a model that has just started."""
    model = Model(settings(schedules, **more))
    reduce(model, ev.Started(at, {}))
    return model


def see(model: Model, *users: str, at: float = AT) -> Outcome:
    """List endpoints."""
    return reduce(model, ev.EndpointsSeen(at, "hq", tuple(f"PJSIP/{user}" for user in users)))


def state(model: Model, user: UserId = ALICE) -> str:
    """Give the effective state."""
    return model.users[user].effective(model.settings.states)[1].state


def tick(model: Model, at: float) -> Outcome:
    """Let the clock come to a time, and do all that is due as the engine does."""
    out = Outcome()
    while (due := model.next_deadline()) is not None and due <= at:
        each = reduce(model, ev.TimerDue(at))
        out.touched |= each.touched
        out.commands += each.commands
    return out


def test_schedule_shows_outside_at_once_and_nothing_inside() -> None:
    """A user who appears has what the schedule gives then, with source, since and until."""
    model = started(ScheduleTable(everybody=office()))
    entry = model.users[ALICE].entries[Layer.SCHEDULE]
    assert entry == Entry(StateId("out"), "schedule:office", AT - 15 * HOUR, NINE)
    out = tick(model, NINE)
    assert (state(model), out.touched) == ("available", {ALICE})
    assert Layer.SCHEDULE not in model.users[ALICE].entries
    assert tick(model, NINE + 8 * HOUR - 1).touched == {BOB}  # it is nine in New York at 14:00
    tick(model, NINE + 8 * HOUR)
    assert (state(model), state(model, BOB)) == ("out", "available")


def test_schedule_with_a_zone_of_its_own_is_for_all_zones() -> None:
    """Else each user's own counts."""
    model = started(ScheduleTable(everybody=office(zone=UTC)))
    tick(model, NINE)
    assert (state(model), state(model, BOB)) == ("available", "available")
    assert len(model.timetable.courses) == 1


def test_ten_thousand_followers_cost_one_deadline_and_one_entry() -> None:
    """Entries and layers are shared; a change reaches everybody, in slices."""
    many = [str(number) for number in range(10_000, 20_000)]
    model = started(ScheduleTable(everybody=office()), listed={})
    see(model, *many)
    people = list(model.users.values())
    assert len(people) == 10_000
    assert len({id(person.entries) for person in people}) == 1
    assert model.ends.next() is None
    model = started(ScheduleTable(everybody=office(inside="meeting")), listed={})
    see(model, *many)
    slices = []
    while len(slices) < 1000 and (due := model.next_deadline()) is not None and due <= NINE:
        slices.append(reduce(model, ev.TimerDue(NINE)).touched)
    assert all(len(each) <= USERS_PER_SLICE for each in slices)
    assert (sum(map(len, slices)), len(set().union(*slices))) == (10_000, 10_000)
    assert len({id(person.entries) for person in model.users.values()}) == 1
    assert model.next_deadline() == NINE + 8 * HOUR


def test_change_is_one_line_of_the_log() -> None:
    """However many it concerns."""
    model = started(ScheduleTable(everybody=office(zone=UTC)))
    notes = [command for command in tick(model, NINE).commands if isinstance(command, Note)]
    fields = {"schedule": "office", "zone": "UTC", "state": None, "users": 2}
    assert [(note.event, dict(note.fields)) for note in notes] == [("schedule", fields)]


def test_history_has_schedules_where_automatic_states_are_kept() -> None:
    """As for calls."""
    model = started(ScheduleTable(users={ALICE: office()}), history_of_calls=True)
    tick(model, NINE)
    logs = [command.record for command in tick(model, NINE + 8 * HOUR).commands if isinstance(command, Log)]
    assert [(row.state, row.layer, row.source) for row in logs] == [("out", Layer.SCHEDULE, "schedule:office")]


def test_manual_state_covers_the_schedule_and_uncovers_it() -> None:
    """Available by hand holds against the schedule until it ends."""
    model = started(ScheduleTable(everybody=office()))
    reduce(model, ev.ChangeAsked(AT, 1, ALICE, Action.SET, "cli", "available", None, AT + 600))
    assert state(model) == "available"
    tick(model, AT + 600)
    assert state(model) == "out"


def test_user_who_appears_while_a_change_goes_round_has_the_new_state() -> None:
    """And who leaves meanwhile is not looked for."""
    many = [str(number) for number in range(500, 800)]
    model = started(ScheduleTable(everybody=office(inside="away")), listed={}, keep_s=0.0)
    see(model, *many)
    reduce(model, ev.TimerDue(NINE))  # the first slice
    waiting = [user for user in many if state(model, UserId(user)) == "out"]
    assert waiting
    see(model, *many[:10], "900", at=NINE)
    assert state(model, UserId("900")) == "away"
    tick(model, NINE + 1)
    tick(model, NINE + 700)  # the missing have left
    assert {state(model, user) for user in model.users} == {"away"}
    assert all(course.members == set(model.users) for course in model.timetable.courses.values())


def test_clock_that_goes_back_over_an_edge_goes_back_to_the_state() -> None:
    """What holds is what the clock says now; forward it is the same."""
    model = started(ScheduleTable(everybody=office()))
    tick(model, NINE + 60)
    assert state(model) == "available"
    reduce(model, ev.TimerDue(AT, clock_set=True))
    tick(model, AT)
    assert state(model) == "out"
    tick(model, NINE)
    assert state(model) == "available"
    reduce(model, ev.TimerDue(NINE + 100 * HOUR, clock_set=True))
    tick(model, NINE + 100 * HOUR)
    assert state(model) == "available"  # 13:00


def test_reload_puts_new_schedules_in_force_and_leaves_equal_ones_alone() -> None:
    """Who loses the schedule loses its state; a state that is gone from the configuration goes first."""
    model = started(ScheduleTable(everybody=office(outside="brb")))
    before = model.users[ALICE].entries[Layer.SCHEDULE]
    reduce(model, ev.ConfigChanged(AT, settings(ScheduleTable(everybody=office(outside="brb")))))
    assert model.users[ALICE].entries[Layer.SCHEDULE] == before
    fewer = StateTable([each for each in BUILTIN if each.id != "brb"])
    new = settings(ScheduleTable(users={BOB: office()}), states=fewer, layout=LampLayout(fewer), history_of_calls=True)
    reduce(model, ev.ConfigChanged(AT, new))
    assert (state(model), state(model, BOB)) == ("available", "out")
    reduce(model, ev.ConfigChanged(AT, settings(ScheduleTable())))
    assert {state(model, user) for user in model.users} == {"available"}
    assert model.next_deadline() is None


def test_schedule_for_nobody_is_named_once_it_is_known_who_is_a_user() -> None:
    """A warning with a remedy, at the first listing and after a reload, not at every listing."""
    table = ScheduleTable({CAROL: office("carol")}, {"night": office("night")})
    model = started(table)

    def named(out: Outcome) -> list[object]:
        return [dict(each.fields)["schedule"] for each in out.commands if isinstance(each, Note) and each.warning]

    assert named(see(model, "100", "101")) == ["carol", "night"]
    assert named(see(model, "100", "101")) == []
    see(model, "102")
    assert state(model, CAROL) == "out"
    assert named(reduce(model, ev.ConfigChanged(AT, settings(table)))) == ["night"]


@pytest.mark.parametrize("user", [ALICE, BOB, CAROL])
def test_user_who_leaves_and_comes_back_follows_again(user: UserId) -> None:
    """Nobody is given anything behind their back."""
    model = started(ScheduleTable(everybody=office(inside="away", zone=UTC)), listed={}, keep_s=0.0)
    see(model, "100", "101", "102")
    see(model, *{"100", "101", "102"} - {user})
    tick(model, AT + 1)
    assert user not in model.users
    tick(model, NINE)
    see(model, "100", "101", "102", at=NINE + 5)
    assert {state(model, each) for each in model.users} == {"away"}
