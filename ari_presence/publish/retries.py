"""Whose lamps Asterisk did not take, and when they are tried again: ever less often. In the engine's thread alone."""

from collections.abc import Iterator

from ari_presence.core.names import UserId
from ari_presence.core.timers import Deadlines

RETRY_S = (0.5, 2.0, 10.0)


class Retries:
    """Users with failures, how many each, and when each is due."""

    def __init__(self) -> None:
        """Start without any."""
        self._counts: dict[UserId, int] = {}
        self._dues: Deadlines[UserId] = Deadlines()

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[UserId]:
        return iter(self._counts)

    def count(self, user: UserId) -> int:
        """Note one more failure and give how many there were before."""
        before = self._counts.get(user, 0)
        self._counts[user] = before + 1
        return before

    @staticmethod
    def wait_s(before: int) -> float:
        """Tell how long to wait after so many failures before this one, seconds."""
        return RETRY_S[min(before, len(RETRY_S) - 1)]

    def later(self, user: UserId, due: float) -> None:
        """Have a user taken up again at `due`, monotonic seconds."""
        self._dues.put(user, due)

    def forget(self, user: UserId) -> None:
        """Note that all is well."""
        self._counts.pop(user, None)
        self._dues.drop(user)

    def next(self) -> float | None:
        """Tell when somebody is to be taken up again, or None."""
        return self._dues.next()

    def take(self, now: float) -> list[UserId]:
        """Give whoever is to be taken up again now; they count as failed until they are forgotten."""
        return self._dues.pop_due(now)
