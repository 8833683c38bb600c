"""What people do for the recordings of calls: one function for each, named as the recording is.

100 is the caller, 101 the callee, 102 and 103 the others; a step is noted when all is quiet (`scene.Scene.step`).
"""

from collections.abc import Callable

from tests.scenarios.scene import Scene

# --- two people


def simple(scene: Scene) -> None:
    """Ring, answer, talk; the caller hangs up."""
    out, incoming = scene.ring("100", "101", "101")
    scene.step("ringing")
    incoming.answer()
    scene.step("talking")
    out.hangup()
    scene.step("over")


def callee_hangs_up(scene: Scene) -> None:
    """The callee hangs up."""
    _, incoming = scene.talk("100", "101")
    scene.step("talking")
    incoming.hangup()
    scene.step("over")


def refused(scene: Scene) -> None:
    """The callee is busy (486)."""
    _, incoming = scene.ring("100", "101", "101")
    scene.step("ringing")
    incoming.reject()
    scene.step("over")


def cancelled(scene: Scene) -> None:
    """The caller gives up."""
    out, _ = scene.ring("100", "101", "101")
    scene.step("ringing")
    out.hangup()
    scene.step("over")


def hold_by_caller(scene: Scene) -> None:
    """The caller holds and takes back."""
    out, _ = scene.talk("100", "101")
    scene.step("talking")
    out.hold()
    scene.step("held")
    out.unhold()
    scene.step("talking again")
    out.hangup()
    scene.step("over")


def hold_by_callee(scene: Scene) -> None:
    """The callee holds and takes back."""
    out, incoming = scene.talk("100", "101")
    incoming.hold()
    scene.step("held")
    incoming.unhold()
    scene.step("talking again")
    out.hangup()
    scene.step("over")


def hold_by_both(scene: Scene) -> None:
    """Both hold; the first takes back, then the second."""
    out, incoming = scene.talk("100", "101")
    out.hold()
    scene.step("caller holds")
    incoming.hold()
    scene.step("both hold")
    out.unhold()
    scene.step("callee holds")
    incoming.unhold()
    scene.step("talking")


def held_hangs_up(scene: Scene) -> None:
    """Who is held hangs up."""
    out, incoming = scene.talk("100", "101")
    out.hold()
    scene.step("held")
    incoming.hangup()
    scene.step("over")


def holder_hangs_up(scene: Scene) -> None:
    """Who holds hangs up."""
    out, _ = scene.talk("100", "101")
    out.hold()
    scene.step("held")
    out.hangup()
    scene.step("over")


def call_waiting(scene: Scene) -> None:
    """A second call rings while talking; it is taken, the first is held."""
    _, incoming = scene.talk("100", "101")
    third, waiting = scene.ring("102", "101", "101")
    scene.step("waiting")
    incoming.hold()
    scene.step("first is held")
    waiting.answer()
    third.wait_answered()
    scene.step("second is taken")
    waiting.hangup()
    scene.step("second is over")
    incoming.unhold()
    scene.step("first again")


# --- transfers


def blind_transfer(scene: Scene) -> None:
    """100 calls 101 and sends 101 to 102."""
    out, _ = scene.talk("100", "101")
    scene.step("talking")
    out.refer("102")
    incoming = scene["102"].wait_ringing()
    scene.step("ringing")
    incoming.answer().wait_answered()
    scene.step("talking elsewhere")


def blind_transfer_of_held(scene: Scene) -> None:
    """101 holds the caller and sends him to 102."""
    _, first = scene.talk("100", "101")
    first.hold()
    scene.step("held")
    first.refer("102")
    incoming = scene["102"].wait_ringing()
    scene.step("ringing")
    incoming.answer().wait_answered()
    scene.step("talking elsewhere")


def attended_transfer(scene: Scene) -> None:
    """100 talks to 101, holds, talks to 102, and connects the two."""
    out, _ = scene.talk("100", "101")
    out.hold()
    scene.step("first is held")
    second, _ = scene.talk("100", "102")
    scene.step("asking")
    second.hold()
    scene.step("both are held")
    out.refer("102", replaces=second)
    scene.step("connected")


def attended_transfer_by_callee(scene: Scene) -> None:
    """101 is called by 100, holds, asks 102, and connects the two."""
    _, incoming = scene.talk("100", "101")
    incoming.hold()
    second, _ = scene.talk("101", "102")
    scene.step("asking")
    incoming.refer("102", replaces=second)
    scene.step("connected")


def transfer_into_conference(scene: Scene) -> None:
    """100 talks to 101, enters the conference room with 102 and puts 101 into his place."""
    out, _ = scene.talk("100", "101")
    scene.enter("102", "9003")
    out.hold()
    second = scene.enter("100", "9003")
    scene.step("asking")
    out.refer("9003", replaces=second)
    scene.step("connected")


def transfer_by_keys(scene: Scene) -> None:
    """100 talks to 101, asks 102 by feature keys and hangs up, which connects the two."""
    out, _ = scene.talk("100", "65101", "101")
    incoming = scene.ask_by_keys(out, "102")
    scene.step("asking")
    incoming.answer().wait_answered()
    scene.step("two calls")
    out.hangup()
    scene.step("connected")


def transfer_while_ringing(scene: Scene) -> None:
    """The same, but 100 hangs up before 102 has answered."""
    out, _ = scene.talk("100", "65101", "101")
    incoming = scene.ask_by_keys(out, "102")
    scene.step("asking")
    out.hangup()
    scene.step("ringing")
    incoming.answer().wait_answered()
    scene.step("connected")


def three_way(scene: Scene) -> None:
    """100 talks to 101, asks 102 in and makes it a call of three by feature keys; then they leave one by one."""
    out, first = scene.talk("100", "65101", "101")
    scene.ask_by_keys(out, "102").answer().wait_answered()
    scene.step("two calls")
    out.press("*3")
    scene.step("three")
    out.hold()
    scene.step("one holds")
    out.unhold()
    scene.step("three again")
    first.hangup()
    scene.step("two")
    out.hangup()
    scene.step("over")


def merged(scene: Scene) -> None:
    """A call of three is connected with another call by an attended transfer."""
    out, _ = scene.talk("100", "65101", "101")
    scene.ask_by_keys(out, "102").answer().wait_answered()
    out.press("*3")
    scene.step("three")
    second, _ = scene.talk("100", "103")
    scene.step("asking")
    out.refer("103", replaces=second)
    scene.step("connected")


# --- several phones


def two_phones_ring(scene: Scene) -> None:
    """Two people's phones ring; one answers."""
    out, _, second = scene.ring("100", "610", "101", "102")
    scene.step("ringing")
    second.answer()
    out.wait_answered()
    scene.step("talking")
    second.hangup()
    scene.step("over")


def own_two_phones(scene: Scene) -> None:
    """Both phones of one person ring; the mobile one answers and holds."""
    out, _, mobile = scene.ring("101", "600", "100", "100-mobile")
    scene.step("ringing")
    mobile.answer()
    out.wait_answered()
    scene.step("talking")
    mobile.hold()
    scene.step("held")


def picked_up(scene: Scene) -> None:
    """102 takes a call that rings at 101."""
    out, ringing = scene.ring("100", "101", "101")
    scene.step("ringing")
    scene.enter("102", "67101")
    out.wait_answered()
    ringing.wait_ended()
    scene.step("talking")


def forwarded(scene: Scene) -> None:
    """101 sends a call that rings to 102 (302)."""
    out, ringing = scene.ring("100", "101", "101")
    scene.step("ringing")
    ringing.forward("102")
    incoming = scene["102"].wait_ringing()
    scene.step("ringing elsewhere")
    incoming.answer()
    out.wait_answered()
    scene.step("talking")
    out.speak()
    incoming.speak()
    scene.step("without the Local channel")


# --- Local channels


def _local(scene: Scene, number: str) -> None:
    out, incoming = scene.ring("100", number, "101")
    scene.step("ringing")
    incoming.answer()
    out.wait_answered()
    incoming.speak()
    out.speak()
    scene.step("talking")
    out.hold()
    scene.step("caller holds")
    out.unhold()
    incoming.hold()
    scene.step("callee holds")
    incoming.unhold()
    scene.step("talking again")
    incoming.hangup()
    scene.step("over")


def local_kept(scene: Scene) -> None:
    """A call through a Local channel that stays, with holds on both sides."""
    _local(scene, "62101")


def local_optimised(scene: Scene) -> None:
    """A call through a Local channel that is optimised away, with holds on both sides."""
    _local(scene, "63101")


def local_two_ring(scene: Scene) -> None:
    """A group through Local channels that stay."""
    out, first, _ = scene.ring("100", "611", "101", "102")
    scene.step("ringing")
    first.answer()
    out.wait_answered()
    scene.step("talking")


# --- conferences


def confbridge(scene: Scene) -> None:
    """One, two, three people in a ConfBridge room; one holds; they leave one by one."""
    first = scene.enter("100", "9003")
    scene.step("one")
    second = scene.enter("101", "9003")
    scene.step("two")
    third = scene.enter("102", "9003")
    scene.step("three")
    first.hold()
    scene.step("one holds")
    first.unhold()
    scene.step("three again")
    third.hangup()
    scene.step("two left")
    second.hangup()
    scene.step("one left")
    first.hangup()
    scene.step("over")


def _ari_bridge(scene: Scene, *callers: str) -> None:
    calls = [scene.enter(caller, "9005") for caller in callers]
    scene.step("in the application")
    bridge = scene.server.ari("POST", "bridges", type="mixing", name="talk").json()["id"]
    scene.step("bridge")
    for count, call in enumerate(calls, 1):
        (channel,) = scene.channels(call.phone.user)
        scene.server.ari("POST", f"bridges/{bridge}/addChannel", channel=channel)
        scene.step(f"{count} in the bridge")
    calls[0].hold()
    scene.step("one holds")
    calls[0].unhold()
    calls[-1].hangup()
    scene.step("one has left")
    scene.server.ari("DELETE", f"bridges/{bridge}")
    scene.step("bridge is gone")


def ari_bridge_of_two(scene: Scene) -> None:
    """A mixing bridge of another ARI application with two people."""
    _ari_bridge(scene, "100", "101")


def ari_bridge_third_joins_while_held(scene: Scene) -> None:
    """One of two in a mixing bridge holds, a third joins, who held takes back."""
    calls = [scene.enter(caller, "9005") for caller in ("100", "101", "102")]
    bridge = scene.server.ari("POST", "bridges", type="mixing", name="talk").json()["id"]
    scene.step("in the application")
    for caller in ("100", "101"):
        scene.server.ari("POST", f"bridges/{bridge}/addChannel", channel=scene.channels(caller)[0])
    scene.step("two")
    calls[0].hold()
    scene.step("one holds")
    scene.server.ari("POST", f"bridges/{bridge}/addChannel", channel=scene.channels("102")[0])
    scene.step("a third joins")
    calls[0].unhold()
    scene.step("nobody holds")
    calls[0].hold()
    scene.step("one of three holds")
    calls[2].hangup()
    scene.step("one of two holds")
    calls[0].unhold()
    scene.step("nobody holds at the end")


def ari_bridge_of_three(scene: Scene) -> None:
    """A mixing bridge of another ARI application with three people."""
    _ari_bridge(scene, "100", "101", "102")


# --- parking


def park_and_retrieve(scene: Scene) -> None:
    """101 parks the caller by a blind transfer; 102 takes the call."""
    _, incoming = scene.talk("100", "101")
    incoming.refer("700")
    scene.step("parked")
    space = scene.space()
    scene.enter("102", space)
    scene.step("talking")


def park_held(scene: Scene) -> None:
    """101 holds the caller and parks him, as phones do."""
    _, incoming = scene.talk("100", "101")
    incoming.hold()
    scene.step("held")
    incoming.refer("700")
    scene.step("parked")


def park_and_hang_up(scene: Scene) -> None:
    """Who is parked in the second lot hangs up."""
    out, incoming = scene.talk("100", "101")
    incoming.refer("750")
    scene.step("parked")
    out.hangup()
    scene.step("over")


def park_and_time_out(scene: Scene) -> None:
    """Nobody takes the call: it comes back to who parked it."""
    _, incoming = scene.talk("100", "101")
    incoming.refer("760")
    scene.step("parked")
    back = scene["101"].wait_ringing(10)
    scene.step("ringing back")
    back.answer().wait_answered()
    scene.step("talking")


def park_two(scene: Scene) -> None:
    """Two calls are parked, in one lot and another; the first is taken back by who parked it."""
    _, first = scene.talk("100", "101")
    first.refer("700")
    scene.step("one parked")
    space = scene.space()
    _, second = scene.talk("102", "101")
    second.refer("750")
    scene.step("two parked")
    scene.enter("101", space)
    scene.step("talking")


def park_by_keys(scene: Scene) -> None:
    """100 parks the callee by a feature key."""
    out, _ = scene.talk("100", "65101", "101")
    out.press("#72")
    scene.step("parked")


# --- what is no person


def feature_code(scene: Scene) -> None:
    """*78 while nothing serves it; the dialplan does it alone."""
    scene["100"].dial("*78").wait_ended(15)
    scene.step("over")


def trunk_out(scene: Scene) -> None:
    """A call to the outside."""
    out, incoming = scene.ring("100", "0301234", "trunk")
    scene.step("ringing")
    incoming.answer()
    out.wait_answered()
    scene.step("talking")
    incoming.hold()
    scene.step("held")
    incoming.hangup()
    scene.step("over")


def trunk_in(scene: Scene) -> None:
    """A call from the outside."""
    out, incoming = scene.talk("trunk", "100")
    scene.step("talking")
    incoming.hold()
    scene.step("held")
    incoming.unhold()
    out.hangup()
    scene.step("over")


def early_media(scene: Scene) -> None:
    """A voice speaks before it answers."""
    call = scene["100"].dial("9006")
    call.wait_ringing()
    scene.step("early media")
    call.wait_answered(10)
    scene.step("answered")
    call.hold()
    scene.step("held")
    call.hangup()
    scene.step("over")


def never_answered(scene: Scene) -> None:
    """A tone that never ends and never answers."""
    call = scene["100"].dial("9007")
    call.wait_ringing()
    scene.step("early media")
    call.hangup()
    scene.step("over")


CASES: tuple[Callable[[Scene], None], ...] = (
    simple,
    callee_hangs_up,
    refused,
    cancelled,
    hold_by_caller,
    hold_by_callee,
    hold_by_both,
    held_hangs_up,
    holder_hangs_up,
    call_waiting,
    blind_transfer,
    blind_transfer_of_held,
    attended_transfer,
    attended_transfer_by_callee,
    transfer_into_conference,
    transfer_by_keys,
    transfer_while_ringing,
    three_way,
    merged,
    two_phones_ring,
    own_two_phones,
    picked_up,
    forwarded,
    local_kept,
    local_optimised,
    local_two_ring,
    confbridge,
    ari_bridge_of_two,
    ari_bridge_of_three,
    ari_bridge_third_joins_while_held,
    park_and_retrieve,
    park_held,
    park_and_hang_up,
    park_and_time_out,
    park_two,
    park_by_keys,
    feature_code,
    trunk_out,
    trunk_in,
    early_media,
    never_answered,
)
