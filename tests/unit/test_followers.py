"""Followers as one: all are told, the soonest deadline counts, and who stores something learns what became of it."""

from collections.abc import Iterable, Sequence

from ari_presence.core.events import Event, TimerDue
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.errors import StoreError
from ari_presence.followers import Followers
from ari_presence.store.base import Change, LampsConfirmed
from tests.unit.engine_rig import make_settings

ALICE = UserId("100")


class Notes:
    """A follower that writes down what it is told."""

    def __init__(self, due: float | None) -> None:
        """Be due then."""
        self.due = due
        self.told: list[object] = []

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Take events."""
        self.told.append((*events, set(touched)))

    def shown(self, pbx: str, user: UserId, text: str) -> None:
        """Take lamps."""
        self.told.append((pbx, user, text))

    def link_up(self, pbx: str) -> None:
        """Take a connection."""
        self.told.append(pbx)

    def next_deadline(self) -> float | None:
        """Tell when."""
        return self.due

    def pump(self) -> None:
        """Take that time has passed."""
        self.told.append("pump")


def test_all_are_told() -> None:
    """Each of everything, in order."""
    followers, both = Followers(lambda change, ticket: None), [Notes(None), Notes(5.0)]
    assert followers.next_deadline() is None
    for each in both:
        followers.add(each)
    event = TimerDue(1.0)
    followers.follow(Model(make_settings()), (event,), {ALICE})
    followers.shown("hq", ALICE, "dnd=INUSE")
    followers.link_up("hq")
    followers.pump()
    for each in both:
        assert each.told == [(event, {ALICE}), ("hq", ALICE, "dnd=INUSE"), "hq", "pump"]
    assert followers.next_deadline() == 5.0


def test_who_stores_learns_what_became_of_it() -> None:
    """Once, by a ticket that nobody else has."""
    saved: list[tuple[Change, int | None]] = []
    told: list[tuple[int, bool]] = []
    followers = Followers(lambda change, ticket: saved.append((change, ticket)))
    for number in (1, 2):
        change = LampsConfirmed("hq", UserId(f"queue:{number}"), "lunch")
        followers.save(change, lambda ok, number=number: told.append((number, ok)))  # type: ignore[misc]
    first, second = (ticket for _, ticket in saved)
    assert first is not None and second is not None
    followers.stored([1, -1, first], None)
    followers.stored([second], StoreError("full"))
    followers.stored([first, second], None)
    assert told == [(1, True), (2, False)]
