"""What holds for every command: help, usage errors, exit codes, streams."""

import os
import pty
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from ari_presence import __version__
from ari_presence.cli.client import ControlClient
from ari_presence.cli.main import app
from ari_presence.errors import ControlError
from ari_presence.http.server import open_unix_socket
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running, eventually

Program = Callable[..., "subprocess.Popen[str]"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
JSON_COMMANDS = {"users", "show", "why", "set", "clear", "history", "watch", "groups", "hints"}


def test_commands_are_those_of_the_contract() -> None:
    """No command is missing and none came unnoticed."""
    expected = "run init users show why set clear watch history reload reset backup groups hints parking schedule"
    expected += " calendars import agi"
    assert set(COMMANDS) == set(expected.split())


def test_json_is_on_every_command_that_prints_data() -> None:
    """Programs can read all data."""
    with_json = {name for name, command in COMMANDS.items() if any("--json" in p.opts for p in command.params)}
    assert with_json >= JSON_COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_and_argument_is_explained_in_help(name: str) -> None:
    """`COMMAND --help` names everything that the command takes and explains each."""
    command = COMMANDS[name]
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert command.help
    for parameter in command.params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        assert shown in result.stdout
        assert parameter.help
        assert " ".join(parameter.help.split())[:20] in " ".join(result.stdout.split())


def test_help_lists_every_command_with_its_uncut_summary() -> None:
    """The overview is complete, and its summaries are not cut off."""
    result = CliRunner().invoke(app, ["--help"])
    assert all(f"\n  {name} " in result.stdout for name in COMMANDS)
    assert "..." not in result.stdout.partition("Commands:")[2]
    assert all(option in result.stdout for option in ("--config", "--version", "Exit codes"))


def test_version_is_printed() -> None:
    """`--version` needs neither configuration nor daemon."""
    assert CliRunner().invoke(app, ["--version"]).stdout == f"ari-presence {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["bogus"], id="unknown command"),
        pytest.param(["--bogus"], id="unknown option"),
        pytest.param(["--config"], id="option without value"),
        pytest.param(["set", "100"], id="argument missing"),
        pytest.param(["show", "100", "101"], id="argument too many"),
        pytest.param(["set", "100", "dnd", "--for", "soon"], id="bad duration"),
        pytest.param(["set", "100", "dnd", "--until", "25:00"], id="bad time of day"),
        pytest.param(["set", "100", "dnd", "--until", "2026-01-31 13:30"], id="time without zone"),
        pytest.param(["set", "100", "dnd", "--until", "13:30", "--for", "1m"], id="two ends"),
        pytest.param(["history", "--limit", "0"], id="bad limit"),
        pytest.param(["history", "--since", "yesterday"], id="bad since"),
        pytest.param(["history", "--csv", "--json"], id="two forms"),
        pytest.param(["reset"], id="reset of nobody"),
        pytest.param(["reset", "100", "--all"], id="reset of one and all"),
    ],
)
def test_usage_error_is_one_line_and_exit_2(running: Running, cli: Cli, arguments: list[str]) -> None:
    """Errors of usage say what to do, in one line, and nothing is asked of the daemon."""
    outcome = cli(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert "--help'" in outcome.err
    assert not running.service.calls


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(None, "there is no such configuration", id="missing"),
        pytest.param(b"state_dir = ", "not TOML", id="broken"),
        pytest.param(b"\xff", "not TOML", id="not utf-8"),
        pytest.param(b"state_dir = 5", "state_dir", id="wrong type"),
        pytest.param(b'state_dir = "x"', "state_dir", id="relative"),
    ],
)
def test_unusable_configuration_is_one_line_and_exit_2(cli: Cli, config: Path, text: bytes | None, found: str) -> None:
    """A configuration that gives no folder is an error that names the file."""
    if text is None:
        config.unlink()
    else:
        config.write_bytes(text)
    outcome = cli("users")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert str(config) in outcome.err
    assert found in outcome.err


@pytest.mark.parametrize("command", ["users", "show 100", "why 100", "set 100 dnd", "clear 100", "watch", "history"])
def test_daemon_away_is_one_line_and_exit_3(cli: Cli, tmp_path: Path, command: str) -> None:
    """Without a daemon every command says where it looked and what to do."""
    outcome = cli(*command.split())
    assert (outcome.code, outcome.out) == (3, "")
    expected = f"ari-presence: daemon not reachable at {tmp_path}/control.sock: is it running? "
    assert outcome.err == expected + "(systemctl status ari-presence)\n"


def test_socket_that_may_not_be_used_is_explained() -> None:
    """Somebody outside the group learns that it is a matter of rights."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        path = Path(folder) / "control.sock"
        with open_unix_socket(path):
            path.chmod(0)
            child = os.fork()
            if child == 0:
                _ask_as_nobody(path)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _ask_as_nobody(path: Path) -> None:
    """Ask without root's rights and exit: 0 for the right error (in a forked process, which must never return)."""
    outcome = 1
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        ControlClient(path).get("/users")
    except ControlError as error:
        outcome = 0 if "no permission" in str(error) else 2
    finally:
        os._exit(outcome)


def test_pipe_that_is_closed_early_ends_quietly(running: Running, program: Program) -> None:
    """`ari-presence users | head -1` prints no error."""
    running.service.model.update({str(n): running.service._user(str(n), "dnd", "manual", "cli") for n in range(5000)})
    process = program("users")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == ""
    process.stdout = None


def test_output_that_cannot_be_written_is_one_line(running: Running, program: Program) -> None:
    """A full disk under `ari-presence users > FILE` is told, and is no success."""
    with Path("/dev/full").open("w") as full:
        process = program("users", stdout=full)
        assert process.communicate(timeout=20)[1].startswith("ari-presence: cannot write the output: No space left")
    assert process.returncode == 1


def test_interrupt_ends_quietly_with_130(running: Running, program: Program) -> None:
    """Ctrl-C is no error."""
    process = program("watch", "--json")
    assert eventually(lambda: bool(running.service.open_watches), 20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_output_in_a_locale_without_the_letters_is_not_lost(running: Running, config: Path) -> None:
    """A name that the terminal cannot show does not end the command."""
    running.service.model["100"]["name"] = "Zoë 李"
    import sys

    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "ari_presence", "--config", str(config), "users"]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Zo?" in result.stdout


def on_terminal(program: Program, *arguments: str) -> tuple[Any, int]:
    """Start the program on a terminal of 24 by 80; gives the process and the terminal's other end."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = program(*arguments, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    return process, ours


def test_live_table_shows_changes_and_survives_the_daemon(running: Running, program: Program) -> None:
    """On a terminal `watch` redraws the table, says when the daemon is away, and ends on Ctrl-C."""
    process, terminal = on_terminal(program, "watch")
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        with suppress(OSError):  # the program has closed the terminal
            while select.select([terminal], [], [], 0)[0]:
                seen += os.read(terminal, 65536)
        return text in seen

    assert eventually(lambda: shows(b"Name 101"), 20)
    assert eventually(lambda: bool(running.service.open_watches), 20)
    running.request("PUT", "/api/v1/users/100/state", {"state": "lunch", "message": "[b]back at 2[/b]"})
    assert eventually(lambda: shows(b"At lunch") and shows(b"[b]back"))
    running.service.stop()
    assert eventually(lambda: shows(b"waiting for it") or shows(b"trying again"))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    shows(b"")
    os.close(terminal)
    assert b"Traceback" not in seen
