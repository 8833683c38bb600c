"""The command that writes hints which no pattern can make."""

import typer

from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import emit_json
from ari_presence.core.hints import Hint, make_hints

CONTEXT = "presence-hints-own"
HEAD = f"""\
; Made by `ari-presence hints`. Save it beside extensions.conf, #include it there, and write `include => {CONTEXT}`
; into the context that the phones subscribe to, before `include => presence-hints`. Make it anew after a change of users.
[{CONTEXT}]"""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(hints)


def hints(context: typer.Context, as_json: JsonOption = False) -> None:
    """Print the hints that no pattern can make.

    Lines for extensions.conf: groups, parked calls, whole lamps, and users whom presence-hints.conf does not cover.
    """
    found = connect(context).get("/control/hints")
    users = {user["user"]: user["endpoints"] for user in found["users"]}
    made = make_hints(found["groups"], users, whole=found["whole"])
    if as_json:
        emit_json([{"extension": hint.extension, "devices": hint.devices, "problem": hint.problem} for hint in made])
        return
    print(HEAD)
    for hint in made:
        print(_line(hint))


def _line(hint: Hint) -> str:
    return f"; {hint.extension}: {hint.problem}" if hint.problem else f"exten => {hint.extension},hint,{hint.devices}"
