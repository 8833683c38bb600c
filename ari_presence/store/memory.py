"""A store that forgets everything at the end: for tests of other parts."""

from collections.abc import Sequence
from pathlib import Path

from ari_presence.core.commands import Record
from ari_presence.core.names import UserId
from ari_presence.core.userstate import Entry
from ari_presence.errors import StoreError
from ari_presence.store.base import Change, HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen, Stored


class MemoryStore:
    """A `Store` of dicts; to be used from one thread, or with a `StoreWriter` while nobody reads."""

    def __init__(self) -> None:
        """Start empty."""
        self._manual: dict[UserId, Entry] = {}
        self._lamps: dict[str, dict[UserId, str]] = {}
        self._servers: dict[str, str] = {}
        self._history: list[Record] = []

    def load(self) -> Stored:
        """Give a copy of what is stored."""
        return Stored(dict(self._manual), {pbx: dict(rows) for pbx, rows in self._lamps.items()}, dict(self._servers))

    def commit(self, batch: Sequence[Change]) -> None:
        """Store all changes of `batch`."""
        for change in batch:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case ManualChanged(user, entry, history):
                self._manual.pop(user, None)
                if entry is not None:
                    self._manual[user] = entry
                if history is not None:
                    self._history.append(history)
            case HistoryAdded(history):
                self._history.append(history)
            case LampsConfirmed(pbx, user, text):
                rows = self._lamps.setdefault(pbx, {})
                rows.pop(user, None)
                if text:
                    rows[user] = text
                if not rows:
                    del self._lamps[pbx]
            case ServerSeen(pbx, startup):
                self._servers[pbx] = startup

    def history(self, user: UserId | None, since: float | None, limit: int) -> list[Record]:
        """Give the newest `limit` rows, the oldest of them first."""
        found = [
            row for row in self._history if (user is None or row.user == user) and (since is None or row.at >= since)
        ]
        return sorted(found, key=lambda row: row.at)[len(found) - min(limit, len(found)) :]

    def prune(self, before: float) -> int:
        """Delete history that began before `before`."""
        size = len(self._history)
        self._history = [row for row in self._history if row.at >= before]
        return size - len(self._history)

    def backup(self, path: Path) -> None:
        """Refuse: there is no file to copy."""
        raise StoreError(f"{path}: a store in memory cannot be copied: use the SQLite store")

    def close(self) -> None:
        """Keep nothing open, so do nothing."""
