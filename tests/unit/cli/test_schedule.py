"""The command that shows schedules, against the real server."""

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running


def rows(text: str) -> list[list[str]]:
    """Split a table into its cells."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_schedule_is_a_table_of_what_holds_and_what_comes(running: Running, cli: Cli) -> None:
    """In the schedule's own local time, whatever the zone of who asks; seconds where there are some."""
    outcome = cli("schedule")
    assert (outcome.code, outcome.err) == (0, "")
    assert rows(outcome.out) == [
        ["schedule", "zone", "users", "from", "until", "state", "why"],
        ["office", "Europe/Berlin", "2", "Fri 2026-03-27 17:00", "Mon 2026-03-30 09:00", "At lunch", "hours"],
        ["office", "Europe/Berlin", "2", "Mon 2026-03-30 09:00:30", "-", "outside hours"],
    ]
    assert len(cli("schedule", "--week").out.splitlines()) == 4


def test_schedule_json_is_what_the_daemon_says(running: Running, cli: Cli) -> None:
    """For programs."""
    assert cli("schedule", "--json", "--week").json() == running.service.schedule(None, week=True)
    assert cli("schedule", "--user", "101", "--json").json() == []


def test_schedule_of_a_user_begins_with_what_is_shown_now(running: Running, cli: Cli) -> None:
    """What covers the schedule is seen at once."""
    lines = cli("schedule", "--user", "100").out.splitlines()
    assert lines[0] == "now: 100 Name 100: Available"
    assert len(lines) == 4
    assert cli("schedule", "--user", "101").out.splitlines()[1] == "101 has no schedule"


@pytest.mark.parametrize("user", ["999", "9\n9"])
def test_schedule_of_nobody_is_exit_1(running: Running, cli: Cli, user: str) -> None:
    """One line."""
    outcome = cli("schedule", "--user", user)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)


def test_without_schedules_it_says_how_to_make_one(running: Running, cli: Cli) -> None:
    """An empty table would leave the administrator alone."""
    running.service.no_groups = True
    assert "[[schedule]]" in cli("schedule").out
