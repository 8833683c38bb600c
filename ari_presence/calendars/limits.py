"""Limits of the reader process: time of one piece of work, and memory of the whole."""

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

MEMORY_BYTES = 400 * 2**20
AGAIN_S = 0.1  # where something swallows it all the same


class TooCostly(BaseException):
    """A piece of work took more time than it may; a `BaseException`, so that no library swallows it."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise TooCostly


def cpu_limit(seconds: float) -> AbstractContextManager[None]:
    """Let a block use so much processor time; in the main thread, not nested.

    Raises:
        TooCostly: It used more; raised between two steps of Python, wherever it stands.
    """
    return _limit(signal.ITIMER_PROF, signal.SIGPROF, seconds)


def time_limit(seconds: float) -> AbstractContextManager[None]:
    """Let a block last so long by the clock, whatever it waits for; otherwise like `cpu_limit`."""
    return _limit(signal.ITIMER_REAL, signal.SIGALRM, seconds)


@contextmanager
def _limit(timer: int, number: signal.Signals, seconds: float) -> Iterator[None]:
    began, before = time.monotonic(), signal.signal(number, _stop)
    left, _ = signal.setitimer(timer, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)
        if left:  # somebody else's, such as that of a test
            signal.setitimer(timer, max(left - (time.monotonic() - began), 0.001))


def limit_memory() -> None:
    """Let allocations fail where a calendar would need far too much (RLIMIT_AS); for the whole process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
