"""The command that shows groups, against the real server."""

from ari_presence.errors import StoreError
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running


def test_groups_are_a_table_of_who_is_free_busy_and_out(running: Running, cli: Cli) -> None:
    """Names where there are some, and why somebody is not free."""
    outcome = cli("groups")
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err) == (0, "")
    assert rows == [
        ["group", "state", "free", "busy", "out"],
        ["night", "out", "101 (Offline)"],
        ["sales", "free", "Alice", "101 (Do not disturb)"],
    ]


def test_groups_json_is_what_the_daemon_says(running: Running, cli: Cli) -> None:
    """A list in any case, so that programs need not tell one group from many."""
    groups = running.service.groups()
    assert cli("groups", "--json").json() == groups
    assert cli("groups", "sales", "--json").json() == [groups[1]]


def test_one_group_is_one_row(running: Running, cli: Cli) -> None:
    """The others are left out."""
    assert [line.split()[0] for line in cli("groups", "sales").out.splitlines()] == ["group", "sales"]


def test_unknown_group_is_exit_1_with_remedy(running: Running, cli: Cli) -> None:
    """One line that says where groups are listed."""
    for arguments in (["nobody"], ["nobody", "--json"], [""]):
        outcome = cli("groups", *arguments)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
        assert "'ari-presence groups' lists" in outcome.err


def test_without_groups_it_says_how_to_make_one(running: Running, cli: Cli) -> None:
    """An empty table would leave the administrator alone."""
    running.service.no_groups = True
    assert "groups = [" in cli("groups").out
    assert cli("groups", "--json").json() == []


def test_broken_daemon_is_one_line(running: Running, cli: Cli) -> None:
    """What the daemon cannot do is told as with every other command."""
    running.service.fail = StoreError("disk is full")
    outcome = cli("groups")
    assert (outcome.out, outcome.err.count("\n")) == ("", 1)
