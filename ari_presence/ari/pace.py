"""How often a link reads: at once while little comes; in a flood less often, and more at a time.

Waking for one event costs more than most events do. With 1,000 events/s a rest of 4 ms saves a third of the processor time,
and the writes that follow go out together.
"""

FLOOD_PER_S = 500.0  # messages; one call is 25 events and their answers within a second
LOOK_S = 0.1
REST_S = 0.004


class Pace:
    """Tells whether to rest before the next read; for the thread that reads."""

    def __init__(self) -> None:
        """Begin as if nothing had come."""
        self._flood = False
        self._count = 0
        self._looks_at = 0.0

    def is_flood(self, now: float) -> bool:
        """Tell whether much has come lately; `now` is monotonic seconds."""
        if now >= self._looks_at:
            self._flood = self._count > FLOOD_PER_S * (now - self._looks_at + LOOK_S)
            self._count, self._looks_at = 0, now + LOOK_S
        return self._flood

    def came(self, messages: int) -> None:
        """Take how many messages a read gave."""
        self._count += messages
