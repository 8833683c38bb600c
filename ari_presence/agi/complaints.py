"""Complaints about peers in the log: a few of each kind in each period, so that no flood fills the disk."""

from collections.abc import Callable

import structlog

PERIOD_S = 10.0
LINES = 20
"""Of each kind in each period; how many more there were stands in the first line of a later one."""

log = structlog.get_logger(__name__)


class Complaints:
    """Counts what is said; one thread."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Start with nothing said; `now` gives seconds that never jump."""
        self._now = now
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, code: str, **fields: object) -> None:
        """Log that a peer was refused, or only count it.

        Args:
            code: Kind of complaint, one of a few words of ours.
            fields: What the line tells, made fit to be shown.
        """
        begin, count = self._said.get(code, (self._now(), 0))
        unlogged = 0
        if self._now() - begin >= PERIOD_S:
            unlogged, begin, count = max(count - LINES, 0), self._now(), 0
        self._said[code] = (begin, count + 1)
        if count < LINES:
            log.warning("agi refused", code=code, **fields, **({"unlogged": unlogged} if unlogged else {}))
