"""The command that shows calendars, and what `why` says of them."""

import pytest

from ari_presence.cli.calendars import freshness, lines_of
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import FakeService, Running


def test_calendars_are_a_table_with_what_is_wrong(running: Running, cli: Cli) -> None:
    """Whose, how fresh, how many; broken entries below, one line each."""
    outcome = cli("calendars")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err, len(lines)) == (0, "", 4)
    assert lines[0].split() == ["calendar", "users", "read", "entries", "coming", "problem"]
    assert lines[1].split()[:2] == ["work", "100"] and lines[1].endswith("ago  12       3       1 entry is not right")
    assert lines[2].split(maxsplit=5)[:5] == ["holidays", "all", "never", "?", "0"]
    assert lines[2].endswith("answers 404: check the address")
    assert lines[3].startswith("work of 100: entry 7@example.org: ends before")


def test_calendars_json_is_what_the_daemon_says(running: Running, cli: Cli) -> None:
    """Programs get the fields of the interface."""
    assert cli("calendars", "--json").json() == running.service.calendars()


def test_without_calendars_it_says_what_to_do(running: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without lines would look like an error."""
    monkeypatch.setattr(FakeService, "calendars", lambda self: [])
    assert cli("calendars").out == "there are no calendars: write a [[calendar]] into the configuration\n"


def test_many_users_are_named_in_part(running: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line stays readable."""
    (one, _) = running.service.calendars()
    users = [str(number) for number in range(100, 110)]
    monkeypatch.setattr(FakeService, "calendars", lambda self: [{**one, "users": users, "problems": []}])
    assert "100, 101, 102 and 7 more" in cli("calendars").out


def test_why_says_how_fresh_a_calendar_is_and_what_is_wrong() -> None:
    """One line for each calendar of the user; none for who has none."""
    good = {"calendar": "work", "read": "2026-03-09T10:00:00.000Z", "failure": None, "problems": []}
    now = 1773050400.0 + 65
    assert lines_of({"calendars": [good]}, now) == ["calendar work: read 1m 05s ago"]
    bad = {**good, "failure": "a.example: answers 500: tried again later"}
    assert lines_of({"calendars": [bad]}, now)[0].endswith("ago; a.example: answers 500: tried again later")
    assert lines_of({"calendars": [{**good, "problems": ["a", "b", "c", "d"]}]}, now)[0].endswith("; a; b; c")
    assert lines_of({}, now) == [] and freshness({**good, "read": None}, now) == "never"
