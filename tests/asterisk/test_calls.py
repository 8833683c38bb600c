"""Real calls on real servers: what every kind of call makes of everybody in it, at every step.

Each step is looked at four ways (`office.Office.expect`): the daemon's word, the lamp at the server, the lamp as a phone shows
it, and Asterisk's own device states.
"""

from collections.abc import Iterator

import pytest
from daemon import eventually
from office import ALICE, BOB, CAROL, Office, start

from private_asterisk import PrivateAsterisk, SipPhone


@pytest.fixture(scope="module")
def rooms(quick: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run one daemon and one set of phones for all tests here."""
    with start(tmp_path_factory.mktemp("calls"), quick) as daemon, Office(quick, daemon).opened() as office:
        yield office
        assert daemon.stop() == 0, daemon.log()[-3000:]


@pytest.fixture
def office(rooms: Office) -> Iterator[Office]:
    """Begin with everybody available; the joined lamps were never touched by calls."""
    rooms.expect()
    rooms.joined.clear()
    yield rooms
    rooms.hang_up()
    rooms.expect()
    assert rooms.joined == []


# --- two people


def test_call_is_shown_from_ring_to_end(office: Office) -> None:
    """The callee rings, the caller is on call at once; both are on call when answered, and free when over."""
    out, incoming = office.ring("100", "101", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"ringing from {ALICE}")
    incoming.answer()
    out.wait_answered()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    incoming.hangup()
    office.expect()


def test_call_in_json_says_with_whom_where_and_since_when(office: Office) -> None:
    """Number, name and user of the other side; layer, source and label; `why` has the layer, and the default below."""
    office.talk("100", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    shown = office.daemon.show("100")
    assert shown["call"] == {
        "with": [{"number": "101", "name": "Bob Example", "user": "101"}],
        "outside": False,
        "hold": None,
        "room": None,
    }
    assert (shown["label"], shown["layer"], shown["source"]) == ("On the phone", "calls", "phone:PJSIP/100")
    layers = {each["layer"]: each for each in office.daemon.ask("GET", "/users/100?layers=true")["layers"]}
    assert (layers["calls"]["state"], layers["calls"]["since"]) == ("on-call", shown["since"])
    assert layers["calls"]["applies"]


@pytest.mark.parametrize("end", ["refused", "cancelled"])
def test_call_that_is_not_answered_leaves_nothing(office: Office, end: str) -> None:
    """486 or given up: both are free again, and the caller's short BUSY is not seen."""
    out, incoming = office.ring("100", "101", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"ringing from {ALICE}")
    if end == "refused":
        incoming.reject()
    else:
        out.cancel()
    office.expect()


@pytest.mark.parametrize("holder", ["caller", "callee"])
def test_hold_tells_who_holds_from_who_is_held(office: Office, holder: str) -> None:
    """Both are on hold, each with the right words; taken back, both are on call."""
    out, incoming = office.talk("100", "101")
    call = out if holder == "caller" else incoming
    call.hold()
    if holder == "caller":
        office.expect(u100=f"on-hold holding {BOB}", u101=f"on-hold held by {ALICE}")
    else:
        office.expect(u100=f"on-hold held by {BOB}", u101=f"on-hold holding {ALICE}")
    holds = (office.call("100")["hold"], office.call("101")["hold"])
    assert holds == (("holding", "held") if holder == "caller" else ("held", "holding"))
    call.unhold()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")


def test_both_hold_and_one_takes_back(office: Office) -> None:
    """While either holds, nobody talks."""
    out, incoming = office.talk("100", "101")
    out.hold()
    incoming.hold()
    office.expect(u100=f"on-hold holding {BOB}", u101=f"on-hold holding {ALICE}")
    out.unhold()
    office.expect(u100=f"on-hold held by {BOB}", u101=f"on-hold holding {ALICE}")
    incoming.unhold()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")


@pytest.mark.parametrize("who", ["holder", "held"])
def test_hang_up_while_held_leaves_nothing(office: Office, who: str) -> None:
    """There is no ChannelUnhold then; nobody stays on hold."""
    out, incoming = office.talk("100", "101")
    out.hold()
    office.expect(u100=f"on-hold holding {BOB}", u101=f"on-hold held by {ALICE}")
    (out if who == "holder" else incoming).hangup()
    office.expect()


def test_second_call_rings_while_talking(office: Office) -> None:
    """On call outranks ringing, ringing outranks what is held; the second call is taken, then the first again."""
    _, first = office.talk("100", "101")
    out, second = office.ring("102", "101", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}", u102=f"on-call with {BOB}")
    first.hold()
    office.expect(u100=f"on-hold held by {BOB}", u101=f"ringing from {CAROL}", u102=f"on-call with {BOB}")
    second.answer()
    out.wait_answered()
    office.expect(u100=f"on-hold held by {BOB}", u101=f"on-call with {CAROL}", u102=f"on-call with {BOB}")
    second.hangup()
    office.expect(u100=f"on-hold held by {BOB}", u101=f"on-hold holding {ALICE}")
    first.unhold()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")


# --- several phones


def test_group_rings_and_one_takes_the_call(office: Office) -> None:
    """Both ring; who does not take it is free at once."""
    out, _, carol = office.ring("100", "610", "101", "102")
    eventually(lambda: office.state("101") == f"ringing from {ALICE}", "Bob rings")
    eventually(lambda: office.state("102") == f"ringing from {ALICE}", "Carol rings")
    assert office.daemon.state("100") == "on-call"
    carol.answer()
    out.wait_answered()
    office.expect(u100=f"on-call with {CAROL}", u102=f"on-call with {ALICE}")


def test_two_phones_of_one_user_are_one_user(office: Office) -> None:
    """Both phones ring, the second one answers: one state, from the phone that has the call."""
    out, _, mobile = office.ring("101", "600", "100", "100-mobile")
    eventually(lambda: office.state("100") == f"ringing from {BOB}", "Alice rings")
    mobile.answer()
    out.wait_answered()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    assert office.daemon.show("100")["source"] == "phone:PJSIP/100-mobile"


def test_call_on_each_of_two_phones_shows_the_higher(office: Office) -> None:
    """One phone talks, the other rings or ends: the user is on call throughout, and on hold when that is all that is left."""
    out, _ = office.talk("100", "101")
    second, mobile = office.talk("102", "600", "100-mobile")
    office["100"].wait_ringing()
    out.hold()
    office.expect(u100=f"on-call with {CAROL}", u101=f"on-hold held by {ALICE}", u102=f"on-call with {ALICE}")
    mobile.hangup()
    second.wait_ended()
    office.expect(u100=f"on-hold holding {BOB}", u101=f"on-hold held by {ALICE}")


def test_call_picked_up_elsewhere_moves(office: Office) -> None:
    """Carol takes the call that rings at Bob's."""
    out, _ = office.ring("100", "101", "101")
    office.enter("102", "67101")
    out.wait_answered()
    office.expect(u100=f"on-call with {CAROL}", u102=f"on-call with {ALICE}")


def test_forwarded_call_rings_where_it_goes(office: Office) -> None:
    """Bob's phone sends the call on (302): he is free, Carol rings."""
    out, ringing = office.ring("100", "101", "101")
    ringing.forward("102")
    incoming = office["102"].wait_ringing()
    office.expect(u100=f"on-call with {CAROL}", u102=f"ringing from {ALICE}")
    incoming.answer()
    out.wait_answered()
    office.expect(u100=f"on-call with {CAROL}", u102=f"on-call with {ALICE}")


# --- transfers


def test_blind_transfer_moves_the_call(office: Office) -> None:
    """Alice sends Bob to Carol: she is free, he calls, Carol rings and answers."""
    out, _ = office.talk("100", "101")
    out.refer("102")
    incoming = office["102"].wait_ringing()
    office.expect(u101=f"on-call with {CAROL}", u102=f"ringing from {BOB}")
    incoming.answer()
    office.expect(u101=f"on-call with {CAROL}", u102=f"on-call with {BOB}")


def test_attended_transfer_connects_the_two(office: Office) -> None:
    """Bob is held, Carol is asked, Alice leaves; nobody stays on hold."""
    out, _ = office.talk("100", "101")
    out.hold()
    second, _ = office.talk("100", "102")
    office.expect(u100=f"on-call with {CAROL}", u101=f"on-hold held by {ALICE}", u102=f"on-call with {ALICE}")
    second.hold()
    eventually(lambda: office.daemon.state("100") == "on-hold", "Alice holds both")
    office.expect(u100=office.state("100"), u101=f"on-hold held by {ALICE}", u102=f"on-hold held by {ALICE}")
    out.refer("102", replaces=second)
    office.expect(u101=f"on-call with {CAROL}", u102=f"on-call with {BOB}")


def test_transfer_by_feature_keys_ends_with_the_two(office: Office) -> None:
    """Asterisk does the hold and the merge itself; who hangs up leaves the others connected, through a Local channel."""
    out, _ = office.talk("100", "65101", "101")
    incoming = office.ask_by_keys(out, "102")
    office.expect(u100=f"on-call with {CAROL}", u101=f"on-hold held by {ALICE}", u102=f"ringing from {ALICE}")
    incoming.answer()
    eventually(lambda: office.is_bridged("102"), "Alice asks Carol")
    out.hangup()
    office.expect(u101=f"on-call with {CAROL}", u102=f"on-call with {BOB}")


# --- Local channels


@pytest.mark.parametrize("number", ["62101", "63101"], ids=["kept", "optimised"])
def test_call_through_a_local_channel_is_between_two_people(office: Office, number: str) -> None:
    """Two people, however many channels; the hold is known to who pressed it."""
    out, incoming = office.ring("100", number, "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"ringing from {ALICE}")
    incoming.answer()
    out.wait_answered()
    incoming.speak()
    out.speak()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    out.hold()
    eventually(lambda: office.state("100") == f"on-hold holding {BOB}", "Alice holds")
    out.unhold()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")


# --- conferences


def test_three_way_call_is_a_conference_while_three_are_in_it(office: Office) -> None:
    """Made by feature keys in one bridge: three people, then two again."""
    out, first = office.talk("100", "65101", "101")
    office.ask_by_keys(out, "102").answer().wait_answered()
    eventually(lambda: office.is_bridged("102"), "Alice asks Carol")
    out.press("*3")
    office.expect(
        u100=f"in-conference with {BOB}, {CAROL}",
        u101=f"in-conference with {ALICE}, {CAROL}",
        u102=f"in-conference with {ALICE}, {BOB}",
    )
    first.hangup()
    office.expect(u100=f"on-call with {CAROL}", u102=f"on-call with {ALICE}")


def test_conference_room_is_a_conference_even_alone(office: Office) -> None:
    """One, two, three in the room; each who leaves is free."""
    calls = {user: office.enter(user, "9003") for user in ("100", "101", "102")}
    inside = {
        "u100": "in-conference in room room",
        "u101": "in-conference in room room",
        "u102": "in-conference in room room",
    }
    office.expect(**inside)
    assert office.call("100")["room"] == "room"
    for user in ("102", "101"):
        calls[user].hangup()
        del inside[f"u{user}"]
        office.expect(**inside)


def test_transfer_into_a_conference_room_is_seen_at_once(office: Office) -> None:
    """Bob takes Alice's place in the room, for which Asterisk tells no entering."""
    out, _ = office.talk("100", "101")
    office.enter("102", "9003")
    second = office.enter("100", "9003")
    eventually(lambda: office.bridges("102") and set(office.bridges("102")) < set(office.bridges("100")), "both are in")
    out.refer("9003", replaces=second)
    office.expect(u101="in-conference in room room", u102="in-conference in room room")


def test_bridge_of_an_ari_application_is_a_conference(office: Office) -> None:
    """Somebody else's mixing bridge, with two people; in the application alone it is a call."""
    for user in ("100", "101"):
        office.enter(user, "9005")
    office.expect(u100="on-call", u101="on-call")
    bridge = office.server.ari("POST", "bridges", type="mixing", name="talk").json()["id"]
    channels = [office.channels(user)[0] for user in ("100", "101")]
    together = f"bridges/{bridge}/addChannel"
    eventually(lambda: office.server.ari("POST", together, channel=",".join(channels)).ok, "both are in it")
    office.expect(u100="in-conference in room talk", u101="in-conference in room talk")
    office.server.ari("DELETE", f"bridges/{bridge}")
    office.expect(u100="on-call", u101="on-call")


# --- the outside, and what is no person


@pytest.mark.parametrize("way", ["in", "out"])
def test_call_over_the_trunk_is_outside(office: Office, way: str) -> None:
    """The number of the other side, and that it is no user."""
    if way == "out":
        out, incoming = office.ring("100", "0301234", "trunk")
        office.expect(u100="on-call with 0301234 (outside)")
    else:
        out = office["trunk"].dial("100", from_user="0301234")
        incoming = office["100"].wait_ringing()
        office.expect(u100="ringing from 0301234 (outside)")
    incoming.answer()
    out.wait_answered()
    office.expect(u100="on-call with 0301234 (outside)")
    call = office.call("100")
    assert call["outside"]
    assert [(each["number"], each["user"]) for each in call["with"]] == [("0301234", None)]


@pytest.mark.parametrize("number", ["9006", "9007", "9001"], ids=["answers late", "never answers", "answers at once"])
def test_voice_of_the_exchange_is_a_call_with_nobody(office: Office, number: str) -> None:
    """Early media counts as Asterisk counts it."""
    call = office["100"].dial(number)
    office.expect(u100="on-call")
    call.hangup()
    office.expect()


def test_parked_caller_is_on_hold_and_who_parked_is_free(office: Office) -> None:
    """Parked by a blind transfer, taken back from another phone."""
    _, incoming = office.talk("100", "101")
    incoming.refer("700")
    eventually(lambda: office.daemon.state("100") == "on-hold", "Alice waits")
    office.expect(u100=office.state("100"))
    office.enter("102", office.space())
    office.expect(u100=f"on-call with {CAROL}", u102=f"on-call with {ALICE}")


def test_parked_call_that_nobody_takes_comes_back(office: Office) -> None:
    """After the lot's time it rings where it was parked."""
    _, incoming = office.talk("100", "101")
    incoming.refer("760")
    back = office["101"].wait_ringing(10)
    office.expect(u100=f"on-call with {BOB}", u101=f"ringing from {ALICE}")
    back.answer()
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")


# --- with what a person wished


def test_manual_state_shows_again_after_the_call(office: Office) -> None:
    """Calls outrank lunch; the joined lamp is lunch's throughout."""
    office.daemon.set("101", "lunch")
    office.joined.clear()
    out, _ = office.talk("100", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    assert office.server.device_state("Custom:presence-101") == "ONHOLD"
    out.hangup()
    eventually(lambda: office.daemon.state("101") == "lunch", "lunch again")
    office.expect_lamps({"100": "available", "101": "lunch"})
    assert office.joined == []
    office.daemon.clear("101")
    eventually(lambda: office.joined, "the joined lamp is off")
    office.joined.clear()


def test_dnd_outranks_the_call(office: Office) -> None:
    """A state that overrides calls stays on top; the call shows when it ends."""
    office.talk("100", "101")
    office.daemon.set("101", "dnd")
    assert office.daemon.state("101") == "dnd"
    office.expect_lamps({"100": "on-call", "101": "dnd"})
    assert "call" not in office.daemon.show("101")
    office.daemon.clear("101")
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    eventually(lambda: len(office.joined) == 2, "dnd on and off")
    office.joined.clear()


def test_calls_are_not_in_the_history(office: Office) -> None:
    """Unless asked for, only what people did is kept."""
    before = office.daemon.history("100")
    office.talk("100", "101")
    office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    office.hang_up()
    office.expect()
    assert office.daemon.history("100") == before


# --- registration


def test_phone_that_unregisters_makes_its_user_offline(office: Office) -> None:
    """After a moment, not at once; back at once; the joined lamp stays as it was."""
    with SipPhone("104", office.server):
        eventually(lambda: office.daemon.state("104") == "available", "registered")
        office.expect_lamps({"104": "available"})
    assert office.daemon.state("104") == "available"
    eventually(lambda: office.daemon.state("104") == "offline", "offline", 8)
    office.expect_lamps({"104": "offline"})
    with SipPhone("104", office.server):
        eventually(lambda: office.daemon.state("104") == "available", "back", 2)
        office.expect_lamps({"104": "available"})


def test_second_phone_that_unregisters_changes_nothing(office: Office) -> None:
    """A user is offline when no endpoint can be reached."""
    office["100-mobile"].unregister()
    try:
        office.talk("100", "101")
        office.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
    finally:
        office["100-mobile"].register()
