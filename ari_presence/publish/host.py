"""What a publisher needs from whoever owns the model."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ari_presence.ari.wire import Request, Response
from ari_presence.core.lamps import Presence, Vector, Wish
from ari_presence.core.names import UserId

Answer = Callable[[list[Response] | None], None]


class Host(Protocol):
    """What the publisher needs from the engine."""

    def desired(self, user: UserId) -> tuple[Vector, Presence | None] | None:
        """Say what a user's lamps should show: all off for somebody who is no user, None while that is not known.

        The presence is None for what has none.
        """

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Take somebody else's change of lamps; what it changes comes back through `touch`."""

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what the server now shows (`plan.lamps_text`)."""

    def settled(self, user: UserId) -> None:
        """Look whether somebody waits for this user: the server's answer has come."""

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group; `done` is called in the engine's thread."""

    def watch(self, pbx: str, users: tuple[UserId, ...], devices: Callable[[], Sequence[str]]) -> None:
        """Subscribe to these lamps of some users in the background, then have them read once more (`reread`)."""
