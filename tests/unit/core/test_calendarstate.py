"""The calendar layer in the model: what was read, what follows, and when."""

from dataclasses import replace

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.features import Action
from ari_presence.core.model import Model
from ari_presence.core.names import StateId, UserId
from ari_presence.core.occurrences import CalendarRead, Occurrence
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import BUILTIN, Layer, StateTable
from tests.unit.engine_rig import make_settings

ALICE, BOB = UserId("100"), UserId("101")
MEETING = Occurrence(1000.0, 2000.0, StateId("meeting"), "Budget", 1)
OUT = Occurrence(1500.0, 1800.0, StateId("out"), None, 0)


def model_of(*users: UserId, at: float = 0.0) -> Model:
    """Make a model with these users."""
    model = Model(make_settings())
    reduce(model, ev.Started(at, {}))
    reduce(model, ev.EndpointsSeen(at, "hq", tuple(f"PJSIP/{user}" for user in users)))
    return model


def read(
    model: Model, at: float, *found: Occurrence, users: tuple[UserId, ...] = (ALICE,), name: str = "work"
) -> Outcome:
    """Let a calendar be read."""
    return reduce(model, CalendarRead(at, name, found, users))


def pass_time(model: Model, to: float) -> list[float]:
    """Send what is due until a time, and tell when that was."""
    times = []
    while (due := model.next_deadline()) is not None and due <= to:
        times.append(due)
        reduce(model, ev.TimerDue(due))
    return times


def shown(model: Model, user: UserId = ALICE) -> tuple[str, str, str, float | None, str | None]:
    """Give what a user's effective state says."""
    layer, entry, _ = model.users[user].effective(model.settings.states)
    return layer.value, entry.state, entry.source, entry.until, entry.message


AVAILABLE = ("default", "available", "default", None, None)
IN_MEETING = ("calendar", "meeting", "calendar:work", 2000.0, "Budget")


def test_entry_is_shown_from_its_begin_to_its_end() -> None:
    """With its source, its end and its title; the user is touched at both moments and at no other."""
    model = model_of(ALICE)
    assert read(model, 0, MEETING).touched == set()
    assert shown(model) == AVAILABLE
    assert reduce(model, ev.TimerDue(1000.0)).touched == {ALICE}
    assert shown(model) == IN_MEETING
    assert model.users[ALICE].entries[Layer.CALENDAR].since == 1000.0
    assert pass_time(model, 3000) == [2000.0]
    assert shown(model) == AVAILABLE and model.next_deadline() is None


def test_entry_that_runs_already_is_shown_at_once() -> None:
    """A calendar that is read in the middle of an entry."""
    model = model_of(ALICE)
    assert read(model, 1200, MEETING).touched == {ALICE}
    assert shown(model) == IN_MEETING


def test_stronger_entry_covers_the_weaker_and_uncovers_it() -> None:
    """Out of office in the middle of a meeting."""
    model = model_of(ALICE)
    read(model, 0, MEETING, OUT)
    seen = []
    for at in (1000.0, 1500.0, 1800.0, 2000.0):
        assert pass_time(model, at) == [at]
        seen.append(shown(model)[1])
    assert seen == ["meeting", "out", "meeting", "available"]


def test_same_reading_again_changes_nothing() -> None:
    """No touch, no further deadline."""
    model = model_of(ALICE)
    read(model, 1200, MEETING)
    assert read(model, 1300, MEETING).touched == set()
    assert pass_time(model, 5000) == [2000.0]


def test_entry_that_was_moved_ends_when_the_new_reading_says() -> None:
    """A shorter one ends at once, a longer one later; the old end means nothing then."""
    model = model_of(ALICE)
    read(model, 1200, MEETING)
    read(model, 1300, MEETING._replace(end=2500.0))
    pass_time(model, 2000)
    assert shown(model)[3] == 2500.0
    read(model, 2100, MEETING._replace(end=2050.0))
    assert shown(model) == AVAILABLE


def test_calendar_that_leaves_takes_its_layer_along() -> None:
    """None takes back what it said; the other calendar counts on."""
    model = model_of(ALICE)
    read(model, 1200, MEETING)
    read(model, 1200, OUT._replace(start=1100.0), name="trips")
    assert shown(model)[2] == "calendar:trips"
    reduce(model, CalendarRead(1300, "trips", None, (ALICE,)))
    assert shown(model) == IN_MEETING
    reduce(model, CalendarRead(1400, "work", None, (ALICE,)))
    assert shown(model) == AVAILABLE and model.agendas == {}


def test_user_who_appears_later_is_in_the_meeting_at_once() -> None:
    """Calendars are read before Asterisk has listed its endpoints."""
    model = Model(make_settings())
    reduce(model, ev.Started(0.0, {}))
    read(model, 1100, MEETING, users=(BOB,))
    reduce(model, ev.EndpointsSeen(1200.0, "hq", ("PJSIP/101",)))
    assert shown(model, BOB) == IN_MEETING
    assert pass_time(model, 2000)[-1] == 2000.0
    assert shown(model, BOB)[1] == "available"


def test_calendar_of_everybody_counts_for_all_but_those_who_have_their_own() -> None:
    """A public holiday, also for who appears later; one user sees it in another zone."""
    model = model_of(ALICE, BOB)
    read(model, 0, MEETING._replace(start=1300.0))
    reduce(model, CalendarRead(0, "work", (MEETING,), (ALICE, BOB), everyone=True))
    reduce(model, ev.EndpointsSeen(10.0, "hq", ("PJSIP/100", "PJSIP/101", "PJSIP/102")))
    pass_time(model, 1200)
    assert [shown(model, user)[1] for user in (ALICE, BOB, UserId("102"))] == ["available", "meeting", "meeting"]
    reduce(model, CalendarRead(1250, "work", None, (BOB, UserId("102")), everyone=True))
    pass_time(model, 1300)
    assert [shown(model, user)[1] for user in (ALICE, BOB, UserId("102"))] == ["meeting", "available", "available"]


def test_many_who_change_at_once_do_so_in_slices() -> None:
    """Each deadline of the clock is short; all are done at the same second."""
    users = [UserId(str(number)) for number in range(200, 300)]
    model = model_of(*users)
    reduce(model, CalendarRead(0, "holidays", (MEETING,), tuple(users), everyone=True))
    sizes = []
    while model.next_deadline() == 1000.0:
        sizes.append(len(reduce(model, ev.TimerDue(1000.0)).touched))
    assert sum(sizes) == 100 and max(sizes) <= 25
    assert {shown(model, user)[1] for user in users} == {"meeting"}


def test_many_are_looked_at_again_in_slices_after_the_clock_was_set() -> None:
    """A machine that slept over the begin of everybody's holiday wakes up without a pause."""
    users = [UserId(str(number)) for number in range(200, 300)]
    model = model_of(*users)
    reduce(model, CalendarRead(0, "holidays", (MEETING,), tuple(users), everyone=True))
    sizes = [len(reduce(model, ev.TimerDue(1100.0, clock_set=True)).touched)]
    while (due := model.next_deadline()) is not None and due <= 1100.0:
        sizes.append(len(reduce(model, ev.TimerDue(1100.0)).touched))
    assert (sum(sizes), max(sizes)) == (len(model.users), 25)
    assert {shown(model, user)[1] for user in model.users} == {"meeting"}


def test_state_set_by_hand_covers_the_meeting_and_clearing_uncovers_it() -> None:
    """Manual is above calendar; `available` holds against it."""
    model = model_of(ALICE)
    read(model, 1100, MEETING)
    reduce(model, ev.ChangeAsked(1200, 1, ALICE, Action.SET, "cli", "available", None, None))
    assert shown(model)[:2] == ("manual", "available")
    reduce(model, ev.ChangeAsked(1300, 2, ALICE, Action.CLEAR, "cli"))
    assert shown(model) == IN_MEETING


def test_clock_that_jumps_over_an_entry_shows_what_counts_then() -> None:
    """Nothing is caught up: after a night of sleep the user is where the calendar says now."""
    model = model_of(ALICE)
    read(model, 0, MEETING, MEETING._replace(start=5000.0, end=6000.0))
    reduce(model, ev.TimerDue(4000.0))
    assert shown(model) == AVAILABLE
    assert model.next_deadline() == 5000.0


def test_clock_that_is_set_back_shows_what_counts_then() -> None:
    """An hour back into the meeting, and two days back before it."""
    model = model_of(ALICE)
    read(model, 2500, MEETING)
    assert shown(model) == AVAILABLE
    reduce(model, ev.TimerDue(1500.0, clock_set=True))
    assert shown(model) == IN_MEETING
    reduce(model, ev.TimerDue(500.0, clock_set=True))
    assert shown(model) == AVAILABLE and pass_time(model, 1000) == [1000.0]


def test_reload_without_the_state_removes_the_layer() -> None:
    """An occurrence of a state that is no more counts as nothing."""
    model = model_of(ALICE)
    read(model, 1100, MEETING)
    states = StateTable([state for state in BUILTIN if state.id != "meeting"])
    settings = replace(model.settings, states=states)
    reduce(model, ev.ConfigChanged(1200.0, settings))
    assert shown(model) == AVAILABLE
    reduce(model, ev.ConfigChanged(1300.0, make_settings()))
    assert pass_time(model, 1300) == [1300.0]
    assert shown(model) == IN_MEETING


def test_user_who_left_costs_no_deadline() -> None:
    """What was noted is passed over; who comes back finds the calendar again."""
    model = model_of(ALICE, BOB)
    read(model, 0, MEETING, users=(BOB,))
    settings = replace(model.settings, discover=None, endpoints={})
    reduce(model, ev.ConfigChanged(10.0, settings))
    assert BOB not in model.users and len(model.agenda_dues) == 0
    pass_time(model, 1500)
    reduce(model, ev.ConfigChanged(1600.0, make_settings()))
    assert shown(model, BOB) == IN_MEETING


def test_history_tells_of_entries_where_states_that_set_themselves_are_wanted() -> None:
    """Begin and end are a line each."""
    model = model_of(ALICE)
    model.settings = replace(model.settings, history_of_calls=True)
    lines = [command.record for command in read(model, 1100, MEETING).commands]  # type: ignore[union-attr]
    lines += [command.record for command in reduce(model, ev.TimerDue(2000.0)).commands]  # type: ignore[union-attr]
    assert [(line.state, line.source) for line in lines] == [("meeting", "calendar:work"), ("available", "default")]
