"""From the options before the command to the daemon."""

import os
from typing import Annotated

import typer

from ari_presence.cli.client import ControlClient
from ari_presence.cli.settings import Options, state_dir
from ari_presence.http.address import control_socket

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, with times in RFC 3339 UTC.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The id of a user, such as 100.")]


def connect(context: typer.Context) -> ControlClient:
    """Give the client for the daemon of the chosen configuration; raises `ConfigError`."""
    options = context.find_object(Options)
    config = options.config if options is not None else None
    return ControlClient(control_socket(state_dir(config, os.environ)))
