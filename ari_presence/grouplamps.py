"""The lamps of groups on every server: the engine tells what happened, one more publisher for each server does the rest.

In the engine's turn alone. What a publisher knows as a user is a group here; in the store a group has the key
`group:<group>`, which no user can have, so that the lamp of a group that is gone at the next start is turned off then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from ari_presence.ari.wire import Request
from ari_presence.core.events import Event
from ari_presence.core.groups import GroupLayout, Groups
from ari_presence.core.lamps import Presence, Vector, Wish
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.publish.host import Answer
from ari_presence.publish.publisher import Publisher

_KEY = "group:"


class Engine(Protocol):
    """What the group lamps need from the engine; everything that is handed over is called in its turn."""

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group of requests."""

    def watch_devices(self, pbx: str, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Have changes of these devices reported, and say when it has begun."""

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what a server shows."""

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits."""


class GroupLamps:
    """Who is free in which group, and the lamps that say so (`publish.host.Host`)."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = monotonic) -> None:
        """Start without groups and servers."""
        self.groups = Groups()
        self._engine = engine
        self._clock = clock
        self._layout = GroupLayout()
        self._publishers: dict[str, Publisher] = {}

    def add_server(self, pbx: str, app: str, stored: Mapping[UserId, str]) -> Publisher:
        """Make the publisher of one server, with all that its lamps were last confirmed to show."""
        ours = {UserId(key.removeprefix(_KEY)): text for key, text in stored.items() if is_group_key(key)}
        made = Publisher(pbx, app, self._layout, ours, self, self._clock, one_by_one=True)
        self._publishers[pbx] = made
        return made

    def names(self) -> list[UserId]:
        """Give the groups, sorted, as the publishers know them."""
        return sorted(map(UserId, self.groups))

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Count anew the people whom events have touched; `Publisher.pump` sends the lamps that follow."""
        changed = self.groups.follow(model, events, touched)
        if changed:
            for publisher in self._publishers.values():
                publisher.touch(sorted(map(UserId, changed)))

    # --- what the publishers need (publish.host.Host) -----------------------------------------------------------

    def desired(self, user: UserId) -> tuple[Vector, Presence | None] | None:
        """Say what the lamp of a group should show."""
        return self._layout.vector((self.groups.value(user),)), None

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Do nothing: `GroupLayout` reads a wish into no change."""

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what a server now shows."""
        self._engine.confirmed(pbx, UserId(_KEY + user), text)

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits for all lamps."""
        self._engine.settled(user)

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group of requests."""
        self._engine.submit(pbx, requests, done, urgent=urgent)

    def watch(self, pbx: str, users: tuple[UserId, ...], devices: Callable[[], Sequence[str]]) -> None:
        """Have changes by others reported; what changed before that is found by reading once more."""
        publisher = self._publishers[pbx]
        self._engine.watch_devices(pbx, devices, lambda: publisher.reread(users))


def is_group_key(key: str) -> bool:
    """Tell whether stored lamps are those of a group."""
    return key.startswith(_KEY)
