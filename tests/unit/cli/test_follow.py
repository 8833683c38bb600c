"""watch and history."""

import csv
import io
import json
import subprocess
from collections.abc import Callable

import pytest

from ari_presence.cli.follow import HISTORY_COLUMNS
from ari_presence.core.timers import parse_instant
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running, eventually

Program = Callable[..., "subprocess.Popen[str]"]


def test_watch_json_is_one_object_a_line_at_once(running: Running, program: Program) -> None:
    """Each change is a line as soon as it happens; when the daemon stops, the watcher is told (exit 3)."""
    process = program("watch", "--json")
    assert eventually(lambda: bool(running.service.open_watches), 20)
    assert process.stdout is not None
    for state in ("dnd", "lunch"):
        running.request("PUT", "/api/v1/users/100/state", {"state": state, "message": "x"})
        found = json.loads(process.stdout.readline())
        assert (found["user"], found["state"]) == ("100", state)
    running.service.stop()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, "")
    assert err == "ari-presence: the daemon has stopped: start it again (systemctl start ari-presence)\n"


def test_watch_without_a_terminal_prints_lines(running: Running, program: Program) -> None:
    """No table and no colour where nobody looks at a terminal."""
    process = program("watch")
    assert eventually(lambda: bool(running.service.open_watches), 20)
    assert process.stdout is not None
    running.request("PUT", "/api/v1/users/100/state", {"state": "dnd", "for": "45m", "message": "deep work"})
    line = process.stdout.readline()
    expected = "2023-11-14 22:13:20  100  Name 100  Do not disturb  cli  until 2023-11-14 22:58  deep work\n"
    assert line == expected


def test_history_is_a_table_json_or_csv(running: Running, cli: Cli) -> None:
    """The same rows in three forms; CSV quotes what needs it."""
    cli("set", "100", "dnd", "--message", 'a "quote", and a comma')
    cli("set", "101", "lunch")
    assert [line.split()[2] for line in cli("history").out.splitlines()[1:]] == ["100", "101"]
    assert [row["user"] for row in cli("history", "100", "--json").json()] == ["100"]
    rows = list(csv.DictReader(io.StringIO(cli("history", "--csv").out)))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert rows[0]["message"] == 'a "quote", and a comma'
    assert rows[1]["until"] == ""
    assert rows[0]["at"] == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        pytest.param("2026-01-31", "2026-01-31T00:00:00Z", id="date"),
        pytest.param("2026-01-31T13:30", "2026-01-31T13:30:00Z", id="local time"),
        pytest.param("2026-01-31T13:30:00+01:00", "2026-01-31T12:30:00Z", id="rfc 3339"),
    ],
)
def test_history_since_is_an_instant(running: Running, program: Program, text: str, instant: str) -> None:
    """Dates are those of the local clock."""
    process = program("history", "100", "--since", text, "--limit", "5")
    assert process.wait(20) == 0
    assert running.service.calls == [("history", "100", parse_instant(instant), 5)]


def test_history_since_a_duration_is_so_long_ago(running: Running, cli: Cli) -> None:
    """`--since 2h` counts from now."""
    cli("history", "--since", "2h")
    cli("history", "--since", "0s")
    (_, _, earlier, _), (_, _, now, _) = running.service.calls
    assert 7100 < now - earlier < 7300


def test_history_of_unknown_user_is_exit_1(running: Running, cli: Cli) -> None:
    """A user that does not exist has no empty history."""
    assert cli("history", "999").code == 1
