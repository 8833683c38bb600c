"""States that were forgotten: who is reminded, and what a reset clears."""

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core import events as ev
from ari_presence.core import forgotten
from ari_presence.core.commands import Play, Save
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.registration import AWAY_S
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.userstate import StateTable

HOUR = 3600.0
AT = datetime(2026, 11, 26, 8, 0, tzinfo=UTC).timestamp()
TABLE = StateTable()
ALICE, BOB = UserId("100"), UserId("101")
ENDPOINTS = {"PJSIP/100": ALICE, "PJSIP/101": BOB}


def model_of(at: float = AT, **rules: Any) -> Model:
    """Make a model with Alice in UTC and Bob in New York."""
    listed = {
        ALICE: UserSettings(rights=frozenset({"set_others"})),
        BOB: UserSettings(zone=ZoneInfo("America/New_York")),
    }
    model = Model(Settings(TABLE, LampLayout(TABLE), listed, ENDPOINTS, pbxs=("hq",), **rules))
    reduce(model, ev.Started(at, {}))
    reduce(model, ev.EndpointsSeen(at, "hq", tuple(ENDPOINTS)))
    return model


def put(model: Model, state: str, user: UserId = ALICE, at: float = AT, until: float | None = None) -> None:
    """Set a state by hand."""
    reduce(model, ev.ChangeAsked(at, 1, user, Action.SET, "cli", state, None, until))


def dial(model: Model, at: float, *args: str, endpoint: str = "PJSIP/100", ok: bool = True) -> tuple[str, ...]:
    """Dial a code and give what is heard."""
    out = reduce(model, ev.CodeDialled(at, "hq", "c1", f"{endpoint}-1", args, ev.ClaimState.FRESH))
    commands = out.commands
    for request in list(model.callers):
        commands = commands + reduce(model, ev.Settled(at, request, ok)).commands
    return next(command.media for command in commands if isinstance(command, Play))


def manual(model: Model, user: UserId = ALICE) -> str | None:
    """Give the state set by hand."""
    entry = model.users[user].manual
    return entry.state if entry else None


def resets(model: Model, at: float) -> list[str]:
    """Let the clock come to a time and name those whose state was cleared by a reset."""
    commands = reduce(model, ev.TimerDue(at)).commands
    return [each.user for each in commands if isinstance(each, Save) and each.record.source == "reset"]


ON = ("sound:do-not-disturb", "sound:activated")


@pytest.mark.parametrize(
    ("args", "then"),
    [
        (("dnd", "off"), ("sound:do-not-disturb", "sound:de-activated")),
        (("dnd", "on"), ON),
        (("state", "3"), ("sound:digits/3", "sound:activated")),
        (("state", "0"), ("sound:do-not-disturb", "sound:de-activated")),
        (("state", "9"), ("sound:do-not-disturb",)),
        (("state", "9101"), ("sound:digits/0",)),
        (("state", "3101"), ("sound:digits/3", "sound:activated")),
    ],
    ids=str,
)
def test_owner_of_a_forgotten_state_hears_it_before_the_confirmation_of_any_code(
    args: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """Whatever is dialled, for oneself or for others; a moment earlier nothing is said."""
    early, late = (model_of(remind_after_s=12 * HOUR) for _ in range(2))
    for model in (early, late):
        put(model, "dnd")
    assert dial(early, AT + 12 * HOUR, *args) == then
    assert dial(late, AT + 12 * HOUR + 1, *args) == ON + then


def test_reminder_says_the_end() -> None:
    """Where there is one, in the zone of the user."""
    model = model_of(remind_after_s=60.0)
    put(model, "dnd", until=AT + 5 * HOUR + 300)
    assert dial(model, AT + 61, "dnd", "off")[:4] == (*ON, "number:13", "digits:05")


def test_only_the_owner_is_reminded_and_only_where_it_is_wanted() -> None:
    """Another's forgotten state is not mine; without `remind_after` nothing is ever forgotten."""
    model = model_of(remind_after_s=60.0)
    put(model, "dnd", BOB)
    assert dial(model, AT + HOUR, "dnd", "on") == ON
    silent = model_of()
    put(silent, "dnd")
    assert dial(silent, AT + 1e7, "dnd", "off") == ("sound:do-not-disturb", "sound:de-activated")


def test_failed_change_is_only_the_error() -> None:
    """What went wrong is not drowned in a reminder."""
    model = model_of(remind_after_s=60.0)
    put(model, "dnd")
    assert dial(model, AT + HOUR, "dnd", "off", ok=False) == ("sound:beeperr",)


def test_setting_it_again_begins_anew() -> None:
    """Who has just said it has not forgotten it."""
    model = model_of(remind_after_s=60.0)
    put(model, "dnd")
    put(model, "dnd", at=AT + 100)
    assert not forgotten.forgotten_state(model, model.users[ALICE], AT + 160)
    assert forgotten.forgotten_state(model, model.users[ALICE], AT + 161)


def test_reset_clears_at_the_time_of_day_of_each_user() -> None:
    """Once a day: Alice at four in UTC, Bob at four in New York; a state with an end is left to it."""
    model = model_of(reset_at=time(4, 0))
    put(model, "dnd")
    put(model, "lunch", BOB)
    four = AT + 20 * HOUR
    assert model.next_deadline() == AT + HOUR  # four in New York
    assert resets(model, AT + HOUR) == ["101"]
    assert resets(model, four - 1) == []
    assert resets(model, four) == ["100"]
    assert (manual(model), manual(model, BOB)) == (None, None)
    put(model, "away", at=four + 60, until=four + 100 * HOUR)
    assert resets(model, four + 24 * HOUR) == []
    assert manual(model) == "away"


def test_reset_leaves_what_is_younger_than_remind_after() -> None:
    """A state set in the night is not forgotten in the morning; the next day it is."""
    model = model_of(remind_after_s=12 * HOUR, reset_at=time(4, 0))
    put(model, "dnd", at=AT + 10 * HOUR)
    assert resets(model, AT + 20 * HOUR) == []
    assert resets(model, AT + 44 * HOUR) == ["100"]


def test_reset_that_was_missed_is_made_up_for_at_the_start() -> None:
    """And states set after it are left alone, however often the daemon starts."""
    model = model_of(reset_at=time(4, 0))
    put(model, "dnd", at=AT - 5 * HOUR)
    old = model.users[ALICE].manual
    assert old is not None
    new = Model(model.settings)
    out = reduce(new, ev.Started(AT, {ALICE: old}))
    assert [each.record.source for each in out.commands if isinstance(each, Save)] == ["reset"]
    young = Model(model.settings)
    put(model, "dnd", at=AT - 3 * HOUR)
    again = model.users[ALICE].manual
    assert again is not None
    assert not reduce(young, ev.Started(AT, {ALICE: again})).commands
    assert manual(young) == "dnd"


def test_many_who_are_reset_at_once_are_so_in_slices() -> None:
    """Each deadline of the clock is short; whoever sets a state in between keeps it."""
    users = [UserId(str(number)) for number in range(200, 300)]
    settings = Settings(TABLE, LampLayout(TABLE), {user: UserSettings() for user in users}, reset_at=time(4, 0))
    model, four = Model(settings), AT + 20 * HOUR
    reduce(model, ev.Started(AT, {}))
    for user in users:
        put(model, "dnd", user)
    sizes = [len(resets(model, four))]
    put(model, "lunch", users[-1], four + 1)
    while (due := model.next_deadline()) is not None and due <= four + 2 and len(sizes) < 100:
        sizes.append(len(resets(model, four + 2)))
    assert (sum(sizes), max(sizes)) == (99, USERS_PER_SLICE)
    assert [user for user in users if manual(model, user)] == [users[-1]]


def test_reset_follows_a_clock_that_is_set() -> None:
    """After a jump back the next four o'clock is the next again."""
    model = model_of(reset_at=time(4, 0))
    reduce(model, ev.TimerDue(AT - 100 * HOUR, clock_set=True))
    assert model.next_deadline() is not None and (model.next_deadline() or 0) < AT - 76 * HOUR


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "not-wanted"])
def test_phone_that_comes_back_clears_what_was_forgotten(wanted: bool) -> None:
    """Only where that is wanted, and only after the user counted as offline."""
    model = model_of(remind_after_s=HOUR, reset_on_register=wanted)
    put(model, "dnd")

    def line(state: DeviceState, at: float) -> None:
        reduce(model, ev.LineSeen(at, "hq", "PJSIP/100", state))

    line(DeviceState.UNAVAILABLE, AT + 10)
    reduce(model, ev.TimerDue(AT + 10 + AWAY_S))
    line(DeviceState.NOT_INUSE, AT + 60)
    assert manual(model) == "dnd"  # young
    line(DeviceState.UNAVAILABLE, AT + 2 * HOUR)
    line(DeviceState.NOT_INUSE, AT + 2 * HOUR + 1)
    assert manual(model) == "dnd"  # never counted as offline
    line(DeviceState.UNAVAILABLE, AT + 3 * HOUR)
    reduce(model, ev.TimerDue(AT + 3 * HOUR + 50))
    line(DeviceState.NOT_INUSE, AT + 4 * HOUR)
    assert manual(model) == (None if wanted else "dnd")
