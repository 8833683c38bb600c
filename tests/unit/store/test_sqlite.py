"""The SQLite store: files of every kind, crashes, full disks, and several threads at once."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ari_presence.core.names import UserId
from ari_presence.errors import SchemaTooNew, StoreError
from ari_presence.store.base import LampsConfirmed, ManualChanged
from ari_presence.store.sqlite import APPLICATION_ID, SqliteStore

from .conftest import ALICE, changed, entry

Open = Callable[[], SqliteStore]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Give the content of every file that has any; -shm is only SQLite's scratch memory."""
    found = {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content}


def refusal(file: Path) -> str:
    """Give the one line with which a file is refused."""
    with pytest.raises(StoreError) as caught:
        SqliteStore(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))
    return str(caught.value)


def test_reopened_store_knows_everything(open_store: Open) -> None:
    """What was committed is there after closing, and closing twice is harmless."""
    store = open_store()
    store.commit([changed(ALICE, 1.0)])
    store.close()
    store.close()
    again = open_store()
    assert again.load().manual == {ALICE: entry("away", 1.0)}
    assert len(again.history(ALICE, None, 10)) == 1


def test_files_are_private(file: Path, open_store: Open) -> None:
    """Store and write-ahead log are the owner's alone, whatever the umask; a laxer mode is mended."""
    before = os.umask(0)
    try:
        store = open_store()
        store.commit([changed(ALICE, 1.0)])
        assert {each.stat().st_mode & 0o777 for each in file.parent.iterdir()} == {0o600}
        store.close()
        file.chmod(0o644)
        open_store()
        assert file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_commits_are_flushed_to_disk(file: Path, open_store: Open) -> None:
    """Each connection has the settings on which durability rests."""
    store = open_store()
    for connection in (store._writer, store._reader):
        values = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert values == ["wal", 2, 1]
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    with closing(sqlite3.connect(file)) as look:
        assert look.execute("PRAGMA user_version").fetchone()[0] >= 1
        assert look.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def test_newer_schema_is_refused_and_left_alone(file: Path, open_store: Open) -> None:
    """A file of a newer program is named with both numbers, and not a byte of it changes."""
    open_store().close()
    with closing(sqlite3.connect(file)) as newer:
        newer.execute("PRAGMA user_version=77")
        newer.commit()
    before = snapshot(file.parent)
    with pytest.raises(SchemaTooNew, match=r"has schema 77, this program knows up to \d+: install the newer"):
        SqliteStore(file)
    assert snapshot(file.parent) == before


def test_newer_schema_in_unfolded_log_is_refused_and_left_alone(file: Path, tmp_path: Path, open_store: Open) -> None:
    """The version counts even while it stands in the write-ahead log of a daemon that was killed."""
    store = open_store()
    store._writer.execute("PRAGMA user_version=77")
    copy = tmp_path / "copy"
    copy.mkdir()
    for each in (file, file.with_name(f"{file.name}-wal")):
        shutil.copy(each, copy)
    before = snapshot(copy)
    with pytest.raises(SchemaTooNew):
        SqliteStore(copy / file.name)
    assert snapshot(copy) == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"this is a text file, not a database\n" * 200, id="text"),
        pytest.param(os.urandom(8192), id="noise"),
        pytest.param(b"\0" * 8192, id="zeros"),
    ],
)
def test_garbage_is_refused_and_left_alone(file: Path, content: bytes) -> None:
    """A file that is no database is named with the remedy, and never overwritten."""
    file.write_bytes(content)
    assert "restore a backup, or move it away" in refusal(file)
    assert file.read_bytes() == content


@pytest.mark.parametrize("version", [0, 1], ids=["no-version", "version-1"])
def test_foreign_database_is_refused_and_left_alone(file: Path, version: int) -> None:
    """Another program's database does not get our tables."""
    with closing(sqlite3.connect(file)) as foreign:
        foreign.executescript(f"CREATE TABLE astdb (key, value); PRAGMA user_version={version};")
    before = file.read_bytes()
    assert "is not a store of ari-presence" in refusal(file)
    assert file.read_bytes() == before


def _filled(open_store: Open) -> None:
    store = open_store()
    store.commit([changed(UserId(f"u{number}"), float(number)) for number in range(3000)])
    store.close()


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.9], ids=["nothing", "first-page", "half", "most"])
def test_truncated_file_is_refused_and_left_alone(file: Path, open_store: Open, keep: float) -> None:
    """A file that lost its end is not used as if it were whole."""
    _filled(open_store)
    content = file.read_bytes()
    content = content[: int(len(content) * keep) // 4096 * 4096]
    file.write_bytes(content)
    assert "restore a backup, or move it away" in refusal(file)
    assert file.read_bytes() == content


def test_damaged_page_is_found_at_open(file: Path, open_store: Open) -> None:
    """A page of noise in the middle is noticed before anything is written."""
    _filled(open_store)
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 4096 // 2 * 4096)
        damaged.write(os.urandom(4096))
    assert "restore a backup, or move it away" in refusal(file)


def test_large_file_is_checked_where_it_matters(file: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file the tables of the start are checked, not the whole history."""
    _filled(open_store)
    monkeypatch.setattr("ari_presence.store.sqlite._WHOLE_CHECK_BYTES", 0)
    open_store().close()
    with closing(sqlite3.connect(file)) as look:
        (root,) = look.execute("SELECT rootpage FROM sqlite_master WHERE name = 'manual'").fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((root - 1) * 4096)
        damaged.write(os.urandom(4096))
    assert "restore a backup, or move it away" in refusal(file)


def test_folder_in_place_of_file_is_refused(file: Path) -> None:
    """A folder under the file's name is not touched."""
    file.mkdir()
    assert "is not a file" in refusal(file)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """The folder is the site's to make: with the right owner."""
    with pytest.raises(StoreError, match=r"none: no such folder: create it .* or mend state_dir"):
        SqliteStore(tmp_path / "none" / "a.sqlite")


def test_log_without_its_store_is_refused(file: Path) -> None:
    """An old write-ahead log beside a new store would be replayed into it."""
    wal = file.with_name(f"{file.name}-wal")
    wal.write_bytes(b"x" * 100)
    with pytest.raises(StoreError, match="belongs to a store that is gone"):
        SqliteStore(file)
    assert not file.exists() and wal.exists()


def test_half_made_file_of_a_crash_is_replaced(file: Path, open_store: Open) -> None:
    """What a crash left while the store was first made is not in the way."""
    file.with_name(f"{file.name}.new").write_bytes(b"half")
    file.with_name(f"{file.name}.new-journal").write_bytes(b"half")
    open_store().close()
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@contextmanager
def _nobody() -> Iterator[None]:
    """Give up root's rights over files for a while: root may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_read_only_folder_is_one_line_with_remedy() -> None:
    """A folder that may not be written to is an error at open, for a new store and for an old one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_file = folder / "old"
        with_file.mkdir()
        SqliteStore(with_file / "a.sqlite").close()
        (with_file / "a.sqlite").chmod(0o444)
        for each in (folder, with_file):
            each.chmod(0o555)
        with _nobody():
            for path in (folder / "a.sqlite", with_file / "a.sqlite"):
                assert "make file and folder writable for the user that runs the daemon" in refusal(path)
        for each in (folder, with_file):
            each.chmod(0o755)
        assert [each.name for each in folder.iterdir()] == ["old"]


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ari_presence.store.sqlite import SqliteStore
from tests.unit.store.conftest import ALICE, changed
from ari_presence.store.base import LampsConfirmed
store = SqliteStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.commit([changed(ALICE, float(number)), LampsConfirmed("hq", ALICE, str(number))])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("after", [1, 7, 40, 300], ids=lambda after: f"after-{after}")
def test_killed_in_the_middle_of_commits_keeps_what_was_reported(file: Path, open_store: Open, after: int) -> None:
    """After kill -9 all that was reported is there, each commit is whole, and at most one more was made."""
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(file), root], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = [line for line in child.stdout.read().split("\n") if line.isdigit()]
    reported = after + len(rest)
    store = open_store()
    stored = store.load()
    number = int(stored.lamps["hq"][ALICE])
    assert reported <= number <= reported + 1
    assert stored.manual[ALICE].since == number
    assert [each.at for each in store.history(ALICE, None, 10_000)] == [float(each) for each in range(1, number + 1)]
    store.commit([changed(ALICE, 0.5)])


_FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ari_presence.errors import StoreError
from ari_presence.store.sqlite import SqliteStore
from tests.unit.store.conftest import ALICE, changed
store = SqliteStore(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
number = 0
try:
    while number < 10_000:
        store.commit([changed(ALICE, float(number + 1))] * 20)
        number += 1
except StoreError as error:
    print(error)
assert len(store.history(ALICE, None, 1_000_000)) == 20 * number, "history can be read"
try:
    store.commit([changed(ALICE, 0.0)] * 2000)
except StoreError:
    print("still full")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.commit([changed(ALICE, 1e9)])
assert store.load().manual[ALICE].since == 1e9
assert len(store.history(ALICE, None, 1_000_000)) == 20 * number + 1, "all or nothing"
store.close()
store = SqliteStore(Path(sys.argv[1]))
assert len(store.history(ALICE, None, 1_000_000)) == 20 * number + 1, "on disk, too"
print("usable", number > 0)
"""


def test_full_disk_is_reported_and_the_store_goes_on_afterwards(file: Path) -> None:
    """A write that does not fit changes nothing and says what to do; with space again the same store works."""
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(file), root], capture_output=True, text=True, timeout=60, check=False
    )
    first, *others = done.stdout.splitlines() or [""]
    assert (others, done.returncode) == (["still full", "usable True"], 0), done.stderr
    assert first.startswith(f"{file}: cannot be written") and "the daemon goes on by itself" in first


def test_commit_that_fails_half_way_stores_nothing(open_store: Open) -> None:
    """A change that cannot be stored takes its whole batch along, and the next batch is none the worse."""
    store = open_store()
    with pytest.raises(UnicodeEncodeError):
        store.commit([changed(ALICE, 1.0), ManualChanged(ALICE, entry("away", message="\ud800"))])
    assert store.load().manual == {}
    store.commit([changed(ALICE, 2.0)])
    assert len(store.history(None, None, 10)) == 1


def test_store_locked_by_another_program_is_reported(
    file: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's lock is waited for, then named."""
    monkeypatch.setattr("ari_presence.store.sqlite._BUSY_S", 0.05)
    store = open_store()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="end the other program"):
            store.commit([changed(ALICE, 1.0)])
        other.execute("ROLLBACK")
    store.commit([changed(ALICE, 1.0)])


def test_closed_store_says_so(open_store: Open) -> None:
    """Using a closed store is an error of ours, not a crash."""
    store = open_store()
    store.close()
    with pytest.raises(StoreError, match="cannot be written"):
        store.commit([changed(ALICE, 1.0)])


def test_history_backup_and_prune_work_while_writing(file: Path, open_store: Open, tmp_path: Path) -> None:
    """Readers see whole commits, a backup is a whole store, and nobody waits for the other for long."""
    store = open_store()
    errors: list[BaseException] = []
    enough = threading.Event()
    written = [0]

    def write() -> None:
        try:
            while not enough.is_set():
                written[0] += 1
                store.commit([changed(ALICE, float(written[0])), LampsConfirmed("hq", ALICE, str(written[0]))])
        except BaseException as error:  # the main thread shows it
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[float] = [0.0]
    try:
        for number in range(5):
            goal = written[0] + 20
            while written[0] < goal and not errors:
                rows = store.history(ALICE, None, 1)
                seen += [each.at for each in rows]
            store.backup(tmp_path / f"{number}.backup")
    finally:
        enough.set()
        writer.join()
    assert not errors
    assert seen == sorted(seen) and seen[-1] > 0
    for number in range(5):
        with closing_store(tmp_path / f"{number}.backup") as copy:
            last = int(copy.load().lamps["hq"][ALICE])
            assert len(copy.history(ALICE, None, 100_000)) == last
            assert copy.load().manual[ALICE].since == last


@contextmanager
def closing_store(file: Path) -> Iterator[SqliteStore]:
    """Open a store and close it at the end."""
    store = SqliteStore(file)
    try:
        yield store
    finally:
        store.close()


def test_prune_lets_others_write_in_between(open_store: Open) -> None:
    """While thousands of rows are deleted, a commit gets its turn."""
    store = open_store()
    store.commit([changed(ALICE, float(at)) for at in range(30_000)])
    deleted: list[int] = []
    pruner = threading.Thread(target=lambda: deleted.append(store.prune(30_000.0)))
    pruner.start()
    committed = 0
    while pruner.is_alive():
        store.commit([LampsConfirmed("hq", ALICE, "x")])
        committed += 1
    pruner.join()
    assert deleted == [30_000]
    assert committed >= 15  # half of the slices: a busy machine may miss some pauses


def test_backup_is_private_and_one_file(open_store: Open, tmp_path: Path) -> None:
    """The copy needs no file beside it, is the owner's alone, and can be restored as the store."""
    store = open_store()
    store.commit([changed(ALICE, 1.0)])
    target = tmp_path / "copy" / "backup"
    target.parent.mkdir()
    store.backup(target)
    assert [each.name for each in target.parent.iterdir()] == ["backup"]
    assert target.stat().st_mode & 0o777 == 0o600
    with closing_store(target) as copy:
        assert copy.load() == store.load()
        copy.commit([changed(ALICE, 2.0)])


def test_backup_refuses_what_exists_and_what_cannot_be_written(open_store: Open, tmp_path: Path) -> None:
    """No file is overwritten, a missing folder is named, and a failed copy leaves nothing."""
    store = open_store()
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(StoreError, match="exists already: name a new file"):
        store.backup(target)
    assert target.read_text() == "mine"
    with pytest.raises(StoreError, match="cannot be written"):
        store.backup(tmp_path / "none" / "x")
    store.commit([changed(ALICE, float(at)) for at in range(3000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            store.backup(tmp_path / "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("big")]
    store.backup(tmp_path / "big")


def _schema(folder: Path, **scripts: str) -> Path:
    folder.mkdir(exist_ok=True)
    own = (Path(__file__).resolve().parents[3] / "ari_presence/store/schema").glob("*.sql")
    for each in own:
        shutil.copy(each, folder)
    for name, text in scripts.items():
        (folder / f"{name.removeprefix('_')}.sql").write_text(text)
    return folder


def test_older_schema_is_brought_up_to_date(file: Path, tmp_path: Path, open_store: Open) -> None:
    """Only the schema files that are missing are applied, and data is kept."""
    store = open_store()
    store.commit([changed(ALICE, 1.0)])
    (version,) = store._writer.execute("PRAGMA user_version").fetchone()
    store.close()
    new = {f"_{version + 1:04}_a": "CREATE TABLE a (x);", f"_{version + 2:04}_b": "INSERT INTO a VALUES (5);"}
    newer = SqliteStore(file, schema=_schema(tmp_path / "schema", **new))
    assert newer._writer.execute("SELECT x FROM a").fetchall() == [(5,)]
    assert newer._writer.execute("PRAGMA user_version").fetchone() == (version + 2,)
    assert newer.load().manual == {ALICE: entry("away", 1.0)}
    newer.close()


def test_failing_schema_file_changes_nothing(file: Path, tmp_path: Path, open_store: Open) -> None:
    """All missing schema files are applied in one transaction, or none."""
    store = open_store()
    (version,) = store._writer.execute("PRAGMA user_version").fetchone()
    store.close()
    new = {f"_{version + 1:04}_a": "CREATE TABLE a (x);", f"_{version + 2:04}_b": "INSERT INTO nowhere VALUES (5);"}
    with pytest.raises(StoreError, match="nowhere"):
        SqliteStore(file, schema=_schema(tmp_path / "schema", **new))
    again = open_store()
    assert again._writer.execute("PRAGMA user_version").fetchone() == (version,)
    assert again._writer.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").fetchone() == (0,)


def test_gap_in_schema_numbers_is_refused(file: Path, tmp_path: Path) -> None:
    """A file that was lost from the installation is noticed."""
    with pytest.raises(StoreError, match="have a gap"):
        SqliteStore(file, schema=_schema(tmp_path / "schema", _0099_x="SELECT 1;"))
    assert not file.exists()
