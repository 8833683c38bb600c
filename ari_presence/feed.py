"""The stream of changed users for whoever watches; resumable, bounded, never in the engine's way."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Said = Callable[[], dict[str, Any]]  # puts a change into words, for whoever reads it

KEPT = 1000
ALWAYS_UP_TO = 100  # more users at once (start, reload) are told only to those who watch already


class Feed:
    """Numbers changes and keeps the newest; published by one thread, read by any."""

    def __init__(self, start: int = 0) -> None:
        """Start empty; ids are above `start`, which grows from one run of the daemon to the next."""
        self._changed = threading.Condition()
        self._kept: deque[tuple[int, Said]] = deque(maxlen=KEPT)
        self._count = start
        self._watchers = 0
        self._closed = False

    def wanted(self, users: int) -> bool:
        """Tell whether a change of so many users at once should be published."""
        return users <= ALWAYS_UP_TO or self._watchers > 0

    def publish(self, user: Said) -> None:
        """Add one changed user, which is put into words when somebody reads it, in that thread."""
        with self._changed:
            self._count += 1
            self._kept.append((self._count, user))
            if self._watchers:
                self._changed.notify_all()

    def close(self) -> None:
        """End every watch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def watch(self, last_id: int | None) -> "FeedWatch":
        """Begin to watch after `last_id`, or (None) from now on; an id that is not ours means all that is kept."""
        with self._changed:
            self._watchers += 1
            first = self._kept[0][0] - 1 if self._kept else self._count
            if last_id is None:
                return FeedWatch(self, self._count)
            return FeedWatch(self, last_id if first <= last_id <= self._count else first)

    def _next(self, after: int, timeout_s: float) -> tuple[int, Said] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._count > after, timeout_s)
            if self._closed:
                raise EOFError
            if self._count <= after:
                return None
            oldest = self._kept[0][0]
            return self._kept[max(after + 1 - oldest, 0)]

    def _leave(self) -> None:
        with self._changed:
            self._watchers -= 1


class FeedWatch:
    """One watcher's place in the feed; for one thread. One that falls behind by more than what is kept skips ahead."""

    def __init__(self, feed: Feed, after: int) -> None:
        """Watch what comes after the given id."""
        self._feed = feed
        self._after = after
        self._open = True

    def get(self, timeout_s: float) -> tuple[int, dict[str, Any]] | None:
        """Give the next change, or None after `timeout_s`; raises EOFError when the feed is closed."""
        item = self._feed._next(self._after, timeout_s)
        if item is None:
            return None
        self._after = item[0]
        return item[0], item[1]()

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._open:
            self._open = False
            self._feed._leave()
