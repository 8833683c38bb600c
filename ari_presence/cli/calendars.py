"""The command that shows calendars, and the lines about them in `why`."""

import time
from datetime import datetime

import typer

from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import Json, emit_json, show_table
from ari_presence.cli.parking import how_long

COLUMNS = ("calendar", "users", "read", "entries", "coming", "problem")
_NAMED = 3


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(calendars)


def calendars(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show calendars: whose, how fresh, and what is wrong with them.

    "entries" are all in the calendar, "coming" those that count as a state from yesterday to eight days ahead.
    """
    found = connect(context).get("/calendars")
    if as_json:
        emit_json(found)
    elif not found:
        print("there are no calendars: write a [[calendar]] into the configuration")
    else:
        show_table(COLUMNS, [_row(each, time.time()) for each in found])
        for each in found:
            for problem in each["problems"]:
                print(f"{each['calendar']}{_of(each)}: {problem}")


def _of(calendar: Json) -> str:
    return f" of {calendar['users'][0]}" if calendar["users"] and len(calendar["users"]) == 1 else ""


def _row(calendar: Json, now: float) -> list[str]:
    users = calendar["users"]
    named = "all" if users is None else ", ".join(users[:_NAMED])
    if users and len(users) > _NAMED:
        named += f" and {len(users) - _NAMED} more"
    problems = calendar["problems"]
    wrong = "1 entry is not right" if len(problems) == 1 else f"{len(problems)} entries are not right"
    problem = calendar["failure"] or (wrong if problems else "")
    entries = "?" if calendar["entries"] is None else str(calendar["entries"])
    return [calendar["calendar"], named, freshness(calendar, now), entries, str(calendar["occurrences"]), problem]


def freshness(calendar: Json, now: float) -> str:
    """Say how old what is known of a calendar is."""
    if calendar["read"] is None:
        return "never"
    return f"{how_long(now - datetime.fromisoformat(calendar['read']).timestamp())} ago"


def lines_of(user: Json, now: float) -> list[str]:
    """Say in `why` how fresh a user's calendars are, and what is wrong with them."""
    lines = []
    for calendar in user.get("calendars") or ():
        problem = calendar["failure"] or "; ".join(calendar["problems"][:_NAMED])
        lines.append(f"calendar {calendar['calendar']}: read {freshness(calendar, now)}{problem and f'; {problem}'}")
    return lines
