"""Commands of the operator."""

import os
import stat
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ari_presence.cli.main import app
from ari_presence.cli.operate import write_new
from ari_presence.config import load_config
from ari_presence.errors import ConfigError
from tests.unit.cli.conftest import Cli, Outcome
from tests.unit.http.fake_service import Running


def init(*arguments: str) -> Outcome:
    """Run `init`."""
    result = CliRunner().invoke(app, list(arguments))
    return Outcome(result.exit_code, result.stdout, result.stderr)


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    """Configuration and password fit together, and the password is nobody else's to read."""
    folder = tmp_path / "new" / "etc"
    outcome = init("init", "--dir", str(folder))
    assert outcome.code == 0
    secret = folder / "hq.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    password = secret.read_text().strip()
    assert len(password) >= 32
    assert load_config(folder / "ari-presence.toml", {}).pbxs[0].name == "hq"
    assert password in outcome.out
    assert password not in outcome.err
    assert all(name in outcome.out for name in ("ari.conf", "http.conf", "extensions.conf"))


def test_init_with_config_option_writes_that_file(tmp_path: Path) -> None:
    """`--config FILE init` makes that file."""
    assert init("--config", str(tmp_path / "own.toml"), "init").code == 0
    assert (tmp_path / "own.toml").exists()
    assert (tmp_path / "hq.secret").exists()


@pytest.mark.parametrize("existing", ["ari-presence.toml", "hq.secret"])
def test_init_never_overwrites(tmp_path: Path, existing: str) -> None:
    """An existing file is kept, nothing else is written, and the remedy is told (exit 1)."""
    (tmp_path / existing).write_text("precious")
    outcome = init("init", "--dir", str(tmp_path))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert f"{tmp_path / existing} exists and is not overwritten: move it away" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_init_where_writing_fails_is_one_line_with_remedy(tmp_path: Path) -> None:
    """A folder that cannot be made is a matter for sudo."""
    (tmp_path / "file").write_text("")
    outcome = init("init", "--dir", str(tmp_path / "file" / "x"))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "use sudo, or choose --dir" in outcome.err


def test_write_new_under_open_umask_keeps_the_mode(tmp_path: Path) -> None:
    """Whatever the umask is, a secret has mode 0600 from its first moment."""
    before = os.umask(0)
    try:
        write_new({tmp_path / "s": ("x", 0o600)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_init_with_both_places_is_a_usage_error(tmp_path: Path) -> None:
    """One place only."""
    assert init("--config", str(tmp_path / "a"), "init", "--dir", str(tmp_path)).code == 2


@pytest.mark.parametrize("code", [0, 2, 4])
def test_run_ends_with_the_daemons_exit_code(
    cli: Cli, config: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The daemon gets configuration and environment, and decides the exit code."""
    seen: list[Path] = []

    def run(path: Path, environ: Mapping[str, str]) -> int:
        assert environ is os.environ
        seen.append(path)
        return code

    _replace_daemon(monkeypatch, run)
    assert (cli("run").code, seen) == (code, [config])


def test_run_with_broken_configuration_prints_every_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is wrong is told at once (exit 2)."""

    def run(_path: Path, _environ: Mapping[str, str]) -> int:
        raise ConfigError("file: a\nfile: b")

    _replace_daemon(monkeypatch, run)
    outcome = cli("run")
    assert (outcome.code, outcome.err) == (2, "ari-presence: file: a\nari-presence: file: b\n")


def _replace_daemon(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    module = types.ModuleType("ari_presence.daemon")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ari_presence.daemon", module)


def test_reload_says_what_changed(running: Running, cli: Cli) -> None:
    """The daemon's answer is shown."""
    assert cli("reload").out == "configuration read again: nothing changed\n"


def test_reload_of_broken_configuration_is_exit_2(running: Running, cli: Cli) -> None:
    """The operator sees what is wrong, line by line."""
    running.service.fail = ConfigError("file: [http] listen: nonsense\nfile: [calls] wrap_up: nonsense")
    outcome = cli("reload")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 2)
    assert "[http] listen" in outcome.err


def test_reset_asks_for_one_or_all(running: Running, cli: Cli) -> None:
    """`reset` tells the daemon whom."""
    assert cli("reset", "100").out == "100: lamps set to off\n"
    assert cli("reset", "--all").out == "all users: lamps set to off\n"
    assert running.service.calls == [("reset", "100"), ("reset", None)]


def test_backup_is_written_where_the_caller_stands(
    running: Running, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name means the caller's folder, not the daemon's; an existing file is refused."""
    monkeypatch.chdir(tmp_path)
    outcome = cli("backup", "copy.db")
    assert outcome.out == f"wrote {tmp_path}/copy.db (6 bytes)\n"
    again = cli("backup", "copy.db")
    assert (again.code, again.out) == (1, "")
    assert "choose a new file" in again.err
