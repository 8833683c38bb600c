"""The command that shows parked calls, against the real server."""

import pytest

from ari_presence.cli.parking import how_long
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import FakeService, Running


def test_parking_is_a_table_that_says_what_is_not_known(running: Running, cli: Cli) -> None:
    """One line for each call; a question mark stands for what nobody knows, and the source is told."""
    outcome = cli("parking")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err, len(lines)) == (0, "", 3)
    assert lines[0].split() == ["space", "lot", "caller", "parked", "by", "since", "for", "source"]
    assert lines[1].split()[:7] == ["701", "default", "0301234", "Customer", "100", "2023-11-14", "22:13"]
    assert lines[1].split()[-1] == "ami"
    assert lines[2].split() == ["?", "sales", "?", "?", "?", "?", "unknown"]


def test_parking_of_several_servers_names_the_server(
    running: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one server its name is not repeated in each line, with two it must be."""
    rows = running.service.parking()
    monkeypatch.setattr(FakeService, "parking", lambda self: [rows[0], {**rows[1], "pbx": "branch"}])
    lines = cli("parking").out.splitlines()
    assert [line.split()[0] for line in lines] == ["server", "hq", "branch"]


def test_parking_without_calls_says_so(running: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without lines would look like an error."""
    monkeypatch.setattr(FakeService, "parking", lambda self: [])
    assert cli("parking").out == "no parked calls\n"
    assert cli("parking", "--json").json() == []


def test_parking_json_is_what_the_daemon_says(running: Running, cli: Cli) -> None:
    """Programs get the fields of the interface, null where something is not known."""
    found = cli("parking", "--json").json()
    assert found == running.service.parking()
    assert list(found[0]) == ["pbx", "lot", "space", "caller", "parked_by", "since", "source"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(-3.0, "0s", id="clocks differ"),
        pytest.param(0.9, "0s", id="now"),
        pytest.param(59.9, "59s", id="seconds"),
        pytest.param(60.0, "1m 00s", id="a minute"),
        pytest.param(3599.0, "59m 59s", id="minutes"),
        pytest.param(7505.0, "2h 05m", id="hours"),
    ],
)
def test_how_long_is_short(seconds: float, text: str) -> None:
    """Seconds count at first, later they do not."""
    assert how_long(seconds) == text
