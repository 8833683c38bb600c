"""What a session's end leaves in doubt: writes that may or may not have been carried out.

Found at the next connect, such a value may be ours and is nobody's wish. In the engine's thread alone.
"""

from collections.abc import Callable, Iterable

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import Vector
from ari_presence.core.names import UserId
from ari_presence.core.plan import Layout

LATE_S = 5.0  # so long after a connect Asterisk may still carry out what the link before has sent


class Doubts:
    """Remembers, over the end of a session, what was being written."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without any; `clock` gives monotonic seconds."""
        self._clock = clock
        self._tried: dict[UserId, set[tuple[str, DeviceState]]] = {}  # kind of lamp and value
        self._late_until = 0.0

    def connected(self) -> None:
        """Begin a session."""
        self._late_until = self._clock() + LATE_S

    @property
    def late(self) -> bool:
        """Tell whether a write of an earlier session may still be carried out."""
        return self._clock() < self._late_until

    def add(self, user: UserId, tried: Iterable[tuple[str, DeviceState]]) -> None:
        """Note what was being written when the session ended."""
        self._tried.setdefault(user, set()).update(tried)

    def forget(self) -> None:
        """Forget everything once nothing can come any more: all lamps are right."""
        if not self.late:
            self._tried.clear()

    def known(
        self, layout: Layout, user: UserId, before: Vector, after: Vector, wanted: Vector, *, first: bool
    ) -> Vector:
        """Give what a user's lamps count as having shown: where they show now what may be ours, that.

        Args:
            layout: Which lamps there are.
            user: Whose.
            before: What they were last known to show.
            after: What they show.
            wanted: What they should show.
            first: Whether this is the first look in a session.
        """
        if not (first or self.late):
            return before
        tried = self._tried.get(user, ())
        lamps = zip(layout.kinds, before, after, wanted, strict=True)
        return layout.vector(
            tuple(now if (first and now is wish) or (kind, now) in tried else old for kind, old, now, wish in lamps)
        )
