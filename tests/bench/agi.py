"""FastAGI: 500 requests a second, 50 at once, from a peer that replies to every command as Asterisk does.

Fifty connect at the same moment, ten times a second. A request is the time from connecting to the answer, the command that
sets the variables: by then a change is stored and confirmed by Asterisk. The prompt follows. Client, daemon and Asterisk
share the machine.
"""

import select
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from table import Row, limited

from private_asterisk import PrivateAsterisk
from private_asterisk.presence import Daemon

AT_ONCE = 50
A_SECOND = 500
LIMIT_MS = 50.0
SILENT = 1000
ENVIRONMENT = (
    "agi_network: yes\nagi_network_script: {path}\nagi_request: agi://127.0.0.1/{path}\nagi_channel: PJSIP/{user}-{n:08x}\n"
    "agi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1700000000.{n}\nagi_version: 22.10.1\nagi_callerid: {user}\n"
    "agi_calleridname: unknown\nagi_callingpres: 0\nagi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\n"
    "agi_dnid: 77\nagi_rdnis: unknown\nagi_context: internal\nagi_extension: 77\nagi_priority: 2\nagi_enhanced: 0.0\n"
    "agi_accountcode: \nagi_threadid: 140453220181696\n\n"
)


class _Peer:
    """One call: carries out every command at once, and notes when the answer came."""

    def __init__(self, port: int, path: str, user: int, number: int) -> None:
        """Connect and say who calls."""
        self.begin, self.answered = time.monotonic(), 0.0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(ENVIRONMENT.format(path=path, user=user, n=number).encode())

    def serve(self) -> bool:
        """Carry out the command that has come; False at the end."""
        command = self.socket.recv(65_536)
        if b"PRESENCE_RESULT=ok" in command:
            self.answered = time.monotonic()
        if command:
            self.socket.sendall(b"200 result=0\n")
            return True
        self.socket.close()
        return False


def _load(port: int, seconds: float, path: str, users: int) -> tuple[list[float], float]:
    """Make `AT_ONCE` requests together, again and again; give the seconds of each and how many a second it were.

    Raises:
        RuntimeError: An answer is not `ok`.
    """
    count, every_s = int(seconds * A_SECOND / AT_ONCE) * AT_ONCE, AT_ONCE / A_SECOND
    times: list[float] = []
    peers: dict[int, _Peer] = {}
    begin, begun = time.monotonic(), 0
    with select.epoll() as ready:
        while len(times) < count:
            wait_s = begin + begun / AT_ONCE * every_s - time.monotonic() if begun < count else 10.0
            if wait_s <= 0:
                for number in range(begun, begun + AT_ONCE):
                    peer = _Peer(port, path, 1000 + number % users, number)
                    peers[peer.socket.fileno()] = peer
                    ready.register(peer.socket, select.EPOLLIN)
                begun += AT_ONCE
            for file, _ in ready.poll(max(wait_s, 0)):
                peer = peers[file]
                if not peer.serve():
                    del peers[file]
                    if not peer.answered:
                        raise RuntimeError(f"{path}: an answer was not ok")
                    times.append(peer.answered - peer.begin)
    return times, len(times) / (time.monotonic() - begin)


def _beside_silent(port: int, seconds: float, users: int) -> tuple[list[float], float]:
    """The same while so many connections are held open that never say anything."""
    with ExitStack() as held:
        for _ in range(SILENT):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        return _load(port, seconds, "treat/1000", users)


def measure(seconds: float, users: int = 500) -> Iterator[Row]:
    """Measure questions, changes, and questions beside silent connections.

    Args:
        seconds: How long each kind is asked.
        users: How many there are.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    phones = [str(number) for number in range(1000, 1000 + users)]
    with PrivateAsterisk(22, phones=phones) as server, Daemon(server, agi_port=port) as daemon:
        daemon.wait_ready()
        _load(port, 1, "treat/1000", users)  # warms up
        yield from _rows("treat", *_load(port, seconds, "treat/1000", users))
        yield from _rows("toggle/lunch/45, stored and confirmed", *_load(port, seconds, "toggle/lunch/45", users))
        yield from _rows(f"treat beside {SILENT:,} silent connections", *_beside_silent(port, seconds, users))


def _rows(kind: str, times: list[float], a_second: float) -> Iterator[Row]:
    name = f"AGI, {AT_ONCE} at once, {kind}"
    enough = a_second >= A_SECOND * 0.99  # the last burst ends behind its time
    yield Row(f"{name}: requests", f"{a_second:,.0f} /s", target=f">= {A_SECOND} /s", ok=enough)
    yield Row(f"{name}: median", f"{statistics.median(times) * 1000:.1f} ms")
    yield limited(f"{name}: p99", statistics.quantiles(times, n=100)[98] * 1000, LIMIT_MS, unit="ms")
