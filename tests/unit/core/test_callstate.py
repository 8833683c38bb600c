"""What lines do becomes what their users do: layers, wrap-up, history, several lines and servers, the end."""

import re
from dataclasses import replace

import pytest

from ari_presence.core import events as ev
from ari_presence.core.callstate import KEPT_S
from ari_presence.core.change import Outcome
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.commands import ListCalls, Log
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Entry, Layer, StateTable
from ari_presence.core.view import user_json, why_json

AT = 1_800_000_000.0
TABLE = StateTable()
ALICE, BOB = UserId("100"), UserId("101")
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {ALICE: UserSettings("Alice"), BOB: UserSettings("Bob\x1b[2J")},
    {"PJSIP/100": ALICE, "PJSIP/100-mobile": ALICE, "PJSIP/101": BOB},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    pbxs=("hq", "branch"),
)
TALK = BridgeInfo("b", "mixing", "basic", "", "")


def channel(id_: str, line: str, state: str = "Up", number: str = "", name: str = "") -> ChannelInfo:
    """Make a channel of a line."""
    return ChannelInfo(id_, f"{line}-0000000{id_}", state, (number, name), ("", ""))


A, MOBILE = channel("1", "PJSIP/100", number="100"), channel("3", "PJSIP/100-mobile")
B, TRUNK = channel("2", "PJSIP/101"), channel("4", "PJSIP/trunk", number="0301234")


def model_of(settings: Settings = SETTINGS) -> Model:
    """Make a model with its listed users."""
    model = Model(settings)
    reduce(model, ev.Started(AT, {}))
    return model


def talk(model: Model, *people: ChannelInfo, pbx: str = "hq", at: float = AT) -> Outcome:
    """Put people into one bridge and give what the last one did."""
    out = Outcome()
    for who in people:
        out = reduce(model, ev.BridgeEntered(at, pbx, TALK, who))
    return out


def call_of(model: Model, user: UserId = ALICE) -> Entry | None:
    """Give a user's calls layer."""
    return model.users[user].entries.get(Layer.CALLS)


def state_of(model: Model, user: UserId = ALICE) -> str:
    """Give the state that is shown."""
    return model.users[user].effective(model.settings.states)[1].state


def test_call_shows_whom_and_since_when() -> None:
    """The state, the phone, the time, the other, and whether from inside."""
    model = model_of()
    assert talk(model, A, B).touched == {ALICE, BOB}
    shown = user_json(model, model.users[ALICE])
    assert {k: shown[k] for k in ("state", "layer", "source", "message", "label")} == {
        "state": "on-call",
        "layer": "calls",
        "source": "phone:PJSIP/100",
        "message": "with Bob[2J (101)",
        "label": "On the phone",
    }
    others = [{"number": "101", "name": "Bob[2J", "user": "101"}]
    assert shown["call"] == {"with": others, "outside": False, "hold": None, "room": None}


def test_somebody_from_outside_is_told_apart() -> None:
    """Who is no user is known by number."""
    model = model_of()
    talk(model, A, TRUNK)
    entry = call_of(model)
    assert entry is not None
    assert entry.message == "with 0301234 (outside)"


def test_json_has_no_call_where_there_is_none() -> None:
    """Somebody who is not in a call is shown as ever."""
    model = model_of()
    assert "call" not in user_json(model, model.users[ALICE])
    assert all("call" not in layer for layer in why_json(model, model.users[ALICE])["layers"])


def test_dnd_beats_a_call_and_away_does_not() -> None:
    """The order of the layers: the state that refuses calls, calls, what was set by hand."""
    model = model_of()
    reduce(model, ev.ChangeAsked(AT, 1, ALICE, Action.SET, "cli", "away"))
    talk(model, A, B)
    assert state_of(model) == "on-call"
    reduce(model, ev.ChangeAsked(AT, 2, ALICE, Action.SET, "cli", "dnd"))
    assert state_of(model) == "dnd"
    assert [layer["layer"] for layer in why_json(model, model.users[ALICE])["layers"] if layer["applies"]] == [
        "manual",
        "calls",
        "default",
    ]


def test_call_moves_the_whole_lamp_alone() -> None:
    """The joined lamp gets the call from Asterisk, and presence never follows calls."""
    model = model_of()
    person, layout = model.users[ALICE], SETTINGS.layout
    before, presence = layout.desired(person.entries), layout.presence(person.entries, person.settings.zone)
    talk(model, A, B)
    after = layout.desired(person.entries)
    changed = [kind for kind, old, new in zip(layout.kinds, before, after, strict=True) if old is not new]
    assert changed == ["main-whole"]
    assert layout.presence(person.entries, person.settings.zone) == presence


def test_of_several_lines_the_call_that_counts_most_is_shown() -> None:
    """Talking on one phone while the other rings; then only the other."""
    model = model_of()
    reduce(model, ev.ChannelSeen(AT, "branch", MOBILE._replace(state="Ringing")))
    assert state_of(model) == "ringing"
    talk(model, A, B)
    assert (state_of(model), call_of(model).source) == ("on-call", "phone:PJSIP/100")  # type: ignore[union-attr]
    reduce(model, ev.ChannelGone(AT, "hq", A.id))
    assert (state_of(model), call_of(model).source) == ("ringing", "phone:PJSIP/100-mobile")  # type: ignore[union-attr]


@pytest.mark.parametrize("wrap_up_s", [0.0, 30.0], ids=["off", "on"])
def test_wrap_up_follows_a_call(wrap_up_s: float) -> None:
    """After somebody was talked to, for the seconds that are configured."""
    model = model_of(replace(SETTINGS, wrap_up_s=wrap_up_s))
    talk(model, A, B)
    reduce(model, ev.ChannelGone(AT + 60, "hq", A.id))
    assert state_of(model) == ("wrap-up" if wrap_up_s else "available")
    if wrap_up_s:
        assert model.ends.next() == AT + 90
        reduce(model, ev.TimerDue(AT + 90))
        assert state_of(model) == "available"


def test_wrap_up_does_not_follow_what_was_no_conversation() -> None:
    """A code that was dialled, a call that was not answered."""
    model = model_of(replace(SETTINGS, wrap_up_s=30.0))
    reduce(model, ev.ChannelSeen(AT, "hq", A))
    assert state_of(model) == "on-call"
    reduce(model, ev.ChannelGone(AT, "hq", A.id))
    assert state_of(model) == "available"


def test_dialling_a_code_is_no_call() -> None:
    """Asterisk's device is in use, as the line is; its user is on the phone with nobody."""
    model = model_of()
    ring = A._replace(state="Ring")
    reduce(model, ev.ChannelSeen(AT, "hq", ring))
    reduce(model, ev.CodeDialled(AT, "hq", A.id, A.name, ("state", "3"), ev.ClaimState.FRESH))
    reduce(model, ev.LineSeen(AT, "hq", "PJSIP/100", DeviceState.INUSE))
    reduce(model, ev.ChannelSeen(AT, "hq", A))
    assert (state_of(model), call_of(model)) == ("lunch", None)
    assert model.calls["hq"].state("PJSIP/100") is DeviceState.INUSE
    talk(model, A, B)
    assert state_of(model) == "on-call"


def test_next_call_ends_the_wrap_up() -> None:
    """And its end does not end that call."""
    model = model_of(replace(SETTINGS, wrap_up_s=30.0))
    talk(model, A, B)
    reduce(model, ev.ChannelGone(AT, "hq", A.id))
    talk(model, channel("9", "PJSIP/100"), B, at=AT + 10)
    reduce(model, ev.TimerDue(AT + 31))
    assert state_of(model) == "on-call"


@pytest.mark.parametrize("wanted", [False, True], ids=["not-wanted", "wanted"])
def test_history_of_calls_is_kept_where_it_is_wanted(wanted: bool) -> None:
    """One row for each change of what is shown, and none for a change of the other party."""
    model = model_of(replace(SETTINGS, history_of_calls=wanted))
    rows = [c.record for c in talk(model, A, B).commands if isinstance(c, Log)]
    rows += [c.record for c in reduce(model, ev.HoldPressed(AT, "hq", A, True)).commands if isinstance(c, Log)]
    gone = reduce(model, ev.ChannelGone(AT, "hq", A.id))
    rows += [c.record for c in gone.commands if isinstance(c, Log)]
    assert [row.state for row in rows if row.user == ALICE] == (["on-hold", "available"] if wanted else [])


def test_calls_of_a_lost_server_are_kept_for_a_while() -> None:
    """A short cut says nothing of the calls; after a long one nobody knows."""
    model = model_of()
    talk(model, A, B)
    reduce(model, ev.LinkLost(AT, "hq"))
    assert (state_of(model), model.next_deadline()) == ("on-call", AT + KEPT_S)
    reduce(model, ev.TimerDue(AT + KEPT_S))
    assert (state_of(model), model.views) == ("available", {})


def test_calls_that_are_still_there_after_a_cut_go_on() -> None:
    """The listing at the new connect says so; those that ended meanwhile are over."""
    model = model_of()
    talk(model, A, B)
    reduce(model, ev.LinkLost(AT, "hq"))
    listed = ev.CallsListed(AT + 1, "hq", (A,), (TALK._replace(members=("1",)),), {})
    reduce(model, listed)
    assert (state_of(model), state_of(model, BOB)) == ("on-call", "available")
    reduce(model, ev.TimerDue(AT + KEPT_S + 1))
    assert state_of(model) == "on-call"


def test_stopping_takes_all_calls_for_over_and_looks_at_no_more() -> None:
    """Nobody is left who would put the lamp out."""
    model = model_of(replace(SETTINGS, wrap_up_s=30.0))
    talk(model, A, B)
    assert reduce(model, ev.Stopping(AT)).touched >= {ALICE, BOB}
    talk(model, channel("9", "PJSIP/100"), B)
    assert (call_of(model), call_of(model, BOB)) == (None, None)


def test_endpoint_that_gets_another_owner_takes_its_call_along() -> None:
    """A reload may say that a phone is somebody else's."""
    model = model_of()
    talk(model, A, TRUNK)
    settings = replace(SETTINGS, endpoints={"PJSIP/100": BOB, "PJSIP/101": BOB, "PJSIP/100-mobile": ALICE})
    reduce(model, ev.ConfigChanged(AT, settings))
    assert (state_of(model), state_of(model, BOB)) == ("available", "on-call")


def test_disagreement_with_asterisk_asks_for_a_listing() -> None:
    """Of the lines in question."""
    model = model_of()
    reduce(model, ev.CallsListed(AT, "hq", (), (), {}))
    reduce(model, ev.LineSeen(AT, "hq", "PJSIP/100", DeviceState.INUSE))
    due = model.next_deadline()
    assert due is not None
    asked = [c for c in reduce(model, ev.TimerDue(due)).commands if isinstance(c, ListCalls)]
    assert asked == [ListCalls("hq", ("PJSIP/100",))]
    reduce(model, ev.CallsListed(due, "hq", (), (), {"PJSIP/100": DeviceState.INUSE}))
    assert state_of(model) == "on-call"


def test_thousands_of_channels_left_behind_are_gone_with_the_next_listing() -> None:
    """A server that crashed says nothing of its calls; what it lists then is all there is."""
    model = model_of()
    many = tuple(channel(str(n), f"PJSIP/{n % 900 + 100}") for n in range(5000))
    reduce(model, ev.CallsListed(AT, "hq", many, (TALK._replace(members=tuple(c.id for c in many)),), {}))
    assert state_of(model) == "in-conference"
    reduce(model, ev.LinkLost(AT + 1, "hq"))
    reduce(model, ev.CallsListed(AT + 2, "hq", (), (), {}))
    assert not (model.views or model.calls["hq"].channels or model.calls["hq"].bridges)
    assert (state_of(model), state_of(model, BOB)) == ("available", "available")


def test_lines_of_nobody_are_followed_without_a_word() -> None:
    """Trunks matter as the other end only."""
    model = model_of()
    assert reduce(model, ev.ChannelSeen(AT, "hq", TRUNK)).touched == set()
    assert not model.calls["hq"].doubts
