"""FreePBX's keys in the database: which users are written when, and what happens when that fails."""

import json
from dataclasses import replace

import pytest

from ari_presence import freepbxkeys as module
from ari_presence.ari.wire import Request, Response
from ari_presence.core import events as ev
from ari_presence.core.channels import ChannelInfo
from ari_presence.core.features import Action
from ari_presence.core.freepbx import FreepbxLamps
from ari_presence.core.lamps import NOT_SET, LampLayout, Presence, Vector
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable
from ari_presence.freepbxkeys import BATCH_CHARS, BATCH_USERS, HEAL_S, LATE_S, RETRY_S, FreepbxKeys
from ari_presence.publish.host import Answer
from tests.unit.engine_rig import FakeClock, make_settings

STATES = StateTable()
PLAIN = make_settings(listed={}, endpoints={})
SETTINGS = replace(PLAIN, layout=LampLayout(STATES, freepbx=FreepbxLamps(owner=PLAIN.owner)))
OK, REFUSED = [Response(200, "{}")], [Response(500, "{}")]


class World:
    """The keys of one server, the model, and a server that does what it is told to."""

    def __init__(self, *users: str, freepbx: bool = True) -> None:
        """Begin with these users, connected."""
        self.clock = FakeClock()
        self.model = Model(SETTINGS if freepbx else PLAIN)
        self.sent: list[tuple[Request, Answer]] = []
        self.keys = FreepbxKeys(self, self.model, self.clock.monotonic, self.clock.time)
        self.keys.add_server("hq", "app")
        self.unknown: set[str] = set()
        self.tell(ev.Started(1.0, {}))
        self.tell(ev.EndpointsSeen(1.0, "hq", tuple(f"PJSIP/{user}" for user in users or ("100", "101"))))
        self.keys.link_up("hq")

    def desired(self, user: UserId) -> tuple[Vector, Presence] | None:
        """Say what a user's lamps should show, as the engine does."""
        layout, person = self.model.settings.layout, self.model.users.get(user)
        if user in self.unknown:
            return None
        return (layout.desired(person.entries) if person is not None else layout.off), NOT_SET

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Take a group."""
        assert (pbx, len(requests), urgent) == ("hq", 1, False)
        self.sent.append((requests[0], done))

    def tell(self, event: ev.Event) -> None:
        """Let an event happen."""
        self.keys.follow(self.model, (event,), reduce(self.model, event).touched)

    def wish(self, user: str, state: str | None) -> None:
        """Set a manual state, or clear it."""
        self.tell(ev.ChangeAsked(2.0, 1, user, Action.SET if state else Action.CLEAR, "cli", state))

    def batch(self) -> tuple[list[str], list[str]]:
        """Give whom the oldest request turns on and off."""
        variables = json.loads(self.sent[0][0].body or "")["variables"]
        on, off = (variables[f"PRESENCE_{name}"] for name in ("ON", "OFF"))
        return on.split("&") if on else [], off.split("&") if off else []

    def channel(self) -> str:
        """Give the channel of the oldest request."""
        return dict(self.sent[0][0].query)["channelId"]

    def finish(self, state: str = "Up") -> tuple[list[str], list[str]]:
        """Let the oldest request be carried out, and give its users."""
        found, channel = self.batch(), self.channel()
        _, done = self.sent.pop(0)
        done(OK)
        info = ChannelInfo(channel, "Local/dnd@presence-freepbx-00000001;1", state, ("", ""), ("", ""))
        self.tell(ev.ChannelSeen(3.0, "hq", info))
        self.tell(ev.ChannelGone(3.0, "hq", channel))
        return found

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.keys.pump()


def test_connect_writes_everybody() -> None:
    """Whatever was there before: FreePBX keeps nothing that tells of a change."""
    world = World()
    assert world.finish() == ([], ["100", "101"])
    assert world.sent == []


def test_key_that_alone_was_changed_is_put_right_after_a_while() -> None:
    """Nothing tells of it, so all are looked at now and then."""
    world = World()
    world.finish()
    assert world.keys.next_deadline() == world.clock.monotonic() + HEAL_S
    world.wait(HEAL_S)
    assert world.finish() == ([], ["100", "101"])


def test_request_is_that_of_the_dialplan_file() -> None:
    """The context, the extension that is answered, and a channel that is known by its id."""
    world = World()
    request = world.sent[0][0]
    assert (request.method, request.path) == ("POST", "channels")
    query = dict(request.query)
    assert (query["endpoint"], query["context"], query["extension"]) == (
        "Local/dnd@presence-freepbx",
        "presence-freepbx",
        "done",
    )
    assert query["channelId"].startswith("app-freepbx-")


def test_change_writes_that_user_alone() -> None:
    """On for do not disturb and for a meeting, off after it, nothing for a lunch."""
    world = World()
    world.finish()
    world.wish("100", "dnd")
    assert world.finish() == (["100"], [])
    world.wish("100", "meeting")
    world.wish("101", "lunch")
    assert world.sent == []
    world.wish("100", None)
    assert world.finish() == ([], ["100"])


def test_changes_meanwhile_wait_and_the_newest_wins() -> None:
    """One batch at a time, so that nothing overtakes."""
    world = World()
    for state in ("dnd", None, "dnd"):
        world.wish("100", state)
    world.wish("101", "dnd")
    world.wish("101", None)
    assert len(world.sent) == 1
    assert world.finish() == ([], ["100", "101"])
    assert world.finish() == (["100"], ["101"])
    assert world.sent == []


def test_change_of_the_lamp_by_freepbx_writes_the_key_again() -> None:
    """FreePBX has changed both; where its wish came to nothing, the key must go back, too."""
    world = World()
    world.finish()
    world.keys.shown("hq", UserId("100"), "main-joined=ONHOLD")
    assert world.sent == []
    world.keys.shown("hq", UserId("100"), "main-joined=ONHOLD freepbx-user=BUSY")
    assert world.finish() == ([], ["100"])
    world.wish("100", "dnd")
    world.finish()
    world.keys.shown("hq", UserId("100"), "freepbx-user=BUSY")
    assert world.sent == []
    world.keys.shown("hq", UserId("100"), "")
    assert world.finish() == (["100"], [])


@pytest.mark.parametrize("how", ["refused", "gone", "late"])
def test_batch_that_fails_is_said_once_and_tried_again(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the remedy; never in a loop."""
    world = World()
    for _ in range(2):
        channel = world.channel()
        _, done = world.sent.pop(0)
        if how == "refused":
            done(REFUSED)
        else:
            done(OK)
            if how == "gone":
                world.tell(ev.ChannelGone(3.0, "hq", channel))
            else:
                world.wait(LATE_S)
        assert world.sent == []
        world.wish("100", "dnd")
        assert world.sent == []
        assert world.keys.next_deadline() == world.clock.monotonic() + RETRY_S
        world.wait(RETRY_S)
    assert world.finish() == (["100"], ["101"])
    assert capsys.readouterr().out.count("presence-freepbx.conf") == 1


def test_lost_link_is_made_up_for_at_the_next() -> None:
    """Nothing is said of it, and nothing is sent meanwhile."""
    world = World()
    _, done = world.sent.pop(0)
    world.tell(ev.LinkLost(3.0, "hq"))
    done(None)
    world.wish("100", "dnd")
    world.wait(LATE_S)
    assert (world.sent, world.keys.next_deadline()) == ([], None)
    world.keys.link_up("hq")
    assert world.finish() == (["100"], ["101"])


def test_user_who_left_has_no_key_any_more() -> None:
    """As the lamps go off."""
    world = World()
    world.finish()
    world.wish("101", "dnd")
    world.finish()
    world.tell(ev.EndpointsSeen(4.0, "hq", ("PJSIP/100",)))
    world.tell(ev.TimerDue(4.0 + 600.0))
    assert world.finish() == ([], ["101"])


def test_user_of_whom_nothing_is_known_yet_keeps_the_key() -> None:
    """Whose endpoint has not been seen is not nobody."""
    world = World()
    world.finish()
    world.unknown.add("102")
    world.keys.shown("hq", UserId("102"), "freepbx-user=BUSY")
    assert world.sent == []


def test_user_of_whom_nothing_is_known_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a whole batch is made of such users."""
    monkeypatch.setattr(module, "BATCH_USERS", 1)
    world = World()
    world.finish()
    world.finish()
    world.unknown.add("100")
    world.wait(HEAL_S)
    assert world.finish() == ([], ["101"])
    assert world.sent == []


def test_many_users_go_in_batches() -> None:
    """Each fits the variables of a channel."""
    users = [str(number) for number in range(100000, 101000)]
    world = World(*users)
    seen: list[str] = []
    while world.sent:
        _, off = world.finish()
        assert len(off) <= BATCH_USERS and len("&".join(off)) <= BATCH_CHARS
        seen += off
    assert sorted(seen) == users


def test_without_freepbx_nothing_is_written() -> None:
    """Until a reload turns it on."""
    world = World(freepbx=False)
    world.wish("100", "dnd")
    world.keys.shown("hq", UserId("100"), "main-joined=BUSY")
    assert world.sent == []
    world.tell(ev.ConfigChanged(3.0, SETTINGS))
    assert world.finish() == (["100"], ["101"])
