"""Fixtures of the command line tests: a daemon in memory, and two ways of running the program."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ari_presence.cli.main import app
from tests.unit.http.fake_service import Running, serving

CLOCK = {"TZ": "UTC", "COLUMNS": "60"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Give a served daemon in memory."""
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration whose secrets cannot be read by who uses the command line."""
    path = tmp_path / "ari-presence.toml"
    path.write_text(
        f'state_dir = {json.dumps(str(tmp_path))}\n[[pbx]]\nname = "hq"\npassword_file = "/nonexistent/secret"\n'
    )
    return path


class Outcome:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        """Keep exit code and both streams."""
        self.code = code
        self.out = out
        self.err = err

    def json(self) -> Any:
        """Read the standard output as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(config: Path) -> Cli:
    """Run a command in this process."""

    def run(*arguments: str) -> Outcome:
        result = CliRunner().invoke(app, ["--config", str(config), *arguments], env=CLOCK)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program(config: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the program itself; what is still running at the end is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "ari_presence", "--config", str(config), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        started.append(subprocess.Popen(command, env={**os.environ, **CLOCK}, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
