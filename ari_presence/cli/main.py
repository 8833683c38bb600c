"""The program `ari-presence`: its commands, what stands before them, and how every error becomes one line."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from ari_presence import __version__
from ari_presence.cli import agi, calendars, follow, groups, hints, operate, parking, schedule, states, takeover
from ari_presence.cli.settings import Options
from ari_presence.errors import AriPresenceError, ConfigError, ControlError, Refused, StoreError

USAGE_ERRORS: type[Exception] = next(
    kind for kind in reversed(typer.BadParameter.__mro__) if kind.__module__ != "builtins"
)
"""The base of Typer's usage errors, which lives in another module from one version of Typer to the next."""
INTERRUPTED = 130
"""As if ended by SIGINT."""
BROKEN_PIPE = 141
"""As if ended by SIGPIPE."""
_HINTS = {"unknown-user": "'ari-presence users' lists the users"}


class OneLineGroup(typer.core.TyperGroup):
    """The command group: errors are one line on standard error, and the exit code says whose they are."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError):  # replaced by something simpler
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        try:
            result = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.exit(result if isinstance(result, int) else 0)
        except USAGE_ERRORS as error:
            sys.exit(fail(_usage(error), 2))
        except AriPresenceError as error:
            sys.exit(fail(_with_hint(error), exit_code(error)))

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, and end quietly when nobody reads on or somebody presses Ctrl-C."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            _drop_output()
            if isinstance(error, BrokenPipeError):
                raise typer.Exit(BROKEN_PIPE) from None
            raise AriPresenceError(f"cannot write the output: {error.strerror}; make room there") from None
        return result


def _drop_output() -> None:
    """Let what is left in the buffer go nowhere, or the interpreter would complain about it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: AriPresenceError) -> int:
    """Give the exit code: 1 refused or not found, 2 configuration or store, 3 daemon unreachable."""
    if isinstance(error, ConfigError | StoreError):  # a damaged store too is nothing that a restart mends
        return 2
    return 3 if isinstance(error, ControlError) else 1


def fail(text: str, code: int) -> int:
    """Print an error, one line for each thing that is wrong, and hand back its exit code."""
    for line in text.splitlines():
        print(f"ari-presence: {line}", file=sys.stderr)
    return code


def _with_hint(error: AriPresenceError) -> str:
    hint = _HINTS.get(error.code) if isinstance(error, Refused) else None
    return f"{error}; {hint}" if hint and "ari-presence users" not in str(error) else str(error)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "ari-presence"
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{text}; see '{where} --help'"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ari-presence {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="ari-presence",
    cls=OneLineGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration; else $ARI_PRESENCE_CONFIG, else /etc/ari-presence/ari-presence.toml.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """User presence for Asterisk: who is available, away, at lunch, on the phone, on every phone's lamp.

    Exit codes: 0 done; 1 refused or not found; 2 usage or configuration error; 3 daemon or Asterisk unreachable, or
    stored but not yet confirmed.
    """
    context.obj = Options(config)


for _module in (operate, states, follow, parking, groups, schedule, calendars, hints, takeover, agi):
    _module.register(app)
