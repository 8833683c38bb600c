"""What every store does, and the changes that it takes.

Times are seconds since the epoch, UTC. Changes are values: the newest one for a key (user; server and user; server)
is what `load` gives back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ari_presence.core.commands import Record
from ari_presence.core.names import UserId
from ari_presence.core.userstate import Entry


@dataclass(frozen=True, slots=True)
class ManualChanged:
    """A user's manual state is now `entry` (None: removed); `history` is the row to keep of it, if any."""

    user: UserId
    entry: Entry | None
    history: Record | None = None


@dataclass(frozen=True, slots=True)
class HistoryAdded:
    """A state set itself: only the history knows."""

    history: Record


@dataclass(frozen=True, slots=True)
class LampsConfirmed:
    """The server `pbx` has confirmed the lamps of `user`, written down as `text`; "" forgets them."""

    pbx: str
    user: UserId
    text: str


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """The Asterisk of `pbx` runs since `startup`, in its own words (`GET asterisk/info`)."""

    pbx: str
    startup: str


Change = ManualChanged | HistoryAdded | LampsConfirmed | ServerSeen


@dataclass(frozen=True, slots=True)
class Stored:
    """All that a store remembers, without the history.

    Attributes:
        manual: Manual states by user.
        lamps: Last confirmed lamps by server, then by user.
        servers: Startup times by server.
    """

    manual: Mapping[UserId, Entry] = field(default_factory=dict)
    lamps: Mapping[str, Mapping[UserId, str]] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """A place for changes that outlives the program; any thread may call it. All methods raise `StoreError`."""

    def load(self) -> Stored:
        """Give what is stored."""

    def commit(self, batch: Sequence[Change]) -> None:
        """Store all changes of `batch` in their order, or none; they are durable when this returns."""

    def history(self, user: UserId | None, since: float | None, limit: int) -> list[Record]:
        """Give the newest `limit` rows, the oldest of them first; None stands for all users, for all times."""

    def prune(self, before: float) -> int:
        """Delete history that began before `before` and say how many rows; never holds up `commit` for long."""

    def backup(self, path: Path) -> None:
        """Copy everything to a new file that only its owner can read; a file that exists is refused."""

    def close(self) -> None:
        """Let go of files; the store cannot be used afterwards. May be called twice."""
