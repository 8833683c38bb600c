"""The AGI protocol without input or output: what a peer says of itself, what it is told, and in which order.

Server and script drive the same `conversation`. Knows neither sockets nor users. Source: `res/res_agi.c` of Asterisk 22.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from ari_presence.core.names import printable
from ari_presence.errors import Refused

CLAIM = "SET VARIABLE PRESENCE_RESULT unconfirmed"
"""Sent before anything is changed: who answers it is still there, and a daemon that ends now has said the truth."""
HANGUP = "HANGUP"
LONG = ("STREAM FILE", "SAY ", "EXEC Wait", "ANSWER")
"""Beginnings of commands that take their time."""
OK = 200
_TONE = ('EXEC PlayTones "!1000/400"', 'EXEC Wait "0.5"', "EXEC StopPlayTones")

Conversation = Generator[str, int, None]
"""Yields commands, is sent the result of each (`result_of`), and ends when all is said."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a peer says of its call.

    Attributes:
        channel: Channel id; not proven.
        name: Channel name, which tells the endpoint that was authenticated; not proven either: whoever may connect may say
            anything.
        words: The path that is asked for, arguments of `AGI()` added.
    """

    channel: str
    name: str
    words: tuple[str, ...]


NOBODY = Environment("", "", ())
"""Before anything is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is told: variables of its channel, then sounds (`sound:`, `number:` or `digits:`)."""

    variables: Mapping[str, str]
    media: tuple[str, ...] = field(default=())


def parse_environment(text: str) -> Environment:
    """Read the environment, lines `agi_<key>: <value>`; the first of several with the same key counts.

    Raises:
        Refused: `bad-environment`: nothing that Asterisk sends.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(": ")
        if colon:
            found.setdefault(key, value.strip())
    if "agi_channel" not in found:
        raise Refused(f"no AGI environment: {printable(text)!r}", code="bad-environment")
    words = [word for word in found.get("agi_network_script", "").split("/") if word]
    number = 1
    while (argument := found.get(f"agi_arg_{number}")) is not None:
        words.append(argument)
        number += 1
    return Environment(found.get("agi_uniqueid", ""), found["agi_channel"], tuple(words))


def result_of(reply: str) -> int | None:
    """Give the result of a reply, such as -1 of `200 result=-1`; None where the command was refused."""
    code, _, rest = reply.partition(" ")
    if code != str(OK) or not rest.startswith("result="):
        return None
    text = rest.removeprefix("result=").partition(" ")[0]
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 10 else None


def is_more(reply: str) -> bool:
    """Tell whether a line is one of several, of which the last begins with `520 ` (usage of a command)."""
    return not reply[:3].isdecimal() or reply[3:4] == "-"


def conversation(answer: Answer) -> Conversation:
    """Tell a call its answer: all variables at once, then, where there is something to hear, pick up and play."""
    yield f"EXEC MSet {_quoted(','.join(f'{name}={value}' for name, value in answer.variables.items()))}"
    if answer.media and (yield "ANSWER") == 0:
        for media in answer.media:
            yield from _play(media)


def _play(media: str) -> Conversation:
    kind, _, name = media.partition(":")
    if kind in ("number", "digits"):
        yield f'SAY {kind.upper()} {_quoted(name)} ""'
    elif (yield _stream(name)) < 0 and (name == "beep" or (yield _stream("beep")) < 0):  # a recording that is missing
        for command in _TONE:  # noqa: UP028 - results are sent in, which a tuple does not take
            yield command


def _stream(name: str) -> str:
    return f'STREAM FILE {_quoted(name)} ""'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
