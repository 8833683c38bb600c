"""Asterisk's database, read from both kinds of files; what cannot be read is named by line or key, and all is refused."""

import sqlite3
from pathlib import Path

import pytest

from ari_presence.errors import Refused
from ari_presence.takeover import astdb
from ari_presence.takeover.astdb import Row, parse, read

KEYS = {
    "/AMPUSER/100/cidname": "Alice Example",
    "/AMPUSER/100/device": "100&100-mobile",
    "/CustomPresence/100": "away,,Back: at two",
    "/DND/101": "YES",
    "/a/key/that/is/longer/than/the/fifty/characters/of/the/column": "x",
    "/empty/value": "",
}
# As main/db.c prints it.
SHOWN = "".join(f"{key:<50}: {value:<25}\n" for key, value in KEYS.items()).encode() + b"6 results found.\r\n"


def make(path: Path, *rows: tuple[object, object], table: str = "astdb") -> Path:
    """Make a database as Asterisk has it."""
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE {table} (key VARCHAR(256), value VARCHAR(256), PRIMARY KEY(key))")
        database.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608
    database.close()
    return path


def test_output_of_the_console_is_read() -> None:
    """Line by line; a value may hold what separates it from its key."""
    assert parse(SHOWN, "x") == [
        Row(f"line {number}", key, value) for number, (key, value) in enumerate(KEYS.items(), 1)
    ]


def test_both_kinds_of_files_are_told_apart(tmp_path: Path) -> None:
    """By how they begin, whatever their names."""
    (tmp_path / "text").write_bytes(SHOWN)
    assert [row.value for row in read(tmp_path / "text")][:2] == ["Alice Example", "100&100-mobile"]
    found = read(make(tmp_path / "astdb.sqlite3", ("/DND/100", "YES"), ("/AMPUSER/100/cidname", "Zoë")))
    assert found == [
        Row("/AMPUSER/100/cidname", "/AMPUSER/100/cidname", "Zoë"),
        Row("/DND/100", "/DND/100", "YES"),
    ]


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        pytest.param(b"/a/b : x\nnonsense\n/c/d : y\n*\n", ["x: line 2: is not", "x: line 4: is not"], id="no-row"),
        pytest.param(b"/a/b : Ren\xe9\n", ["x: line 1: byte 11 is not UTF-8"], id="latin-1"),
        pytest.param(b"/a/b : x\n/c/d : y\n/a/b : z\n", ["x: line 3: /a/b stands at line 1 already"], id="twice"),
        pytest.param(b"", ["x: holds no key"], id="empty"),
        pytest.param(b"0 results found.\n", ["x: holds no key"], id="nothing-found"),
        pytest.param(b"\xff\xfe/\x00a\x00", ["x: line 1: byte 1 is not UTF-8"], id="utf-16"),
    ],
)
def test_lines_that_cannot_be_read_are_all_named(text: bytes, complaints: list[str]) -> None:
    """And nothing is taken."""
    with pytest.raises(Refused) as refused:
        parse(text, "x")
    lines = str(refused.value).splitlines()
    assert [line.startswith(start) for line, start in zip(lines, complaints, strict=True)] == [True] * len(lines)


def test_value_of_a_database_that_is_not_text_is_named_by_its_key(tmp_path: Path) -> None:
    """Lines are for people who read text; a database has keys."""
    path = make(tmp_path / "a", ("/AMPUSER/100/cidname", b"Ren\xe9"), ("/DND/100", "YES"))
    with pytest.raises(Refused, match=r"/AMPUSER/100/cidname: byte 4 is not UTF-8"):
        read(path)


@pytest.mark.parametrize("how", ["no-table", "damaged", "not-there", "folder", "huge"])
def test_file_that_is_no_database_is_refused_with_a_remedy(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names the file."""
    path = tmp_path / "astdb.sqlite3"
    match how:
        case "no-table":
            make(path, ("/a/b", "x"), table="other")
        case "damaged":
            path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
        case "folder":
            path.mkdir()
        case "huge":
            path.write_bytes(b"/a/b : x\n")
            monkeypatch.setattr(astdb, "AT_MOST_BYTES", 3)
    with pytest.raises(Refused) as refused:
        read(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_database_is_not_written_to(tmp_path: Path) -> None:
    """It may be that of a running Asterisk."""
    path = make(tmp_path / "a", ("/DND/100", "YES"))
    path.chmod(0o444)
    before = path.read_bytes()
    read(path)
    assert (path.read_bytes(), [each.name for each in tmp_path.iterdir()]) == (before, ["a"])
