"""AMI on the wire: actions to bytes, bytes to messages. Knows no socket and no meaning.

A message is lines of `Key: value` up to an empty line (`main/manager.c`). The one library that is around, panoramisk, was last
released in 2021, keeps whatever a peer sends without limit, loses letters that the network cuts in two, and may log the login
with its secret: hence these few lines.
"""

import re
from collections.abc import Iterator

from ari_presence.errors import AriConnectionError

MESSAGE_AT_MOST = 64 * 1024
"""Bytes; Asterisk's own messages have a few KiB at most."""
VALUE_AT_MOST = 200
"""Characters of a value that are kept."""
USED = (
    b"Response:",
    b"Event: ParkedCall",
    b"Event: UnParkedCall",
    b"Event: QueueMember",
    b"Event: QueueStatusComplete",
    b"Event: PresenceState",
)
"""How the messages begin that somebody reads here; a busy server sends thousands of others."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Fields = dict[str, list[str]]


def action(name: str, **fields: str) -> bytes:
    """Spell an action.

    Raises:
        ValueError: A value would end its line, and so could hold an action of its own.
    """
    lines = [f"{key}: {value}" for key, value in {"Action": name, **fields}.items()]
    if any(_CONTROL.search(line) for line in lines):
        raise ValueError(f"a value of the action {name} holds a control character")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Messages:
    """Cuts what comes from the peer into messages, and keeps no more than one that is not complete."""

    def __init__(self) -> None:
        """Start behind the greeting."""
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Fields]:
        """Give the complete messages that begin like one of `USED`.

        Raises:
            AriConnectionError: A message does not end: it is no AMI, or no friend.
        """
        self._rest += data
        *messages, rest = self._rest.split(b"\r\n\r\n")
        self._rest = bytearray(rest)
        if len(rest) > MESSAGE_AT_MOST:
            raise AriConnectionError("a message of AMI does not end")
        for message in messages:
            if message.startswith(USED):
                yield _fields(message)


def _fields(message: bytearray) -> Fields:
    found: Fields = {}
    for line in message.decode("utf-8", "replace").split("\r\n"):
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.lower(), []).append(_CONTROL.sub("", value)[: VALUE_AT_MOST + 1].strip())
    return found


def one(fields: Fields, key: str) -> str | None:
    """Give the value of a key (in lower case) that stands there once; one that stands twice may be forged: None."""
    values = fields.get(key, ())
    return values[0] if len(values) == 1 else None
