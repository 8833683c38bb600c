"""The command that shows parked calls: parking."""

import time
from collections.abc import Iterable
from datetime import datetime

import typer

from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import Json, emit_json, local_time, show_table

COLUMNS = ("space", "lot", "caller", "parked by", "since", "for", "source")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(parking)


def parking(context: typer.Context, as_json: JsonOption = False) -> None:
    """List parked calls: who waits where, and who parked them.

    The source says where the space is from: "ami" is Asterisk's word, "correlated" was worked out from what came at one
    moment, "unknown" cannot be told (give the server's "ami" in the configuration).
    """
    found = connect(context).get("/parking")
    if as_json:
        emit_json(found)
    elif found:
        show_table(*_table(found, time.time()))
    else:
        print("no parked calls")


def _table(calls: list[Json], now: float) -> tuple[tuple[str, ...], Iterable[list[str]]]:
    """Make the table; which server it is stands there only if there are several."""
    rows = [_row(call, now) for call in calls]
    if len({call["pbx"] for call in calls}) < 2:
        return COLUMNS, rows
    return ("server", *COLUMNS), [[call["pbx"], *row] for call, row in zip(calls, rows, strict=True)]


def _row(call: Json, now: float) -> list[str]:
    caller = " ".join(filter(None, (call["caller"]["number"], call["caller"]["name"])))
    since = call["since"]
    waits = "" if since is None else how_long(now - datetime.fromisoformat(since).timestamp())
    facts = [call["space"], call["lot"], caller, call["parked_by"]]
    return [*(fact or "?" for fact in facts), local_time(since) or "?", waits or "?", call["source"]]


def how_long(seconds: float) -> str:
    """Write a time that has passed: `42s`, `3m 05s` or `1h 02m`."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
