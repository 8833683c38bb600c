"""Members of queues: whose they are, what is due about them, and that a pause of somebody else is never touched."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ari_presence.core import events as ev
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.queues import Do, Key, Member, Queues, note_key, noted, owner_of, pausing
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import BUILTIN, StateTable
from tests.unit.engine_rig import make_settings

ALICE = UserId("100")
KEY: Key = ("sales", "PJSIP/100")
STATES = StateTable([replace(state, pauses_queues=state.id in ("lunch", "meeting")) for state in BUILTIN])


def make_model() -> Model:
    """Make a model in which lunch and meeting pause, with 100 and 101 as users."""
    model = Model(make_settings(states=STATES, layout=LampLayout(STATES)))
    reduce(model, ev.Started(1.0, {}))
    reduce(model, ev.EndpointsSeen(1.0, "hq", ("PJSIP/100", "PJSIP/101")))
    return model


def wish(model: Model, state: str | None, user: str = "100") -> None:
    """Set a manual state, or clear it."""
    action = Action.SET if state else Action.CLEAR
    reduce(model, ev.ChangeAsked(2.0, 1, user, action, "cli", state))


def member(*, paused: bool = False, reason: str = "", key: Key = KEY) -> Member:
    """Make a member."""
    return Member(key[0], key[1], key[1], paused, reason)


def queues(one: Member, ours: str = "") -> Queues:
    """Make queues with one member, and reasons of ours."""
    found = Queues(ours={KEY: frozenset(ours.split())} if ours else {})
    found.listed(make_model(), [one], None)
    return found


@pytest.mark.parametrize(
    ("interface", "state_interface", "owner"),
    [
        pytest.param("PJSIP/100", "PJSIP/100", "100", id="endpoint"),
        pytest.param("Local/100@from-queue/n", "PJSIP/101", "101", id="state-interface-comes-first"),
        pytest.param("Local/100@from-queue/n", "hint:100@ext-local", "100", id="freepbx"),
        pytest.param("Local/100@from-queue", "Local/100@from-queue", "100", id="local"),
        pytest.param("Custom:x", "hint:100@ext-local", "100", id="hint"),
        pytest.param("PJSIP/trunk", "PJSIP/trunk", None, id="trunk"),
        pytest.param("Local/*78@x", "Local/*78@x", None, id="no-legal-user"),
        pytest.param("Agent/7", "Agent/7", None, id="agent"),
    ],
)
def test_member_is_that_of_whose_phone_it_is(interface: str, state_interface: str, owner: str | None) -> None:
    """By the endpoint, else by the number that a Local channel or a hint names."""
    assert owner_of(make_model(), Member("sales", interface, state_interface, False, "")) == owner


@pytest.mark.parametrize(
    ("one", "ours", "wanted", "do"),
    [
        pytest.param(member(), "", "lunch", Do.PAUSE, id="not-paused-and-wanted"),
        pytest.param(member(), "lunch", "lunch", Do.PAUSE, id="noted-but-not-made-yet"),
        pytest.param(member(), "", "", Do.NOTHING, id="not-paused-and-not-wanted"),
        pytest.param(member(paused=True, reason="lunch"), "lunch", "lunch", Do.NOTHING, id="paused-as-wanted"),
        pytest.param(member(paused=True, reason="lunch"), "lunch", "meeting", Do.PAUSE, id="another-reason"),
        pytest.param(member(paused=True, reason="lunch"), "lunch meeting", "meeting", Do.PAUSE, id="half-way"),
        pytest.param(member(paused=True, reason="lunch"), "lunch", "", Do.UNPAUSE, id="over"),
        pytest.param(member(paused=True, reason="wc"), "", "lunch", Do.NOTHING, id="paused-by-somebody-before"),
        pytest.param(member(paused=True, reason=""), "", "lunch", Do.NOTHING, id="paused-without-a-reason-before"),
        pytest.param(member(paused=True, reason="lunch"), "", "lunch", Do.NOTHING, id="same-reason-but-not-ours"),
        pytest.param(member(paused=True, reason="lunch"), "", "", Do.NOTHING, id="same-reason-not-ours-over"),
        pytest.param(member(paused=True, reason="wc"), "lunch", "lunch", Do.FORGET, id="taken-over-by-somebody"),
        pytest.param(member(paused=True, reason="wc"), "lunch", "", Do.FORGET, id="taken-over-and-over"),
        pytest.param(member(), "lunch", "", Do.FORGET, id="unpaused-by-somebody-and-over"),
    ],
)
def test_what_is_due_about_a_member(one: Member, ours: str, wanted: str, do: Do) -> None:
    """Only what we paused is unpaused; what somebody else paused stays as it is."""
    assert queues(one, ours).due(KEY, wanted) is do


def test_member_who_is_away_keeps_the_note() -> None:
    """A member who comes back with the pause that he had is unpaused then."""
    found = queues(member(paused=True, reason="lunch"), "lunch")
    found.listed(make_model(), [], "sales")
    assert found.due(KEY, "") is Do.NOTHING
    found.listed(make_model(), [member(paused=True, reason="lunch")], None)
    assert found.due(KEY, "") is Do.UNPAUSE


def test_listing_of_one_queue_leaves_the_others() -> None:
    """Members of other queues are not gone."""
    found, model = Queues(), make_model()
    other: Key = ("support", "PJSIP/100")
    found.listed(model, [member(), member(key=other)], None)
    found.listed(model, [], "sales")
    assert (found.keys, list(found.members)) == ({ALICE: {other}}, [other])
    found.removed(other)
    assert (found.keys, found.members, found.owners) == ({}, {}, {})


def test_pause_that_somebody_takes_back_stays_taken_back_until_the_state_changes() -> None:
    """A wish: nobody is paused again behind somebody's back; the next state pauses."""
    model = make_model()
    wish(model, "lunch")
    found = Queues(ours={KEY: frozenset({"lunch"})})
    found.listed(model, [member()], None, trusted=[KEY])
    assert found.due(KEY, "lunch") is Do.FORGET
    del found.ours[KEY]
    assert found.due(KEY, "lunch") is Do.NOTHING
    assert found.due(KEY, "meeting") is Do.PAUSE
    assert found.due(KEY, "lunch") is Do.PAUSE


def test_pause_that_a_restart_lost_is_made_again() -> None:
    """Without having been watched meanwhile, nobody is known to have taken it back."""
    model = make_model()
    wish(model, "lunch")
    found = Queues(ours={KEY: frozenset({"lunch"})})
    found.listed(model, [member()], None)
    assert found.due(KEY, "lunch") is Do.PAUSE


def test_state_without_calls_decides() -> None:
    """A call changes nothing; a reset, and somebody who is no user, pause nobody."""
    model = make_model()
    assert pausing(model, ALICE) == ""
    wish(model, "lunch")
    assert pausing(model, ALICE) == "lunch"
    wish(model, "away")
    assert pausing(model, ALICE) == ""
    wish(model, "meeting")
    reduce(model, ev.ResetAsked(3.0, 2, "100", "cli"))
    assert pausing(model, ALICE) == ""
    assert pausing(model, UserId("999")) == ""
    assert STATES.pauses_queues and not StateTable().pauses_queues


def test_nothing_is_decided_before_all_users_are_known() -> None:
    """A daemon that starts must not unpause somebody whose endpoint it has not seen yet."""
    model = Model(make_settings(states=STATES, layout=LampLayout(STATES)))
    reduce(model, ev.Started(1.0, {}))
    assert pausing(model, UserId("101")) is None


def test_notes_are_stored_and_read() -> None:
    """Under keys that no user has; a name may hold almost everything."""
    keys: Mapping[Key, str] = {KEY: "lunch", ("a b|c", "Local/100@from-queue/n"): "lunch meeting"}
    stored = {UserId(note_key(key)): text for key, text in keys.items()}
    assert noted(stored | {ALICE: "dnd=INUSE", UserId("group:sales"): "x"}) == {
        key: frozenset(text.split()) for key, text in keys.items()
    }
    assert all(":" in key for key in stored)


steps = st.lists(st.sampled_from(["lunch", "meeting", "away", "", "other pauses", "other unpauses"]), max_size=12)


@given(steps, st.sampled_from([("", False), ("", True), ("wc", True)]))
def test_any_sequence_ends_as_it_was_before(script: list[str], start: tuple[str, bool]) -> None:
    """When the state is over, a member whom nobody else touched is as before; whoever else was last has his way."""
    model, reason = make_model(), start[0]
    found = Queues()
    state, expected = Member("sales", "PJSIP/100", "PJSIP/100", start[1], reason), (start[1], reason)
    for step in [*script, ""]:
        if step == "other pauses":
            state = state._replace(paused=True, reason="theirs")
            expected = (True, "theirs")
        elif step == "other unpauses":
            state = state._replace(paused=False, reason="")
            expected = (False, "")
        else:
            wish(model, step or None)
        for _ in range(4):  # level-triggered: until nothing is due
            trusted = [key for key in found.ours if found.is_ours(key)]
            found.listed(model, [state], None, trusted=trusted)
            wanted = pausing(model, ALICE) or ""
            match found.due(KEY, wanted):
                case Do.PAUSE:
                    found.ours[KEY] = found.ours.get(KEY, frozenset()) | {wanted}
                    state = state._replace(paused=True, reason=wanted)
                case Do.UNPAUSE:
                    state = state._replace(paused=False, reason="")
                case Do.FORGET:
                    del found.ours[KEY]
                case Do.NOTHING:
                    break
            found.paused(KEY, state.paused, state.reason)
        assert found.due(KEY, pausing(model, ALICE) or "") is Do.NOTHING
    assert (state.paused, state.reason) == expected
    assert found.ours == {}
