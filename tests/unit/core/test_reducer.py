"""What each event changes, and what is to be done about it."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.commands import Claim, Command, Leave, Note, Play, Refuse, Save, Track
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout, Wish
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.people import MASS_LOSS_FACTOR
from ari_presence.core.reducer import reduce
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.userstate import BUILTIN, Entry, Layer, StateTable

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 7, 1, 12, 0, tzinfo=BERLIN).timestamp()
TABLE = StateTable()
ALICE, BOSS, CARL = UserId("100"), UserId("102"), UserId("103")
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {
        ALICE: UserSettings("Alice", zone=BERLIN),
        BOSS: UserSettings("Boss", rights=frozenset({"set_others"}), zone=BERLIN),
        CARL: UserSettings("Carl", zone=BERLIN),
    },
    {"PJSIP/100": ALICE, "PJSIP/100-mobile": ALICE, "PJSIP/102": BOSS, "PJSIP/103": CARL},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    re.compile("PJSIP/99"),
    pbxs=("hq",),
)

C = TypeVar("C", bound=Command)


@pytest.fixture
def model() -> Model:
    """Give a model with three listed users."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {}))
    return model


def manual(model: Model, user: UserId = ALICE) -> Entry | None:
    """Give a user's manual entry."""
    return model.users[user].manual


def state(model: Model, user: UserId = ALICE) -> str | None:
    """Give a user's manual state."""
    entry = manual(model, user)
    return entry.state if entry else None


def ask(
    model: Model, action: Action, what: str | None = None, user: str = "100", at: float = AT, **more: Any
) -> Outcome:
    """Ask for a change as the API does."""
    return reduce(model, ev.ChangeAsked(at, 7, user, action, "api:test", what, **more))


def dial(model: Model, args: str, name: str = "PJSIP/100-0000001f", claim: str = "CLAIMED", at: float = AT) -> Outcome:
    """Dial a code."""
    return reduce(model, ev.CodeDialled(at, "hq", "ch1", name, tuple(args.split(",")), ev.ClaimState[claim]))


def adopt(model: Model, states: dict[str, bool], main: object = None, at: float = AT, user: UserId = ALICE) -> Outcome:
    """Report a foreign change of lamps."""
    wish = Wish({StateId(key): value for key, value in states.items()}, main, "dialplan")  # type: ignore[arg-type]
    return reduce(model, ev.LampsChanged(at, user, wish))


def kinds(out: Outcome) -> list[str]:
    """Name the commands, notes left out."""
    return [type(command).__name__ for command in out.commands if not isinstance(command, Note)]


def first(out: Outcome, kind: type[C]) -> C:
    """Give the first command of a kind."""
    return next(command for command in out.commands if isinstance(command, kind))


# -- changes over HTTP, CLI, AGI


def test_set_state_is_saved_recorded_and_tracked(model: Model) -> None:
    """The store and the requester are told, and the lamps are compared."""
    out = ask(model, Action.SET, "lunch", message="Pizza", until=AT + 60)
    save = first(out, Save)
    assert isinstance(save, Save)
    assert save.entry == Entry(StateId("lunch"), "api:test", AT, AT + 60, "Pizza") == manual(model)
    assert (save.record.state, save.record.layer, save.record.source) == ("lunch", Layer.MANUAL, "api:test")
    assert (save.request, first(out, Track)) == (7, Track(7, ALICE, None))
    assert out.touched == {ALICE}


def test_new_state_replaces_message_and_end(model: Model) -> None:
    """One manual state: setting one replaces the other with all that belonged to it."""
    ask(model, Action.SET, "lunch", message="Pizza", until=AT + 60)
    ask(model, Action.SET, "away", at=AT + 1)
    assert manual(model) == Entry(StateId("away"), "api:test", AT + 1)


@pytest.mark.parametrize(
    ("before", "action", "what", "after"),
    [
        (None, Action.SET, "dnd", "dnd"),
        ("dnd", Action.SET, "dnd", "dnd"),
        ("away", Action.SET, "dnd", "dnd"),
        (None, Action.SET, "available", "available"),
        (None, Action.CLEAR, None, None),
        ("dnd", Action.CLEAR, None, None),
        ("available", Action.CLEAR, None, None),
        (None, Action.CLEAR_IF, "dnd", None),
        ("dnd", Action.CLEAR_IF, "dnd", None),
        ("away", Action.CLEAR_IF, "dnd", "away"),
        (None, Action.TOGGLE, "dnd", "dnd"),
        ("dnd", Action.TOGGLE, "dnd", None),
        ("away", Action.TOGGLE, "dnd", "dnd"),
    ],
    ids=lambda value: str(value),
)
def test_action_leads_from_one_manual_state_to_the_next(
    model: Model, before: str | None, action: Action, what: str | None, after: str | None
) -> None:
    """Every action on every kind of state."""
    if before:
        ask(model, Action.SET, before)
    ask(model, action, what)
    assert state(model) == after


def test_toggle_looks_at_the_manual_state_and_never_at_the_effective_one(model: Model) -> None:
    """On the phone, away is hidden but set: the toggle ends it."""
    ask(model, Action.SET, "away")
    model.users[ALICE].put(Layer.CALLS, Entry(StateId("on-call"), "calls", AT), AT)
    ask(model, Action.TOGGLE, "away")
    assert state(model) is None


def test_toggle_while_the_schedule_shows_the_same_sets_it(model: Model) -> None:
    """The schedule's "out" is not the person's."""
    model.users[ALICE].put(Layer.SCHEDULE, Entry(StateId("out"), "schedule:office", AT), AT)
    ask(model, Action.TOGGLE, "out")
    assert state(model) == "out"


def test_change_of_nothing_saves_nothing_but_is_confirmed(model: Model) -> None:
    """`clear` of somebody who has nothing set is done at once."""
    assert kinds(ask(model, Action.CLEAR)) == ["Track"]


@pytest.mark.parametrize(
    ("user", "what", "more", "code"),
    [
        pytest.param("999", "dnd", {}, "unknown-user", id="user"),
        pytest.param("", "dnd", {}, "unknown-user", id="empty-user"),
        pytest.param("100", "gym", {}, "bad-state", id="state"),
        pytest.param("100", "on-call", {}, "bad-state", id="call-state"),
        pytest.param("100", "offline", {}, "bad-state", id="offline"),
        pytest.param("100", "dnd", {"message": "x" * 121}, "bad-message", id="long-message"),
        pytest.param("100", "dnd", {"message": "a\nb"}, "bad-message", id="control-character"),
        pytest.param("100", "dnd", {"until": AT}, "bad-time", id="ends-now"),
        pytest.param("100", "dnd", {"until": AT - 1}, "bad-time", id="past"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(
    model: Model, user: str, what: str, more: dict[str, Any], code: str
) -> None:
    """One answer, with a word for programs, and a line in the log."""
    out = ask(model, Action.SET, what, user, **more)
    refuse = first(out, Refuse)
    assert isinstance(refuse, Refuse)
    assert (refuse.request, refuse.code) == (7, code)
    assert kinds(out) == ["Refuse"]
    assert out.touched == set()
    assert state(model) is None
    assert any(isinstance(command, Note) for command in out.commands)


def test_configured_end_applies_where_none_is_given(model: Model) -> None:
    """`expires` of a state; an end that is asked for beats it."""
    states = StateTable([replace(s, expires_s=3600) if s.id == "lunch" else s for s in BUILTIN])
    model.settings = replace(SETTINGS, states=states, layout=LampLayout(states))
    ask(model, Action.SET, "lunch")
    assert manual(model) == Entry(StateId("lunch"), "api:test", AT, AT + 3600)
    ask(model, Action.SET, "lunch", until=AT + 5)
    assert manual(model) == Entry(StateId("lunch"), "api:test", AT, AT + 5)
    dial(model, "state,3")
    dial(model, "state,3", at=AT + 1)
    assert manual(model) == Entry(StateId("lunch"), "phone:PJSIP/100", AT + 1, AT + 3601)


# -- feature codes


def test_fresh_caller_is_claimed_and_served_at_once(model: Model) -> None:
    """The lamp write need not wait for the answer to the claim."""
    out = dial(model, "dnd,on", claim="FRESH")
    assert kinds(out) == ["Claim", "Save", "Track"]
    assert first(out, Claim) == Claim("hq", "ch1", None)
    assert state(model) == "dnd"


def test_unsure_caller_is_claimed_before_anything_changes(model: Model) -> None:
    """A frozen daemon finds old callers in its socket, of whom the dialplan has disposed."""
    out = dial(model, "dnd,on", claim="UNSURE")
    claim = first(out, Claim)
    assert isinstance(claim, Claim)
    assert (kinds(out), state(model)) == (["Claim"], None)
    reduce(model, claim.then)  # type: ignore[arg-type]
    assert state(model) == "dnd"


@pytest.mark.parametrize(
    ("before", "args", "after", "media"),
    [
        (None, "dnd,on", "dnd", "do-not-disturb activated"),
        ("dnd", "dnd,on", "dnd", "do-not-disturb activated"),
        ("dnd", "dnd,off", None, "do-not-disturb de-activated"),
        (None, "dnd,off", None, "do-not-disturb de-activated"),
        ("away", "dnd,off", "away", "do-not-disturb de-activated"),
        (None, "dnd,toggle", "dnd", "do-not-disturb activated"),
        ("dnd", "dnd,toggle", None, "do-not-disturb de-activated"),
        ("away", "dnd,toggle", "dnd", "do-not-disturb activated"),
        (None, "dnd-key,100", "dnd", "do-not-disturb activated"),
        ("dnd", "dnd-key,100", None, "do-not-disturb de-activated"),
        (None, "state,3", "lunch", "digits/3 activated"),
        ("lunch", "state,3", None, "digits/3 de-activated"),
        ("dnd", "state,3", "lunch", "digits/3 activated"),
        ("lunch", "state,3100", None, "digits/3 de-activated"),
        ("lunch", "state,0", None, "digits/3 de-activated"),
        ("dnd", "state,0", None, "do-not-disturb de-activated"),
        (None, "state,0", None, "de-activated"),
    ],
    ids=lambda value: str(value),
)
def test_code_changes_the_state_and_says_so(
    model: Model, before: str | None, args: str, after: str | None, media: str
) -> None:
    """Prompt of the state, then on or off; only once it is stored and confirmed."""
    if before:
        ask(model, Action.SET, before)
    out = dial(model, args)
    track = first(out, Track)
    assert isinstance(track, Track)
    assert (state(model), track.user, track.pbx) == (after, ALICE, "hq")
    assert "Play" not in kinds(out)
    play = first(reduce(model, ev.Settled(AT, track.request, True)), Play)
    assert isinstance(play, Play)
    assert play.media == tuple(f"sound:{name}" for name in media.split())


@pytest.mark.parametrize(
    ("args", "until", "said"),
    [
        ("state,3*45", "12:45", ("number:12", "number:45")),
        ("state,3*1440", "12:00", ("number:12", "digits:00")),
        ("state,3**1330", "13:30", ("number:13", "number:30")),
        ("state,3**1205", "12:05", ("number:12", "digits:05")),
        ("state,3**1200", "12:00", ("number:12", "digits:00")),
    ],
    ids=str,
)
def test_end_is_set_in_the_users_zone_and_said(model: Model, args: str, until: str, said: tuple[str, ...]) -> None:
    """Minutes from now or a time of day; now means tomorrow."""
    track = first(dial(model, args), Track)
    entry = manual(model)
    assert entry is not None
    assert entry.until is not None
    assert AT < entry.until <= AT + 86400
    assert datetime.fromtimestamp(entry.until, BERLIN).strftime("%H:%M") == until
    play = first(reduce(model, ev.Settled(AT, track.request, True)), Play)
    assert isinstance(play, Play)
    assert play.media[-2:] == said


def test_timed_code_never_toggles_but_sets_the_end_anew(model: Model) -> None:
    """Dialled again it begins again."""
    dial(model, "state,3*45")
    dial(model, "state,3*45", at=AT + 600)
    entry = manual(model)
    assert entry is not None
    assert entry.until == AT + 600 + 2700


def test_source_is_the_endpoint_that_dialled(model: Model) -> None:
    """`phone:` and the endpoint, each of a user's own."""
    dial(model, "dnd,on", name="PJSIP/100-mobile-0000001f")
    entry = manual(model)
    assert entry is not None
    assert entry.source == "phone:PJSIP/100-mobile"


@pytest.mark.parametrize(
    ("args", "name"),
    [
        pytest.param("state,7", "PJSIP/100-00000001", id="digit"),
        pytest.param("state,3*99999", "PJSIP/100-00000001", id="minutes"),
        pytest.param("state,3**2460", "PJSIP/100-00000001", id="time"),
        pytest.param("nonsense", "PJSIP/100-00000001", id="nonsense"),
        pytest.param("dnd,on", "PJSIP/trunk-00000001", id="trunk"),
        pytest.param("dnd,on", "PJSIP/anonymous-00000001", id="anonymous"),
        pytest.param("dnd,on", "PJSIP/991-00000001", id="excluded"),
        pytest.param("dnd,on", "Local/100@internal-00000001;1", id="local"),
        pytest.param("dnd,on", "", id="no-name"),
        pytest.param("dnd-key,102", "PJSIP/100-00000001", id="other-without-right"),
        pytest.param("state,3102", "PJSIP/100-00000001", id="other-state-without-right"),
        pytest.param("dnd-key,999", "PJSIP/102-00000001", id="other-who-is-nobody"),
        pytest.param("state,9999", "PJSIP/100-00000001", id="say-nobody"),
    ],
)
def test_refused_code_changes_nothing_and_plays_the_error(model: Model, args: str, name: str) -> None:
    """A caller who may not, or dials nonsense, hears the error prompt; a line of the log says why."""
    before = {user: person.entries for user, person in model.users.items()}
    out = dial(model, args, name=name)
    play = first(out, Play)
    assert isinstance(play, Play)
    assert (kinds(out), play.media) == (["Play"], ("sound:beeperr",))
    assert {user: person.entries for user, person in model.users.items()} == before
    assert any(isinstance(command, Note) and command.event == "code refused" for command in out.commands)


def test_other_is_set_with_the_right_and_marked_with_who_did_it(model: Model) -> None:
    """`set_others` lets one key set another's state."""
    out = dial(model, "state,3100", name="PJSIP/102-00000001")
    entry = manual(model)
    assert entry is not None
    assert (entry.state, entry.source, out.touched) == ("lunch", "phone:PJSIP/102", {ALICE})
    assert state(model, BOSS) is None


def test_own_state_is_said(model: Model) -> None:
    """`*849`: the effective state, with its end."""
    ask(model, Action.SET, "lunch", until=AT + 1800)
    out = dial(model, "state,9")
    play = first(out, Play)
    assert isinstance(play, Play)
    assert play.media == ("sound:digits/3", "number:12", "number:30")
    assert (kinds(out), out.touched) == (["Play"], set())


def test_others_state_is_said_without_a_right(model: Model) -> None:
    """`*849<user>` only looks."""
    ask(model, Action.SET, "dnd", "102")
    play = first(dial(model, "state,9102"), Play)
    assert isinstance(play, Play)
    assert play.media == ("sound:do-not-disturb",)


def test_unconfirmed_change_plays_the_error(model: Model) -> None:
    """Stored but not confirmed in time, or not stored: no confirmation is heard."""
    track = first(dial(model, "dnd,on"), Track)
    play = first(reduce(model, ev.Settled(AT, track.request, False)), Play)
    assert isinstance(play, Play)
    assert play.media == ("sound:beeperr",)
    assert state(model) == "dnd"


def test_caller_is_let_go_when_the_prompt_is_over(model: Model) -> None:
    """The channel goes back to the dialplan, once."""
    play = first(dial(model, "state,9"), Play)
    assert isinstance(play, Play)
    assert first(reduce(model, ev.PlaybackEnded(AT, "hq", play.playback)), Leave) == Leave("hq", "ch1")
    assert kinds(reduce(model, ev.PlaybackEnded(AT, "hq", play.playback))) == []


@pytest.mark.parametrize("event", [ev.CallerLeft(AT, "hq", "ch1"), ev.LinkLost(AT, "hq")], ids=["hangup", "link-lost"])
@pytest.mark.parametrize("when", ["waiting", "playing"])
def test_caller_who_is_gone_hears_nothing_and_loses_nothing(model: Model, event: ev.Event, when: str) -> None:
    """The change is made before the prompt, so that a hang-up cannot lose it."""
    track = first(dial(model, "dnd,on"), Track)
    request = track.request
    if when == "playing":
        reduce(model, ev.Settled(AT, request, True))
    reduce(model, event)
    assert kinds(reduce(model, ev.Settled(AT, request, True))) == []
    assert kinds(reduce(model, ev.PlaybackEnded(AT, "hq", "ch1-presence"))) == []
    assert (state(model), model.callers, model.playing) == ("dnd", {}, {})


def test_caller_on_another_server_stays(model: Model) -> None:
    """Channel ids are unique on one server only."""
    dial(model, "dnd,on")
    reduce(model, ev.CallerLeft(AT, "branch", "ch1"))
    reduce(model, ev.LinkLost(AT, "branch"))
    assert len(model.callers) == 1


def test_first_sign_of_a_user_may_be_a_code(model: Model) -> None:
    """An endpoint that no listing had yet is discovered by its call, and its lamps are compared."""
    out = dial(model, "state,9", name="PJSIP/555-00000001")
    assert out.touched == {"555"}
    assert state(model, UserId("555")) is None


# -- adoption


@pytest.mark.parametrize(
    ("before", "states", "main", "after"),
    [
        pytest.param(None, {"dnd": True}, None, "dnd", id="state-lamp"),
        pytest.param("dnd", {"lunch": True}, None, "lunch", id="other-state-lamp"),
        pytest.param("dnd", {"dnd": False}, None, None, id="dark"),
        pytest.param("dnd", {"lunch": False}, None, "dnd", id="dark-of-another"),
        pytest.param("dnd", {"dnd": False, "lunch": True}, ("away",), "lunch", id="state-beats-main"),
        pytest.param(None, {"lunch": True}, ("dnd",), "lunch", id="state-beats-busy-main"),
        pytest.param(None, {"away": True, "lunch": True}, ("away",), "away", id="main-decides-between-two"),
        pytest.param(None, {"lunch": True, "away": True}, None, "away", id="digit-decides-between-two"),
        pytest.param(None, {}, ("dnd",), "dnd", id="busy"),
        pytest.param(None, {}, ("away",), "away", id="onhold"),
        pytest.param("dnd", {}, ("away",), "away", id="onhold-after-dnd"),
        pytest.param("lunch", {}, ("away",), "lunch", id="looks-alike"),
        pytest.param("meeting", {}, ("dnd",), "meeting", id="looks-alike-busy"),
        pytest.param("lunch", {}, (None,), None, id="main-dark"),
        pytest.param("available", {}, (None,), None, id="main-dark-of-held-available"),
        pytest.param(None, {}, (None,), None, id="nothing-to-clear"),
        pytest.param("dnd", {"dnd": True}, ("dnd",), "dnd", id="already-so"),
    ],
)
def test_foreign_change_becomes_the_manual_state(
    model: Model, before: str | None, states: dict[str, bool], main: tuple[str | None] | None, after: str | None
) -> None:
    """A lamp of ours that something else changes is a person's wish."""
    if before:
        ask(model, Action.SET, before, message="mine", until=AT + 999)
    out = adopt(model, states, main, AT + 1)
    assert (state(model), out.touched) == (after, {ALICE})
    entry = manual(model)
    if after == before:
        assert kinds(out) == []
        assert entry is None or entry.message == "mine"
    else:
        save = first(out, Save)
        assert isinstance(save, Save)
        assert (save.record.source, save.request) == ("dialplan", None)
        assert entry is None or (entry.source, entry.message, entry.until) == ("dialplan", None, None)


def test_foreign_change_of_nobody_only_gets_the_lamps_compared(model: Model) -> None:
    """Whoever is no user has no wishes."""
    out = adopt(model, {"dnd": True}, user=UserId("999"))
    assert (out.commands, out.touched) == ([], {"999"})


def test_busy_without_a_dnd_lamp_vote_that_no_state_has_is_corrected(model: Model) -> None:
    """A main vote for a state that this site does not have means nothing."""
    model.settings = replace(SETTINGS, states=StateTable([s for s in BUILTIN if s.id != "away"]))
    adopt(model, {}, ("away",))
    assert state(model) is None


# -- time


def test_state_ends_at_its_time_and_once(model: Model) -> None:
    """The end is saved, recorded and shown; a second look finds nothing."""
    ask(model, Action.SET, "lunch", until=AT + 60)
    assert model.next_deadline() == AT + 60
    assert kinds(reduce(model, ev.TimerDue(AT + 59.9))) == []
    out = reduce(model, ev.TimerDue(AT + 60))
    save = first(out, Save)
    assert isinstance(save, Save)
    assert (save.entry, save.record.source, out.touched) == (None, "expiry", {ALICE})
    assert kinds(reduce(model, ev.TimerDue(AT + 60))) == []
    assert (state(model), model.next_deadline()) == (None, None)


def test_many_states_that_end_at_once_do_so_in_slices() -> None:
    """Each once, none left over; a code that is dialled meanwhile waits for one slice."""
    users = [UserId(str(number)) for number in range(200, 300)]
    model = Model(Settings(TABLE, LampLayout(TABLE), {user: UserSettings() for user in users}))
    lunch = {user: Entry(StateId("lunch"), "cli", AT, AT + 60) for user in users}
    reduce(model, ev.Started(AT, lunch))
    ended: list[UserId] = []
    while (due := model.next_deadline()) is not None and due <= AT + 60 and len(ended) < 1000:
        slice_ = [each.user for each in reduce(model, ev.TimerDue(AT + 60)).commands if isinstance(each, Save)]
        assert 0 < len(slice_) <= USERS_PER_SLICE
        ended += slice_
    assert ended == users
    assert not any(manual(model, user) for user in users)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda m: ask(m, Action.SET, "lunch", until=AT + 500), id="prolonged"),
        pytest.param(lambda m: ask(m, Action.SET, "lunch"), id="without-end"),
        pytest.param(lambda m: ask(m, Action.SET, "away"), id="other-state"),
    ],
)
def test_end_that_was_replaced_does_not_fire(model: Model, change: Callable[[Model], Outcome]) -> None:
    """Only the present end counts."""
    ask(model, Action.SET, "lunch", until=AT + 60)
    change(model)
    before = manual(model)
    reduce(model, ev.TimerDue(AT + 60))
    assert manual(model) == before


def test_ended_state_uncovers_what_is_below(model: Model) -> None:
    """Nothing has to be restored."""
    model.users[ALICE].put(Layer.SCHEDULE, Entry(StateId("out"), "schedule:office", AT), AT)
    ask(model, Action.SET, "available", until=AT + 60)
    save = first(reduce(model, ev.TimerDue(AT + 60)), Save)
    assert isinstance(save, Save)
    assert (save.record.state, save.record.layer) == ("out", Layer.SCHEDULE)


# -- who is a user


def listing(model: Model, *endpoints: str, at: float = AT, pbx: str = "hq") -> Outcome:
    """List the endpoints of a server."""
    return reduce(model, ev.EndpointsSeen(at, pbx, endpoints))


def test_listed_users_are_there_from_the_start(model: Model) -> None:
    """No endpoint is needed."""
    assert set(model.users) == {ALICE, BOSS, CARL}


def test_discovered_users_appear_with_their_listing(model: Model) -> None:
    """Owners of matching endpoints; trunks and odd names are nobody."""
    out = listing(model, "PJSIP/100", "PJSIP/200", "PJSIP/991", "PJSIP/trunk", "IAX2/300")
    assert set(model.users) == {ALICE, BOSS, CARL, "200"}
    assert out.touched == {"200"}


def test_stored_state_comes_back_with_its_end() -> None:
    """Also for somebody who is discovered later, and an end that passed meanwhile is due at once."""
    model = Model(SETTINGS)
    stored = {
        ALICE: Entry(StateId("dnd"), "cli", AT - 9),
        UserId("200"): Entry(StateId("lunch"), "cli", AT - 99, AT - 1),
    }
    out = reduce(model, ev.Started(AT, stored))
    assert (state(model), out.touched) == ("dnd", {ALICE, BOSS, CARL})
    listing(model, "PJSIP/200")
    assert state(model, UserId("200")) == "lunch"
    assert model.next_deadline() == AT - 1
    reduce(model, ev.TimerDue(AT))
    assert state(model, UserId("200")) is None


def test_stored_state_that_no_longer_exists_is_dropped() -> None:
    """The configuration changed while the daemon was down."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {ALICE: Entry(StateId("gym"), "cli", AT - 9)}))
    assert state(model) is None


def test_missing_endpoint_keeps_its_user_for_a_minute(model: Model) -> None:
    """One listing without it is not the end; its return forgets the matter."""
    listing(model, "PJSIP/200")
    listing(model, at=AT + 1)
    reduce(model, ev.TimerDue(AT + 60))
    assert "200" in model.users
    listing(model, "PJSIP/200", at=AT + 60.5)
    reduce(model, ev.TimerDue(AT + 1000))
    assert "200" in model.users


def test_endpoint_missing_for_a_minute_takes_its_user_along(model: Model) -> None:
    """The lamps go off; the manual state waits in case the person comes back."""
    listing(model, "PJSIP/200")
    ask(model, Action.SET, "dnd", "200")
    listing(model, at=AT + 1)
    assert model.next_deadline() == AT + 61
    out = reduce(model, ev.TimerDue(AT + 61))
    assert out.touched == {"200"}
    assert "200" not in model.users
    listing(model, "PJSIP/200", at=AT + 100)
    assert state(model, UserId("200")) == "dnd"


def test_listed_user_stays_without_any_endpoint(model: Model) -> None:
    """The configuration says that the person exists."""
    listing(model)
    reduce(model, ev.TimerDue(AT + 10_000))
    assert set(model.users) == {ALICE, BOSS, CARL}


def test_loss_of_many_is_believed_late(model: Model) -> None:
    """An empty listing is more often a broken world than an empty house."""
    many = [f"PJSIP/{i}" for i in range(200, 300)]
    listing(model, *many)
    out = listing(model, at=AT + 1)
    assert any(isinstance(c, Note) and c.event == "many endpoints missing" for c in out.commands)
    reduce(model, ev.TimerDue(AT + 62))
    assert len(model.users) == 103
    late = AT + 1 + 60 * MASS_LOSS_FACTOR
    while (due := model.next_deadline()) is not None and due <= late:
        reduce(model, ev.TimerDue(late))
    assert len(model.users) == 3


def test_nobody_is_missing_before_every_server_was_heard() -> None:
    """A server that is down may be the one that has the endpoint."""
    model = Model(replace(SETTINGS, pbxs=("hq", "branch")))
    reduce(model, ev.Started(AT, {}, frozenset({UserId("200")})))
    listing(model)
    assert model.next_deadline() is None
    listing(model, "PJSIP/200", pbx="branch")
    assert "200" in model.users
    assert model.next_deadline() is None


def test_user_on_one_of_two_servers_is_no_loss() -> None:
    """Present on any is present."""
    model = Model(replace(SETTINGS, pbxs=("hq", "branch")))
    reduce(model, ev.Started(AT, {}))
    listing(model, "PJSIP/200")
    listing(model, pbx="branch")
    listing(model, "PJSIP/200")
    assert model.next_deadline() is None


def test_lit_lamps_of_nobody_go_off_in_the_end() -> None:
    """Somebody who left while the daemon was down."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {}, frozenset({UserId("200")})))
    listing(model)
    assert model.next_deadline() == AT + 60
    assert reduce(model, ev.TimerDue(AT + 60)).touched == {"200"}
    listing(model, at=AT + 120)
    assert model.next_deadline() is None


# -- configuration


def changed(model: Model, settings: Settings, at: float = AT) -> Outcome:
    """Put new settings in force."""
    return reduce(model, ev.ConfigChanged(at, settings))


def test_user_who_leaves_the_configuration_is_dropped_at_once(model: Model) -> None:
    """Lamps off; everybody else is compared again."""
    ask(model, Action.SET, "dnd")
    listed = {user: row for user, row in SETTINGS.listed.items() if user != ALICE}
    out = changed(model, replace(SETTINGS, listed=listed, endpoints={"PJSIP/102": BOSS}))
    assert set(model.users) == {BOSS, CARL}
    assert out.touched == {ALICE, BOSS, CARL}
    changed(model, SETTINGS)
    assert state(model) == "dnd"


def test_user_who_is_only_missing_from_a_listing_is_not_dropped_by_a_reload(model: Model) -> None:
    """A reload during a broken listing must not turn anybody off; the grace goes on."""
    listing(model, "PJSIP/200")
    ask(model, Action.SET, "lunch", "200")
    listing(model, at=AT + 1)
    changed(model, replace(SETTINGS, states=StateTable([s for s in BUILTIN if s.id != "lunch"])), AT + 2)
    assert state(model, UserId("200")) is None
    reduce(model, ev.TimerDue(AT + 61))
    assert "200" not in model.users


def test_missing_user_who_becomes_listed_stays(model: Model) -> None:
    """The configuration says that the person exists, whatever the listings say."""
    listing(model, "PJSIP/200")
    listing(model, at=AT + 1)
    changed(model, replace(SETTINGS, listed={**SETTINGS.listed, UserId("200"): UserSettings("Dora")}), AT + 2)
    reduce(model, ev.TimerDue(AT + 1000))
    assert "200" in model.users


def test_newly_excluded_user_is_dropped(model: Model) -> None:
    """The listing is judged by the new patterns."""
    listing(model, "PJSIP/200", "PJSIP/300")
    changed(model, replace(SETTINGS, exclude=re.compile("PJSIP/2")))
    assert set(model.users) == {ALICE, BOSS, CARL, "300"}


def test_removed_state_is_cleared_and_noted(model: Model) -> None:
    """A manual state that no longer exists ends."""
    ask(model, Action.SET, "lunch")
    out = changed(model, replace(SETTINGS, states=StateTable([s for s in BUILTIN if s.id != "lunch"])))
    save = first(out, Save)
    assert isinstance(save, Save)
    assert (state(model), save.user, save.entry) == (None, ALICE, None)


def test_new_name_and_rights_are_in_force_at_once(model: Model) -> None:
    """Users keep their state and get their new settings."""
    ask(model, Action.SET, "dnd")
    listed = {**SETTINGS.listed, ALICE: UserSettings("Alicia", rights=frozenset({"set_others"}), zone=BERLIN)}
    changed(model, replace(SETTINGS, listed=listed))
    assert (model.users[ALICE].settings.name, state(model)) == ("Alicia", "dnd")
    dial(model, "dnd-key,103")
    assert state(model, CARL) == "dnd"


# -- reset


def test_reset_clears_the_state_and_hushes_the_lamps(model: Model) -> None:
    """Lamps stay off until the next change."""
    ask(model, Action.SET, "dnd")
    out = reduce(model, ev.ResetAsked(AT, 9, "100", "cli"))
    assert (kinds(out), out.touched) == (["Save", "Track"], {ALICE})
    assert (state(model), model.users[ALICE].hushed) == (None, True)
    assert first(out, Track) == Track(9, ALICE, None)
    ask(model, Action.CLEAR)
    assert not model.users[ALICE].hushed


def test_reset_of_all_tracks_all(model: Model) -> None:
    """Every lamp of every user."""
    ask(model, Action.SET, "dnd")
    out = reduce(model, ev.ResetAsked(AT, 9, None, "cli"))
    assert out.touched == set(model.users)
    assert first(out, Track) == Track(9, None, None)
    assert all(person.hushed for person in model.users.values())


def test_reset_of_nobody_is_refused(model: Model) -> None:
    """One answer."""
    out = reduce(model, ev.ResetAsked(AT, 9, "999", "cli"))
    refuse = first(out, Refuse)
    note = dict(first(out, Note).fields)
    assert (note["who"], note["whom"], note["code"]) == ("cli", "999", "unknown-user")
    assert isinstance(refuse, Refuse)
    assert (refuse.request, refuse.code) == (9, "unknown-user")


def test_answers_to_nobody_are_nothing(model: Model) -> None:
    """Late reports of requests, prompts and callers that are long over."""
    events: list[ev.Event] = [
        ev.Settled(AT, -5, True),
        ev.PlaybackEnded(AT, "hq", "x"),
        ev.CallerLeft(AT, "hq", "x"),
        ev.LinkLost(AT, "nowhere"),
        ev.TimerDue(AT),
    ]
    for event in events:
        out = reduce(model, event)
        assert (out.commands, out.touched) == ([], set())


def test_lamps_of_the_model_never_hold_unknown(model: Model) -> None:
    """What is desired can always be written."""
    for digit in "123456":
        dial(model, f"state,{digit}")
        assert DeviceState.UNKNOWN not in SETTINGS.layout.desired(model.users[ALICE].entries)
