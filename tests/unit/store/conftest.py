"""What the tests of the store share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ari_presence.core.commands import Record
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer
from ari_presence.store.base import ManualChanged
from ari_presence.store.sqlite import SqliteStore

ALICE, BOB = UserId("alice"), UserId("bob")


def entry(state: str, since: float = 1.5, until: float | None = None, message: str | None = None) -> Entry:
    """Make a manual state set at the CLI."""
    return Entry(StateId(state), "cli", since, until, message)


def row(user: UserId, at: float, state: str = "away", message: str | None = None) -> Record:
    """Make a row of history."""
    return Record(at, user, StateId(state), Layer.MANUAL, "cli", None, message)


def changed(user: UserId, at: float, state: str = "away") -> ManualChanged:
    """Make a change that is kept in the history too."""
    return ManualChanged(user, entry(state, at), row(user, at, state))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "ari-presence.sqlite"


@pytest.fixture
def open_store(file: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Open the store in `file`, as often as wanted; all are closed at the end."""
    opened: list[SqliteStore] = []

    def open_() -> SqliteStore:
        opened.append(SqliteStore(file))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()
