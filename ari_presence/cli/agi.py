"""The command that Asterisk runs as an AGI script: agi. It speaks AGI on its standard input and output."""

import sys
from typing import Annotated, BinaryIO

import typer

from ari_presence.agi import talk
from ari_presence.cli.client import CHANGE_S
from ari_presence.cli.connect import connect
from ari_presence.errors import ControlError, Refused

MAX_ENVIRONMENT = 64 * 1024
NOT_AGI = "'agi' is run by Asterisk: AGI(/usr/local/bin/ari-presence,agi,toggle,dnd)"


class _Ended(Exception):
    """Asterisk has closed its end."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(context_settings={"ignore_unknown_options": True})(agi)


def agi(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="What to do, such as: set lunch 45.")],
) -> None:
    """Serve one call as an AGI script.

    The dialplan has AGI(/usr/local/bin/ari-presence,agi,WORDS...), and the daemon is asked over its control socket. WORDS
    are those of the paths of the FastAGI server. The channel variable PRESENCE_RESULT says what came of it; the exit code is
    0 whenever the daemon has answered, and 3, which makes AGISTATUS FAILURE, when it has not.
    """
    try:
        call = talk.parse_environment(_environment(sys.stdin.buffer))
    except Refused:
        raise typer.BadParameter(NOT_AGI) from None
    try:
        client = connect(context)
        if _ask(talk.CLAIM) is None:
            return
        body = {"channel": call.channel, "name": call.name, "words": words}
        try:
            found = client.call("POST", "/control/agi", body, CHANGE_S)
        except ControlError:
            _tell(talk.Answer({"PRESENCE_RESULT": "failed", "PRESENCE_REASON": "unreachable"}))
            raise
        _tell(talk.Answer(found["variables"], tuple(found["media"])))
    except _Ended:
        return


def _environment(stream: BinaryIO) -> str:
    lines: list[bytes] = []
    while (line := stream.readline(MAX_ENVIRONMENT)).strip() and len(lines) < MAX_ENVIRONMENT:
        lines.append(line)
    return b"".join(lines).decode(errors="replace")


def _tell(answer: talk.Answer) -> None:
    steps = talk.conversation(answer)
    command = next(steps)
    try:
        while True:
            result = _ask(command)
            command = steps.send(-1 if result is None else result)
    except StopIteration:
        return


def _ask(command: str) -> int | None:
    sys.stdout.write(f"{command}\n")
    sys.stdout.flush()
    while line := sys.stdin.buffer.readline(MAX_ENVIRONMENT):
        reply = line.decode(errors="replace").strip()
        if reply == talk.HANGUP:
            raise _Ended
        if not talk.is_more(reply):
            return talk.result_of(reply)
    raise _Ended
