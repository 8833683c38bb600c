"""Commands that show and change states: users, show, why, set, clear."""

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ari_presence.cli import calendars
from ari_presence.cli.client import CHANGE_S, user_path
from ari_presence.cli.connect import JsonOption, UserArgument, connect
from ari_presence.cli.output import USER_COLUMNS, Json, emit_json, local_time, sentence, show_table, user_row
from ari_presence.core.timers import parse_duration, parse_instant, parse_time_of_day
from ari_presence.errors import Refused

NOT_CONFIRMED = 3
"""Exit code of what is stored but not yet seen on the lamps."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (users, show, why):
        app.command()(command)
    app.command("set")(set_state)
    app.command()(clear)


def users(
    context: typer.Context,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only states set by hand that have lasted longer than remind_after.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List all users and their states."""
    found = connect(context).get("/users", stale="true" if stale else None)
    if as_json:
        emit_json(found)
    elif stale and not found:
        print("nobody has set a state longer than remind_after ago")
    else:
        show_table(USER_COLUMNS, map(user_row, found))


def show(context: typer.Context, user: UserArgument, as_json: JsonOption = False) -> None:
    """Show one user."""
    found = connect(context).get(user_path(user))
    if as_json:
        emit_json(found)
    else:
        show_table(("", ""), _facts(found))


def why(context: typer.Context, user: UserArgument, as_json: JsonOption = False) -> None:
    """Show every layer of a user's state."""
    found = connect(context).get(user_path(user), layers="true")
    if as_json:
        emit_json(found)
        return
    print(sentence(found))
    columns = ("layer", "state", "since", "until", "message", "set by", "reason")
    show_table(columns, _layer_rows(found["layers"]))
    for line in calendars.lines_of(found, time.time()):
        print(line)


def _facts(user: Json) -> list[tuple[str, str]]:
    facts = [
        ("user", user["user"]),
        ("name", user["name"]),
        ("state", user["label"] or user["state"]),
        ("layer", user["layer"]),
        ("since", local_time(user["since"])),
        ("until", local_time(user["until"])),
        ("message", user["message"]),
        ("set by", user["source"]),
        ("groups", ", ".join(user["groups"] or ())),
    ]
    return [(name, value) for name, value in facts if value]


def _layer_rows(layers: list[Json]) -> list[list[str]]:
    winner = next((layer["layer"] for layer in layers if layer["applies"]), None)
    rows = []
    for layer in layers:
        reason, state = "does not apply", ""
        if layer["applies"]:
            reason = "wins" if layer["layer"] == winner else f"covered by {winner}"
            state = layer["label"] or layer["state"] or ""
        times = [local_time(layer["since"]), local_time(layer["until"])]
        rows.append([layer["layer"], state, *times, layer["message"] or "", layer["source"] or "", reason])
    return rows


def checked(check: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """Make an option callback: what `check` refuses is a usage error, found before the daemon is asked."""

    def callback(value: str | None) -> str | None:
        if value is not None:
            try:
                check(value)
            except Refused as refused:
                raise typer.BadParameter(str(refused)) from None
        return value

    return callback


def _check_end(text: str) -> object:
    return parse_instant(text) if len(text) > 5 else parse_time_of_day(text)


def set_state(
    context: typer.Context,
    user: UserArgument,
    state: Annotated[str, typer.Argument(metavar="STATE", help="Such as dnd, away, lunch or available.")],
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="End after 90s, 45m, 2h or 1d.", callback=checked(parse_duration)),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="TIME",
            help="End at 13:30 in the user's time zone, or at 2026-01-31T13:30:00+01:00.",
            callback=checked(_check_end),
        ),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="Text for phones that show it, 120 bytes at most.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a user's state by hand.

    It replaces the one set before, its message and its end. "available" holds against schedule and calendar.
    """
    if for_ is not None and until is not None:
        raise typer.BadParameter("give --for or --until, not both")
    body = {"state": state, "message": message, "for": for_, "until": until}
    given = {key: value for key, value in body.items() if value is not None}
    finish(connect(context).call("PUT", user_path(user, "/state"), given, CHANGE_S), as_json)


def clear(context: typer.Context, user: UserArgument, as_json: JsonOption = False) -> None:
    """Remove the state set by hand.

    What lies below it shows again: schedule, calendar, or simply available.
    """
    finish(connect(context).call("DELETE", user_path(user, "/state"), None, CHANGE_S), as_json)


def finish(answer: Any, as_json: bool, done: str | None = None) -> None:
    """Show what became of a change; ends with exit 3 if Asterisk has not confirmed it.

    Args:
        answer: What the daemon answered.
        as_json: Print that, not a sentence.
        done: The sentence, where it is not about one user.
    """
    if as_json:
        emit_json(answer)
    else:
        print(done or sentence(answer))
    if not answer["confirmed"]:
        sys.stdout.flush()
        print(f"ari-presence: {waiting_text(answer['waiting'])}", file=sys.stderr)
        raise typer.Exit(NOT_CONFIRMED)


def waiting_text(servers: list[str]) -> str:
    """Say which servers have not confirmed a change."""
    if len(servers) < 2:
        return f"stored; the lamp follows when {servers[0] if servers else 'Asterisk'} is back"
    return f"stored; the lamps follow when {', '.join(servers[:-1])} and {servers[-1]} are back"
