"""Calls: how fast events are followed, at what cost, and how soon the whole lamp is written.

Real calls between 1,000 phones, which are one answering sipp. The floor is what the same server sends to a reader that only
counts; the cost is the processor time of the whole daemon.
"""

import json
import re
import socket
import statistics
import subprocess
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import requests
import websocket
from structlog.testing import capture_logs
from table import Row, amount, limited

from ari_presence.ari import decode
from ari_presence.ari.connect import CALL_SOURCES, UNUSED_EVENTS
from ari_presence.ari.link import LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.core.events import CallsListed, EndpointsSeen
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Settings
from ari_presence.core.userstate import StateTable
from ari_presence.engine import Engine
from ari_presence.publish.host import Answer
from private_asterisk import PrivateAsterisk, wait_until
from private_asterisk.packages import find_clients
from private_asterisk.presence import Daemon

KEPT = 30_000  # events
TALK_S = 3
AT_ONCE = 0.4  # of all users, as callers; as many others are called
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
                continue
            self.count += 1
            self.kept.append(data)
            if b'"ChannelStateChange"' in data and b'"Ringing"' in data:
                name = json.loads(data)["channel"]["name"]
                self._changed[name.partition("/")[2].rpartition("-")[0]] = now


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

    def load(self, seconds: float) -> float:
        """Make calls as fast as the server takes them, at most so many at once; gives calls a second."""
        limit = int(len(self._pairs) * 2 * AT_ONCE)
        with requests.Session() as session:
            session.auth = (self._server.ari_user, self._server.ari_password)
            began, made = time.monotonic(), 0
            while (elapsed := time.monotonic() - began) < seconds:
                self.call(session, TALK_S)
                made += 1
                time.sleep(max(0.0, made * TALK_S / limit - elapsed))
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
    """Measure on Asterisk 22."""
    names = [str(number) for number in range(10_000, 10_000 + users)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = PrivateAsterisk(22, phones=names, contact_port=stack.enter_context(_answering(folder)))
        stack.enter_context(server)
        caller, alone = Caller(server, names), Reader(server, names, lamps=False)
        caller.load(min(seconds, 10.0))
        floor = _rate(alone, caller, min(seconds, 10.0))
        alone.close()
        wait_until(lambda: not server.ari("GET", "channels").json(), 30)
        daemon = stack.enter_context(Daemon(server)).wait_ready(60)
        yield from _followed(server, daemon, caller, names, seconds, floor)


def _rate(reader: Reader, caller: Caller, seconds: float) -> float:
    before, began = reader.count, time.monotonic()
    caller.load(seconds)
    return (reader.count - before) / (time.monotonic() - began)


def _followed(
    server: PrivateAsterisk, daemon: Daemon, caller: Caller, names: list[str], seconds: float, floor: float
) -> Iterator[Row]:
    reader = Reader(server, names)
    caller.load(TALK_S)  # until as many calls end as begin
    used, before, began = daemon.cpu_s(), reader.count, time.monotonic()
    calls = caller.load(seconds)
    elapsed, events = time.monotonic() - began, reader.count - before
    used = daemon.cpu_s() - used
    rate = events / elapsed
    where = f"{len(names):,} users, {calls:.0f} calls/s for {elapsed:.0f} s"
    yield Row(f"{where}: events", amount(rate, "/s"), f"{amount(floor, '/s')} to a reader alone", f"{rate / floor:.2f}")
    yield limited(f"{where}: daemon, for 1,000 events/s", used / elapsed / rate * 1000, 0.1, unit="core")
    late = [(when - began, delay * 1000) for when, delay in reader.late if when >= began]
    delays = sorted(delay for _, delay in late)
    yield limited(f"{where}: event to written whole lamp, median", statistics.median(delays), 5, unit="ms")
    yield Row(f"{where}: event to written whole lamp, p99", amount(delays[int(len(delays) * 0.99)], "ms"))
    first = statistics.median(delay for when, delay in late if when < elapsed / 4)
    last = statistics.median(delay for when, delay in late if when > elapsed * 3 / 4)
    yield Row(f"{where}: the same in the last quarter and in the first", amount(last, "ms"), amount(first, "ms"))
    reader.close()
    with capture_logs():
        yield _from_memory(list(reader.kept))
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


class _Memory:
    """A link to nobody: keeps devices, and answers at once."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def submit(self, requests: list[Request], done: Answer, *, urgent: bool = False) -> None:
        done([self._answer(request) for request in requests])

    def _answer(self, request: Request) -> Response:
        if "channels" in request.path:  # lamps are read one by one
            return Response(404)
        query, device = dict(request.query), unquote(request.path.partition("deviceStates/")[2])
        if request.method == "GET":
            return Response(200, json.dumps({"name": device, "state": self._states.get(device, "UNKNOWN")}))
        device = device or query["variable"].partition("(")[2].rstrip(")")
        self._states[device] = query.get("deviceState") or query["value"]
        return Response(204)

    def watch(self, devices: object, done: object) -> None:
        """Report nothing."""

    def list_calls(self, lines: object) -> None:
        """List nothing."""

    def list_endpoints(self) -> None:
        """List nothing."""


def _from_memory(frames: list[bytes]) -> Row:
    """Let the whole engine follow the same events from memory, as fast as one core takes them; all but the socket."""
    table = StateTable()
    pattern = re.compile(r"PJSIP/(?P<user>\d{5})")
    engine = Engine(Settings(table, LampLayout(table), discover=pattern, pbxs=("hq",)), lambda *_: None, print)
    engine.add_server("hq", "bench", "", _Memory(), {}, "")
    names = {json.loads(frame).get("channel", {}).get("name", "").rpartition("-")[0] for frame in frames}
    now = time.time()
    listed = EndpointsSeen(now, "hq", tuple(sorted(names - {""})))
    engine.post(LinkUp(now, "hq", "22.10.1", "then", True, listed, CallsListed(now, "hq", (), (), {}), ()))
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    engine.call(lambda _: None)
    wait_until(lambda: engine.call(lambda e: e.servers["hq"].idle), 10)
    began = time.process_time()
    for frame in frames:
        event = decode.decode(decode.load(frame), pbx="hq", at=time.time())
        if event is not None:
            engine.post(event)
    engine.call(lambda _: None, 60)
    used = time.process_time() - began
    engine.stop()
    thread.join(5)
    return limited(f"{len(frames):,} such events from memory, for 1,000/s", used / len(frames) * 1000, 0.1, unit="core")


def _single(server: PrivateAsterisk, names: list[str], count: int) -> Iterator[Row]:
    """Measure one call after another, with nothing else going on."""
    reader, caller = Reader(server, names), Caller(server, names)
    for number in range(count):
        caller.stay(1, 1)
        wait_until(lambda number=number: len(reader.late) > number, 3, every_s=0.01)  # type: ignore[misc]
    delays = sorted(delay * 1000 for _, delay in reader.late)
    reader.close()
    yield limited("one call at a time: event to written whole lamp, median", statistics.median(delays), 5, unit="ms")
    yield Row("one call at a time: event to written whole lamp, p99", amount(delays[int(len(delays) * 0.99)], "ms"))
