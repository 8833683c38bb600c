"""How long to wait before the next attempt."""

import random
from collections.abc import Iterator

FIRST_S = 0.5  # never less: a quicker reconnect can meet the old socket's teardown (asterisk#2170 and the facts on it)
MOST_S = 2.0  # lamps are to be right within 5 s of a server's return; an attempt that is refused is cheap


def delays(first_s: float = FIRST_S, most_s: float = MOST_S) -> Iterator[float]:
    """Yield seconds to wait, doubling from `first_s` to `most_s`, each but the first with up to 30 % of jitter."""
    yield first_s
    delay_s = first_s
    while True:
        delay_s = min(delay_s * 2, most_s)
        yield delay_s * random.uniform(0.7, 1.0)
