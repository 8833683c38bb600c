"""Who is offline: nobody can be reached, for long enough."""

import re

import pytest

from ari_presence.core import events as ev
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.registration import AWAY_S, FLAPS_COUNTED
from ari_presence.core.userstate import Layer, StateTable

AT = 1_800_000_000.0
TABLE = StateTable()
ALICE, BOB = UserId("100"), UserId("101")
DESK, MOBILE = "PJSIP/100", "PJSIP/100-mobile"
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {ALICE: UserSettings("Alice")},
    {DESK: ALICE, MOBILE: ALICE},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    pbxs=("hq",),
)
ALL = (DESK, MOBILE, "PJSIP/101")


def model_of(*offline: str) -> Model:
    """Make a model of a server that lists some endpoints as offline."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {}))
    reduce(model, ev.EndpointsSeen(AT, "hq", ALL, frozenset(offline)))
    return model


def state_of(model: Model, user: UserId = ALICE) -> str:
    """Give the state that is shown."""
    return model.users[user].effective(TABLE)[1].state


def seen(model: Model, line: str, state: DeviceState, at: float) -> None:
    """Let Asterisk report a line."""
    reduce(model, ev.LineSeen(at, "hq", line, state))


def test_first_listing_counts_at_once() -> None:
    """At the start of the daemon there is nothing to compare with."""
    model = model_of("PJSIP/101", DESK)
    assert (state_of(model), state_of(model, BOB)) == ("available", "offline")
    entry = model.users[BOB].entries[Layer.REGISTRATION]
    assert (entry.source, entry.since) == ("registration", AT)


def test_people_who_are_offline_together_share_their_layer() -> None:
    """Ten thousand phones without power cost one entry."""
    model = model_of(*ALL)
    assert model.users[ALICE].entries is model.users[BOB].entries


@pytest.mark.parametrize("state", [DeviceState.UNAVAILABLE, DeviceState.INVALID], ids=str)
def test_last_phone_that_goes_makes_offline_after_a_while(state: DeviceState) -> None:
    """One of two is not enough."""
    model = model_of()
    seen(model, DESK, state, AT)
    reduce(model, ev.TimerDue(AT + 100))
    assert state_of(model) == "available"
    seen(model, MOBILE, state, AT + 200)
    reduce(model, ev.TimerDue(AT + 200 + AWAY_S / 2))
    assert (state_of(model), model.next_deadline()) == ("available", AT + 200 + AWAY_S)
    reduce(model, ev.TimerDue(AT + 200 + AWAY_S))
    assert state_of(model) == "offline"


def test_phone_that_comes_back_counts_at_once() -> None:
    """Any state that a phone that is reached can have."""
    model = model_of(*ALL)
    seen(model, MOBILE, DeviceState.INUSE, AT + 5)
    assert state_of(model) == "available"


def test_short_absence_is_not_noticed() -> None:
    """A phone that registers anew."""
    model = model_of()
    for line in (DESK, MOBILE):
        seen(model, line, DeviceState.UNAVAILABLE, AT)
    seen(model, DESK, DeviceState.NOT_INUSE, AT + AWAY_S / 2)
    reduce(model, ev.TimerDue(AT + 1000))
    assert state_of(model) == "available"


def test_flapping_phone_is_waited_for_longer_and_longer() -> None:
    """Up to a bound, and a quiet time forgives."""
    model, at, waits = model_of(MOBILE), AT, []
    for _ in range(FLAPS_COUNTED + 2):
        seen(model, DESK, DeviceState.UNAVAILABLE, at)
        waits.append(model.leaving[ALICE] - at)
        seen(model, DESK, DeviceState.NOT_INUSE, at + 1)
        at += 2
    assert waits == [AWAY_S * 2 ** min(n, FLAPS_COUNTED) for n in range(FLAPS_COUNTED + 2)]
    seen(model, DESK, DeviceState.UNAVAILABLE, at + 10_000)
    assert model.leaving[ALICE] == at + 10_000 + AWAY_S


def test_later_listing_heals_what_was_missed() -> None:
    """In both directions, and going away takes its time as ever."""
    model = model_of("PJSIP/101")
    reduce(model, ev.EndpointsSeen(AT + 60, "hq", ALL, frozenset({DESK, MOBILE})))
    assert (state_of(model), state_of(model, BOB)) == ("available", "available")
    reduce(model, ev.TimerDue(AT + 60 + AWAY_S))
    assert state_of(model) == "offline"


def test_what_was_set_by_hand_is_shown_whether_reachable_or_not() -> None:
    """The registration is the last but one of the layers."""
    model = model_of(*ALL)
    reduce(model, ev.CodeDialled(AT, "hq", "1", f"{DESK}-00000001", ("dnd", "on"), ev.ClaimState.FRESH))
    assert state_of(model) == "dnd"


def test_somebody_without_any_phone_is_not_offline() -> None:
    """There is nothing that could be reached or not."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {}))
    reduce(model, ev.EndpointsSeen(AT, "hq", ("PJSIP/101",)))
    assert state_of(model) == "available"


def test_reports_of_endpoints_that_are_not_listed_count_for_nothing() -> None:
    """Subscriptions outlive endpoints."""
    model = model_of()
    seen(model, "PJSIP/999", DeviceState.INVALID, AT)
    for _ in range(3):
        seen(model, "PJSIP/101", DeviceState.INVALID, AT)
    assert model.users[BOB].reachable == 0
    seen(model, "PJSIP/101", DeviceState.NOT_INUSE, AT)
    assert model.users[BOB].reachable == 1
