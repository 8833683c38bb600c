"""Whose turn it is: items from any thread, carried out one after another, never two at once.

A thread of their own carries them out, or the thread that gathered them, when nothing else is going on: the hop between
threads costs more than the work. Knows nothing of what the items mean.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

AT_ONCE = 100  # items between two looks at the clock
AFTER_BUG_S = 1.0  # what is due and fails stays due: not tried again at once

log = structlog.get_logger(__name__)


class Clock(Protocol):
    """Two clocks: seconds since the epoch, and seconds that never jump."""

    def time(self) -> float:
        """Give seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Give seconds from an arbitrary start."""


class Turns:
    """Carries out items in the order in which they came; `run` in one thread, `put` and `gathered` in any."""

    def __init__(self, carry_out: Callable[[object], None], on_time: Callable[[], float]) -> None:
        """Start without items.

        Args:
            carry_out: Does what an item asks for.
            on_time: Does what is due by the clock and tells how long nothing more is, seconds; called after items, and when
                that time has passed without any.
        """
        self._carry_out = carry_out
        self._on_time = on_time
        self._items: deque[object] = deque()
        self._wake = threading.Event()
        self._turn = threading.Lock()  # held while anything is carried out
        self._gathering: dict[int, int] = {}  # threads that will see to their items themselves, and how many those are
        self._gathered = _Gathered(self)
        self._looks_at = 0.0  # when the thread looks at the clock by itself, monotonic; written by who has the turn
        self._over = False

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is under way."""
        return not (self._items or self._turn.locked())

    @property
    def waiting(self) -> bool:
        """Tell whether something waits."""
        return bool(self._items)

    def put(self, item: object, *, large: bool = False) -> None:
        """Queue an item; never waits. A large one is left to the thread of `run`, with all behind it."""
        me = threading.get_ident()
        self._items.append(item)
        if me in self._gathering and not large:
            self._gathering[me] += 1
        else:
            self._gathering.pop(me, None)
            self._wake.set()

    def gathered(self) -> "_Gathered":
        """Gather what this thread puts during the block, and carry it out at its end if nothing else is going on."""
        return self._gathered

    def begin(self) -> None:
        """Begin to gather (`gathered`)."""
        self._gathering[threading.get_ident()] = 0

    def end(self) -> None:
        """Carry out what was gathered, or leave it to the thread of `run`."""
        count = self._gathering.pop(threading.get_ident(), 0)
        if count and count == len(self._items) and self._turn.acquire(blocking=False):
            try:
                wait_s = self._carry_out_some()
                if time.monotonic() + wait_s < self._looks_at:
                    self._wake.set()
            finally:
                self._turn.release()
        if self._items:
            self._wake.set()

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
                wait_s = self._carry_out_some()
                self._looks_at = time.monotonic() + wait_s

    def _carry_out_some(self) -> float:
        """Carry out what waits, then what is due; the turn is held. Gives how long nothing is due, seconds."""
        items, carry_out = self._items, self._carry_out
        for _ in range(min(len(items), AT_ONCE)):
            item = items.popleft()
            try:
                carry_out(item)
            except Exception:  # a bug in one does not stop the others
                log.exception("bug: an event was not carried out", kind=type(item).__name__)
        try:
            return self._on_time()
        except Exception:
            log.exception("bug: what is due was not carried out")
            return AFTER_BUG_S


class _Gathered:
    """The block of `Turns.gathered`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.begin()

    def __exit__(self, *_error: object) -> None:
        self._turns.end()
