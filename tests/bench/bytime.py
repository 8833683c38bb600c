"""Many users whose state changes by schedule at the same second, and codes that are dialled meanwhile.

The floor is a client that writes the same lamps and checks nothing. A dialled code lights the lamp of its state, which no
schedule touches, so that the NOTIFY comes from the code alone; the callers' main lamps change like everybody's.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import cycle, islice

from raw import Write, pipelined, variable
from scale import subscribed_s
from table import Row, amount, compared

from private_asterisk import PrivateAsterisk, SipPhone, wait_until
from private_asterisk.config import DEFAULT_PHONES, extensions
from private_asterisk.presence import Daemon
from private_asterisk.watch import Subscription

CALLERS = ("100", "101", "102", "103")
EDGE_S = 20.0
SETTLE_S = 0.05
NORMAL_DIALS = 60
SAMPLES = 50
TIMEOUT_S = 120.0
IN, OUT = ("BUSY", "BUSY"), ("ONHOLD", "UNAVAILABLE")


def floor_writes(users: Sequence[str], *, inside: bool) -> list[Write]:
    """Make what the daemon writes for each user at an edge: both main lamps and the presence state, with its message."""
    joined, whole = IN if inside else OUT
    presence = "dnd,bWVldGluZw==,dW50aWwgMTc6MDA=,e" if inside else "xa,,dW50aWwgMDk6MDA=,e"
    return [
        write
        for user in users
        for write in (
            variable(f"DEVICE_STATE(Custom:presence-x{user})", joined),
            ("PUT", f"deviceStates/Stasis:presence-x{user}", {"deviceState": whole}),
            variable(f"PRESENCE_STATE(CustomPresence:x{user})", presence),
        )
    ]


def hours(start: float, end: float) -> str:
    """Write a schedule for all: in a meeting from `start` to `end`, out for the rest."""
    clock = "-".join(f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}" for at in (start, end))
    head = '[[schedule]]\nname = "office"\nall = true\ntimezone = "UTC"\ninside = "meeting"\noutside = "out"\n'
    return f'{head}hours = {{ mon-sun = "{clock}" }}\n'


class Dialler:
    """Dials do not disturb on and off, by several phones in turn, and watches the lamp of that state."""

    def __init__(self, server: PrivateAsterisk, stack: ExitStack) -> None:
        """Register the phones and subscribe."""
        watcher = stack.enter_context(SipPhone("109", server))
        self._lamps: dict[str, Subscription] = {user: watcher.subscribe(f"lamp-{user}") for user in CALLERS}
        self._phones = cycle([stack.enter_context(SipPhone(user, server)) for user in CALLERS])
        self._codes = cycle([("*78", "confirmed")] * len(CALLERS) + [("*79", "terminated")] * len(CALLERS))

    def dial(self) -> float:
        """Dial once; gives the milliseconds from the INVITE to the NOTIFY."""
        phone, (code, shown) = next(self._phones), next(self._codes)
        call = phone.dial(code)
        notify = self._lamps[phone.user].wait_for(lambda now: now.state == shown, 10.0)
        call.wait_answered()
        call.hangup()
        wait_until(lambda: False, SETTLE_S)
        return (notify.at - call.sent_at) * 1000


def measure(count: int) -> Iterator[Row]:
    """Measure on Asterisk 22.

    Args:
        count: Users, beside those who dial.
    """
    users = [str(10_000 + number) for number in range(count)]
    hints = {f"lamp-{user}": f"Custom:dnd-{user}" for user in CALLERS}
    config = {"extensions.conf": extensions(hints)}
    with ExitStack() as stack:
        server = PrivateAsterisk(22, phones=[*users, *DEFAULT_PHONES], config=config, contact_port=9)
        stack.enter_context(server)
        now = time.time()
        daemon = Daemon(server, hours(now - 10, now + 3600))
        with daemon:
            daemon.wait_ready(TIMEOUT_S)
            dialler = Dialler(server, stack)
            rounds = [_edge(server, daemon, dialler, users, inside=inside, dials=dials) for inside, dials in ROUNDS]
            subscribed_s(server)  # the reference is a daemon with nothing to do
            normal = [dialler.dial() for _ in range(NORMAL_DIALS)]
        floors = [pipelined(server, floor_writes(users, inside=inside)) for inside in (True, False)]
    yield from _rows(count, rounds, normal, statistics.mean(floors))


ROUNDS = ((False, False), (True, False), (False, True), (True, True))
"""Of the edges: whether the hours begin, and whether codes are dialled meanwhile."""


def _edge(
    server: PrivateAsterisk, daemon: Daemon, dialler: Dialler, users: Sequence[str], *, inside: bool, dials: bool
) -> tuple[float, list[float]]:
    """Let one edge pass; gives seconds from the edge to all lamps right, and what dialling took meanwhile."""
    edge = float(int(time.time() + EDGE_S))
    daemon.configure(hours(edge, edge + 3600) if inside else hours(edge - 3600, edge))
    daemon.command("reload")
    daemon.wait_ready(TIMEOUT_S)
    if time.time() > edge - 0.5:
        raise RuntimeError("reading the configuration took longer than the edge was away")
    wait_until(lambda: time.time() >= edge - 0.02, EDGE_S + 5, every_s=0.001)
    wait_until(lambda: time.time() >= edge, 1, every_s=0.0005)
    took: list[float] = []

    def over() -> bool:
        return _counts(daemon)[1] == 0 and daemon.is_ready()

    wait_until(lambda: _counts(daemon)[1] > 0, 5, every_s=0.001)
    while not (done := over()) and time.time() < edge + TIMEOUT_S:
        if dials:
            took.append(dialler.dial())
        else:
            wait_until(lambda: False, 0.02, every_s=0.02)
    took_s = time.time() - edge
    if not done:
        raise RuntimeError(f"not all lamps are right after {TIMEOUT_S} s")
    _check(server, users, IN if inside else OUT)
    return took_s, took


def _counts(daemon: Daemon) -> tuple[bool, int]:
    (pbx,) = daemon.ask("GET", "/pbxs")
    return bool(pbx["connected"]), int(pbx["users_waiting"])


def _check(server: PrivateAsterisk, users: Sequence[str], wanted: tuple[str, str]) -> None:
    """Read some users' main lamps from Asterisk; RuntimeError if one is wrong."""
    for user in islice(users, 0, None, max(len(users) // SAMPLES, 1)):
        shown = tuple(server.device_state(f"{kind}:presence-{user}") for kind in ("Custom", "Stasis"))
        if shown != wanted:
            raise RuntimeError(f"the lamps of {user} show {shown}, not {wanted}, although the daemon says ready")


def _rows(count: int, rounds: list[tuple[float, list[float]]], normal: list[float], floor: float) -> Iterator[Row]:
    what = f"{count:,} users change by schedule"
    alone = statistics.mean(took for took, dials in rounds if not dials)
    yield compared(f"{what}: all lamps right", alone, floor, 1.5, unit="s", floor_name="raw rewrite")
    busy = [row for row in rounds if row[1]]
    took = statistics.mean(took for took, _ in busy)
    during = sorted(each for _, dials in busy for each in dials)
    yield Row(f"{what}, {len(during)} codes dialled meanwhile: all lamps right", amount(took, "s"))
    name = f"{what}: dial to NOTIFY meanwhile"
    floor_name = "when idle"
    middle = statistics.median(normal)
    yield compared(f"{name}, median", statistics.median(during), middle, 3, unit="ms", floor_name=floor_name)
    tail = during[int(len(during) * 0.9)]
    yield Row(
        f"{name}, p90 and longest", f"{amount(tail, 'ms')}, {amount(during[-1], 'ms')}", amount(max(normal), "ms")
    )
