"""A peer of the FastAGI server: what Asterisk says, or something else, over a real socket."""

import socket
from contextlib import suppress
from typing import Self

ENVIRONMENT = """\
agi_network: yes
agi_network_script: {script}
agi_request: agi://127.0.0.1/{script}
agi_channel: {channel}
agi_language: en
agi_type: PJSIP
agi_uniqueid: 1700000000.5
agi_version: 22.10.1
agi_callerid: 999
agi_calleridname: unknown
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: *78
agi_rdnis: unknown
agi_context: internal
agi_extension: *78
agi_priority: 2
agi_enhanced: 0.0
agi_accountcode:{space}
agi_threadid: 140453220181696

"""
TIMEOUT_S = 20.0


class Peer:
    """One connection.

    Attributes:
        said: What the server has said so far, line by line.
    """

    def __init__(self, port: int) -> None:
        """Connect."""
        self.said: list[str] = []
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def send(self, data: bytes) -> Self:
        """Send bytes; a server that has gone meanwhile is read to its end."""
        with suppress(ConnectionError):
            self._socket.sendall(data)
        return self

    def call(self, path: str, channel: str = "PJSIP/100-00000005") -> Self:
        """Send a whole environment."""
        return self.send(ENVIRONMENT.format(script=path, channel=channel, space=" ").encode())

    def end_sending(self) -> Self:
        """Close one half: nothing more comes from here."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        return self

    def read(self) -> str:
        """Give the next command, "" at the end."""
        try:
            line = self._lines.readline().decode().rstrip("\n")
        except ConnectionError:
            return ""
        self.said += [line] if line else []
        return line

    def serve(self, replies: dict[str, str] | None = None) -> list[str]:
        """Reply to every command until the server closes, and give the commands.

        Args:
            replies: By the beginning of a command; others get `200 result=0`.
        """
        while command := self.read():
            found = (reply for begin, reply in (replies or {}).items() if command.startswith(begin))
            self.send(f"{next(found, '200 result=0')}\n".encode())
        return self.said

    def variables(self) -> dict[str, str]:
        """Give what was set with MSet."""
        sets = [line for line in self.said if line.startswith("EXEC MSet ")]
        pairs = sets[-1].removeprefix('EXEC MSet "').removesuffix('"').split(",") if sets else []
        return dict(pair.split("=", 1) for pair in pairs)  # type: ignore[misc]

    def close(self) -> None:
        """Close."""
        self._lines.close()
        self._socket.close()
