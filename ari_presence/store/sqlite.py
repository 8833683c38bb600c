"""The store in one SQLite file, in WAL mode: readers and the writer do not wait for each other.

Two connections, one lock each: the first for everything that writes and for `load`, the second for history. The file
is made under another name and renamed when whole, so a file that is empty or of another kind is never ours to fill.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from sys import intern

from ari_presence.core.commands import Record
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer
from ari_presence.errors import SchemaTooNew, StoreError
from ari_presence.store.base import Change, HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen, Stored

FILE_NAME = "ari-presence.sqlite"
"""Name of the file inside `state_dir`."""
APPLICATION_ID = 0x61726970
"""Marks the file as ours (`PRAGMA application_id`, set by the first schema file): "arip"."""
_WHOLE_CHECK_BYTES = 32 << 20  # checked in a fifth of a second; of larger files only the tables needed at the start
_BUSY_S = 5.0
_CACHE_KIB = 400  # of each connection; SQLite's own choice is 2,000, which the system's cache holds as well
_PRUNE_ROWS = 1_000
_PRUNE_PAUSE_S = 0.01  # a lock is not fair: without a pause the deleting thread would take it again at once
_BESIDE = "together with the -wal and -shm files beside it"
_DAMAGED = f"restore a backup, or move it away ({_BESIDE}) to start with an empty one"
_REMEDIES = {
    "SQLITE_FULL": "free some space on that disk; the daemon goes on by itself",
    "SQLITE_IOERR": "check the disk and its space; the daemon goes on by itself",
    "SQLITE_READONLY": "make file and folder writable for the user that runs the daemon",
    "SQLITE_CANTOPEN": "make file and folder writable for the user that runs the daemon",
    "SQLITE_PERM": "make file and folder writable for the user that runs the daemon",
    "SQLITE_BUSY": "end the other program that uses the file",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _DAMAGED,
}
_HISTORY = "SELECT at, user, state, layer, source, until, message FROM history"
_NEWEST = "ORDER BY at DESC, id DESC LIMIT ?"


class SqliteStore:
    """A `Store` in one file of mode 0600; every method may be called from any thread."""

    def __init__(self, path: Path, *, schema: Traversable | None = None) -> None:
        """Open the file, make it if there is none, and bring its schema up to date.

        Args:
            path: The file, in a folder that exists.
            schema: Folder of numbered schema files, `0001_name.sql` and so on; the package's own by default.

        Raises:
            SchemaTooNew: A newer program wrote the file; it is left as it is.
            StoreError: It cannot be used; it is left as it is.
        """
        self._path = path
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        scripts = _scripts(schema or files("ari_presence.store") / "schema")
        with _explained(path, "opened"):
            if self._is_new():
                self._create(scripts)
            else:
                self._examine(len(scripts))
            self._writer = self._connect()
            try:
                _migrate(self._writer, scripts)
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise

    def load(self) -> Stored:
        """Give what is stored."""
        with self._write_lock, _explained(self._path, "read"):
            lamps: dict[str, dict[UserId, str]] = {}
            for pbx, user, text in self._writer.execute("SELECT pbx, user, text FROM lamps"):
                lamps.setdefault(pbx, {})[UserId(user)] = text
            manual = self._writer.execute("SELECT user, state, source, since, until, message FROM manual")
            return Stored(
                # Interned: there are few states and sources, and many users.
                {
                    UserId(user): Entry(StateId(intern(state)), intern(source), *rest)
                    for user, state, source, *rest in manual
                },
                lamps,
                dict(self._writer.execute("SELECT pbx, startup FROM servers")),
            )

    def commit(self, batch: Sequence[Change]) -> None:
        """Store all changes of `batch` in their order, or none; they are durable when this returns."""
        with self._transaction() as writer:
            for change in batch:
                _apply(writer, change)

    def history(self, user: UserId | None, since: float | None, limit: int) -> list[Record]:
        """Give the newest `limit` rows, the oldest of them first."""
        start = float("-inf") if since is None else since
        with self._read_lock, _explained(self._path, "read"):
            if user is None:
                rows = self._reader.execute(f"{_HISTORY} WHERE at >= ? {_NEWEST}", (start, max(limit, 0))).fetchall()
            else:
                query = f"{_HISTORY} WHERE user = ? AND at >= ? {_NEWEST}"
                rows = self._reader.execute(query, (user, start, max(limit, 0))).fetchall()
        return [Record(at, who, state, Layer(layer), *rest) for at, who, state, layer, *rest in reversed(rows)]

    def prune(self, before: float) -> int:
        """Delete history that began before `before`, in slices between which others may write."""
        deleted = 0
        slice_ = "DELETE FROM history WHERE id IN (SELECT id FROM history WHERE at < ? ORDER BY at LIMIT ?)"
        while True:
            with self._transaction() as writer:
                count = writer.execute(slice_, (before, _PRUNE_ROWS)).rowcount
            deleted += count
            if count < _PRUNE_ROWS:
                return deleted
            threading.Event().wait(_PRUNE_PAUSE_S)

    def backup(self, path: Path) -> None:
        """Copy everything to a new file of mode 0600, without holding up readers or the writer."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise StoreError(f"{path}: exists already: name a new file for the backup") from None
        except OSError as error:
            remedy = "name a file in a folder that the user that runs the daemon may write to"
            raise StoreError(f"{path}: the backup cannot be written ({error.strerror}): {remedy}") from None
        try:
            with _explained(path, "written"), closing(self._connect()) as source, closing(_open(path)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")  # one file that needs no other beside it
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close both connections; the last one folds the -wal file into the store."""
        with self._read_lock, self._write_lock, _explained(self._path, "closed"):
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, _explained(self._path, "written"):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._writer.in_transaction:
                    with suppress(sqlite3.Error):
                        self._writer.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = _open(self._path)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{_CACHE_KIB}"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_new(self) -> bool:
        folder = self._path.parent
        if not folder.is_dir():
            raise StoreError(
                f"{folder}: no such folder: create it for the user that runs the daemon, or mend state_dir"
            )
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            return True
        if not stat.S_ISREG(mode):
            raise StoreError(f"{self._path}: is not a file: move it away, or mend state_dir")
        return False

    def _create(self, scripts: Sequence[str]) -> None:
        wal = self._path.with_name(f"{self._path.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise StoreError(f"{wal}: belongs to a store that is gone: put that back beside it, or move this away")
        new = self._path.with_name(f"{self._path.name}.new")
        for rest in (new, new.with_name(f"{new.name}-journal")):
            rest.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(_open(new)) as connection:
            _migrate(connection, scripts)
        new.rename(self._path)
        _sync_folder(self._path.parent)

    def _examine(self, known: int) -> None:
        """Make sure, without a change to the file, that it is ours, not damaged and not too new."""
        size = self._path.stat().st_size
        with closing(_open(self._path, "ro")) as connection:
            (mark,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if mark != APPLICATION_ID or version < 1:
                raise StoreError(f"{self._path}: is not a store of ari-presence or lost its beginning: {_DAMAGED}")
            if version > known:
                raise SchemaTooNew(
                    f"{self._path}: has schema {version}, this program knows up to {known}: "
                    "install the newer ari-presence again, or restore a backup of before"
                )
            tables = [""] if size <= _WHOLE_CHECK_BYTES else ["('manual')", "('lamps')", "('servers')"]
            for table in tables:
                (finding,) = connection.execute(f"PRAGMA quick_check{table}").fetchone()
                if finding != "ok":
                    raise StoreError(f"{self._path}: is damaged ({' '.join(finding.split())}): {_DAMAGED}")
        with suppress(PermissionError):  # somebody else's file that we may write: his to decide
            self._path.chmod(0o600)


def _open(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Open an existing file; transactions are begun and ended by hand."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    """Turn what SQLite and the system complain of into one line for the operator."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        remedy = next(
            (text for code, text in _REMEDIES.items() if name.startswith(code)), "look for the cause in the log"
        )
        raise StoreError(f"{path}: cannot be {done} ({error}): {remedy}") from error
    except OSError as error:
        remedy = "make file and folder writable for the user that runs the daemon, and check the disk"
        raise StoreError(f"{path}: cannot be {done} ({error.strerror}): {remedy}") from error


def _scripts(folder: Traversable) -> list[str]:
    """Read the schema files in the order of their numbers, which have no gap."""
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    numbers = [0, *(int(each.name[:4]) for each in found)]
    if not found or any(after != before + 1 for before, after in pairwise(numbers)):
        raise StoreError(f"{folder}: the numbers of the schema files have a gap: install ari-presence again")
    return [each.read_text("utf-8") for each in found]


def _migrate(connection: sqlite3.Connection, scripts: Sequence[str]) -> None:
    """Apply the schema files that are newer than the file, all in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(scripts):
        return
    body = "\n".join(scripts[version:])
    try:
        # One script: `executescript` would commit a transaction that was begun before it.
        connection.executescript(f"BEGIN IMMEDIATE;\n{body}\n;PRAGMA user_version={len(scripts)};\nCOMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _apply(writer: sqlite3.Connection, change: Change) -> None:
    match change:
        case ManualChanged(user, entry, history):
            if entry is None:
                writer.execute("DELETE FROM manual WHERE user = ?", (user,))
            else:
                row = (user, entry.state, entry.source, entry.since, entry.until, entry.message)
                writer.execute(
                    "REPLACE INTO manual (user, state, source, since, until, message) VALUES (?,?,?,?,?,?)", row
                )
            if history is not None:
                _add_history(writer, history)
        case HistoryAdded(history):
            _add_history(writer, history)
        case LampsConfirmed(pbx, user, ""):
            writer.execute("DELETE FROM lamps WHERE pbx = ? AND user = ?", (pbx, user))
        case LampsConfirmed(pbx, user, text):
            writer.execute("REPLACE INTO lamps (pbx, user, text) VALUES (?,?,?)", (pbx, user, text))
        case ServerSeen(pbx, startup):
            writer.execute("REPLACE INTO servers (pbx, startup) VALUES (?,?)", (pbx, startup))


def _add_history(writer: sqlite3.Connection, row: Record) -> None:
    writer.execute(
        "INSERT INTO history (at, user, state, layer, source, until, message) VALUES (?,?,?,?,?,?,?)",
        (row.at, row.user, row.state, row.layer, row.source, row.until, row.message),
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
