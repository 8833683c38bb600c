"""Links that end abruptly in a flood of device state events, several applications side by side.

Each application is a process of its own with the product's link, behind a proxy; one is ended after the other, each time
in another way, and after each end ARI must answer. `test_abrupt_ends` runs a hundred ends, `tests/bench/soak.py` a thousand.
"""

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import requests
import websocket
from proxy import Proxy

from private_asterisk import PrivateAsterisk, wait_until

ENDS = ("rst", "fin", "close", "kill")
MEMBERS = 4
WATCHED = 20
WINDOW = 16
UP_S = 20.0
HEALTHY_S = 5.0
MEMBER = Path(__file__).with_name("member.py")
CLOSE = b"\x88\x82\0\0\0\0" + struct.pack("!H", 1000)  # RFC 6455 section 5.5.1, masked with zeros


class Member:
    """One application: a process that connects, subscribes, and says so; ended by `end`, it comes back by itself.

    Attributes:
        ups: how often it was connected and subscribed.
        events: how many events it had seen when it last said so.
    """

    def __init__(self, server: PrivateAsterisk, number: int) -> None:
        """Prepare."""
        self._server = server
        self.app = f"member-{number}"
        self.ups = self.events = 0
        self._proxy = Proxy(server.http_port)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the proxy and the process."""
        self._proxy.__enter__()
        self._launch()
        return self

    def __exit__(self, *error: object) -> None:
        """End both."""
        self._kill()
        self._proxy.__exit__()

    def _launch(self) -> None:
        words = [sys.executable, str(MEMBER), self._proxy.url, self._server.ari_user, self.app, str(WATCHED)]
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._server.ari_password + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, count = line.strip().partition(" ")
            if word == "up":
                self.ups += 1
            elif word == "events":
                self.events = int(count)

    def _kill(self) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait()
        self._reader.join(5)
        process.stdin.close()
        process.stdout.close()

    def is_back(self) -> bool:
        """Wait until it is connected and gets events; False when it does not in time."""
        if not wait_until(lambda: self.ups > 0, UP_S):
            return False
        seen = self.events
        return wait_until(lambda: self.events > seen, UP_S)

    def end(self, kind: str) -> None:
        """End its link in one of the ways of `ENDS`."""
        if kind == "kill":
            self._kill()
            self.events = 0
            self._launch()
        elif kind == "close":
            with contextlib.suppress(OSError):
                self._proxy.inject(CLOSE, to_server=True)
        else:
            {"rst": self._proxy.cut, "fin": self._proxy.finish}[kind]()


class Flood:
    """Writes the watched lamps as fast as the server takes them, over REST over WebSocket or over HTTP."""

    def __init__(self, server: PrivateAsterisk) -> None:
        """Prepare."""
        self._server = server
        self.written = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._websocket if server.version >= 20 else self._http, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join(10)

    def _writes(self) -> Iterator[tuple[str, str]]:
        while not self._stopping.is_set():
            number = self.written // WATCHED
            yield f"DEVICE_STATE(Custom:flood-{self.written % WATCHED})", "INUSE" if number % 2 else "NOT_INUSE"
            self.written += 1

    def _websocket(self) -> None:
        key = f"{self._server.ari_user}:{self._server.ari_password}"
        url = f"ws://127.0.0.1:{self._server.http_port}/ari/events?app=flood&api_key={key}"
        link = websocket.create_connection(url, timeout=30, enable_multithread=False)
        try:
            flying = 0
            for variable, value in self._writes():
                query = [{"name": "variable", "value": variable}, {"name": "value", "value": value}]
                request = {"type": "RESTRequest", "method": "POST", "uri": "asterisk/variable", "query_strings": query}
                link.send(json.dumps(request))
                flying += 1
                while flying >= WINDOW:
                    flying -= '"RESTResponse"' in link.recv()
        finally:
            link.close()

    def _http(self) -> None:
        with requests.Session() as session:
            session.auth = (self._server.ari_user, self._server.ari_password)
            url = f"{self._server.url}/ari/asterisk/variable"
            for variable, value in self._writes():
                session.post(url, params={"variable": variable, "value": value}, timeout=30)


def healthy(server: PrivateAsterisk) -> str | None:
    """Ask what a wedged server no longer answers; gives what is wrong, or None."""
    auth = (server.ari_user, server.ari_password)
    for path in ("applications", "applications/member-0"):
        try:
            status = requests.get(f"{server.url}/ari/{path}", auth=auth, timeout=HEALTHY_S).status_code
        except requests.RequestException as error:
            return f"GET {path}: {type(error).__name__}"
        if status not in (200, 404) or (status == 404 and path == "applications"):
            return f"GET {path}: {status}"
    return None


def torment(server: PrivateAsterisk, rounds: int) -> dict[str, int]:
    """End links `rounds` times, and look after each whether ARI is well.

    Returns:
        How often each way was used, and under `writes` and `events` how large the flood was.

    Raises:
        AssertionError: ARI is wedged, or an application does not come back.
    """
    done: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(Member(server, number)) for number in range(MEMBERS)]
        flood = stack.enter_context(Flood(server))
        for number in range(rounds):
            member, kind = members[number % MEMBERS], ENDS[(number + number // MEMBERS) % len(ENDS)]
            before = f"before end {number + 1} of {rounds} ({kind}): {member.app}"
            assert member.is_back(), f"{before} did not come back, or is deaf"
            member.ups = 0
            member.end(kind)
            done[kind] += 1
            problem = healthy(server)
            assert problem is None, f"after end {number + 1} of {rounds} ({kind}): {problem}"
        done["writes"] = flood.written
        for member in members:
            assert member.is_back(), f"{member.app} did not come back, or is deaf"
        done["events"] = sum(member.events for member in members)
    return dict(done)


def main_soak(server: PrivateAsterisk, rounds: int, batch: int) -> None:
    """Do the same in batches, and print how far it is."""
    total = 0
    while total < rounds:
        begun = time.monotonic()
        found = torment(server, min(batch, rounds - total))
        total += sum(found[kind] for kind in ENDS if kind in found)
        rate = found["writes"] / (time.monotonic() - begun)
        print(f"{total:5} of {rounds} abrupt ends, ARI well after each; flood {rate:,.0f} writes/s", flush=True)
