"""A link to AMI that answers when it is told to, for followers under test."""

from collections.abc import Callable

from ari_presence.ami.asks import Rows
from ari_presence.ami.wire import Fields


def fields(**given: str) -> Fields:
    """Make a message."""
    return {key: [value] for key, value in given.items()}


def refused(reason: str) -> list[Fields]:
    """Make the answer of a server that refuses."""
    return [fields(response="Error", message=reason)]


class FakePort:
    """Keeps what is asked; `answer` gives the oldest its answer.

    Attributes:
        asked: Actions that wait for an answer, with their fields.
        log: All actions ever asked.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.log: list[tuple[str, dict[str, str]]] = []
        self._done: list[Callable[[Rows], None]] = []

    def ask(self, name: str, fields: dict[str, str], done: Callable[[Rows], None], *, ends: str = "") -> None:
        """Take an action."""
        self.asked.append((name, fields))
        self.log.append((name, fields))
        self._done.append(done)

    def answer(self, *rows: Fields, lost: bool = False) -> tuple[str, dict[str, str]]:
        """Answer the oldest action, with success and these rows, or with the end of the connection; give the action."""
        action, done = self.asked.pop(0), self._done.pop(0)
        done(None if lost else [fields(response="Success"), *rows])
        return action

    def refuse(self, reason: str) -> None:
        """Refuse the oldest action."""
        self.asked.pop(0)
        self._done.pop(0)(refused(reason))
