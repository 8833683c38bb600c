"""Commands that show and change states, against the real server."""

import pytest

from ari_presence.errors import Refused, StoreError, StoreSlow
from ari_presence.http.service import StateChange
from tests.unit.cli.conftest import Cli
from tests.unit.http.fake_service import Running


def test_users_are_a_table_that_is_never_cut(running: Running, cli: Cli) -> None:
    """Without a terminal every user is one line, however long, with no colour and no trailing blanks."""
    running.service.model["100"]["message"] = "a long message [red]that[/red] needs room " * 3
    outcome = cli("users")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err, len(lines)) == (0, "", 3)
    assert lines[0].split() == ["user", "name", "state", "since", "until", "message", "set", "by"]
    assert running.service.model["100"]["message"].strip() in lines[1]
    assert "2023-11-14 22:13" in lines[1]
    assert "\x1b" not in outcome.out
    assert all(line == line.rstrip() for line in lines)


def test_users_json_is_what_the_daemon_says(running: Running, cli: Cli) -> None:
    """JSON has the fields of the contract, times in RFC 3339 UTC."""
    found = cli("users", "--json").json()
    assert found == running.service.users()
    assert found[0]["since"] == "2023-11-14T22:13:20.000Z"


def test_show_gives_one_user(running: Running, cli: Cli) -> None:
    """One user for people and for programs."""
    assert "Name 100" in cli("show", "100").out
    assert cli("show", "100", "--json").json()["user"] == "100"


@pytest.mark.parametrize("command", ["show", "why", "clear"])
@pytest.mark.parametrize("user", ["999", "..", "a/b", "Ä", "", "100?x=1", "10\n0", "9" * 5000])
def test_unknown_user_is_exit_1_with_remedy(running: Running, cli: Cli, command: str, user: str) -> None:
    """What is not a user is refused in one line that says where users are listed."""
    outcome = cli(command, user)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert len(outcome.err) < 200 and outcome.err.strip().isprintable()
    assert "'ari-presence users' lists the users" in outcome.err


def test_why_shows_every_layer_with_its_reason(running: Running, cli: Cli) -> None:
    """The winner, what it covers, and what does not apply."""
    cli("set", "100", "dnd", "--message", "deep work")
    lines = cli("why", "100").out.splitlines()
    assert lines[0] == "100 Name 100: Do not disturb: deep work"
    assert [line.split()[0] for line in lines[2:]] == ["manual", "calls", "default"]
    assert [line.split("  ")[-1].strip() for line in lines[2:]] == ["wins", "does not apply", "covered by manual"]
    layers = cli("why", "100", "--json").json()["layers"]
    assert [layer["applies"] for layer in layers] == [True, False, True]


def test_set_reaches_the_daemon_whole(running: Running, cli: Cli) -> None:
    """State, end and message arrive; the answer is a sentence."""
    outcome = cli("set", "100", "lunch", "--for", "45m", "--message", "Grüße")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "100 Name 100: At lunch until 2023-11-14 22:58: Grüße\n"
    assert running.service.calls == [("set", "100", StateChange("lunch", "Grüße", 2700, None), "cli")]


@pytest.mark.parametrize("until", ["13:30", "1330", "2099-01-31T13:30:00+01:00"])
def test_set_passes_until_as_given(running: Running, cli: Cli, until: str) -> None:
    """The daemon knows the user's zone, so it reads times of day."""
    assert cli("set", "100", "dnd", "--until", until).code == 0
    assert running.service.calls[0][2] == StateChange("dnd", until=until)


def test_set_json_says_that_it_is_confirmed(running: Running, cli: Cli) -> None:
    """Programs see the user and whether Asterisk has confirmed."""
    found = cli("set", "100", "dnd", "--json").json()
    assert (found["state"], found["confirmed"]) == ("dnd", True)


def test_clear_shows_what_lies_below(running: Running, cli: Cli) -> None:
    """Clearing tells the state that shows now."""
    assert cli("clear", "100").out == "100 Name 100: Available\n"


@pytest.mark.parametrize(
    ("servers", "line"),
    [
        pytest.param(("hq",), "stored; the lamp follows when hq is back", id="one"),
        pytest.param(("hq", "lab"), "stored; the lamps follow when hq and lab are back", id="two"),
        pytest.param(("a", "b", "c"), "stored; the lamps follow when a, b and c are back", id="three"),
    ],
)
@pytest.mark.parametrize("command", ["set 100 dnd", "clear 100", "reset 100", "reset --all"])
def test_unconfirmed_change_is_exit_3(
    running: Running, cli: Cli, servers: tuple[str, ...], line: str, command: str
) -> None:
    """Stored but not on the lamps: the outcome on standard output, the warning on standard error."""
    running.service.waiting = servers
    outcome = cli(*command.split())
    assert (outcome.code, outcome.err) == (3, f"ari-presence: {line}\n")
    assert outcome.out
    assert cli(*command.split(), "--json").json()["confirmed"] is False


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        pytest.param(Refused("not yours", code="not-allowed"), 1, "not yours", id="not allowed"),
        pytest.param(StoreError("disk full: make room"), 1, "disk full: make room", id="store"),
        pytest.param(StoreSlow("not stored yet: look"), 3, "not stored yet: look", id="slow store"),
        pytest.param(ZeroDivisionError(), 3, "its log has the details", id="a bug"),
    ],
)
def test_refusal_is_one_line(running: Running, cli: Cli, error: Exception, code: int, text: str) -> None:
    """What the daemon refuses is told in its words."""
    running.service.fail = error
    outcome = cli("set", "100", "dnd")
    assert (outcome.code, outcome.err.count("\n")) == (code, 1)
    assert text in outcome.err


def test_unknown_state_is_exit_1_and_names_the_states(running: Running, cli: Cli) -> None:
    """A typing error can be mended from the message."""
    outcome = cli("set", "100", "dndd")
    assert outcome.code == 1
    assert "choose one of available, dnd, lunch" in outcome.err


def test_stale_users_are_those_who_may_have_forgotten_what_they_set(running: Running, cli: Cli) -> None:
    """Only they are listed, with the state set by hand."""
    assert [line.split()[0] for line in cli("users", "--stale").out.splitlines()] == ["user", "101"]
    assert [row["state"] for row in cli("users", "--stale", "--json").json()] == ["dnd"]
    assert len(cli("users", "--json").json()) == 2


def test_nobody_stale_is_said_in_words(running: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without rows is a sentence, in JSON an empty list."""
    monkeypatch.setattr(running.service, "forgotten", list)
    assert cli("users", "--stale").out == "nobody has set a state longer than remind_after ago\n"
    assert cli("users", "--stale", "--json").json() == []
