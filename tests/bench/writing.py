"""Confirmed lamp writes a second: the state of many users ends at once (`reset --all`), timed to the daemon's answer.

The daemon plans, writes, reads back, stores and answers; the floors only write the same kinds of lamps.
"""

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from raw import over_http, pipelined, state_writes
from table import Row, compared

from private_asterisk import PrivateAsterisk
from private_asterisk.presence import Daemon

LAMPS = 5
"""Written for each user: the two main lamps, the state's own, the presence state, and what becomes of calls."""
ROUNDS = 3
CLIENTS = 8


def measure(users: int) -> Iterator[Row]:
    """Measure on Asterisk 22, the floors between the rounds.

    Args:
        users: How many change at once; few enough to be confirmed within the daemon's 3 s.
    """
    names = [str(10_000 + number) for number in range(users)]
    bulk, raw, http, single = [], [], [], []
    with PrivateAsterisk(22, phones=names) as server, Daemon(server) as daemon:
        daemon.wait_ready(60)
        for turn in range(ROUNDS):
            single.append(users / _set_each(daemon, names))
            bulk.append(users * LAMPS / _reset_all(daemon, server, names))
            raw.append(users * LAMPS / pipelined(server, state_writes(names, on=turn % 2 == 0)))
            some = state_writes(names[: users // 4], on=turn % 2 == 0)
            http.append(len(some) / over_http(server, some))
    rate = statistics.median(bulk)
    what = f"confirmed lamp writes, {users:,} users at once"
    yield compared(what, rate, statistics.median(raw), 0.6, unit="/s", more_is_better=True, floor_name="raw websocket")
    yield compared(what, rate, statistics.median(http), 4, unit="/s", more_is_better=True, floor_name="requests")
    yield Row("changes by the control socket, one request each", f"{statistics.median(single):,.0f} users/s")


def _set_each(daemon: Daemon, names: Sequence[str]) -> float:
    """Set do not disturb for every user with a request of its own; each is answered when stored and confirmed."""
    began = monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for answer in pool.map(lambda name: daemon.ask("PUT", f"/users/{name}/state", {"state": "dnd"}), names):
            if not answer["confirmed"]:
                raise RuntimeError(f"not confirmed: {answer}")
    return monotonic() - began


def _reset_all(daemon: Daemon, server: PrivateAsterisk, names: Sequence[str]) -> float:
    began = monotonic()
    answer = daemon.ask("POST", "/control/reset", {"all": True})
    took_s = monotonic() - began
    if not answer["confirmed"]:
        raise RuntimeError(f"{len(names)} users were not confirmed in time: choose fewer")
    for name in (names[0], names[len(names) // 2], names[-1]):
        if (shown := server.device_state(f"Custom:dnd-{name}")) != "NOT_INUSE":
            raise RuntimeError(f"the daemon says that {name} is off, Asterisk says {shown}")
    return took_s
