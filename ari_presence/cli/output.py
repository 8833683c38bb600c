"""How things are shown: tables for people (local time), JSON for programs (RFC 3339)."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = dict[str, Any]
USER_COLUMNS = ("user", "name", "state", "since", "until", "message", "set by")


def emit_json(data: object, *, one_line: bool = False) -> None:
    """Print a JSON document (ASCII, so that every locale can write it)."""
    print(json.dumps(data, indent=None if one_line else 2), flush=one_line)


def local_time(text: str | None, *, seconds: bool = False) -> str:
    """Show an RFC 3339 time on the local clock: `13:30` for today, else with the date; empty for None."""
    if text is None:
        return ""
    moment = datetime.fromisoformat(text).astimezone()
    clock = f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"
    return clock if moment.date() == datetime.now().astimezone().date() else f"{moment:%Y-%m-%d} {clock}"


def user_row(user: Json) -> list[str]:
    """Give the cells of `USER_COLUMNS` for one user."""
    return [
        user["user"],
        user["name"] or "",
        user["label"] or user["state"],
        local_time(user["since"]),
        local_time(user["until"]),
        user["message"] or "",
        user["source"] or "",
    ]


def sentence(user: Json) -> str:
    """Say in one line what a user's state is."""
    name = f" {user['name']}" if user["name"] and user["name"] != user["user"] else ""
    until = f" until {local_time(user['until'])}" if user["until"] else ""
    message = f": {user['message']}" if user["message"] else ""
    return f"{user['user']}{name}: {user['label'] or user['state']}{until}{message}"


def console() -> "Console":
    """Make the console of standard output, which shows text as it is."""
    from rich.console import Console

    return Console(highlight=False, emoji=False)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Make a table whose cells are shown as they are: no markup, nothing left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=any(columns), pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; where it is not read on a terminal, plain columns that are never cut or coloured."""
    if sys.stdout.isatty():
        console().print(make_table(columns, rows))
        return
    lines = [columns, *rows] if any(columns) else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
