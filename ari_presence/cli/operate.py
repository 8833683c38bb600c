"""Commands of the operator: run, init, reload, reset, backup."""

import os
import secrets
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, cast

import typer

from ari_presence.cli.client import LONG_S
from ari_presence.cli.connect import JsonOption, connect
from ari_presence.cli.settings import DEFAULT_CONFIG, Options, config_path
from ari_presence.cli.states import finish
from ari_presence.errors import ConfigError, ControlError, Refused

SECRET_NAME = "hq.secret"  # noqa: S105 - the name of a file
NEVER_USED = ("rich", "pydantic.v1")
"""What structlog (for tables) and FastAPI (for models of old) would load into the daemon for nothing: 6 MiB."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (run, init, reload, reset, backup):
        app.command()(command)


def run(context: typer.Context) -> None:
    """Run the daemon, until SIGTERM or SIGINT."""
    for name in NEVER_USED:
        sys.modules.setdefault(name, cast(ModuleType, None))  # its import fails, which those who try it expect
    from ari_presence.daemon import run as run_daemon

    options = context.find_object(Options)
    path = config_path(options.config if options is not None else None, os.environ)
    raise typer.Exit(run_daemon(path, os.environ))


def init(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Folder for the files; else that of --config or /etc/ari-presence."),
    ] = None,
) -> None:
    """Write a commented configuration.

    An ARI password is made beside it, and the lines that ari.conf, http.conf and extensions.conf need are printed.
    """
    from ari_presence.sample import asterisk_lines, sample_config

    options = context.find_object(Options)
    named = options.config if options is not None else None
    if named is not None and directory is not None:
        raise typer.BadParameter("give --config or --dir, not both")
    config = named or (directory / DEFAULT_CONFIG.name if directory is not None else DEFAULT_CONFIG)
    config = config.absolute()
    secret = config.with_name(SECRET_NAME)
    password = secrets.token_urlsafe(24)
    write_new({secret: (password + "\n", 0o600), config: (sample_config(password_file=str(secret)), 0o644)})
    print(f"wrote {config}\nwrote {secret}\n", file=sys.stderr)
    print(asterisk_lines(password))


def write_new(files: dict[Path, tuple[str, int]]) -> None:
    """Write files (text and mode each) that must not exist yet: all of them, or none.

    Raises:
        Refused: One exists; nothing is overwritten.
        ConfigError: One cannot be written.
    """
    made: list[Path] = []
    try:
        for path, (text, mode) in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except OSError as error:
        for path_made in made:
            path_made.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise Refused(f"{path} exists and is not overwritten: move it away first, or choose --dir") from None
        raise ConfigError(f"cannot write {path}: {error.strerror}; use sudo, or choose --dir") from None


def reload(context: typer.Context) -> None:
    """Read the configuration again.

    A broken new one leaves the running one in force, and is reported.
    """
    answer = connect(context).call("POST", "/control/reload", None, LONG_S)
    print(answer["message"])


def reset(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="The id of a user, such as 100.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every user; do this before uninstalling.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set lamps to off, of one user or of all.

    What was set by hand is removed too.
    """
    if (user is None) != everybody:
        raise typer.BadParameter("give one USER or --all")
    body = {"all": True} if everybody else {"user": user}
    done = f"{user or 'all users'}: lamps set to off"
    finish(connect(context).call("POST", "/control/reset", body, LONG_S), as_json, done)


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, written by the daemon as its own user.")],
) -> None:
    """Copy the store safely while the daemon runs."""
    answer = connect(context).call("POST", "/control/backup", {"path": str(file.absolute())}, LONG_S)
    if not os.path.lexists(file):
        raise ControlError(
            f"{file}: the daemon wrote it where only it can see (PrivateTmp): name a file in its state_dir"
        )
    print(f"wrote {answer['path']} ({answer['size']} bytes)")
