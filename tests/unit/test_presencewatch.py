"""Presence states that AMI tells of: echoes are told from wishes, by the real publisher against a fake server."""

from types import SimpleNamespace
from typing import Any

import pytest

from ari_presence.ami.wire import Fields
from ari_presence.core import events as ev
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId
from ari_presence.presencewatch import QUIET_S, PresenceWatch
from tests.unit.fake_port import FakePort, fields
from tests.unit.publish.fakes import World as Lamps

ALICE = UserId("100")


class World:
    """The lamps of `publish.fakes`, and a watch beside them."""

    def __init__(self) -> None:
        """Begin connected and at rest."""
        self.lamps = Lamps(("100", "101"))
        self.lamps.connect()
        self.port = FakePort()
        self.adopted: list[Presence] = []
        self.servers: Any = {"hq": SimpleNamespace(publisher=self.lamps.publisher)}
        self.watch = PresenceWatch(self, {"hq": self.port}, self.lamps.clock.monotonic)

    def adopt_presence(self, user: UserId, presence: Presence, pbx: str) -> None:
        """Take a wish, as the engine does."""
        assert (user, pbx) == (ALICE, "hq")
        self.adopted.append(presence)
        self.lamps.feed(ev.PresenceChanged(5.0, user, presence, f"pbx:{pbx}"))

    def write(self, presence: Presence) -> None:
        """Let somebody write a presence state, and AMI tell of it."""
        self.lamps.server.presences["CustomPresence:100"] = presence
        self.tell(presence)

    def tell(self, presence: Presence) -> None:
        """Let AMI tell of a presence state."""
        self.watch.ami_event("hq", event_of(presence))

    def quiet(self) -> None:
        """Let things be quiet, and AMI answer with what is there."""
        self.lamps.clock.now += QUIET_S
        self.watch.pump()
        while self.port.asked:
            there = self.lamps.server.presences["CustomPresence:100"]
            said = fields(response="Success", state=there.type, subtype=there.subtype, presencemessage=there.message)
            self.port.asked.pop(0)
            self.port._done.pop(0)([said])
        self.lamps.run()

    @property
    def there(self) -> Presence:
        """What the server shows."""
        return self.lamps.server.presences["CustomPresence:100"]


def event_of(presence: Presence) -> Fields:
    """Make the event."""
    return fields(
        event="PresenceStateChange",
        presentity="CustomPresence:100",
        status=presence.type,
        subtype=presence.subtype,
        message=presence.message,
    )


def test_presence_of_somebody_else_is_adopted_and_all_agree() -> None:
    """The panel writes "away" with a text: state, lamps and text follow; nothing more happens after that."""
    world = World()
    world.write(Presence("away", "lunch", "Pizza"))
    world.quiet()
    assert world.adopted == [Presence("away", "lunch", "Pizza")]
    assert (world.lamps.state("100"), world.there) == ("lunch", Presence("away", "lunch", "Pizza"))
    assert world.lamps.is_right()
    before = len(world.lamps.server.requests)
    world.tell(world.there)
    world.quiet()
    assert (len(world.lamps.server.requests), len(world.adopted)) == (before, 1)


def test_presence_that_means_nothing_new_is_written_back() -> None:
    """A chat with nobody away becomes available again, once."""
    world = World()
    world.write(Presence("chat", "", "hello"))
    world.quiet()
    assert (world.lamps.state("100"), world.there) == (None, Presence("available"))
    assert world.lamps.is_right()


def test_presence_that_ends_a_state_lets_calls_ring_again() -> None:
    """What the dialplan keeps about calls is not told by AMI, and is put right all the same."""
    world = World()
    world.lamps.wish("100", "dnd")
    world.lamps.run()
    assert world.lamps.server.kept["user-100"] != ""
    world.write(Presence("available"))
    world.quiet()
    assert (world.lamps.state("100"), world.lamps.server.kept["user-100"]) == (None, "")
    assert world.lamps.is_right()


def test_echo_of_our_own_is_none() -> None:
    """It is what we know to be there."""
    world = World()
    world.lamps.wish("100", "away")
    world.lamps.run()
    world.tell(Presence("away"))
    assert world.watch.next_deadline() is None
    assert world.adopted == []


def test_late_echo_of_an_older_write_is_found_out_by_asking() -> None:
    """Two changes in a row: the event of the first comes when the second is there."""
    world = World()
    for state in ("away", None):
        world.lamps.wish("100", state)
        world.lamps.run()
    world.tell(Presence("away"))
    assert world.watch.next_deadline() is not None
    world.quiet()
    assert world.adopted == []
    assert world.watch.next_deadline() is None


def test_answer_that_our_own_write_has_overtaken_is_asked_again() -> None:
    """What was asked before counts for nothing then."""
    world = World()
    world.tell(Presence("dnd"))
    world.lamps.clock.now += QUIET_S
    world.watch.pump()
    world.lamps.wish("100", "away")
    world.lamps.run()
    world.port.asked.pop(0)
    world.port._done.pop(0)([fields(response="Success", state="available", subtype="", presencemessage="")])
    assert (world.adopted, world.watch.next_deadline() is not None) == ([], True)
    world.quiet()
    assert (world.adopted, world.there.type) == ([], "away")


def test_event_while_it_is_asked_is_not_asked_about_twice() -> None:
    """The answer that is awaited tells what is there; it comes late, after the quiet of the second event."""
    world = World()
    world.tell(Presence("dnd"))
    world.lamps.clock.now += QUIET_S
    world.watch.pump()
    world.tell(Presence("dnd"))
    world.lamps.clock.now += QUIET_S
    world.watch.pump()
    assert len(world.port.asked) == 1
    world.port.asked.pop()
    world.port._done.pop()([fields(response="Success", state="dnd", subtype="", presencemessage="")])
    assert ([each.type for each in world.adopted], world.watch.next_deadline()) == (["dnd"], None)


def test_spaces_that_ami_does_not_tell_are_no_change() -> None:
    """A message that ends in one is still ours."""
    world = World()
    world.lamps.publisher.presences[ALICE] = Presence("away", "", "back soon ")
    world.tell(Presence("away", "", "back soon"))
    assert world.watch.next_deadline() is None


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"event": "PresenceStateChange", "presentity": "CustomPresence:999"}, id="nobody"),
        pytest.param({"event": "PresenceStateChange", "presentity": "Sip:100"}, id="another-provider"),
        pytest.param({"event": "QueueMemberPause"}, id="another-event"),
    ],
)
def test_what_is_none_of_its_business_is_left_alone(event: dict[str, str]) -> None:
    """AMI tells of more than users."""
    world = World()
    world.watch.ami_event("hq", fields(status="dnd", subtype="", message="", **event))
    assert world.watch.next_deadline() is None


def test_connection_begins_with_a_list() -> None:
    """What changed while AMI was away is found."""
    world = World()
    world.watch.ami_up("hq")
    world.lamps.server.presences["CustomPresence:100"] = Presence("dnd")
    assert world.port.answer(event_of(Presence("dnd")), fields(event="PresenceStateListComplete")) == (
        "PresenceStateList",
        {},
    )
    world.quiet()
    assert world.lamps.state("100") == "dnd"


def test_server_that_tells_of_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With the rights or the module that are missing."""
    world = World()
    world.watch.ami_up("hq")
    world.port.refuse("Permission denied")
    assert "write = call" in capsys.readouterr().out


@pytest.mark.parametrize("lost", [True, False], ids=["ami", "ari"])
def test_lost_connection_leaves_nothing_behind(lost: bool) -> None:
    """Without an answer, or with the lamps unknown, nothing is concluded."""
    world = World()
    world.write(Presence("dnd"))
    world.lamps.clock.now += QUIET_S
    if lost:
        world.watch.pump()
        world.port.answer(lost=True)
    else:
        world.lamps.disconnect()
        world.watch.pump()
    assert (world.adopted, world.watch.next_deadline(), world.port.asked) == ([], None, [])
