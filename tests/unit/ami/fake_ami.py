"""A manager interface in memory on a real socket: as friendly, slow or hostile as a test wants."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from ari_presence.ami.session import AmiAddress

SECRET = "s3cret-word"
GREETING = b"Asterisk Call Manager/11.0.0\r\n"
CALL = {
    "ParkeeUniqueid": "1.1",
    "ParkeeCallerIDNum": "100",
    "ParkeeCallerIDName": "<unknown>",
    "ParkerDialString": "PJSIP/101",
    "Parkinglot": "default",
    "ParkingSpace": "701",
    "ParkingDuration": "5",
}


def message(**fields: str) -> bytes:
    """Spell a message."""
    return "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode() + b"\r\n"


class FakeAmi:
    """Accepts one connection after the other; `calls` is what it lists.

    Attributes:
        asked: Every action that came, as fields.
        answer: Takes an action and gives what is sent back, or None for what a real server would send.
    """

    def __init__(self) -> None:
        """Listen on a free port."""
        self.calls: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        self.greeting = GREETING
        self.answer: Callable[[dict[str, str]], bytes | None] = lambda action: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def address(self, secret: str = SECRET) -> AmiAddress:
        """Give its address and a login."""
        return AmiAddress("hq", "127.0.0.1", int(self._listener.getsockname()[1]), "ari-presence", secret)

    def actions(self, name: str) -> list[dict[str, str]]:
        """Give the actions of one name."""
        return [action for action in list(self.asked) if action["Action"] == name]

    def send(self, data: bytes) -> None:
        """Send to the latest peer."""
        with contextlib.suppress(OSError):
            self._peers[-1].sendall(data)

    def hang_up(self) -> None:
        """End all connections."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._thread.join(5)
        for peer in self._peers:
            peer.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._peers.append(peer)
                self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            peer.sendall(self.greeting)
            while data := peer.recv(65536):
                *actions, rest = (rest + data).split(b"\r\n\r\n")
                for text in actions:
                    action = dict(line.split(": ", 1) for line in text.decode().split("\r\n"))
                    self.asked.append(action)
                    answer = self.answer(action)
                    peer.sendall(self._usual(action) if answer is None else answer)

    def _usual(self, action: dict[str, str]) -> bytes:
        number = action["ActionID"]
        if action["Action"] == "Login" and action["Secret"] != SECRET:
            return message(Response="Error", ActionID=number, Message="Authentication failed")
        found = message(Response="Success", ActionID=number)
        if action["Action"] == "ParkedCalls":
            found += b"".join(message(Event="ParkedCall", **call, ActionID=number) for call in self.calls)
            found += message(Event="ParkedCallsComplete", ActionID=number, Total=str(len(self.calls)))
        return found


@contextlib.contextmanager
def fake_ami() -> Iterator[FakeAmi]:
    """Run one."""
    server = FakeAmi()
    try:
        yield server
    finally:
        server.close()
