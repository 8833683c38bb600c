"""Asterisk's database as rows: from its SQLite file, or from what `database show` prints. Knows no meaning of keys."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ari_presence.errors import Refused

_SQLITE = b"SQLite format 3\0"
_SHOWN = re.compile(r"(/.*?) *: (.*)")
_TOTAL = re.compile(r"\d+ results? found\.")
_LINE_END = re.compile(rb"\r?\n")
AT_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the database.

    Attributes:
        place: Where it stands, `line 12` or the key once more.
        key: `/family/key`.
        value: As it is, without spaces at its end.
    """

    place: str
    key: str
    value: str


def read(path: Path) -> list[Row]:
    """Read a file of either kind.

    Raises:
        Refused: One line for each thing that cannot be read; all of it is read or nothing.
    """
    try:
        if path.stat().st_size > AT_MOST_BYTES:
            raise Refused(f"{path}: has more than {AT_MOST_BYTES >> 20} MiB: this is not Asterisk's database")
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
            if start != _SQLITE:
                return parse(start + file.read(), str(path))
        return _from_sqlite(path)
    except OSError as error:
        raise Refused(
            f"{path}: cannot be read ({error.strerror}): name astdb.sqlite3, or a file that you may read"
        ) from None


def parse(text: bytes, where: str) -> list[Row]:
    """Read what `database show` prints.

    Args:
        text: Its output.
        where: For complaints.

    Raises:
        Refused: One line for each line that cannot be read.
    """
    rows, problems = [], []
    for number, raw in enumerate(_LINE_END.split(text), 1):
        try:
            line = raw.decode().rstrip()
        except UnicodeDecodeError as error:
            problems.append(f"{where}: line {number}: byte {error.start + 1} is not UTF-8: mend that value in Asterisk")
            continue
        if not line or _TOTAL.fullmatch(line):
            continue
        if (match := _SHOWN.fullmatch(line + " ")) is None:
            problems.append(f"{where}: line {number}: is not '/family/key : value': give what 'database show' prints")
            continue
        rows.append(Row(f"line {number}", match[1], match[2].rstrip()))
    return _checked(rows, problems, where)


def _from_sqlite(path: Path) -> list[Row]:
    rows, problems = [], []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.text_factory = bytes
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'astdb'").fetchone():
                raise Refused(f"{path}: holds no table astdb: name Asterisk's astdb.sqlite3")
            for key, value in database.execute("SELECT key, value FROM astdb ORDER BY key"):
                name = _bytes(key).decode(errors="backslashreplace")
                try:
                    rows.append(Row(name, name, _bytes(value).decode().rstrip()))
                except UnicodeDecodeError as error:
                    problems.append(f"{path}: {name}: byte {error.start + 1} is not UTF-8: mend that value in Asterisk")
    except sqlite3.Error as error:
        raise Refused(f"{path}: cannot be read ({error}): name Asterisk's astdb.sqlite3, or a copy of it") from None
    return _checked(rows, problems, str(path))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value if value is not None else "").encode()


def _checked(rows: list[Row], problems: list[str], where: str) -> list[Row]:
    problems += _repeated(rows, where)
    if problems:
        raise Refused("\n".join(problems))
    if not rows:
        raise Refused(f"{where}: holds no key: give astdb.sqlite3, or what 'database show' prints")
    return rows


def _repeated(rows: Iterable[Row], where: str) -> Iterator[str]:
    first: dict[str, str] = {}
    for row in rows:
        if (before := first.setdefault(row.key, row.place)) != row.place:
            yield f"{where}: {row.place}: {row.key} stands at {before} already: remove one"
