"""The keeper of pauses, against a manager interface that answers when it is told to."""

from collections.abc import Mapping

import pytest

from ari_presence.ami.wire import Fields
from ari_presence.core import events as ev
from ari_presence.core.features import Action
from ari_presence.core.names import UserId
from ari_presence.core.queues import note_key
from ari_presence.core.reducer import reduce
from ari_presence.errors import StoreError
from ari_presence.followers import Followers
from ari_presence.queuekeeper import LIST_EVERY_S, QUIET_S, RETRY_S, QueueKeeper
from ari_presence.store.base import Change, LampsConfirmed
from tests.unit.core.test_queues import KEY, make_model
from tests.unit.engine_rig import FakeClock
from tests.unit.fake_port import FakePort, fields

PAUSE = ("QueuePause", {"Queue": "sales", "Interface": "PJSIP/100", "Paused": "true", "Reason": "lunch"})
UNPAUSE = ("QueuePause", {"Queue": "sales", "Interface": "PJSIP/100", "Paused": "false"})
NOTE = UserId(note_key(KEY))


def row(interface: str = "PJSIP/100", paused: str = "0", reason: str = "", queue: str = "sales") -> Fields:
    """Make a member as a listing has it."""
    return fields(event="QueueMember", queue=queue, location=interface, paused=paused, pausedreason=reason)


class World:
    """A keeper, the model, a store that commits when it is told to, and a port."""

    def __init__(self, stored: Mapping[UserId, str] = {}) -> None:
        """Build it; 100 and 101 are users, lunch and meeting pause."""
        self.model = make_model()
        self.clock = FakeClock()
        self.saved: list[tuple[Change, int | None]] = []
        self.followers = Followers(lambda change, ticket: self.saved.append((change, ticket)))
        self.port = FakePort()
        self.keeper = QueueKeeper(self, {"hq": self.port}, self.clock.monotonic)
        self.keeper.add_server("hq", stored)
        self.followers.add(self.keeper)

    def wish(self, state: str | None, user: str = "100") -> None:
        """Set a manual state, or clear it."""
        action = Action.SET if state else Action.CLEAR
        self.tell(ev.ChangeAsked(2.0, 1, user, action, "cli", state))

    def tell(self, event: ev.Event) -> None:
        """Let an event happen."""
        self.followers.follow(self.model, (event,), reduce(self.model, event).touched)

    def connect(self, *rows: Fields) -> None:
        """Bring AMI up, and list."""
        self.keeper.ami_up("hq")
        assert self.port.answer(*rows) == ("QueueStatus", {})

    def commit(self, error: StoreError | None = None) -> list[tuple[str, str]]:
        """Let the store take what waits, and give it."""
        batch, self.saved = self.saved, []
        self.followers.stored([ticket for _, ticket in batch if ticket is not None], error)
        return [(change.user, change.text) for change, _ in batch if isinstance(change, LampsConfirmed)]

    def event(self, name: str, interface: str = "PJSIP/100", **more: str) -> None:
        """Let AMI tell something of a member, and be quiet afterwards."""
        self.keeper.ami_event("hq", fields(event=name, queue="sales", interface=interface, **more))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.followers.pump()


def paused(world: World) -> World:
    """Bring a world to where 100 is at lunch and paused by us."""
    world.connect(row())
    world.wish("lunch")
    world.commit()
    world.port.answer()
    return world


def test_state_pauses_and_its_end_unpauses() -> None:
    """The note is durable before the pause is made, and removed after it was taken back."""
    world = World()
    world.connect(row(), row("PJSIP/999"))
    world.wish("lunch")
    assert world.port.asked == []
    assert world.commit() == [(NOTE, "lunch")]
    assert world.port.answer() == PAUSE
    world.wish(None)
    assert world.port.answer() == UNPAUSE
    assert world.commit() == [(NOTE, "")]
    assert (world.port.asked, world.saved) == ([], [])


def test_state_that_pauses_nobody_does_nothing() -> None:
    """Away is a state like others, but not for queues."""
    world = World()
    world.connect(row())
    world.wish("away")
    assert (world.port.asked, world.saved) == ([], [])


def test_change_from_one_pausing_state_to_another_changes_the_reason() -> None:
    """The member stays paused all the while."""
    world = paused(World())
    world.wish("meeting")
    assert world.commit() == [(NOTE, "lunch meeting")]
    assert world.port.answer()[1]["Reason"] == "meeting"
    world.wish(None)
    assert world.port.answer() == UNPAUSE


def test_wish_that_changes_while_the_store_works_ends_as_the_last_one() -> None:
    """Nothing overtakes: the pause is made and then taken back."""
    world = World()
    world.connect(row())
    world.wish("lunch")
    world.wish(None)
    world.commit()
    assert world.port.answer() == PAUSE
    assert world.port.answer() == UNPAUSE
    assert world.commit() == [(NOTE, "")]


def test_note_that_is_not_stored_makes_no_pause_until_it_is() -> None:
    """A full disk: a pause that nobody remembers would never end."""
    world = World()
    world.connect(row())
    world.wish("lunch")
    world.commit(StoreError("full"))
    assert world.port.asked == []
    world.wait(RETRY_S)
    world.commit()
    assert world.port.answer() == PAUSE


def test_start_with_a_note_finds_its_pause() -> None:
    """After a crash of the daemon, during the state or when it is over."""
    world = World({NOTE: "lunch"})
    world.connect(row(paused="1", reason="lunch"))
    assert world.port.answer() == UNPAUSE
    during = World({NOTE: "lunch"})
    during.wish("lunch")
    during.connect(row(paused="1", reason="lunch"))
    assert (during.port.asked, during.saved) == ([], [])


def test_restart_of_asterisk_that_lost_the_pause_makes_it_again() -> None:
    """A new connection to AMI begins with nobody known to have unpaused anybody."""
    world = paused(World())
    world.connect(row())
    assert world.commit() == [(NOTE, "lunch")]
    assert world.port.answer() == PAUSE


def test_member_who_is_added_while_the_state_lasts_is_paused() -> None:
    """Its queue is listed again, once things are quiet."""
    world = World()
    world.connect()
    world.wish("lunch")
    world.event("QueueMemberAdded")
    world.event("QueueMemberAdded", "PJSIP/101")
    world.wait(QUIET_S)
    assert world.port.answer(row(), row("PJSIP/101")) == ("QueueStatus", {"Queue": "sales"})
    world.commit()
    assert world.port.answer() == PAUSE
    assert world.port.asked == []


def test_member_who_leaves_and_comes_back_is_paused_again() -> None:
    """That he is not paused is no wish of anybody: he is a new member."""
    world = paused(World())
    world.event("QueueMemberRemoved")
    assert world.commit() == [(NOTE, "")]
    world.event("QueueMemberAdded")
    world.wait(QUIET_S)
    world.port.answer(row())
    assert world.commit() == [(NOTE, "lunch")]
    assert world.port.answer() == PAUSE


def test_pause_by_somebody_else_counts_at_once() -> None:
    """Before the listing that follows: a state set in between must not take it over."""
    world = World()
    world.connect(row())
    world.event("QueueMemberPause", paused="1", pausedreason="wc")
    world.wish("lunch")
    assert (world.port.asked, world.saved) == ([], [])
    world.wait(QUIET_S)
    world.port.answer(row(paused="1", reason="wc"))
    world.wish(None)
    assert (world.port.asked, world.saved) == ([], [])


def test_pause_that_somebody_takes_back_stays_so_until_the_next_state() -> None:
    """A supervisor who wants him back gets him back."""
    world = paused(World())
    world.clock.advance(1.0)
    world.event("QueueMemberPause")
    world.wait(QUIET_S)
    world.port.answer(row())
    assert world.commit() == [(NOTE, "")]
    assert world.port.asked == []
    world.wish("meeting")
    world.commit()
    assert world.port.answer()[1]["Reason"] == "meeting"


def test_own_pause_that_is_listed_late_is_no_wish() -> None:
    """A listing that was asked for before the pause was made does not count."""
    world = World()
    world.connect(row())
    world.event("QueueMemberPause")
    world.wait(QUIET_S)
    world.wish("lunch")
    world.commit()
    listing, pause = world.port._done[0], world.port._done[1]
    world.port.asked.clear()
    world.port._done.clear()
    pause([fields(response="Success")])
    listing([fields(response="Success"), row()])
    assert world.commit() == [(NOTE, "lunch")]
    assert world.port.answer() == PAUSE


def test_lost_connection_leaves_everything_to_the_next() -> None:
    """Neither answered nor repeated blindly: the next listing tells what became of it."""
    world = World()
    world.connect(row())
    world.wish("lunch")
    world.commit()
    world.port.answer(lost=True)
    world.wish(None)
    assert world.port.asked == []
    world.connect(row(paused="1", reason="lunch"))
    assert world.port.answer() == UNPAUSE


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        pytest.param("Permission denied", "write = call,system,agent", id="no-right"),
        pytest.param("Unable to pause", "log", id="other"),
    ],
)
def test_refused_pause_is_said_once_and_tried_again(
    reason: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what mends it; never in a loop."""
    world = World()
    world.connect(row())
    world.wish("lunch")
    for _ in range(3):
        world.commit()
        world.port.refuse(reason)
        assert world.port.asked == []
        world.wait(QUIET_S)
        world.port.answer(row())
        assert world.port.asked == []
        world.wait(RETRY_S)
    assert capsys.readouterr().out.count(remedy) == 1


def test_server_without_queues_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """And asked again a minute later."""
    world = World()
    for _ in range(2):
        world.keeper.ami_up("hq") if not world.port.log else world.wait(LIST_EVERY_S)
        world.port.refuse("Invalid/unknown command: QueueStatus.")
    assert capsys.readouterr().out.count("app_queue.so") == 1


def test_nobody_is_listed_where_no_state_pauses() -> None:
    """A large call centre pays nothing for what it does not use; a reload that changes that begins."""
    world = World()
    settings = world.model.settings
    plain = type(settings.states)()
    world.model.settings = type(settings)(plain, settings.layout, pbxs=settings.pbxs)
    world.keeper.ami_up("hq")
    world.wait(LIST_EVERY_S)
    assert (world.port.log, world.followers.next_deadline()) == ([], None)
    world.tell(ev.ConfigChanged(3.0, settings))
    assert world.followers.next_deadline() is not None
    world.followers.pump()
    assert world.port.answer() == ("QueueStatus", {})


def test_two_queues_and_two_members_are_kept_apart() -> None:
    """A user in several queues is paused in each."""
    world = World()
    world.connect(row(), row("Local/100@from-queue/n", queue="support"), row("PJSIP/101"))
    world.wish("lunch")
    world.commit()
    actions = sorted(world.port.answer()[1]["Queue"] for _ in range(2))
    assert (actions, world.port.asked) == (["sales", "support"], [])
