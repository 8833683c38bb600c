"""AGI paths, and what is made of them."""

import re
from dataclasses import replace
from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from ari_presence.core import events as ev
from ari_presence.core.agi import parse_path
from ari_presence.core.calls import CODES_AWAITED
from ari_presence.core.change import Outcome
from ari_presence.core.channels import ChannelInfo
from ari_presence.core.commands import Note, Play, Refuse, Save, Tell, Track
from ari_presence.core.features import Action, Intent
from ari_presence.core.model import Model, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import ON_CALL, Layer, StateTable
from ari_presence.errors import Refused
from tests.unit.core.test_reducer import ALICE, AT, BERLIN, SETTINGS, dial, first, manual

TABLE = StateTable()
LUNCH, DND = StateId("lunch"), StateId("dnd")
PATHS = {
    "set/dnd": Intent(Action.SET, DND),
    "set/available": Intent(Action.SET, StateId("available")),
    "set/lunch/45": Intent(Action.SET, LUNCH, minutes=45),
    "set/lunch/1330": Intent(Action.SET, LUNCH, minutes=1330),
    "set/lunch/until/1330": Intent(Action.SET, LUNCH, until=time(13, 30)),
    "set/lunch/until/13:30": Intent(Action.SET, LUNCH, until=time(13, 30)),
    "toggle/lunch": Intent(Action.TOGGLE, LUNCH),
    "toggle/lunch/45": Intent(Action.TOGGLE, LUNCH, minutes=45),
    "toggle/dnd/user/101": Intent(Action.TOGGLE, DND, UserId("101")),
    "set/lunch/until/0005/user/a.b": Intent(Action.SET, LUNCH, UserId("a.b"), until=time(0, 5)),
    "clear": Intent(Action.CLEAR),
    "clear/user/101": Intent(Action.CLEAR, user=UserId("101")),
    "clear/dnd": Intent(Action.CLEAR_IF, DND),
    "clear/dnd/user/101": Intent(Action.CLEAR_IF, DND, UserId("101")),
    "say": Intent(Action.SAY),
    "say/100": Intent(Action.SAY, user=UserId("100"), anybody=True),
    "treat/100": Intent(Action.TREAT, user=UserId("100"), anybody=True),
    "code/dnd/on": Intent(Action.SET, DND),
    "code/dnd/off": Intent(Action.CLEAR_IF, DND),
    "code/dnd-key/101": Intent(Action.TOGGLE, DND, UserId("101")),
    "code/state/3*45": Intent(Action.SET, LUNCH, minutes=45),
    "code/state/9100": Intent(Action.SAY, user=UserId("100")),
}
NONSENSE = {
    "": "bad-path",
    "sett/dnd": "bad-path",
    "set": "bad-path",
    "set/user/100": "bad-path",
    "user/100": "bad-path",
    "clear/dnd/45": "bad-path",
    "say/100/x": "bad-path",
    "treat": "bad-path",
    "treat/A B": "bad-user",
    "say/../x": "bad-path",
    "say/..": "bad-user",
    "set/dnd?x=1": "bad-state",
    "set/gone": "bad-state",
    "set/on-call": "bad-state",
    "toggle/offline": "bad-state",
    "clear/ringing": "bad-state",
    "set/lunch/0": "bad-time",
    "set/lunch/1441": "bad-time",
    "set/lunch/-5": "bad-time",
    "set/lunch/4x": "bad-time",
    "set/lunch/٤": "bad-time",
    "set/lunch/until": "bad-time",
    "set/lunch/until/2460": "bad-time",
    "set/lunch/until/1330/5": "bad-time",
    "set/lunch/45/user/A B": "bad-user",
    "code": "bad-code",
    "code/dnd": "bad-code",
    "code/state/7": "bad-code",
    "code/state/3*0": "bad-time",
}


@pytest.mark.parametrize(("path", "intent"), PATHS.items(), ids=PATHS)
def test_path_is_an_intent(path: str, intent: Intent) -> None:
    """Every form of the documentation."""
    assert parse_path(path.split("/"), TABLE) == intent


@pytest.mark.parametrize(("path", "code"), NONSENSE.items(), ids=[path or "nothing" for path in NONSENSE])
def test_nonsense_is_refused_with_its_kind(path: str, code: str) -> None:
    """The code tells the dialplan, the text the administrator."""
    with pytest.raises(Refused) as caught:
        parse_path([word for word in path.split("/") if word], TABLE)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


@pytest.fixture
def model() -> Model:
    """Give a model with three listed users; 100 may set dnd and lunch alone, and nothing from a second phone."""
    listed = {**SETTINGS.listed, ALICE: UserSettings("Alice", zone=BERLIN, settable=frozenset({"dnd", "lunch"}))}
    model = Model(replace(SETTINGS, listed=listed, no_set=re.compile("-mobile$")))
    reduce(model, ev.Started(AT, {}))
    return model


def ask(model: Model, path: str, name: str = "PJSIP/100-0000001f", channel: str = "ch1") -> Outcome:
    """Ask over AGI."""
    return reduce(model, ev.AgiAsked(AT, 7, channel, name, parse_path(path.split("/"), TABLE)))


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("set/dnd", "dnd,on"),
        ("clear/dnd", "dnd,off"),
        ("toggle/dnd", "dnd,toggle"),
        ("toggle/lunch", "state,3"),
        ("set/lunch/45", "state,3*45"),
        ("set/lunch/until/1330", "state,3**1330"),
        ("clear", "state,0"),
        ("say", "state,9"),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", ["", "dnd,on", "state,3"], ids=["nothing", "dnd", "lunch"])
def test_agi_does_and_says_what_the_code_does_and_says(model: Model, path: str, args: str, before: str) -> None:
    """Same change, same source, same prompts, whichever way it came."""
    twin = Model(model.settings)
    reduce(twin, ev.Started(AT, {}))
    if before:
        dial(model, before)
        dial(twin, before)
    by_agi, by_code = ask(model, path), dial(twin, args)
    assert manual(model) == manual(twin)
    assert [replace(each, request=0) for each in by_agi.commands if isinstance(each, Save)] == [
        replace(each, request=0) for each in by_code.commands if isinstance(each, Save)
    ]
    told = first(by_agi, Tell)
    assert isinstance(told, Tell)
    played = [command.media for command in by_code.commands if isinstance(command, Play)]
    heard = played[0] if played else list(twin.callers.values())[-1].media
    assert told.said.media == heard
    assert told.said.waits is any(isinstance(command, Track) for command in by_code.commands)


def test_change_is_told_and_waited_for_on_every_server(model: Model) -> None:
    """What is said comes with the number of the request, and nothing is said before it is confirmed."""
    out = ask(model, "set/lunch/45")
    told = first(out, Tell)
    assert isinstance(told, Tell)
    assert (told.request, told.said.user, told.said.waits) == (7, ALICE, True)
    assert (told.said.state, told.said.until, told.said.treatment) == ("lunch", AT + 45 * 60, "voicemail")
    assert out.commands[-1] == Track(7, ALICE, None)


@pytest.mark.parametrize("name", ["PJSIP/trunk-00000001", "Local/1@a-00000001;2", "nonsense"], ids=str)
def test_dialplan_may_ask_for_anybody_on_any_channel(model: Model, name: str) -> None:
    """An outside caller's channel is no user, and is told all the same."""
    ask(model, "set/lunch")
    treat, say = ask(model, "treat/100", name), ask(model, "say/100", name)
    assert [type(command) for command in treat.commands + say.commands] == [Tell, Tell]
    told = first(treat, Tell)
    assert isinstance(told, Tell)
    assert (told.said.media, told.said.waits, told.said.treatment) == ((), False, "voicemail")


REFUSED = {
    "nobody": ("set/dnd", "PJSIP/999999-00000001", "no-user", (None, None)),
    "local": ("set/dnd", "Local/1@a-00000001;2", "no-user", (None, None)),
    "no state for this user": ("set/out", "PJSIP/100-00000001", "not-allowed", ("100", "100")),
    "no phone for that": ("clear", "PJSIP/100-mobile-00000001", "not-allowed", ("100", "100")),
    "somebody else": ("toggle/dnd/user/103", "PJSIP/100-00000001", "not-allowed", ("100", "103")),
    "unknown": ("toggle/dnd/user/777", "PJSIP/102-00000001", "unknown-user", ("102", "777")),
    "unknown to treat": ("treat/777", "PJSIP/102-00000001", "unknown-user", ("102", "777")),
}


@pytest.mark.parametrize(("path", "name", "code", "people"), REFUSED.values(), ids=REFUSED)
def test_refusal_changes_nothing_and_says_who_whom_and_why(
    model: Model, path: str, name: str, code: str, people: tuple[str | None, str | None]
) -> None:
    """One line of the log with every field, and the answer to whoever asked."""
    before = {user: person.entries for user, person in model.users.items()}
    out = ask(model, path, name)
    refuse, note = first(out, Refuse), first(out, Note)
    assert isinstance(refuse, Refuse) and isinstance(note, Note)
    fields = dict(note.fields)
    assert (refuse.request, refuse.code, fields["code"], fields["reason"]) == (7, code, code, refuse.reason)
    assert (fields["who"], fields["whom"]) == people
    assert {"state", "endpoint", "channel"} <= fields.keys()
    assert {user: person.entries for user, person in model.users.items()} == before
    assert not [command for command in out.commands if isinstance(command, Save | Tell | Track)]


def test_code_is_refused_by_the_same_rules(model: Model) -> None:
    """The rights are those of the person, not of the way in."""
    note = first(dial(model, "state,6"), Note)
    assert isinstance(note, Note)
    fields = dict(note.fields)
    assert (note.event, fields["code"], fields["who"], fields["state"]) == (
        "code refused",
        "not-allowed",
        "100",
        "out",
    )


def test_state_that_a_reload_removed_is_refused(model: Model) -> None:
    """The intent was understood before the configuration changed."""
    out = reduce(model, ev.AgiAsked(AT, 7, "", "PJSIP/102-00000001", Intent(Action.SET, StateId("gone"))))
    refuse = first(out, Refuse)
    assert isinstance(refuse, Refuse)
    assert refuse.code == "bad-state"


@pytest.mark.parametrize(
    ("path", "name", "is_call"),
    [
        ("set/lunch", "PJSIP/100-0000001f", False),
        ("say/102", "PJSIP/100-0000001f", False),
        ("treat/100", "PJSIP/100-0000001f", True),
        ("set/lunch", "PJSIP/102-0000001f", True),
    ],
    ids=["change", "question", "call that is treated", "another channel's name"],
)
def test_channel_that_sets_a_state_is_no_call(model: Model, path: str, name: str, is_call: bool) -> None:
    """Who hears the confirmation is not on the phone; a call that is treated is a call."""
    info = ChannelInfo("ch1", "PJSIP/100-0000001f", "Up", ("100", ""), ("", ""))
    reduce(model, ev.ChannelSeen(AT, "hq", info))
    assert model.users[ALICE].entries[Layer.CALLS].state == ON_CALL
    ask(model, path, name)
    assert (Layer.CALLS in model.users[ALICE].entries) is is_call


@pytest.mark.parametrize(
    ("path", "name", "is_call"),
    [
        ("set/lunch", "PJSIP/100-0000001f", False),
        ("treat/100", "PJSIP/100-0000001f", True),
        ("set/lunch", "PJSIP/102-0000001f", True),
    ],
    ids=["change", "call that is treated", "another channel's name"],
)
def test_channel_that_is_introduced_behind_its_code_is_no_call_either(
    model: Model, path: str, name: str, is_call: bool
) -> None:
    """AGI and ARI are two connections: which comes first is chance."""
    ask(model, path, name)
    reduce(model, ev.ChannelSeen(AT, "hq", ChannelInfo("ch1", "PJSIP/100-0000001f", "Up", ("100", ""), ("", ""))))
    assert (Layer.CALLS in model.users[ALICE].entries) is is_call


def test_channels_that_never_come_are_forgotten(model: Model) -> None:
    """Whoever may connect over AGI may name any channel."""
    for number in range(CODES_AWAITED + 5):
        ask(model, "set/lunch", channel=f"x{number}")
    assert len(model.calls["hq"]._codes) == CODES_AWAITED
    assert model.calls["hq"].channels == {}


def test_time_of_day_is_that_of_who_is_set(model: Model) -> None:
    """`until` is read on the clock of the user whose state it is."""
    listed = {**model.settings.listed, ALICE: UserSettings("Alice", zone=ZoneInfo("America/New_York"))}
    reduce(model, ev.ConfigChanged(AT, replace(model.settings, listed=listed)))
    ask(model, "set/lunch/until/1330/user/100", "PJSIP/102-00000001")
    entry = manual(model)
    assert entry is not None and entry.until is not None
    assert datetime.fromtimestamp(entry.until, ZoneInfo("America/New_York")).strftime("%H:%M") == "13:30"
    assert entry.source == "phone:PJSIP/102"
