"""An Asterisk that sends recorded events faster than a real one can, for as long as wanted; a process of its own.

    feeder.py FILE USERS RATE SECONDS    FILE holds one event a line, from no call at all to no call at all

It listens as ARI does, says where on its standard output, waits for a line on its standard input, then sends the events at
`RATE` a second, again and again, answers what it is asked, and says at the end what came of it. What it lists is what its
events say at that moment. The daemon at the other end is the real one, over real sockets.
"""

import json
import re
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))

from ari_presence.ari.wire import Request
from tests.unit.ari.fake_ari import CLOSE, PING, PONG, TEXT, FakeAri, ServerSocket
from tests.unit.ari.fake_asterisk import FakeAsterisk

REQUEST = re.compile(rb'"request_id":"(\w+)","method":"(\w+)","uri":"([^"]*)"')
VALUE = re.compile(rb'"name":"(?:deviceState|value)","value":"(\w+)"')
LAMP, WHOLE = b"deviceStates/", b"Stasis:presence-"
STEP_S = 0.001
CHUNK = 1 << 16


class Event(NamedTuple):
    """One event as it is sent: the frame, what it changes, and whose phone it makes ring."""

    frame: bytes
    table: str
    key: str
    value: Any
    rings: bytes


class Player(FakeAsterisk):
    """Plays events over one websocket, and lists what they say."""

    def __init__(self, events: list[Event], users: list[str], rate: float, seconds: float) -> None:
        """Prepare; nothing is sent before `start` is set."""
        super().__init__()
        self.endpoints = [f"PJSIP/{user}" for user in users]
        self.tables: dict[str, dict[str, Any]] = {"channels": {}, "bridges": {}, "lamps": self.lamps}
        self.start = threading.Event()
        self.result: dict[str, float] = {}
        self.over = threading.Event()
        self._played = events
        self._rate, self._seconds = rate, seconds
        self._out = bytearray()
        self._late: list[tuple[float, float]] = []
        self._rang: dict[bytes, float] = {}
        self._answers = 0

    def _channels(self, method: str, rest: str, query: dict[str, str], body: str | None) -> tuple[int, Any]:
        if rest:
            return super()._channels(method, rest, query, body)
        return 200, [*self.channels.values(), *self.tables["channels"].values()]

    def _bridges(self, method: str, rest: str, query: dict[str, str], body: str | None) -> tuple[int, Any]:
        status, found = super()._bridges(method, rest, query, body)
        return status, found if rest else [*found, *self.tables["bridges"].values()]

    def serve(self, socket: ServerSocket) -> None:
        """Serve the daemon's websocket until it ends."""
        connection = socket._handler.connection
        connection.setblocking(False)
        buffer = bytearray()
        began, sent, worst = 0.0, 0, 0
        total = -int(-self._seconds * self._rate // len(self._played)) * len(
            self._played
        )  # to the end: no call is left
        while True:
            ready, _, _ = select.select([connection], [connection] if self._out else [], [], STEP_S)
            if ready:
                data = connection.recv(CHUNK)
                if not data:
                    return
                buffer += data
                if not self._read(buffer, time.monotonic()):
                    return
            now = time.monotonic()
            if self.start.is_set() and not self.over.is_set():
                began = began or now
                goal = min(int((now - began) * self._rate), total)
                if sent < goal:
                    self._send(sent, goal, now)
                    sent = goal
                elif sent == total and not self._out:
                    self._finish(began, now, sent, worst)
            worst = max(worst, len(self._out))
            if self._out:
                with suppress(BlockingIOError):
                    del self._out[: connection.send(self._out[:CHUNK])]

    def _send(self, first: int, last: int, now: float) -> None:
        events, tables = self._played, self.tables
        for number in range(first, last):
            event = events[number % len(events)]
            self._out += event.frame
            if event.value is None:
                tables[event.table].pop(event.key, None)
            else:
                tables[event.table][event.key] = event.value
            if event.rings:
                self._rang[event.rings] = now

    def _read(self, buffer: bytearray, now: float) -> bool:
        """Answer whole frames of the buffer; False at a CLOSE."""
        at, end = 0, len(buffer)
        while end - at >= 6:
            size, head = buffer[at + 1] & 127, 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            if end - at < head + 4 + size:
                break
            mask = bytes(buffer[at + head : at + head + 4])
            data = bytes(buffer[at + head + 4 : at + head + 4 + size])
            long = (mask * (size // 4 + 1))[:size]
            text = (int.from_bytes(data, "big") ^ int.from_bytes(long, "big")).to_bytes(size, "big")
            opcode = buffer[at] & 15
            at += head + 4 + size
            if opcode == CLOSE:
                return False
            if opcode == PING:
                self._out += _frame(text, PONG)
            elif opcode == TEXT:
                self._answer(text, now)
        del buffer[:at]
        return True

    def _answer(self, text: bytes, now: float) -> None:
        found = REQUEST.search(text)
        assert found is not None, text
        number, method, uri = found.groups()
        self._answers += 1
        if uri.startswith(LAMP) and method != b"DELETE":
            device = uri[len(LAMP) :]
            if method == b"PUT":
                value = VALUE.search(text)
                assert value is not None, text
                self.lamps[device.decode()] = value[1].decode()
                if device.startswith(WHOLE) and (began := self._rang.pop(device[len(WHOLE) :], None)) is not None:
                    self._late.append((now, now - began))
                self._reply(number, 204, "")
            else:
                name = device.decode()
                self._reply(number, 200, json.dumps({"name": name, "state": self.lamps.get(name, "UNKNOWN")}))
            return
        message = json.loads(text)
        query = tuple((pair["name"], pair["value"]) for pair in message.get("query_strings", ()))
        response = self.answer(Request(message["method"], message["uri"], query, message.get("message_body")))
        self.calls.clear()
        self._reply(number, response.status, response.body)

    def _reply(self, number: bytes, status: int, body: str) -> None:
        text = f'{{"type":"RESTResponse","transaction_id":"","request_id":"{number.decode()}","status_code":{status},'
        text += f'"reason_phrase":"OK","uri":"x","application":"ari-presence","message_body":{json.dumps(body)}}}'
        self._out += _frame(text.encode())

    def _finish(self, began: float, now: float, sent: int, worst: int) -> None:
        late = [(when - began, delay * 1000) for when, delay in self._late]
        part = self._seconds / 4
        first, last = ([d for w, d in late if w < part], [d for w, d in late if w > 3 * part])
        delays = sorted(delay for _, delay in late)
        self.result = {
            "sent": sent,
            "seconds": now - began,
            "answers": self._answers,
            "unsent_bytes": worst,
            "lamps": len(delays),
            "median_ms": delays[len(delays) // 2],
            "p99_ms": delays[int(len(delays) * 0.99)],
            "first_ms": sorted(first)[len(first) // 2],
            "last_ms": sorted(last)[len(last) // 2],
        }
        self.over.set()


class Feeder(FakeAri):
    """The server around a `Player`."""

    def __init__(self, player: Player) -> None:
        """Listen on a free port of loopback."""
        self._player = player
        super().__init__(player)

    def serve_websocket(self, socket: ServerSocket) -> None:
        """Let the player have the websocket."""
        with suppress(OSError):
            self._player.serve(socket)
        socket.ended.set()

    def _userevent(self, name: str) -> None:
        fields = {"eventname": name, "userevent": {"eventname": name}, "application": "ari-presence"}
        self._player._out += _frame(json.dumps({"type": "ChannelUserevent", **fields}).encode())

    def _device_changed(self, device: str, state: str) -> None:
        """Report nothing: its own lamps are read back."""


def _frame(data: bytes, opcode: int = TEXT) -> bytes:
    size = len(data)
    head = bytes([0x80 | opcode, size]) if size < 126 else bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    return head + data


def read_events(path: Path) -> list[Event]:
    """Read recorded events, one a line, and note what each changes."""
    events: list[Event] = []
    bridges: dict[str, Any] = {}
    for line in path.read_bytes().splitlines():
        message = json.loads(line)
        kind = message["type"]
        channel, bridge = message.get("channel"), message.get("bridge")
        table, key, value, rings = "channels", "", None, b""
        if kind == "ChannelDestroyed":
            key = channel["id"]
        elif kind == "BridgeDestroyed":
            table, key = "bridges", bridge["id"]
        elif bridge is not None and kind.startswith("Channel"):
            table, key, value = "bridges", bridge["id"], bridge
        elif kind == "DeviceStateChanged":
            table, key, value = "lamps", message["device_state"]["name"], message["device_state"]["state"]
        elif channel is not None and kind != "StasisEnd":
            key, value = channel["id"], channel
            if kind == "ChannelStateChange" and channel["state"] == "Ringing":
                rings = channel["name"].partition("/")[2].rpartition("-")[0].encode()
        bridges[key] = value
        events.append(Event(_frame(line), table, key, value, rings))
    return events


def main() -> None:
    """Serve, play when told to, tell what came of it, and end with the standard input."""
    file, users, rate, seconds = sys.argv[1:5]
    events = read_events(Path(file))
    player = Player(events, Path(users).read_text().split(), float(rate), float(seconds))
    feeder = Feeder(player)
    feeder.asterisk.calls = deque(maxlen=10)  # type: ignore[assignment]  # nobody looks at them
    print(json.dumps({"url": feeder.url, "username": feeder.username, "password": feeder.password}), flush=True)
    sys.stdin.readline()
    player.start.set()
    player.over.wait(float(seconds) * 3)
    print(json.dumps(player.result), flush=True)
    sys.stdin.read()
    feeder.close()


if __name__ == "__main__":
    main()
