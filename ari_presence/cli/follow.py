"""Commands that look along time: watch and history."""

import sys
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ari_presence.cli.client import ControlClient, user_path
from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import (
    USER_COLUMNS,
    Json,
    console,
    emit_json,
    local_time,
    make_table,
    show_table,
    user_row,
)
from ari_presence.core.timers import parse_duration, rfc3339
from ari_presence.errors import AriPresenceError, ControlError, Refused

if TYPE_CHECKING:
    from rich.table import Table

HISTORY_COLUMNS = ("at", "user", "state", "label", "layer", "source", "until", "message")
MAX_HISTORY = 100_000
_RETRY_S = 1.0
_REDRAW_S = 0.1


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(watch)
    app.command()(history)


def watch(context: typer.Context, as_json: JsonOption = False) -> None:
    """Follow states as they change, until Ctrl-C.

    On a terminal a live table, the latest change first; otherwise, and with --json, one line for each change.
    """
    client = connect(context)
    if sys.stdout.isatty() and not as_json:
        LiveTable(client).run()
        return
    for user in client.events():
        if user is None:
            continue
        if as_json:
            emit_json(user, one_line=True)
        else:
            print(_line(user), flush=True)
    raise ControlError("the daemon has stopped: start it again (systemctl start ari-presence)")


def _line(user: Json) -> str:
    until = f"until {local_time(user['until'])}" if user["until"] else None
    parts = [local_time(user["since"], seconds=True), user["user"], user["name"], user["label"] or user["state"]]
    return "  ".join(part for part in (*parts, user["source"], until, user["message"]) if part)


class LiveTable:
    """The live table: one thread reads changes, the caller's draws, at most ten times a second."""

    def __init__(self, client: ControlClient) -> None:
        """Follow the daemon of `client`."""
        self._client = client
        self._users: dict[str, Json] = {}
        self._note = ""
        self._changed = threading.Event()

    def run(self) -> None:
        """Draw until interrupted; raises `ControlError` only if the daemon cannot be reached at the start."""
        from rich.live import Live

        self._load()
        screen = console()
        threading.Thread(target=self._read, name="watch", daemon=True).start()
        pause = threading.Event()
        with Live(self._table(screen.height), console=screen, auto_refresh=False) as live:
            while True:
                self._changed.wait()
                self._changed.clear()
                live.update(self._table(screen.height), refresh=True)
                pause.wait(_REDRAW_S)

    def _load(self) -> None:
        self._users = {user["user"]: user for user in self._client.get("/users")}

    def _read(self) -> None:
        """Keep reading; where the daemon goes away, say so and try again (thread `watch`)."""
        pause = threading.Event()
        while True:
            try:
                for user in self._client.events():
                    if user is None:  # only now nothing can be missed
                        self._load()
                        self._note = ""
                    else:
                        self._users = {**self._users, user["user"]: user}
                    self._changed.set()
                self._note = "the daemon has stopped; waiting for it"
            except AriPresenceError as error:
                self._note = f"{error}; trying again"
            self._changed.set()
            pause.wait(_RETRY_S)

    def _table(self, height: int) -> "Table":
        latest = sorted(self._users.values(), key=lambda user: user["since"] or "", reverse=True)
        rows = latest[: max(1, height - 4)]
        table = make_table(USER_COLUMNS, map(user_row, rows))
        hidden = f"{len(latest) - len(rows)} more" if len(rows) < len(latest) else ""
        table.caption = self._note or hidden or None
        return table


def since_instant(text: str) -> str:
    """Read how far back: `2h` (ago), `2026-01-31`, `2026-01-31T13:30` (local) or an RFC 3339 time; gives RFC 3339."""
    try:
        return rfc3339((datetime.now().astimezone() - timedelta(seconds=parse_duration(text))).timestamp())
    except Refused:
        pass
    try:
        return rfc3339(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"{text[:40]!r} is not a time: write 2h, 7d, 2026-01-31 or 2026-01-31T13:30") from None


def _since_option(text: str | None) -> str | None:
    return None if text is None else since_instant(text)


def history(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="One user; without it, all.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="From 2h or 7d ago, or from 2026-01-31 or 2026-01-31T13:30 (local time).",
            callback=_since_option,
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MAX_HISTORY, metavar="N", help="The newest N changes.")
    ] = 1000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with times in RFC 3339 UTC.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show who was what, when, and who set it.

    The newest change stands last.
    """
    if as_csv and as_json:
        raise typer.BadParameter("give --csv or --json, not both")
    resource = user_path(user, "/history") if user is not None else "/history"
    rows: list[Json] = connect(context).get(resource, since=since, limit=limit)
    if as_json:
        emit_json(rows)
    elif as_csv:
        _write_csv(rows)
    else:
        columns = ("at", "user", "state", "layer", "set by", "until", "message")
        show_table(columns, map(_history_row, rows))


def _history_row(row: Json) -> list[str]:
    times = local_time(row["at"], seconds=True), local_time(row["until"])
    state = row["label"] or row["state"]
    return [times[0], row["user"], state, row["layer"] or "", row["source"] or "", times[1], row["message"] or ""]


def _write_csv(rows: list[Json]) -> None:
    import csv

    writer = csv.DictWriter(sys.stdout, HISTORY_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
