"""Many users: from connect to all lamps right, reconnect, memory, start-up and idle.

All users are in do not disturb from the beginning (put into the store before the daemon starts), so that each has four
lamps that must be written. Times of the daemon run from its own log line `connected`, or from Asterisk's first answer.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import islice

from raw import pipelined, state_writes
from table import Row, amount, compared, limited

from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry
from ari_presence.store.base import ManualChanged
from ari_presence.store.sqlite import SqliteStore
from private_asterisk import PrivateAsterisk, wait_until
from private_asterisk.presence import Daemon

SAMPLES = 50
TIMEOUT_S = 120.0
POLL_S = 0.05
MEMORY_MIB = 80.0
IDLE_PERCENT = 0.5
RECONNECT_S = 5.0
SUBSCRIBE_S = 400.0
QUIET_S = 5.0
APP = "ari-presence"


def names(count: int) -> list[str]:
    """Name users with five digits, so that their endpoints are discovered."""
    return [str(10_000 + number) for number in range(count)]


def seed(daemon: Daemon, users: Sequence[str]) -> None:
    """Put every user into do not disturb, in the store of a daemon that does not run."""
    store = SqliteStore(daemon.database)
    try:
        entry = Entry(StateId("dnd"), "cli", time.time())
        store.commit([ManualChanged(UserId(user), entry) for user in users])
    finally:
        store.close()


def check(server: PrivateAsterisk, users: Sequence[str], *, on: bool) -> None:
    """Read some users' lamps from Asterisk; RuntimeError if one is wrong."""
    expected = {"Custom:presence-": "BUSY", "Stasis:presence-": "BUSY", "Custom:dnd-": "INUSE"}
    if not on:
        expected = {"Custom:presence-": "INVALID", "Stasis:presence-": "NOT_INUSE", "Custom:dnd-": "NOT_INUSE"}
    for user in islice(users, 0, None, max(len(users) // SAMPLES, 1)):
        for prefix, value in expected.items():
            shown = server.device_state(f"{prefix}{user}")
            if shown != value:
                raise RuntimeError(f"{prefix}{user} shows {shown}, not {value}, although the daemon says ready")


def _ready_s(daemon: Daemon, *, after: float = 0.0) -> float:
    """Wait until a connection made after that moment is ready, and give the seconds from connect to all lamps right."""
    if not wait_until(lambda: daemon.connected_at() > after and daemon.is_ready(), TIMEOUT_S, every_s=POLL_S):
        raise RuntimeError(f"not ready in {TIMEOUT_S} s: {daemon.log()[-2000:]}")
    return time.time() - daemon.connected_at()


def _restart(server: PrivateAsterisk, daemon: Daemon) -> tuple[float, float]:
    """Start Asterisk again; gives seconds to all lamps right, from connect and from Asterisk's first answer."""
    before = daemon.connected_at()
    server.start()
    up_at = time.time()
    from_connect = _ready_s(daemon, after=before)
    return from_connect, time.time() - up_at


def _halt(server: PrivateAsterisk, daemon: Daemon) -> None:
    """Stop Asterisk, keeping its database, and wait until the daemon knows."""
    with contextlib.suppress(subprocess.TimeoutExpired):  # with ten thousand endpoints it takes its time
        server.cli("core stop now")
    if not wait_until(lambda: not server.is_running, TIMEOUT_S):
        raise RuntimeError("Asterisk does not stop")
    server.kill()
    wait_until(lambda: not daemon.ask("GET", "/pbxs")[0]["connected"], 10)


def measure(count: int, idle_s: float) -> Iterator[Row]:
    """Measure with many users on Asterisk 22.

    Args:
        count: Users.
        idle_s: How long to watch the idle daemon.
    """
    users = names(count)
    with PrivateAsterisk(22, phones=users) as server:
        daemon = Daemon(server)
        seed(daemon, users)
        with daemon:
            started_s = time.time() - daemon.spawned_at
            first_s = _ready_s(daemon)
            all_s = time.time() - daemon.spawned_at
            check(server, users, on=True)
            memory = daemon.resident_kib() / 1024
            yield from _idle(server, daemon, count, idle_s)
            _halt(server, daemon)
            unchanged_s = _restart(server, daemon)[0]
            check(server, users, on=True)
            _halt(server, daemon)
            daemon.ask("POST", "/control/reset", {"all": True})
            changed_s = _restart(server, daemon)[0]
            check(server, users, on=False)
            memory_after = daemon.resident_kib() / 1024
        on_s, off_s = (pipelined(server, state_writes(users, on=on)) for on in (True, False))
    who = f"{count:,} users"
    yield compared(f"{who}, first connect: all lamps written", first_s, on_s, 1.5, unit="s", floor_name="raw rewrite")
    yield compared(f"{who}, restart, all changed meanwhile", changed_s, off_s, 1.5, unit="s", floor_name="raw rewrite")
    yield compared(f"{who}, restart, nothing changed", unchanged_s, off_s, 1.5, unit="s", floor_name="raw rewrite")
    yield Row(f"{who}: start to first answer", amount(started_s, "s"))
    yield Row(f"{who}: start to all lamps right, everything to write", amount(all_s, "s"))
    yield limited(f"{who}: memory, after start", memory, MEMORY_MIB, unit="MiB")
    yield limited(f"{who}: memory, after two restarts of Asterisk", memory_after, MEMORY_MIB, unit="MiB")


def _idle(server: PrivateAsterisk, daemon: Daemon, count: int, idle_s: float) -> Iterator[Row]:
    """Watch the processor time of the daemon once its background calls are done: lamps are subscribed at leisure."""
    after_s = subscribed_s(server)
    took = f"{after_s:.0f} s after all lamps right" if after_s is not None else f"not in {SUBSCRIBE_S:.0f} s"
    yield Row(f"{count:,} users: every lamp subscribed", took)
    before, began = daemon.cpu_s(), time.monotonic()
    wait_until(lambda: False, idle_s, every_s=idle_s)
    percent = (daemon.cpu_s() - before) / (time.monotonic() - began) * 100
    yield limited(f"{count:,} users, idle for {idle_s:.0f} s", percent, IDLE_PERCENT, unit="% of a core")


def subscribed_s(server: PrivateAsterisk) -> float | None:
    """Wait until the application's subscriptions grow no more; seconds until then, None if they still grow."""
    began = grown = time.monotonic()
    known = -1
    while time.monotonic() - began < SUBSCRIBE_S:
        names = len(server.ari("GET", f"applications/{APP}").json()["device_names"])
        if names != known:
            known, grown = names, time.monotonic()
        elif time.monotonic() - grown > QUIET_S:
            return grown - began
        wait_until(lambda: False, 1.0, every_s=1.0)
    return None


def reconnect(version: int, count: int) -> Iterator[Row]:
    """Measure from Asterisk's first answer after a restart to all lamps right.

    Args:
        version: Of Asterisk.
        count: Users.
    """
    users = names(count)
    with PrivateAsterisk(version, phones=users) as server:
        daemon = Daemon(server)
        seed(daemon, users)
        with daemon:
            _ready_s(daemon)
            _halt(server, daemon)
            unchanged_s = _restart(server, daemon)[1]
            check(server, users, on=True)
            _halt(server, daemon)
            daemon.ask("POST", "/control/reset", {"all": True})
            changed_s = _restart(server, daemon)[1]
            check(server, users, on=False)
    for what, took_s in (("nothing changed", unchanged_s), ("all changed", changed_s)):
        yield limited(
            f"Asterisk {version}: back to all lamps of {count:,} users right, {what}", took_s, RECONNECT_S, unit="s"
        )
