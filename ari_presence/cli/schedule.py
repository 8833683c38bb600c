"""The command that shows what schedules will do."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer

from ari_presence.cli.client import user_path
from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import Json, emit_json, sentence, show_table

COLUMNS = ("schedule", "zone", "users", "from", "until", "state", "why")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(schedule)


def schedule(
    context: typer.Context,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only the schedule of this user.")] = None,
    week: Annotated[bool, typer.Option("--week", help="The next seven days, not only the next day.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what schedules give now and what comes.

    Times are local ones of each schedule. A state set by hand, a call or a calendar entry covers it: 'why USER' shows that.
    """
    client = connect(context)
    found: list[Json] = client.get("/schedule", user=user, week="true" if week else None)
    if as_json:
        emit_json(found)
        return
    if user is not None:
        print(f"now: {sentence(client.get(user_path(user)))}")
    if found:
        show_table(COLUMNS, [row for each in found for row in _rows(each)])
    else:
        print(
            f"{user} has no schedule" if user else "there are no schedules: write a [[schedule]] into the configuration"
        )


def _rows(course: Json) -> Iterator[list[str]]:
    for each in course["coming"]:
        times = [_local(each["local_since"]), _local(each["local_until"])]
        state = each["label"] or "-"
        yield [course["schedule"], course["timezone"], str(course["users"]), *times, state, each["reason"]]


def _local(text: str | None) -> str:
    """Show a time as it is on the wall there, with the day of the week."""
    if text is None:
        return ""
    moment = datetime.fromisoformat(text)
    return f"{moment:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00")
