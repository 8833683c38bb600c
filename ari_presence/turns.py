"""Whose turn it is: items from any thread, carried out one after another, never two at once.

A thread of their own carries them out, or, for an urgent one when nothing else waits, the thread that brings it: the hop
between threads costs more than the work. Knows nothing of what the items mean.
"""

import threading
from collections import deque
from collections.abc import Callable

import structlog

AT_ONCE = 100  # items between two looks at the clock
AFTER_BUG_S = 1.0  # what is due and fails stays due: not tried again at once

log = structlog.get_logger(__name__)


class Turns:
    """Carries out items in the order in which they came; `run` in one thread, `put` and `offer` from any."""

    def __init__(
        self, carry_out: Callable[[object], None], on_time: Callable[[], None], wait_s: Callable[[], float]
    ) -> None:
        """Start without items.

        Args:
            carry_out: Does what an item asks for.
            on_time: Does what is due by the clock; called after items, and when `wait_s` has passed without any.
            wait_s: Tells how long nothing is due, seconds.
        """
        self._carry_out = carry_out
        self._on_time = on_time
        self._wait_s = wait_s
        self._items: deque[object] = deque()
        self._wake = threading.Event()
        self._turn = threading.Lock()  # held while anything is carried out
        self._over = False

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is under way."""
        return not (self._items or self._turn.locked())

    def put(self, item: object) -> None:
        """Queue an item; never waits."""
        self._items.append(item)
        self._wake.set()

    def offer(self, item: object) -> None:
        """Carry out an item at once if it is nobody's turn and nothing waits; queue it otherwise."""
        if not self._turn.acquire(blocking=False):
            self.put(item)
            return
        try:
            if self._items:
                self._items.append(item)
            else:
                self._try(self._carry_out, item)
                self._try(self._on_time)
        finally:
            self._turn.release()
        self._wake.set()  # have the thread look at the queue and at the clock

    def stop(self) -> None:
        """End `run` after what is queued."""
        self._over = True
        self._wake.set()

    def run(self) -> None:
        """Serve until `stop`."""
        wait_s = 0.0
        while self._items or not self._over:
            if not (self._items or self._over):
                self._wake.wait(wait_s)
            self._wake.clear()
            with self._turn:
                for _ in range(min(len(self._items), AT_ONCE)):
                    self._try(self._carry_out, self._items.popleft())
                wait_s = self._wait_s() if self._try(self._on_time) else AFTER_BUG_S

    def _try(self, do: Callable[..., None], *items: object) -> bool:
        """Do one thing and say whether that went well; a bug in it does not stop the others."""
        try:
            do(*items)
            return True
        except Exception:
            log.exception("bug: an event was not carried out", kind=", ".join(type(item).__name__ for item in items))
            return False
