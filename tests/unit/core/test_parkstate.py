"""Whose parked call waits: from lots and endpoints to the lamps of users."""

import re
from dataclasses import replace

from ari_presence.core import events as ev
from ari_presence.core.calls import LIST_GAP_S
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.commands import ListCalls
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.parked import ParkedInfo, ParkingListed, Space
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable

AT = 1_800_000_000.0
TABLE = StateTable()
ALICE, BOB = UserId("100"), UserId("101")
SETTINGS = Settings(
    TABLE,
    LampLayout(TABLE),
    {ALICE: UserSettings("Alice"), BOB: UserSettings("Bob")},
    {"PJSIP/100": ALICE, "PJSIP/101": BOB, "PJSIP/101-mobile": BOB},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    pbxs=("hq", "branch"),
    parked_alert_s=60.0,
)
TALK = BridgeInfo("b", "mixing", "basic", "", "")
LOT = BridgeInfo("p", "holding", "parking", "Parking", "default")
A = ChannelInfo("1", "PJSIP/100-00000001", "Up", ("100", "Alice"), ("", ""))
B = ChannelInfo("2", "PJSIP/101-00000002", "Up", ("101", "Bob"), ("", ""))


def model_of() -> Model:
    """Make a model with its listed users."""
    model = Model(SETTINGS)
    reduce(model, ev.Started(AT, {}))
    return model


def park(model: Model, pbx: str = "hq", at: float = AT) -> None:
    """Let Bob send Alice, whom he talks with, into the lot."""
    for who in (A, B):
        reduce(model, ev.BridgeEntered(at, pbx, TALK, who))
    reduce(model, ev.Transferred(at, pbx, B, A.id))
    reduce(model, ev.BridgeLeft(at, pbx, TALK, A))
    reduce(model, ev.BridgeEntered(at, pbx, LOT, A))


def lamp(model: Model, user: UserId = BOB) -> DeviceState:
    """Give the wanted lamp of somebody's parked calls."""
    layout = model.settings.layout
    vector = layout.desired(model.users[user].entries, model.parked.get(user, DeviceState.NOT_INUSE))
    return dict(zip(layout.kinds, vector, strict=True))["parked-call"]


def test_lamp_of_who_parked_flashes_and_is_steady_when_it_takes_long() -> None:
    """Not that of who waits; and off again when the call is taken."""
    model = model_of()
    park(model)
    assert (lamp(model), lamp(model, ALICE)) == (DeviceState.RINGING, DeviceState.NOT_INUSE)
    assert reduce(model, ev.TimerDue(AT + 60)).touched == {BOB}
    assert lamp(model) is DeviceState.ONHOLD
    reduce(model, ev.BridgeLeft(AT + 70, "hq", LOT, A))
    assert lamp(model) is DeviceState.NOT_INUSE


def test_call_that_hangs_up_while_parked_is_gone() -> None:
    """Whether its leaving is told or not."""
    model = model_of()
    park(model)
    assert BOB in reduce(model, ev.ChannelGone(AT, "hq", A.id)).touched
    assert lamp(model) is DeviceState.NOT_INUSE


def test_lot_that_goes_takes_its_calls_along() -> None:
    """A reload of res_parking."""
    model = model_of()
    park(model)
    reduce(model, ev.BridgeGone(AT, "hq", LOT))
    assert lamp(model) is DeviceState.NOT_INUSE


def test_feature_key_parks_for_the_other_side() -> None:
    """One-touch parking tells no transfer: who was talked with is still there."""
    model = model_of()
    for who in (A, B):
        reduce(model, ev.BridgeEntered(AT, "hq", TALK, who))
    reduce(model, ev.BridgeLeft(AT, "hq", TALK, A))
    reduce(model, ev.BridgeEntered(AT, "hq", LOT, A))
    assert lamp(model) is DeviceState.RINGING


def test_call_parks_itself_where_nobody_else_is_known() -> None:
    """Park() in the dialplan."""
    model = model_of()
    reduce(model, ev.BridgeEntered(AT, "hq", LOT, A))
    assert (lamp(model, ALICE), lamp(model, BOB)) == (DeviceState.RINGING, DeviceState.NOT_INUSE)


def test_calls_on_two_servers_are_one_lamp() -> None:
    """It is off when both are gone."""
    model = model_of()
    park(model)
    park(model, "branch")
    reduce(model, ev.BridgeLeft(AT, "hq", LOT, A))
    assert lamp(model) is DeviceState.RINGING
    reduce(model, ev.BridgeLeft(AT, "branch", LOT, A))
    assert lamp(model) is DeviceState.NOT_INUSE


def test_ami_knows_better_who_parked() -> None:
    """Its listing overrules what was worked out."""
    model = model_of()
    park(model)
    told = ParkedInfo(A.id, "default", "701", ("100", "Alice"), "PJSIP/100", AT)
    reduce(model, ParkingListed(AT + 5, "hq", (told,)))
    assert (lamp(model), lamp(model, ALICE)) == (DeviceState.NOT_INUSE, DeviceState.RINGING)
    assert model.parking["hq"].calls(AT + 5)[0].space == "701"


def test_space_and_call_are_matched() -> None:
    """The device of the space and the bridge of the lot tell one half each."""
    model = model_of()
    park(model)
    reduce(model, ev.SpaceSeen(AT, "hq", Space("703", "parkedcalls"), DeviceState.INUSE))
    found = model.parking["hq"].calls(AT + 1)
    assert [(call.space, call.source, call.parker) for call in found] == [("703", "correlated", "PJSIP/101")]


def test_call_that_was_parked_before_the_connect_is_found() -> None:
    """Its space too, where one call and one space are all there is; who parked it nobody can say."""
    model = model_of()
    listed = (LOT._replace(members=(A.id,)),)
    in_use = {"park:702@parkedcalls": DeviceState.INUSE, "park:703@parkedcalls": DeviceState.NOT_INUSE}
    reduce(model, ev.CallsListed(AT, "hq", (A,), listed, {}))
    reduce(model, ev.CallsListed(AT + 1, "hq", (A,), listed, in_use))
    assert [(call.channel, call.space) for call in model.parking["hq"].calls(AT + 2)] == [(A.id, "702")]


def test_spaces_are_asked_for_in_a_way_that_undoes_no_call() -> None:
    """What moves while the answer is on its way is not put back by it."""
    model = model_of()
    reduce(model, ev.CallsListed(AT, "hq", (), (), {}))
    reduce(model, ev.SpacesWatched(AT, "hq", ("park:701@parkedcalls",)))
    asked = reduce(model, ev.TimerDue(AT + LIST_GAP_S)).commands
    assert asked == [ListCalls("hq", ("park:701@parkedcalls",))]
    reduce(model, ev.ChannelSeen(AT + LIST_GAP_S, "hq", B))
    reduce(model, ev.CallsListed(AT + LIST_GAP_S, "hq", (), (), {"park:701@parkedcalls": DeviceState.NOT_INUSE}))
    assert model.users[BOB].effective(TABLE)[1].state == "on-call"


def test_endpoint_that_gets_another_owner_takes_its_parked_call_along() -> None:
    """A reload may say that a phone is somebody else's."""
    model = model_of()
    park(model)
    endpoints = {"PJSIP/100": ALICE, "PJSIP/101": ALICE, "PJSIP/101-mobile": BOB}
    reduce(model, ev.ConfigChanged(AT, replace(SETTINGS, endpoints=endpoints)))
    assert (lamp(model), lamp(model, ALICE)) == (DeviceState.NOT_INUSE, DeviceState.RINGING)
