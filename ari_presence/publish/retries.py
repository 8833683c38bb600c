"""Whose lamps Asterisk did not take, and when they are tried again: ever less often. In the engine's thread alone."""

import heapq
from collections.abc import Iterator

from ari_presence.core.names import UserId

RETRY_S = (0.5, 2.0, 10.0)


class Retries:
    """Users with failures, in order of time; one that was changed or forgotten is skipped when it comes up."""

    def __init__(self) -> None:
        """Start without any."""
        self._counts: dict[UserId, int] = {}
        self._dues: dict[UserId, float] = {}
        self._heap: list[tuple[float, UserId]] = []

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
        self._dues[user] = due
        heapq.heappush(self._heap, (due, user))

    def forget(self, user: UserId) -> None:
        """Note that all is well."""
        self._counts.pop(user, None)
        self._dues.pop(user, None)

    def next(self) -> float | None:
        """Tell when somebody is to be taken up again, or None."""
        while self._heap and self._dues.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> list[UserId]:
        """Give whoever is to be taken up again now; they count as failed until they are forgotten."""
        users = []
        while (due := self.next()) is not None and due <= now:
            user = heapq.heappop(self._heap)[1]
            del self._dues[user]
            users.append(user)
        return users
