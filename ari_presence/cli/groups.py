"""The command that shows groups."""

from typing import Annotated

import typer

from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import Json, emit_json, show_table
from ari_presence.errors import Refused


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(groups)


def groups(
    context: typer.Context,
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="The id of a group, such as sales.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show who is free in each group, who is busy and who is out."""
    found: list[Json] = connect(context).get("/groups")
    if group is not None:
        found = [each for each in found if each["group"] == group]
        if not found:
            raise Refused(f"there is no group {group[:60]!r}: 'ari-presence groups' lists them", code="unknown-group")
    if as_json:
        emit_json(found)
    elif not found:
        print('there are no groups: write groups = ["sales"] into a [[user]] of the configuration')
    else:
        show_table(("group", "state", "free", "busy", "out"), map(_row, found))


def _row(group: Json) -> list[str]:
    return [group["group"], group["state"], *(_names(group, each) for each in ("free", "busy", "out"))]


def _names(group: Json, availability: str) -> str:
    """Name those who are so available, and why: nobody asks why somebody is free."""
    return ", ".join(
        (member["name"] or member["user"]) + ("" if availability == "free" else f" ({member['label']})")
        for member in group["members"]
        if member["availability"] == availability
    )
