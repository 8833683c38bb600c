"""The engine: tickets, order, prompts, callers that leave, links that end, time."""

import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from ari_presence.ari.decode import DeviceSeen
from ari_presence.ari.link import LinkDown
from ari_presence.ari.wire import Request, Response
from ari_presence.core import callstate
from ari_presence.core.callview import CallView
from ari_presence.core.channels import ChannelInfo
from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import (
    CallerLeft,
    ChangeAsked,
    ChannelGone,
    ChannelSeen,
    ClaimState,
    CodeDialled,
    ConfigChanged,
    EndpointsSeen,
    Event,
    ResetAsked,
    Started,
    TimerDue,
)
from ari_presence.core.features import Action
from ari_presence.core.kept import Rules
from ari_presence.core.lamps import LampLayout, Wish
from ari_presence.core.model import Model, Prompts
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Entry, StateTable
from ari_presence.engine import LONGEST_WAIT_S, Engine
from ari_presence.errors import AriAuthError, Refused, StoreError, StoreSlow
from ari_presence.store.base import Change, ManualChanged, ServerSeen
from ari_presence.tickets import CONFIRM_S, Outcome
from tests.unit.engine_rig import START, Rig, make_settings, running

Ask = Callable[[int, float], Event]


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine with one live link."""
    with running() as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Give threads for those who wait."""
    with ThreadPoolExecutor(4) as made:
        yield made


def setting(state: str, user: str = "100", message: str | None = None, until: float | None = None) -> Ask:
    """Make the event of somebody who sets a state."""
    return lambda n, at: ChangeAsked(at, n, user, Action.SET, "cli", state, message, until)


def clearing(user: str = "100") -> Ask:
    """Make the event of somebody who clears a state."""
    return lambda n, at: ChangeAsked(at, n, user, Action.CLEAR, "cli")


def ticketed(rig: Rig) -> int:
    """Count who waits."""
    return rig.engine.call(lambda engine: len(engine._tickets))


def wait_for_ticket(rig: Rig) -> None:
    """Wait until somebody's question has reached the engine, and everything that follows from it."""
    deadline = time.monotonic() + 5
    while not ticketed(rig):
        assert time.monotonic() < deadline
    rig.sync()


# --- tickets ----------------------------------------------------------------------------------------------------


def test_change_is_stored_and_confirmed_before_anybody_is_told(rig: Rig) -> None:
    """Done means durable, lit and read back."""
    assert rig.engine.ask(setting("away")) == Outcome(True)
    assert rig.stored() == "away"
    assert rig.lamp("Custom:presence-100") == "ONHOLD"
    assert rig.lamp("Custom:away-100") == "INUSE"
    assert rig.asterisk.presences["100"].startswith("away")
    assert ticketed(rig) == 0


def test_change_waits_for_the_store(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """Lamps alone do not count: nobody is told before the change is durable."""
    rig.store_works = False
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    assert rig.lamp("Custom:presence-100") == "BUSY"
    assert not asked.done()
    rig.commit()
    assert asked.result(5) == Outcome(True)


@pytest.mark.parametrize("again", ["away", "same-but-message"], ids=["same", "other-message"])
def test_change_that_alters_no_lamp_waits_for_the_store_too(rig: Rig, pool: ThreadPoolExecutor, again: str) -> None:
    """Setting what is set writes no lamp, and yet must be durable before anybody is told."""
    rig.engine.ask(setting("away", until=START + 600))
    rig.store_works = False
    rig.saves.clear()
    asked = pool.submit(rig.engine.ask, setting("away", until=START + (600 if again == "away" else 601)))
    wait_for_ticket(rig)
    assert not asked.done()
    rig.commit()
    assert asked.result(5) == Outcome(True)


def test_change_that_alters_no_lamp_and_is_not_stored_is_an_error(rig: Rig) -> None:
    """Nor is anybody told "done" when the store refuses such a change."""
    rig.engine.ask(setting("away"))
    rig.store_error = StoreError("disk full: make room")
    with pytest.raises(StoreError, match="disk full"):
        rig.engine.ask(setting("away"))


def test_change_that_is_not_stored_is_taken_back(rig: Rig) -> None:
    """What could not be made durable did not happen: the lamps show again what was set before."""
    rig.engine.ask(setting("away"))
    rig.store_error = StoreError("disk full: make room")
    with pytest.raises(StoreError):
        rig.engine.ask(setting("dnd"))
    rig.sync()
    assert rig.manual() == "away"
    assert (rig.lamp("Custom:presence-100"), rig.lamp("Custom:dnd-100")) == ("ONHOLD", "NOT_INUSE")


def test_change_whose_store_fails_late_is_taken_back_too(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """An error that comes after the caller was told that it took too long still undoes the change."""
    rig.store_works = False
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    rig.advance(CONFIRM_S + 0.1)
    with pytest.raises(StoreSlow, match="not stored yet"):
        asked.result(5)
    rig.store_error = StoreError("disk full: make room")
    rig.commit()
    rig.sync()
    assert rig.manual() is None
    assert rig.lamp("Custom:presence-100") == "INVALID"


def test_lamps_of_somebody_not_listed_yet_are_left_alone() -> None:
    """After a start with an empty listing, lamps stay as they are until the person is surely gone."""
    rig = Rig()
    rig.asterisk.endpoints = []
    rig.asterisk.lamps["Custom:presence-250"] = "BUSY"
    rig.engine.servers.clear()
    rig.engine.add_server("hq", "ari-presence", "", rig.link, {UserId("250"): "main-joined=BUSY"}, "s1")
    rig.start(Started(START, {}, frozenset({UserId("250")})))
    try:
        rig.connect()
        rig.sync()
        assert rig.lamp("Custom:presence-250") == "BUSY"
        rig.advance(61)
        rig.sync()
        assert rig.lamp("Custom:presence-250") == "INVALID"
    finally:
        rig.stop()


def test_change_waits_for_the_confirmation(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """A stored change whose lamps Asterisk has not confirmed is not done."""
    rig.link.held = True
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    assert rig.stored() == "dnd"
    assert not asked.done()
    rig.link.release()
    assert asked.result(5) == Outcome(True)


def test_lamp_that_is_not_confirmed_in_time_is_told_after_three_seconds(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """Stored, but not confirmed: the outcome names the server."""
    rig.link.held = True
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    rig.advance(CONFIRM_S - 0.1)
    assert not asked.done()
    rig.advance(0.2)
    assert asked.result(5) == Outcome(False, ("hq",))
    assert ticketed(rig) == 0
    rig.link.release()
    rig.sync()
    assert rig.lamp("Custom:presence-100") == "BUSY"


def test_server_that_is_away_is_named(pool: ThreadPoolExecutor) -> None:
    """With one of two servers away the change is stored, and lit on the other."""
    with running("hq", "branch") as rig:
        rig.disconnect("branch")
        asked = pool.submit(rig.engine.ask, setting("dnd"))
        wait_for_ticket(rig)
        assert rig.lamp("Custom:presence-100") == "BUSY"
        rig.advance(CONFIRM_S + 0.1)
        assert asked.result(5) == Outcome(False, ("branch",))
        rig.connect("branch")
        assert rig.lamp("Custom:presence-100", "branch") == "BUSY"


def test_change_that_cannot_be_stored_is_an_error(rig: Rig) -> None:
    """Whoever asked is told the reason; the next change works again."""
    rig.store_error = StoreError("disk full: make room")
    with pytest.raises(StoreError, match="disk full"):
        rig.engine.ask(setting("away"))
    rig.store_error = None
    assert rig.engine.ask(setting("dnd")) == Outcome(True)
    assert rig.stored() == "dnd"


def test_change_that_cannot_be_stored_is_taken_back(rig: Rig) -> None:
    """Model and lamps show again what is stored: a state that a restart would lose is none."""
    rig.engine.ask(setting("lunch"))
    rig.store_error = StoreError("disk full: make room")
    with pytest.raises(StoreError):
        rig.engine.ask(setting("dnd"))
    rig.sync()
    assert (rig.manual(), rig.stored()) == ("lunch", "lunch")
    assert (rig.lamp("Custom:lunch-100"), rig.lamp("Custom:dnd-100")) == ("INUSE", "NOT_INUSE")


def test_store_that_does_not_answer_is_an_error_after_three_seconds(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """A disk that hangs holds up nobody for longer."""
    rig.store_works = False
    asked = pool.submit(rig.engine.ask, setting("away"))
    wait_for_ticket(rig)
    rig.advance(CONFIRM_S + 0.1)
    with pytest.raises(StoreError, match="not stored yet"):
        asked.result(5)
    rig.commit()
    rig.sync()
    assert ticketed(rig) == 0


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        pytest.param(setting("away", user="999"), "unknown-user", id="unknown-user"),
        pytest.param(setting("asleep"), "bad-state", id="bad-state"),
        pytest.param(setting("ringing"), "bad-state", id="state-nobody-sets"),
        pytest.param(setting("away", message="x\ny"), "bad-message", id="bad-message"),
        pytest.param(setting("away", until=START - 1), "bad-time", id="past"),
        pytest.param(lambda n, at: ResetAsked(at, n, "999", "cli"), "unknown-user", id="reset-unknown"),
    ],
)
def test_refused_change_changes_nothing(rig: Rig, ask: Ask, code: str) -> None:
    """A refusal carries its code, and leaves no trace."""
    rig.saves.clear()
    with pytest.raises(Refused) as caught:
        rig.engine.ask(ask)
    assert caught.value.code == code
    assert (rig.saves, rig.manual(), ticketed(rig)) == ([], None, 0)


def test_question_that_cannot_be_made_leaves_nobody_waiting(rig: Rig) -> None:
    """What the maker raises is raised to the asker, and nothing stays behind."""

    def make(_request: int, _at: float) -> Event:
        raise Refused("no such time", code="bad-time")

    with pytest.raises(Refused, match="no such time"):
        rig.engine.ask(make)
    assert ticketed(rig) == 0


def test_clearing_what_is_clear_is_done_at_once(rig: Rig) -> None:
    """Nothing is stored, and nobody waits."""
    rig.saves.clear()
    assert rig.engine.ask(clearing()) == Outcome(True)
    assert rig.saves == []


def test_two_who_wait_for_one_user_are_both_told(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """Each gets his own outcome, and the last one wins."""
    rig.link.held = True
    first = pool.submit(rig.engine.ask, setting("away"))
    wait_for_ticket(rig)
    second = pool.submit(rig.engine.ask, setting("dnd"))
    deadline = time.monotonic() + 5
    while ticketed(rig) < 2:
        assert time.monotonic() < deadline
    rig.link.held = False
    rig.link.release()
    assert first.result(5) == second.result(5) == Outcome(True)
    assert rig.lamp("Custom:presence-100") == "BUSY"


def test_reset_of_all_puts_every_lamp_out_and_waits_for_all(rig: Rig) -> None:
    """Manual states are gone from model and store, lamps are off and stay off."""
    rig.engine.ask(setting("away"))
    rig.engine.ask(setting("dnd", user="101"))
    assert rig.engine.ask(lambda n, at: ResetAsked(at, n, None, "cli")) == Outcome(True)
    assert rig.lamp("Custom:presence-100") == rig.lamp("Custom:presence-101") == "INVALID"
    assert (rig.stored("100"), rig.stored("101")) == (None, None)


def test_many_askers_at_once_are_all_answered(rig: Rig) -> None:
    """Threads ask side by side; every answer comes, and model, store and lamp agree in the end."""
    states = ["away", "dnd", "lunch", "meeting"]
    with ThreadPoolExecutor(8) as many:
        outcomes = list(many.map(lambda i: rig.engine.ask(setting(states[i % 4], user=str(100 + i % 2))), range(80)))
    assert outcomes == [Outcome(True)] * 80
    for user in ("100", "101"):
        state = rig.manual(user)
        assert rig.stored(user) == state
        assert rig.lamp(f"Custom:{state}-{user}") == "INUSE"


# --- callers ----------------------------------------------------------------------------------------------------


def test_code_is_carried_out_confirmed_and_said(rig: Rig) -> None:
    """The channel is claimed, its time limit lifted, the lamp lit, the change stored, the prompt played, the call left."""
    rig.dial("dnd", "on")
    assert rig.asterisk.seen("POST", r"channels/1\.1/answer")
    limit = rig.asterisk.seen("POST", r"channels/1\.1/variable")
    assert [dict(call.query) for call in limit] == [{"variable": "TIMEOUT(absolute)", "value": "0"}]
    assert (rig.stored(), rig.lamp("Custom:presence-100")) == ("dnd", "BUSY")
    assert rig.heard() == ["sound:do-not-disturb,sound:activated"]
    assert not rig.asterisk.seen("POST", ".*/continue")
    rig.end_playback()
    assert len(rig.asterisk.seen("POST", r"channels/1\.1/continue")) == 1


def test_lamps_and_claim_go_out_before_the_store_is_asked(rig: Rig) -> None:
    """What the phone sees is not held up by the disk; nor is the claim by the prompt."""
    answer = rig.asterisk.answer

    def traced(request: Request, way: str = "ws") -> Response:
        rig.trace.append(f"{request.method} {request.path}")
        return answer(request, way)

    rig.asterisk.answer = traced  # type: ignore[method-assign]
    rig.dial("dnd", "on")
    order = [line for line in rig.trace if "GET" not in line]
    assert order[0] == "POST asterisk/variable"
    assert order.index("POST channels/1.1/answer") < order.index("save 100 dnd")
    assert order[-1] == "POST channels/1.1/play/1.1-presence"


def test_requests_of_a_caller_are_urgent(rig: Rig) -> None:
    """Lamps, claim and prompt of somebody who waits go before everything else."""
    rig.link.groups.clear()
    rig.dial("dnd", "on")
    paths = [request.path for group in rig.link.urgent for request in group]
    assert {"channels/1.1/answer", "asterisk/variable", "channels/1.1/play/1.1-presence"} <= set(paths)
    assert {request.path for group in rig.link.groups for request in group} == {"deviceStates/Stasis:group-sales"}


@pytest.mark.parametrize("late", ["store", "lamp"])
def test_caller_hears_the_error_prompt_when_time_is_over(rig: Rig, late: str) -> None:
    """No confirmation without a stored change and a confirmed lamp."""
    if late == "store":
        rig.store_works = False
        rig.dial("dnd", "on")
    else:
        rig.asterisk.override("GET", "deviceStates/Custom:presence-100", Response(500))
        rig.dial("dnd", "on")
    assert rig.heard() == []
    rig.advance(CONFIRM_S + 0.1)
    assert rig.heard() == ["sound:beeperr"]


def test_caller_hears_the_error_prompt_when_the_store_refuses(rig: Rig) -> None:
    """He hears it at once, without waiting for the time limit."""
    rig.store_error = StoreError("disk full")
    rig.dial("dnd", "on")
    assert rig.heard() == ["sound:beeperr"]


def test_caller_waits_for_his_own_server_only() -> None:
    """A branch that is away does not spoil the confirmation at headquarters."""
    with running("hq", "branch") as rig:
        rig.disconnect("branch")
        rig.dial("dnd", "on")
        assert rig.heard() == ["sound:do-not-disturb,sound:activated"]


@pytest.mark.parametrize(
    ("args", "endpoint"),
    [
        pytest.param(("dnd", "on"), "PJSIP/trunk1", id="nobodys-endpoint"),
        pytest.param(("state", "8"), "PJSIP/100", id="no-such-state"),
        pytest.param(("state", "2100"), "PJSIP/101", id="no-right"),
        pytest.param(("nonsense",), "PJSIP/100", id="nonsense"),
    ],
)
def test_refused_code_is_an_error_prompt_and_changes_nothing(rig: Rig, args: tuple[str, ...], endpoint: str) -> None:
    """Whoever may not, or dials nonsense, hears so and leaves."""
    rig.saves.clear()
    rig.dial(*args, endpoint=endpoint)
    assert rig.heard() == ["sound:beeperr"]
    assert (rig.saves, rig.manual("100")) == ([], None)
    rig.end_playback()
    assert rig.asterisk.seen("POST", r"channels/1\.1/continue")


def test_own_state_is_said_without_any_change(rig: Rig) -> None:
    """Asking for a state stores nothing and writes nothing."""
    rig.saves.clear()
    rig.dial("state", "9")
    assert rig.heard() == ["sound:digits/0"]
    assert rig.saves == []


def test_unsure_caller_is_claimed_before_anything_changes(rig: Rig) -> None:
    """While Asterisk has not agreed, no lamp is written."""
    rig.link.held = True
    rig.dial("dnd", "toggle", claim=ClaimState.UNSURE)
    assert (rig.manual(), rig.lamp("Custom:presence-100")) == (None, "-")
    rig.link.held = False
    rig.link.release()
    rig.sync()
    assert rig.manual() == "dnd"
    assert len(rig.asterisk.seen("POST", r"channels/1\.1/answer")) == 1


@pytest.mark.parametrize("status", [404, 409], ids=["gone", "with-the-dialplan"])
def test_unsure_caller_who_is_gone_changes_nothing(rig: Rig, status: int) -> None:
    """The dialplan has dealt with him: doing it again would undo a toggle."""
    rig.asterisk.override("POST", "channels/.*/answer", Response(status, '{"message":"x"}'))
    rig.dial("dnd", "toggle", claim=ClaimState.UNSURE)
    assert (rig.manual(), rig.heard()) == (None, [])


def test_unsure_caller_whose_link_ends_changes_nothing(rig: Rig) -> None:
    """Nobody knows whether the claim arrived; after the reconnect he is found again if he still waits."""
    rig.link.held = True
    rig.dial("dnd", "toggle", claim=ClaimState.UNSURE)
    rig.disconnect()
    assert rig.manual() is None
    rig.link.held = False
    rig.connect("hq", CodeDialled(rig.clock.wall, "hq", "1.1", "PJSIP/100-1", ("dnd", "toggle"), ClaimState.UNSURE))
    assert rig.manual() == "dnd"


def test_caller_who_hangs_up_early_keeps_his_change(rig: Rig) -> None:
    """The change is made before the prompt; nothing is played to nobody."""
    rig.store_works = False
    rig.dial("dnd", "on")
    rig.engine.post(CallerLeft(rig.clock.wall, "hq", "1.1"))
    del rig.asterisk.channels["1.1"]
    rig.commit()
    rig.sync()
    assert rig.stored() == "dnd"
    assert rig.heard() == []
    assert not rig.asterisk.seen("POST", ".*/continue")


def test_prompt_that_cannot_be_played_ends_the_call(rig: Rig) -> None:
    """A channel that is gone for Asterisk, or a server that refuses: the call is given back, not kept for ever."""
    rig.asterisk.override("POST", "channels/.*/play/.*", Response(500))
    rig.dial("dnd", "on")
    assert rig.asterisk.seen("POST", r"channels/1\.1/continue")


def test_toggle_is_carried_out_once_although_the_link_ends_in_the_prompt(rig: Rig) -> None:
    """A caller who still waits after the reconnect has been served: his toggle is not undone."""
    rig.dial("dnd", "toggle")
    assert rig.manual() == "dnd"
    rig.disconnect()
    again = CodeDialled(rig.clock.wall, "hq", "1.1", "PJSIP/100-0000000a", ("dnd", "toggle"), ClaimState.UNSURE)
    rig.connect("hq", again)
    assert rig.manual() == "dnd"
    assert rig.lamp("Custom:presence-100") == "BUSY"
    assert rig.heard()[-1] == "sound:beeperr"


def test_caller_whose_prompt_still_plays_after_the_reconnect_just_leaves_behind_it(rig: Rig) -> None:
    """He hears his confirmation to its end, and nothing else."""
    rig.dial("dnd", "toggle")
    rig.disconnect()
    rig.asterisk.playbacks.add("1.1-presence")
    rig.connect("hq", CodeDialled(rig.clock.wall, "hq", "1.1", "PJSIP/100-1", ("dnd", "toggle"), ClaimState.EARLIER))
    assert rig.manual() == "dnd"
    assert rig.heard() == ["sound:do-not-disturb,sound:activated"]
    assert rig.asterisk.seen("POST", r"channels/1\.1/continue")


def test_channel_that_left_may_dial_again(rig: Rig) -> None:
    """What a channel was served is forgotten with it: a second code on the same channel counts."""
    rig.dial("dnd", "toggle")
    rig.engine.post(CallerLeft(rig.clock.wall, "hq", "1.1"))
    rig.disconnect()
    rig.connect("hq", CodeDialled(rig.clock.wall, "hq", "1.1", "PJSIP/100-1", ("dnd", "toggle"), ClaimState.UNSURE))
    assert rig.manual() is None


def test_link_that_ends_while_a_caller_waits_plays_nothing_later(rig: Rig) -> None:
    """His change is stored; the prompt of an ended session is not played in the next."""
    rig.link.held = True
    rig.dial("dnd", "on")
    rig.disconnect()
    rig.link.held = False
    rig.connect()
    rig.advance(CONFIRM_S + 1)
    assert rig.stored() == "dnd"
    assert rig.heard() == []
    assert rig.lamp("Custom:presence-100") == "BUSY"


# --- prompts ----------------------------------------------------------------------------------------------------


def test_missing_recording_is_a_beep(rig: Rig) -> None:
    """A recording that the server does not have is never silence."""
    rig.asterisk.missing_sounds = {"do-not-disturb"}
    rig.disconnect()
    with capture_logs() as logs:
        rig.connect()
    assert [log["sounds"] for log in logs if "sounds" in log] == [["do-not-disturb"]]
    rig.dial("dnd", "on")
    assert rig.heard() == ["sound:beep,sound:activated"]


def test_missing_beep_is_a_tone(rig: Rig) -> None:
    """A server without any recording still makes a sound."""
    rig.asterisk.missing_sounds = {"beep", "beeperr"}
    rig.disconnect()
    rig.connect()
    rig.dial("nonsense")
    assert rig.heard() == ["tone:stutter"]


def test_new_prompts_of_a_reload_are_looked_for(rig: Rig) -> None:
    """A recording that the new configuration names and the server lacks is a beep as well."""
    rig.asterisk.missing_sounds = {"our/done"}
    settings = replace(rig.settings, prompts=Prompts(activated=("our/done",)))
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, settings)))
    rig.sync()
    rig.dial("dnd", "on")
    assert rig.heard() == ["sound:do-not-disturb,sound:beep"]


# --- links ------------------------------------------------------------------------------------------------------


def test_lamps_follow_after_the_link_is_back(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """What was set meanwhile is lit as soon as the server is back."""
    rig.disconnect()
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    rig.advance(CONFIRM_S + 0.1)
    assert asked.result(5) == Outcome(False, ("hq",))
    assert rig.lamp("Custom:presence-100") == "-"
    rig.connect()
    assert rig.lamp("Custom:presence-100") == "BUSY"


def test_confirmed_lamps_are_stored(rig: Rig) -> None:
    """The store knows what each server shows, so that a stale lamp can be told from a wish."""
    rig.engine.ask(setting("dnd"))
    rig.sync()
    assert "BUSY" in rig.store.load().lamps["hq"][UserId("100")]
    rig.engine.ask(clearing())
    rig.sync()
    assert rig.store.load().lamps == {}


def test_somebody_elses_lamp_is_adopted_after_it_was_quiet(rig: Rig) -> None:
    """A lamp that the dialplan lights becomes the manual state, stored, with all its lamps."""
    rig.asterisk.set_lamp("Custom:presence-100", "BUSY")
    rig.sync()
    assert rig.manual() is None
    rig.advance(0.25)
    assert (rig.manual(), rig.stored()) == ("dnd", "dnd")
    assert rig.lamp("Custom:dnd-100") == "INUSE"


def test_echo_of_our_own_write_is_not_adopted(rig: Rig) -> None:
    """What we wrote comes back as an event, and means nothing."""
    rig.engine.ask(setting("lunch"))
    rig.advance(1)
    assert rig.manual() == "lunch"
    rig.engine.post(DeviceSeen(rig.clock.wall, "hq", "Custom:presence-100", DeviceState.ONHOLD))
    rig.advance(1)
    assert rig.manual() == "lunch"


def test_start_of_asterisk_is_stored_and_noticed(rig: Rig) -> None:
    """A restart is told by the start time that Asterisk gives, and only a new one is stored."""
    assert rig.store.load().servers == {"hq": "s1"}
    rig.disconnect()
    rig.saves.clear()
    with capture_logs() as logs:
        rig.connect()
        rig.disconnect()
        rig.connect(startup="s2")
    assert [log["restarted"] for log in logs if log["event"] == "connected"] == [False, True]
    assert [change for change, _ in rig.saves if isinstance(change, ServerSeen)] == [ServerSeen("hq", "s2")]


def test_same_reason_is_logged_once(rig: Rig) -> None:
    """A server that stays away is one line, another reason is another."""
    with capture_logs() as logs:
        for reason in ("refused", "refused", "refused", "booting", "booting"):
            rig.engine.post(LinkDown(rig.clock.wall, "hq", reason))
        rig.sync()
    assert [log["reason"] for log in logs] == ["refused", "booting"]


def test_since_is_when_it_went_not_the_last_attempt(rig: Rig) -> None:
    """An operator wants to know for how long a server has been away."""
    rig.disconnect()
    gone = rig.clock.wall
    rig.clock.advance(100)
    rig.engine.post(LinkDown(rig.clock.wall, "hq", "refused"))
    rig.sync()
    assert rig.engine.call(lambda engine: engine.servers["hq"].since) == gone


def test_fatal_end_is_handed_on(rig: Rig) -> None:
    """The daemon decides what a fatal error means."""
    error = AriAuthError("401")
    rig.engine.post(LinkDown(rig.clock.wall, "hq", "401", error))
    rig.sync()
    assert rig.fatal == [error]


def test_requests_of_an_ended_link_change_nothing_in_the_next(rig: Rig) -> None:
    """Whether Asterisk carried out what was under way or not, everything is compared anew."""
    for executed in (True, False):
        rig.link.held = True
        rig.engine.post(ChangeAsked(rig.clock.wall, 900, "100", Action.SET, "cli", "meeting" if executed else "brb"))
        rig.sync()
        rig.disconnect(executed=executed)
        rig.link.held = False
        rig.connect()
        rig.advance(1)
        assert rig.manual() == ("meeting" if executed else "brb")
        assert rig.lamp(f"Custom:{rig.manual()}-100") == "INUSE"


# --- time -------------------------------------------------------------------------------------------------------


def test_state_ends_when_its_time_is_over(rig: Rig) -> None:
    """The engine itself sends the timer event, and the lamp goes off."""
    rig.engine.ask(setting("lunch", until=START + 600))
    rig.advance(599)
    assert rig.manual() == "lunch"
    rig.advance(2)
    assert (rig.manual(), rig.stored()) == (None, None)
    assert rig.lamp("Custom:lunch-100") == "NOT_INUSE"


def test_wall_clock_that_jumps_ahead_ends_what_is_over(rig: Rig) -> None:
    """Ends are wall-clock times: a clock that was wrong and is set right counts at once."""
    rig.engine.ask(setting("lunch", until=START + 600))
    rig.clock.wall += 3600
    rig.sync()
    assert rig.manual() is None


def test_wall_clock_that_jumps_back_ends_nothing_early(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """A state lasts until the clock shows its end; time limits for answers do not follow the wall clock."""
    rig.engine.ask(setting("lunch", until=START + 600))
    rig.clock.wall -= 3600
    rig.advance(700)
    assert rig.manual() == "lunch"
    rig.link.held = True
    asked = pool.submit(rig.engine.ask, setting("dnd"))
    wait_for_ticket(rig)
    rig.advance(CONFIRM_S + 0.1)
    assert not asked.result(5).confirmed
    rig.link.held = False
    rig.link.release()


def test_engine_looks_at_the_clock_often_enough() -> None:
    """However far away the next end is, a clock that was set is noticed within half a minute."""
    rig = Rig()
    rig.engine.model.ends.add(START + 1_000_000, UserId("100"))
    assert rig.engine._on_time() == LONGEST_WAIT_S
    rig.engine.model.ends.add(START + 5, UserId("100"))
    assert rig.engine._on_time() == 5
    rig.clock.advance(4)
    assert rig.engine._on_time() == 1


def test_engine_sleeps_while_asterisk_is_silent(rig: Rig) -> None:
    """A lamp that changed while a write is unanswered does not keep the engine spinning."""
    rig.link.held = True
    rig.engine.post(ChangeAsked(rig.clock.wall, 900, "100", Action.SET, "cli", "away"))
    rig.sync()
    rig.engine.post(DeviceSeen(rig.clock.wall, "hq", "Custom:dnd-100", DeviceState.BUSY))
    rig.advance(0.5)
    assert rig.engine.call(lambda engine: engine._on_time()) > 0
    rig.link.held = False
    rig.link.release()


# --- who is a user ----------------------------------------------------------------------------------------------


def test_new_endpoint_is_a_new_user_with_what_was_stored() -> None:
    """A stored state waits for its user, who appears with the listing."""
    rig = Rig()
    entry = Entry(StateId("away"), "cli", START - 50)
    rig.start(Started(START, {UserId("101"): entry}))
    rig.connect()
    assert rig.manual("101") == "away"
    assert rig.lamp("Custom:presence-101") == "ONHOLD"
    rig.stop()


def test_user_whose_endpoint_is_gone_is_kept_for_a_minute(rig: Rig) -> None:
    """One listing without an endpoint is no reason to put out a lamp."""
    rig.engine.ask(setting("away", user="101"))
    rig.asterisk.endpoints = ["PJSIP/100"]
    rig.engine.post(EndpointsSeen(rig.clock.wall, "hq", ("PJSIP/100",)))
    rig.advance(30)
    assert rig.lamp("Custom:presence-101") == "ONHOLD"
    rig.advance(40)
    assert rig.lamp("Custom:presence-101") == "INVALID"
    assert "101" not in rig.engine.call(lambda engine: set(engine.model.users))


def test_reload_without_another_layout_reads_no_lamp_again(rig: Rig) -> None:
    """A new name or right costs Asterisk nothing."""
    rig.asterisk.calls.clear()
    rig.engine.call(
        lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, replace(rig.settings, exclude=None)))
    )
    rig.sync()
    assert not rig.asterisk.seen("GET", "deviceStates/.*")


def test_reload_with_another_layout_puts_out_what_is_gone(rig: Rig) -> None:
    """Lamps of a kind that is no longer configured go off; the others are right under the new layout."""
    rig.engine.ask(setting("dnd"))
    states = StateTable()
    settings = replace(rig.settings, states=states, layout=LampLayout(states, whole=False))
    assert rig.lamp("Stasis:presence-100") == "BUSY"
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, settings)))
    rig.sync()
    assert rig.lamp("Stasis:presence-100") == "NOT_INUSE"
    assert (rig.manual(), rig.lamp("Custom:presence-100")) == ("dnd", "BUSY")
    rig.engine.ask(clearing())
    assert rig.lamp("Custom:presence-100") == "INVALID"


# --- the feed, calls, bugs, the end -----------------------------------------------------------------------------


def test_changes_reach_the_feed(rig: Rig) -> None:
    """Who watches gets each changed user as JSON, with rising ids."""
    watch = rig.engine.feed.watch(None)
    rig.engine.ask(setting("away", message="back soon"))
    rig.engine.ask(clearing())
    items = [watch.get(5), watch.get(5)]
    assert [(item[1]["user"], item[1]["state"], item[1]["message"]) for item in items if item] == [
        ("100", "away", "back soon"),
        ("100", "available", None),
    ]
    assert items[0] and items[1] and items[0][0] < items[1][0]
    watch.close()


def test_ids_of_the_feed_grow_over_a_restart(rig: Rig) -> None:
    """A client that resumes with an id of the daemon's last life misses nothing of this one."""
    rig.engine.ask(setting("away"))
    watch = rig.engine.feed.watch(int((START - 3600) * 1000) + 500)
    item = watch.get(0)
    assert item is not None
    assert item[1]["user"] in {"100", "101"}
    watch.close()


def test_call_gives_the_result_and_raises_what_was_raised(rig: Rig) -> None:
    """The function runs in the engine's thread; its result and its exception come here."""
    assert rig.engine.call(lambda _engine: threading.current_thread()) is rig._thread
    with pytest.raises(ZeroDivisionError):
        rig.engine.call(lambda _engine: 1 // 0)
    assert rig.engine.call(lambda _engine: "still there") == "still there"


def test_call_to_an_engine_that_does_not_run_ends_in_time() -> None:
    """Nobody waits for ever for an engine that has stopped."""
    rig = Rig()
    with pytest.raises(TimeoutError):
        rig.engine.call(lambda _engine: None, timeout_s=0.05)


def test_bug_in_one_event_does_not_stop_the_loop(rig: Rig) -> None:
    """What cannot be carried out is logged with its kind, and the next event is taken."""
    with capture_logs() as logs:
        rig.engine.post("no event at all")
        rig.engine.post(DeviceSeen(rig.clock.wall, "nowhere", "Custom:a", DeviceState.BUSY))
        rig.sync()
    assert [(log["kind"], log["log_level"]) for log in logs] == [("str", "error"), ("DeviceSeen", "error")]
    assert rig.engine.ask(setting("away")) == Outcome(True)


def heard(number: int, user: str = "100") -> Event:
    """Make an event of a call of somebody."""
    return ChannelSeen(START, "hq", ChannelInfo(str(number), f"PJSIP/{user}-{number:08x}", "Up", ("", ""), ("", "")))


def shown(engine: Engine, user: str = "100") -> str:
    """Give the state of somebody."""
    return engine.model.users[UserId(user)].effective(StateTable())[1].state


def test_what_is_heard_of_calls_in_one_turn_is_applied_together(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers and lamps do not part it, but whoever asks next sees it all."""
    sizes: list[int] = []

    def spy(model: Model, *events: Event) -> object:
        sizes.append(len(events))
        return reduce(model, *events)

    def hold(engine: Engine) -> None:
        engine.post(heard(1))
        engine.post(DeviceSeen(rig.clock.wall, "hq", "Custom:nobody", DeviceState.BUSY))
        engine.post(heard(2))
        engine.post(lambda: seen.append(shown(engine)))
        engine.post(heard(3))

    seen: list[str] = []
    monkeypatch.setattr("ari_presence.engine.reduce", spy)
    rig.engine.call(hold)
    rig.sync()
    assert sizes == [2, 1]
    assert seen == ["on-call"]


def test_claimed_code_is_served_behind_what_was_heard_before_it(rig: Rig) -> None:
    """Whose call has ended is told to be free, though the answer to the claim lies between."""
    rig.engine.call(lambda engine: engine.post(heard(5, "101")))
    rig.link.held = True
    rig.asterisk.enter("c1", "state", "9101", endpoint="PJSIP/100")
    rig.engine.post(CodeDialled(START, "hq", "c1", "PJSIP/100-000000aa", ("state", "9101"), ClaimState.UNSURE))
    rig.sync()
    asked = len(rig.link.urgent)

    def hold(engine: Engine) -> None:
        assert shown(engine, "101") == "on-call"
        engine.post(ChannelGone(START, "hq", "5"))
        rig.link.held = False
        rig.link.release()

    rig.engine.call(hold)
    rig.sync()
    played = [str(request.query) for group in rig.link.urgent[asked:] for request in group if "/play" in request.path]
    assert len(played) == 1
    assert "digits/0" in played[0]


def test_bug_in_one_event_of_a_call_loses_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are applied one after another, before whatever comes next."""

    def fail(model: Model, *events: Event) -> object:
        if heard(2) in events:
            raise ZeroDivisionError
        return reduce(model, *events)

    def hold(engine: Engine) -> None:
        for event in (heard(1), heard(2), heard(3), lambda: None, ChannelGone(START, "hq", "1")):
            engine.post(event)

    monkeypatch.setattr("ari_presence.engine.reduce", fail)
    with capture_logs() as logs:
        rig.engine.call(hold)
        rig.sync()
    assert len([line for line in logs if line["event"].startswith("bug:")]) == 2
    assert rig.engine.call(lambda engine: set(engine.model.calls["hq"].channels)) == {"3"}


def test_bug_in_one_users_call_leaves_the_others_right(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What their lines do is looked up all the same."""

    def fail(model: Model, view: CallView) -> Entry:
        if view.line == "PJSIP/101":
            raise ZeroDivisionError
        return entry(model, view)

    def hold(engine: Engine) -> None:
        engine.post(heard(2, "101"))
        engine.post(heard(1, "100"))

    entry = callstate._entry
    monkeypatch.setattr(callstate, "_entry", fail)
    with capture_logs() as logs:
        rig.engine.call(hold)
        rig.sync()
    assert any(line["event"].startswith("bug:") for line in logs)
    assert rig.engine.call(shown) == "on-call"


def test_bug_in_what_is_due_does_not_stop_lamps(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others changed is still put right, though a timer fails each time."""

    def fail(model: Model, event: Event) -> object:
        if isinstance(event, TimerDue):
            raise ZeroDivisionError
        return reduce(model, event)

    rig.engine.ask(setting("away", until=rig.clock.wall + 5))
    monkeypatch.setattr("ari_presence.engine.reduce", fail)
    with capture_logs() as logs:
        rig.advance(6)
        rig.engine.call(lambda engine: engine.adopt(UserId("100"), Wish({StateId("dnd"): True}, None, "pbx:hq")))
        rig.sync()
    assert any(line["event"].startswith("bug:") for line in logs)
    assert rig.lamp("Custom:presence-100") == "BUSY"


def test_stop_ends_after_what_is_queued() -> None:
    """What was posted before the end is still done, and watchers are told."""
    rig = Rig()
    rig.start()
    rig.connect()
    watch = rig.engine.feed.watch(None)
    rig.engine.post(ChangeAsked(rig.clock.wall, 900, "100", Action.SET, "cli", "away"))
    rig.stop()
    assert rig.stored() == "away"
    with pytest.raises(EOFError):
        watch.get(1)


def test_engine_needs_no_server() -> None:
    """A change without any server is stored and done."""
    settings = make_settings(())
    saved: list[Change] = []

    def save(change: Change, request: int | None) -> None:
        saved.append(change)
        engine.stored([request] if request is not None else [], None)

    engine = Engine(settings, save, print)
    thread = threading.Thread(target=engine.run)
    thread.start()
    engine.post(Started(time.time(), {}))
    assert engine.ask(setting("away")) == Outcome(True)
    assert [type(change) for change in saved] == [ManualChanged]
    engine.stop()
    thread.join(5)


# --- whose turn it is -------------------------------------------------------------------------------------------


def test_fresh_code_is_carried_out_by_the_thread_that_read_it(rig: Rig) -> None:
    """Nothing else is going on: the lamps are written when the block ends."""
    rig.sync()
    code = CodeDialled(rig.clock.wall, "hq", "7.1", "PJSIP/100-00000009", ("dnd", "on"), ClaimState.FRESH)
    assert rig.engine.call(lambda _engine: None) is None
    deadline = time.monotonic() + 5
    while not rig.engine._turns.idle and time.monotonic() < deadline:  # `call` is answered before the turn is over
        pass
    with rig.engine.gathered():
        rig.engine.post(code)
    assert ("POST", "asterisk/variable") in [(call.method, call.path) for call in rig.asterisk.calls]
    rig.sync()
    assert rig.manual() == "dnd"


def test_fresh_code_waits_its_turn_behind_what_came_before(rig: Rig) -> None:
    """While the engine is busy a code is queued, in order, and carried out once."""
    held, go = threading.Event(), threading.Event()

    def hold(_engine: Engine) -> None:
        held.set()
        go.wait(5)

    waiting = threading.Thread(target=rig.engine.call, args=(hold,))
    waiting.start()
    held.wait(5)
    code = CodeDialled(rig.clock.wall, "hq", "7.2", "PJSIP/100-0000000a", ("dnd", "toggle"), ClaimState.FRESH)
    with rig.engine.gathered():
        rig.engine.post(code)
    assert not [call for call in rig.asterisk.calls if call.path == "asterisk/variable" and "BUSY" in str(call)]
    go.set()
    waiting.join(5)
    rig.sync()
    assert rig.manual() == "dnd"


# --- what the dialplan keeps ------------------------------------------------------------------------------------


def kept(rig: Rig, name: str) -> list[str]:
    """Give what was written under a name that the dialplan keeps, decoded, in order."""
    function = f"PRESENCE_STATE(CustomPresence:_ap-{name})"
    queries = [dict(request.query) for group in rig.link.groups + rig.link.urgent for request in group]
    found = [query["value"] for query in queries if query.get("variable") == function]
    return [b64decode(value.split(",")[2]).decode() for value in found]


def test_every_connect_tells_the_dialplan_who_gets_through() -> None:
    """Whatever Asterisk has lost since, it knows again."""
    rules = Rules(vip=("0170*",), emergency=("112",), override_code="*86", repeat_within_s=180)
    with running(settings=make_settings(rules=rules)) as rig:
        rig.disconnect()
        rig.connect()
        for name, text in (("through-1", "0170.*|112"), ("through-2", ""), ("site", "180^*86")):
            assert kept(rig, name) == [text, text]


def test_reload_tells_the_dialplan_who_gets_through(rig: Rig) -> None:
    """A caller who is VIP no more does not get through."""
    for vip in (("0170*",), ()):
        settings = replace(rig.settings, rules=Rules(vip=vip))
        rig.engine.call(lambda engine, new=settings: engine.reconfigure(ConfigChanged(START, new)))
    assert kept(rig, "through-1") == ["", "0170.*", ""]


def test_treatment_is_kept_before_anybody_is_told(rig: Rig) -> None:
    """Who hears "activated" is not rung any more."""
    assert rig.engine.ask(setting("lunch")) == Outcome(True)
    assert kept(rig, "user-100") == ["", "voicemail^0^^digits/3"]


# --- the log ----------------------------------------------------------------------------------------------------


def test_changes_are_logged_once_in_order_when_nothing_waits(rig: Rig) -> None:
    """However many wait behind them, and none is lost at the end."""
    states = ["away", "dnd", "lunch"]
    with capture_logs() as logs:

        def hold(engine: Engine) -> list[dict[str, object]]:
            for state in states:
                engine.begin(setting(state))
            return list(logs)

        assert rig.engine.call(hold) == []
        rig.sync()
        rig.stop()
    assert [line["state"] for line in logs if line["event"] == "state"] == states


def test_lines_that_are_still_to_come_have_a_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is never idle logs what it does all the same."""
    monkeypatch.setattr("ari_presence.engine.LOGGED_LATE", 2)
    monkeypatch.setattr("ari_presence.turns.AT_ONCE", 4)
    with capture_logs() as logs:

        def hold(engine: Engine) -> None:
            for state in ("away", "dnd", "lunch"):
                engine.begin(setting(state))
            for _ in range(8):
                engine.post(lambda: seen.append(len(logs)))

        seen: list[int] = []
        rig.engine.call(hold)
        rig.sync()
    assert 1 in seen
