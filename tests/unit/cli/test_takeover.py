"""`import freepbx`: a dry run shows a difference; what is written is whole, and the old file is kept."""

import sys
from base64 import b64encode
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ari_presence.cli.main import app
from ari_presence.config import load_config
from tests.unit.cli.conftest import CLOCK, Cli, Outcome
from tests.unit.http.fake_service import Running
from tests.unit.takeover.test_astdb import make

SHOWN = """\
/AMPUSER/100/cidname : Alice Example
/AMPUSER/100/device : 100&100-mobile
/AMPUSER/101/cidname : Bob
/AMPUSER/101/device : 101
/CustomPresence/101 : away,lunch,Pizza
/DND/100 : YES
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration that loads, with a comment that must live."""
    path = tmp_path / "ari-presence.toml"
    path.write_text(
        f'# precious\nstate_dir = "{tmp_path}"\n[[pbx]]\nname = "hq"\nurl = "http://127.0.0.1:1"\npassword = "x"\n'
    )
    path.chmod(0o640)
    return path


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Give a file with what the console printed."""
    path = tmp_path / "shown.txt"
    path.write_text(SHOWN)
    return path


@pytest.fixture
def console(tmp_path: Path) -> str:
    """Give the command of a console that prints the database."""
    script = tmp_path / "console.py"
    script.write_text(f"import sys\nassert sys.argv[1:] == ['-rx', 'database show']\nprint({SHOWN!r}, end='')\n")
    return f"{sys.executable} {script}"


def test_dry_run_shows_the_difference_and_changes_nothing(cli: Cli, config: Path, shown: Path) -> None:
    """The file as it would be, the states, and what to do next."""
    before = (config.read_text(), sorted(each.name for each in config.parent.iterdir()))
    outcome = cli("import", "freepbx", str(shown))
    assert (outcome.code, outcome.err) == (
        0,
        "nothing was changed: --write writes the users, --states sets the states\n",
    )
    lines = outcome.out.splitlines()
    assert lines[:2] == [f"--- {config}", f"+++ {config} (new)"]
    assert '+endpoints = ["PJSIP/100", "PJSIP/100-mobile"]' in lines
    assert lines[-4:] == [
        "state: 100 is dnd",
        "state: 101 is lunch: Pizza",
        "users in FreePBX: 2; to be added: 2; differences kept: 0",
        "[lamps] freepbx is not true: FreePBX's own lamps and keys will not follow",
    ]
    assert (config.read_text(), sorted(each.name for each in config.parent.iterdir())) == before


def test_write_keeps_the_old_file_and_its_mode(cli: Cli, config: Path, shown: Path) -> None:
    """Twice changes nothing more."""
    before = config.read_text()
    outcome = cli("import", "freepbx", str(shown), "--write")
    assert outcome.code == 0
    assert config.read_text().startswith(before)
    assert config.stat().st_mode & 0o777 == 0o640
    assert [user.name for user in load_config(config, {}).user_list] == ["Alice Example", "Bob"]
    (kept,) = config.parent.glob("ari-presence.toml.*")
    assert kept.read_text() == before and str(kept) in outcome.err
    again = cli("import", "freepbx", str(shown), "--write")
    assert again.code == 0 and "users in FreePBX: 2; to be added: 0" in again.out
    assert list(config.parent.glob("ari-presence.toml.*")) == [kept]


def test_write_that_fails_leaves_the_old_file(
    cli: Cli, config: Path, shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a half file nor a copy stays behind."""
    before = (config.read_text(), sorted(each.name for each in config.parent.iterdir()))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    outcome = cli("import", "freepbx", str(shown), "--write")
    assert outcome.code == 2 and "No space left" in outcome.err
    assert (config.read_text(), sorted(each.name for each in config.parent.iterdir())) == before


def test_all_sources_give_the_same(cli: Cli, config: Path, shown: Path, console: str, tmp_path: Path) -> None:
    """A text file, standard input, a database, and a console."""
    pairs = [line.split(" : ", 1) for line in SHOWN.splitlines()]
    database = make(tmp_path / "astdb.sqlite3", *((key, value) for key, value in pairs))
    outputs = [cli("import", "freepbx", str(shown)), cli("import", "freepbx", str(database))]
    outputs.append(cli("import", "freepbx", "--asterisk", console))
    arguments = ["--config", str(config), "import", "freepbx", "-"]
    piped = CliRunner().invoke(app, arguments, env=CLOCK, input=SHOWN)
    outputs.append(Outcome(piped.exit_code, piped.stdout, piped.stderr))
    assert {(each.code, each.out) for each in outputs} == {(0, outputs[0].out)}


def test_json_has_the_same(cli: Cli, shown: Path) -> None:
    """For programs; nothing else is printed."""
    outcome = cli("import", "freepbx", str(shown), "--json")
    assert outcome.json() == {
        "users": [
            {"user": "100", "name": "Alice Example", "endpoints": ["PJSIP/100", "PJSIP/100-mobile"]},
            {"user": "101", "name": "Bob", "endpoints": ["PJSIP/101"]},
        ],
        "added": ["100", "101"],
        "kept": [],
        "states": [
            {"user": "100", "state": "dnd", "message": None},
            {"user": "101", "state": "lunch", "message": "Pizza"},
        ],
    }
    assert outcome.err == ""


def test_what_is_wrong_is_reported_by_line_and_changes_nothing(cli: Cli, config: Path, shown: Path) -> None:
    """Every line, exit 1, no file."""
    shown.write_bytes(SHOWN.encode() + b"/AMPUSER/102/cidname : Ren\xe9\nnonsense\n")
    before = config.read_text()
    outcome = cli("import", "freepbx", str(shown), "--write")
    assert (outcome.code, outcome.out) == (1, "")
    first, second = outcome.err.splitlines()
    assert first.startswith(f"ari-presence: {shown}: line 7: byte 27 is not UTF-8")
    assert second.startswith(f"ari-presence: {shown}: line 8: is not")
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param(["freepbx", "/nonexistent"], 1, "/nonexistent: cannot be read", id="no-file"),
        pytest.param(["mitel"], 2, "cannot take over from 'mitel'", id="another-system"),
        pytest.param(["freepbx", "--asterisk", "/nonexistent"], 3, "cannot ask Asterisk", id="no-console"),
        pytest.param(["freepbx", "--asterisk", "false"], 3, "it said nothing", id="console-fails"),
        pytest.param(["freepbx", "--asterisk", "'"], 3, "cannot ask Asterisk (': is no command)", id="quote"),
    ],
)
def test_error_is_one_line_with_a_remedy(cli: Cli, arguments: list[str], code: int, text: str) -> None:
    """Whose it is, the exit code tells."""
    outcome = cli("import", *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
    assert text in outcome.err


def test_states_are_set_in_the_daemon(cli: Cli, running: Running, shown: Path) -> None:
    """Of those whom it knows and who have set nothing themselves; the others are named."""
    shown.write_text(SHOWN + "/AMPUSER/102/device : 102\n/DND/102 : YES\n")
    running.service.model["100"]["layer"] = "manual"
    outcome = cli("import", "freepbx", str(shown), "--states")
    assert outcome.code == 0, outcome.err
    changes = [(call[1], call[2].state, call[2].message) for call in running.service.calls if call[0] == "set"]
    assert changes == [("101", "lunch", "Pizza")]
    told, done = outcome.err.splitlines()
    assert told.startswith("ari-presence: 102: is no user of the daemon")
    assert done == "set 1 states"


def test_states_without_a_daemon_are_refused(cli: Cli, config: Path, shown: Path) -> None:
    """Exit 3, with what to do."""
    outcome = cli("import", "freepbx", str(shown), "--states")
    assert outcome.code == 3


def test_control_characters_of_a_message_do_not_reach_the_terminal(cli: Cli, tmp_path: Path) -> None:
    """AstDB can hold anything; a state is one line."""
    text = b64encode(b"at\x1b[2J\nlunch").decode()
    (tmp_path / "odd.txt").write_text(f"/AMPUSER/100/device : 100\n/CustomPresence/100 : away,,{text},e\n")
    outcome = cli("import", "freepbx", str(tmp_path / "odd.txt"))
    assert outcome.code == 0 and "state: 100 is away: at[2Jlunch" in outcome.out.splitlines()
