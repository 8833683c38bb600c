"""The command that takes over from FreePBX: shows a difference first, and changes nothing unless it is told to."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ari_presence.cli.client import CHANGE_S, LONG_S, user_path
from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.output import emit_json
from ari_presence.cli.settings import Options, config_path
from ari_presence.core.names import printable
from ari_presence.errors import ConfigError, ControlError, Refused

if TYPE_CHECKING:
    from ari_presence.takeover.astdb import Row
    from ari_presence.takeover.freepbx import Difference

ASK_S = 30.0


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("import")(import_)


def import_(
    context: typer.Context,
    system: Annotated[str, typer.Argument(metavar="freepbx", help="What to take over from; FreePBX is known.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="astdb.sqlite3, or a file with what 'database show' prints (- for standard input); else Asterisk is asked.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the configuration; the old one is kept beside it.")
    ] = False,
    states: Annotated[bool, typer.Option("--states", help="Set the users' states in the running daemon.")] = False,
    asterisk: Annotated[
        str, typer.Option("--asterisk", metavar="COMMAND", help="How Asterisk's console is started.")
    ] = "asterisk",
    as_json: JsonOption = False,
) -> None:
    """Take users and their states over from FreePBX.

    Without --write and --states only the difference is shown.
    """
    from ari_presence.config import load_config
    from ari_presence.takeover import freepbx

    if system != "freepbx":
        raise typer.BadParameter(f"cannot take over from {system!r}: freepbx is known", param_hint="freepbx")
    options = context.find_object(Options)
    path = config_path(options.config if options is not None else None, os.environ)
    config = load_config(path, os.environ)
    before = path.read_bytes().decode("utf-8-sig")
    rows, where = _rows(source, asterisk)
    found = freepbx.people(rows, where)
    change = freepbx.compare(found, config, before, os.environ)
    if as_json:
        emit_json(
            {
                "users": [{"user": each.id, "name": each.name, "endpoints": each.endpoints} for each in found],
                "added": change.added,
                "kept": change.kept,
                "states": [
                    {"user": user, "state": state, "message": text or None} for user, state, text in change.states
                ],
            }
        )
    else:
        _show(change, before, path, len(found), freepbx_on=config.lamps.freepbx)
    if write and change.added:
        print(f"wrote {path}; the old one is {_replace(path, change.text)}", file=sys.stderr)
    if states:
        _set_states(context, change.states)
    elif not write and (change.added or change.states) and not as_json:
        print("nothing was changed: --write writes the users, --states sets the states", file=sys.stderr)


def _rows(source: str | None, asterisk: str) -> "tuple[list[Row], str]":
    from ari_presence.takeover import astdb

    if source is None:
        return astdb.parse(_ask(asterisk), "database show"), "database show"
    if source == "-":
        return astdb.parse(sys.stdin.buffer.read(astdb.AT_MOST_BYTES), "standard input"), "standard input"
    return astdb.read(Path(source)), source


def _ask(asterisk: str) -> bytes:
    """Ask a running Asterisk for its database."""
    remedy = "run this as root on the server, or name a SOURCE"
    try:
        done = subprocess.run(
            [*shlex.split(asterisk), "-rx", "database show"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=ASK_S,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        late = "no answer in time" if isinstance(error, subprocess.TimeoutExpired) else "is no command"
        reason = error.strerror if isinstance(error, OSError) else late
        raise ControlError(f"cannot ask Asterisk ({asterisk}: {reason}): {remedy}") from None
    if done.returncode or done.stdout.startswith(b"Unable to connect"):
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise ControlError(f"cannot ask Asterisk ({said[-1] if said else 'it said nothing'}): {remedy}")
    return done.stdout


def _show(change: "Difference", before: str, path: Path, count: int, *, freepbx_on: bool) -> None:
    for line in change.lines(before, str(path)):
        print(line)
    for line in change.kept:
        print(f"kept: {line}")
    for user, state, message in change.states:
        print(f"state: {user} is {state}" + (f": {printable(message)}" if message else ""))
    print(f"users in FreePBX: {count}; to be added: {len(change.added)}; differences kept: {len(change.kept)}")
    if not freepbx_on:
        print("[lamps] freepbx is not true: FreePBX's own lamps and keys will not follow")


def _replace(path: Path, text: str) -> Path:
    """Write a file as a whole, and keep the old one beside it; give its name."""
    kept = path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S-%f}")
    new = ""
    try:
        shutil.copy2(path, kept)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            new = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, new)
        with suppress(PermissionError):  # somebody else's file in a folder of ours
            os.chown(new, path.stat().st_uid, path.stat().st_gid)
        Path(new).replace(path)
    except OSError as error:
        for left in (new, kept):
            if left:
                Path(left).unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}; use sudo") from None
    return kept


def _set_states(context: typer.Context, states: "tuple[tuple[str, str, str], ...]") -> None:
    """Set states in the running daemon, of those who have none by hand."""
    client = connect(context)
    client.call("POST", "/control/reload", None, LONG_S)
    known = {user["user"]: user for user in client.get("/users")}
    done = 0
    for user, state, message in states:
        if user not in known:
            print(f"ari-presence: {user}: is no user of the daemon: its endpoint is not on any server", file=sys.stderr)
        elif known[user]["layer"] != "manual":
            try:
                client.call("PUT", f"{user_path(user)}/state", {"state": state, "message": message or None}, CHANGE_S)
                done += 1
            except Refused as error:
                print(f"ari-presence: {user}: {error}", file=sys.stderr)
    print(f"set {done} states", file=sys.stderr)
