"""What follows the model beside the lamps: the engine tells what happened, each follower does its own with it.

In the engine's turn alone. A follower is level-triggered as the lamps are: told late or twice, it ends in the same.
"""

from collections.abc import Callable, Iterable, Sequence

from ari_presence.core.events import Event
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.errors import StoreError
from ari_presence.store.base import Change

_FIRST_TICKET = 1 << 40  # the engine's own begin at 1 and at -1


class Follower:
    """What a follower is told; it overrides what it minds."""

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Take events that came together, and whose states they may have changed."""

    def shown(self, pbx: str, user: UserId, text: str) -> None:
        """Take what the lamps of a user are now confirmed to show (`plan.lamps_text`)."""

    def link_up(self, pbx: str) -> None:
        """Take that a server is connected, again or for the first time."""

    def next_deadline(self) -> float | None:
        """Tell when `pump` has something to do, monotonic."""
        return None

    def pump(self) -> None:
        """Do what is due."""


class Followers:
    """All followers as one, and the store for them."""

    def __init__(self, save: Callable[[Change, int | None], None]) -> None:
        """Start without any; `save` is the engine's."""
        self._all: list[Follower] = []
        self._save = save
        self._tickets = _FIRST_TICKET
        self._waiting: dict[int, Callable[[bool], None]] = {}

    def add(self, *followers: Follower) -> None:
        """Add some, in the engine's turn or before it runs."""
        self._all += followers

    def save(self, change: Change, done: Callable[[bool], None]) -> None:
        """Store a change, and tell whether it is durable."""
        self._tickets += 1
        self._waiting[self._tickets] = done
        self._save(change, self._tickets)

    def stored(self, tickets: Iterable[int], error: StoreError | None) -> None:
        """Take the store's word on changes; those of others are none of ours."""
        for ticket in tickets:
            if (done := self._waiting.pop(ticket, None)) is not None:
                done(error is None)

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Tell all of events that came together."""
        for each in self._all:
            each.follow(model, events, touched)

    def shown(self, pbx: str, user: UserId, text: str) -> None:
        """Tell all of confirmed lamps."""
        for each in self._all:
            each.shown(pbx, user, text)

    def link_up(self, pbx: str) -> None:
        """Tell all of a connection."""
        for each in self._all:
            each.link_up(pbx)

    def next_deadline(self) -> float | None:
        """Tell when `pump` has something to do, monotonic."""
        soonest = None
        for each in self._all:
            if (due := each.next_deadline()) is not None and (soonest is None or due < soonest):
                soonest = due
        return soonest

    def pump(self) -> None:
        """Let all do what is due."""
        for each in self._all:
            each.pump()
