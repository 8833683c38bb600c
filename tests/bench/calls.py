"""Calls: how fast events are followed, at what cost, and how soon the whole lamp is written.

Real calls between 1,000 phones, which are one answering sipp, as many as the server carries; then their events once more, as
fast as a larger server sends them. The floor is what the same server sends to a reader that only counts; the cost is the
processor time of the whole daemon.
"""

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import requests
import websocket
from table import Row, amount, limited

from ari_presence.ari.connect import CALL_SOURCES, UNUSED_EVENTS
from private_asterisk import PrivateAsterisk, wait_until
from private_asterisk.packages import find_clients
from private_asterisk.presence import Daemon

KEPT = 100_000  # events
TALK_S = 3
BEFORE_S = 0.1
CALLS_S = (120, 90, 60, 40, 25, 15, 8)  # rates that are tried
RECORD_S = 10.0
EVENTS_OF_A_CALL = 25
RATES = (1_000, 10_000)  # events a second that are played; 10,000 are the most that one Asterisk was seen to send
BUSY = {"INUSE", "RINGING", "RINGINUSE", "ONHOLD", "BUSY"}
SHOWN_BUSY = {"on-call", "ringing", "on-hold", "in-conference"}


class Reader:
    """A client that only counts what the daemon reads too, and notes when lines and the lamps of their users change."""

    def __init__(self, server: PrivateAsterisk, users: list[str], *, lamps: bool = True) -> None:
        """Subscribe and begin to read."""
        self.count = 0
        self.kept: deque[bytes] = deque(maxlen=KEPT)
        self.late: list[tuple[float, float]] = []  # (when, seconds from the event to the written lamp)
        self._changed: dict[str, float] = {}
        self._written: dict[str, float] = {}  # lamps whose event came first: Asterisk keeps no order between the two
        self._ended = False
        login = b64encode(f"{server.ari_user}:{server.ari_password}".encode()).decode()
        url = f"ws://127.0.0.1:{server.http_port}/ari/events?app=counting"
        self._link = websocket.create_connection(
            url, header=[f"Authorization: Basic {login}"], timeout=30, skip_utf8_validation=True
        )
        unwanted = {"disallowed": [{"type": name} for name in UNUSED_EVENTS]}
        server.ari("PUT", "applications/counting/eventFilter", unwanted)
        devices = ("PJSIP/", "Stasis:presence-") if lamps else ("PJSIP/",)
        sources = [*CALL_SOURCES, *(f"deviceState:{device}{user}" for device in devices for user in users)]
        for first in range(0, len(sources), 100):
            body = {"eventSource": sources[first : first + 100]}
            server.ari("POST", "applications/counting/subscription", body)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._ended = True
        self._link.shutdown()
        self._thread.join(5)

    def _read(self) -> None:
        while not self._ended:
            try:
                data = self._link.recv_data()[1]
            except (websocket.WebSocketException, OSError):
                return
            now = time.monotonic()
            if b'"Stasis:presence-' in data:
                user = json.loads(data)["device_state"]["name"].rpartition("-")[2]
                began = self._changed.pop(user, None)
                if began is not None:
                    self.late.append((now, now - began))
                else:
                    self._written[user] = now
                continue
            self.count += 1
            self.kept.append(data)
            if b'"ChannelStateChange"' in data and b'"Ringing"' in data:
                name = json.loads(data)["channel"]["name"]
                user = name.partition("/")[2].rpartition("-")[0]
                if now - self._written.pop(user, 0.0) < BEFORE_S:
                    self.late.append((now, 0.0))
                else:
                    self._changed[user] = now


@contextmanager
def _answering(folder: Path) -> Iterator[int]:
    """Run a sipp that answers every call; gives its port."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [*find_clients().command("usr/bin/sipp"), "-sn", "uas", "-i", "127.0.0.1", "-p", str(port)]
    words += ["-mi", "127.0.0.1", "-nostdin", "-nd", "-timeout", "600s"]
    null = subprocess.DEVNULL
    environment = {"TERM": "dumb", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(words, cwd=folder, env=environment, stdin=null, stdout=null, stderr=null)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


class Caller:
    """Makes calls at a rate, one after another between other people, and lets each last `TALK_S`."""

    def __init__(self, server: PrivateAsterisk, users: list[str]) -> None:
        """Prepare."""
        self._server = server
        half = len(users) // 2
        self._pairs = list(zip(users[:half], users[half:], strict=False))
        self._next = 0

    def call(self, session: requests.Session, seconds: int) -> None:
        """Make one call."""
        one, other = self._pairs[self._next % len(self._pairs)]
        self._next += 1
        body = {"variables": {"TIMEOUT(absolute)": str(seconds)}}
        query = {"endpoint": f"PJSIP/{one}", "extension": other, "context": "internal", "priority": "1"}
        session.post(f"{self._server.url}/ari/channels", params=query, json=body, timeout=30).raise_for_status()

    def load(self, seconds: float, calls_s: float) -> float:
        """Make calls at a rate, or as fast as the server takes them; gives calls a second."""
        with requests.Session() as session:
            session.auth = (self._server.ari_user, self._server.ari_password)
            began, made = time.monotonic(), 0
            while (elapsed := time.monotonic() - began) < seconds:
                self.call(session, TALK_S)
                made += 1
                time.sleep(max(0.0, made / calls_s - elapsed))
            return made / (time.monotonic() - began)

    def stay(self, count: int, seconds: int) -> None:
        """Make calls that last."""
        with requests.Session() as session:
            session.auth = (self._server.ari_user, self._server.ari_password)
            for _ in range(count):
                self.call(session, seconds)


def _wrong(server: PrivateAsterisk, daemon: Daemon, users: list[str]) -> list[str]:
    """Name the users of whom the daemon says something else than Asterisk's device state, or the whole lamp does."""
    shown = {row["user"]: row["state"] for row in daemon.ask("GET", "/users")}
    wrong = []
    with requests.Session() as session:
        session.auth = (server.ari_user, server.ari_password)
        for user in users:
            line, lamp = (
                session.get(f"{server.url}/ari/deviceStates/{device}", timeout=10).json()["state"]
                for device in (f"PJSIP%2F{user}", f"Stasis:presence-{user}")
            )
            busy = line in BUSY
            if (shown[user] in SHOWN_BUSY) is not busy or (lamp in BUSY) is not busy:
                wrong.append(f"{user}: {shown[user]}, lamp {lamp}, line {line}")
    return wrong


def measure(users: int, seconds: float) -> Iterator[Row]:
    """Measure on Asterisk 22, then with the same events played faster than it can send them."""
    names = [str(number) for number in range(10_000, 10_000 + users)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = PrivateAsterisk(22, phones=names, contact_port=stack.enter_context(_answering(folder)))
        stack.enter_context(server)
        caller = Caller(server, names)
        calls_s, floor, events = _alone(server, caller, names)
        (folder / "events").write_bytes(b"\n".join(events))
        (folder / "users").write_text("\n".join(names))
        with Daemon(server) as daemon:
            daemon.wait_ready(60)
            yield from _followed(server, daemon, caller, names, calls_s, seconds, floor)
        for rate in RATES:
            yield from _played(folder, rate, seconds)


def _alone(server: PrivateAsterisk, caller: Caller, names: list[str]) -> tuple[float, float, list[bytes]]:
    """Find the highest rate of calls at which the server sends all events of each, and keep those of `RECORD_S` seconds."""
    for calls_s in CALLS_S:
        reader = Reader(server, names, lamps=False)
        began = time.monotonic()
        made = caller.load(RECORD_S, calls_s)
        rate = reader.count / (time.monotonic() - began)
        over = wait_until(lambda: not server.ari("GET", "channels").json(), 60)
        wait_until(lambda reader=reader, count=reader.count: reader.count > count, 1)  # type: ignore[misc]
        reader.close()
        if over and rate / made >= EVENTS_OF_A_CALL * 0.8:  # of the last calls some events come later
            return made, rate, list(reader.kept)
    raise RuntimeError(f"this machine does not carry {CALLS_S[-1]} calls a second")


def _followed(
    server: PrivateAsterisk,
    daemon: Daemon,
    caller: Caller,
    names: list[str],
    calls_s: float,
    seconds: float,
    floor: float,
) -> Iterator[Row]:
    reader = Reader(server, names)
    caller.load(TALK_S, calls_s)  # until as many calls end as begin
    used, before, began = daemon.cpu_s(), reader.count, time.monotonic()
    made = caller.load(seconds, calls_s)
    elapsed, events = time.monotonic() - began, reader.count - before
    used = daemon.cpu_s() - used
    rate = events / elapsed
    where = f"{len(names):,} users, {made:.0f} calls/s for {elapsed:.0f} s"
    yield Row(f"{where}: events", amount(rate, "/s"), f"{amount(floor, '/s')} to a reader alone", f"{rate / floor:.2f}")
    yield Row(f"{where}: daemon, for 1,000 events/s", amount(used / events * 1000, "core"))
    late = [(when - began, delay * 1000) for when, delay in reader.late if when >= began]
    delays = sorted(delay for _, delay in late)
    yield limited(f"{where}: event to written whole lamp, median", statistics.median(delays), 5, unit="ms")
    yield Row(f"{where}: event to written whole lamp, p99", amount(delays[int(len(delays) * 0.99)], "ms"))
    first = statistics.median(delay for when, delay in late if when < elapsed / 4)
    last = statistics.median(delay for when, delay in late if when > elapsed * 3 / 4)
    yield Row(f"{where}: the same in the last quarter and in the first", amount(last, "ms"), amount(first, "ms"))
    reader.close()
    wait_until(lambda: not server.ari("GET", "channels").json(), 30)
    caller.stay(len(names) // 4, 60)
    right = wait_until(lambda: not _wrong(server, daemon, names), 20)
    wrong = _wrong(server, daemon, names)
    told = "; ".join(wrong[:3])
    yield Row(
        f"{len(names) // 2:,} of them in calls: states unlike Asterisk's {told}",
        str(len(wrong)),
        target="<= 0",
        ok=right,
    )
    for channel in server.ari("GET", "channels").json():
        server.ari("DELETE", f"channels/{channel['id']}")
    right = wait_until(lambda: not _wrong(server, daemon, names), 20)
    yield Row("all hung up: states unlike Asterisk's", str(len(_wrong(server, daemon, names))), target="<= 0", ok=right)
    yield from _single(server, names, 100)


def _played(folder: Path, rate: int, seconds: float) -> Iterator[Row]:
    """Let the daemon follow recorded events that are played at a rate, over real sockets (`feeder.py`)."""
    words = [sys.executable, str(Path(__file__).with_name("feeder.py")), folder / "events", folder / "users"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*words, str(rate), str(seconds)], stdin=pipe, stdout=pipe, text=True) as feeder:
        assert feeder.stdin is not None
        assert feeder.stdout is not None
        try:
            said = json.loads(feeder.stdout.readline())
            server = SimpleNamespace(url=said["url"], ari_user=said["username"], ari_password=said["password"])
            with Daemon(server) as daemon:  # type: ignore[arg-type]
                daemon.wait_ready(60)
                used = daemon.cpu_s()
                print("go", file=feeder.stdin, flush=True)
                result = json.loads(feeder.stdout.readline())
                used = daemon.cpu_s() - used
                ended = wait_until(lambda: not _busy(daemon), 10)
                yield from _played_rows(rate, result, used)
                yield Row("... then: users who are still in a call", str(_busy(daemon)), target="<= 0", ok=ended)
        finally:
            feeder.stdin.close()


def _busy(daemon: Daemon) -> int:
    return sum(row["layer"] == "calls" for row in daemon.ask("GET", "/users"))


def _played_rows(rate: int, result: dict[str, float], used: float) -> Iterator[Row]:
    sent, elapsed = result["sent"], result["seconds"]
    where = f"{sent:,.0f} such events played at {rate:,}/s"
    reached = sent / elapsed
    yield Row(f"{where}: taken", amount(reached, "/s"), target=f">= {rate * 0.98:,.0f} /s", ok=reached >= rate * 0.98)
    yield limited(f"{where}: daemon, for 1,000 events/s", used / sent * 1000, 0.1, unit="core")
    yield Row(f"{where}: requests answered", amount(result["answers"] / elapsed, "/s"))
    yield limited(f"{where}: event to written whole lamp, median", result["median_ms"], 5, unit="ms")
    yield Row(f"{where}: event to written whole lamp, p99", amount(result["p99_ms"], "ms"))
    first, last = amount(result["first_ms"], "ms"), amount(result["last_ms"], "ms")
    yield Row(f"{where}: the same in the last quarter and in the first", last, first)
    yield Row(f"{where}: most that waited to be read", amount(result["unsent_bytes"] / 1024, "KiB"))


def _single(server: PrivateAsterisk, names: list[str], count: int) -> Iterator[Row]:
    """Measure one call after another, with nothing else going on."""
    reader, caller = Reader(server, names), Caller(server, names)
    for number in range(1, count + 1):
        caller.stay(1, 10)
        wait_until(lambda number=number: len(reader.late) >= 2 * number, 3, every_s=0.01)  # type: ignore[misc]  # both ring
        for channel in server.ari("GET", "channels").json():
            server.ari("DELETE", f"channels/{channel['id']}")
        wait_until(lambda: not server.ari("GET", "channels").json(), 3, every_s=0.02)
    delays = sorted(delay * 1000 for _, delay in reader.late)
    reader.close()
    yield limited("one call at a time: event to written whole lamp, median", statistics.median(delays), 5, unit="ms")
    yield Row("one call at a time: event to written whole lamp, p99", amount(delays[int(len(delays) * 0.99)], "ms"))
