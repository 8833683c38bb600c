"""What links and their parts post, collected so that a test can wait for it."""

import threading
from collections.abc import Callable
from typing import TypeVar

E = TypeVar("E")


class Collector:
    """Takes events from any thread."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[object] = []
        self._changed = threading.Condition(threading.RLock())

    def __call__(self, event: object) -> None:
        """Take one event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def all(self, kind: type[E]) -> list[E]:
        """Give the events of one kind so far."""
        with self._changed:
            return [event for event in self._events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        """Name all events so far, in order."""
        with self._changed:
            return [type(event).__name__ for event in self._events]

    def wait(self, kind: type[E], count: int = 1, timeout_s: float = 5.0) -> E:
        """Wait for the `count`-th event of a kind and give it."""
        return self.wait_until(lambda: self.all(kind)[count - 1 : count], timeout_s)[0]

    def wait_until(self, what: Callable[[], E], timeout_s: float = 5.0) -> E:
        """Wait until something is true of the events, and give it."""
        with self._changed:
            found = self._changed.wait_for(what, timeout_s)
            assert found, f"not within {timeout_s} s; so far: {self._events}"
            return found
