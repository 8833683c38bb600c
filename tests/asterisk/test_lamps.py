"""The command line and the HTTP interface against real servers: states, lamps, ends, exit codes."""

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from daemon import (
    PEOPLE,
    STATES,
    TYPES,
    Daemon,
    eventually,
    expected,
    lamps,
    presence,
    wait_lamps,
)

from private_asterisk import PrivateAsterisk, SipPhone, wait_until


@pytest.fixture(scope="module")
def daemon(staffed: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for all tests here."""
    with Daemon(tmp_path_factory.mktemp("lamps"), staffed) as daemon:
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture(autouse=True)
def fresh(daemon: Daemon) -> None:
    """Begin each test with nothing set."""
    for user in ("100", "101", "102"):
        assert daemon.clear(user)["confirmed"]


def test_set_and_clear_are_done_when_the_command_returns(daemon: Daemon) -> None:
    """Exit 0 means stored and confirmed: file and lamps say the same at that moment."""
    done = daemon.cli("set", "100", "meeting", "--message", "Budget")
    assert (done.returncode, done.stdout, done.stderr) == (0, "100 Alice Example: In a meeting: Budget\n", "")
    assert lamps(daemon.server, "100") == expected("meeting")
    assert daemon.stored("100")[-1] == "meeting"
    done = daemon.cli("clear", "100", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["state"], answer["confirmed"]) == (0, "available", True)
    assert lamps(daemon.server, "100") == expected(None)


@pytest.mark.parametrize("state", [*STATES, "available"], ids=str)
def test_every_settable_state_is_set_with_its_source(daemon: Daemon, state: str) -> None:
    """Each state of the table can be set by hand; available holds at the manual layer."""
    daemon.set("101", state)
    found = daemon.show("101")
    assert (found["state"], found["layer"], found["source"]) == (state, "manual", "cli")
    assert lamps(daemon.server, "101") == expected(None if state == "available" else state)
    assert presence(daemon.server, "101").split(",")[0] == TYPES.get(state, "available")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["set", "100", "napping"], 1, "napping"),
        (["set", "999", "dnd"], 1, "999"),
        (["show", "999"], 1, "999"),
        (["show", "a/b"], 1, "a/b"),
        (["clear", "999"], 1, "999"),
        (["reset", "999"], 1, "999"),
        (["history", "999"], 1, "999"),
        (["set", "100", "on-call"], 1, "on-call"),
        (["set", "100", "dnd", "--until", "2020-01-01T00:00:00Z"], 1, "past"),
        (["set", "100", "dnd", "--message", "x" * 121], 1, "120"),
        (["set", "100", "dnd", "--message", "a\nb"], 1, "control"),
        (["set", "100", "dnd", "--for", "0s"], 1, "0s"),
        (["set", "100", "dnd", "--for", "soon"], 2, "soon"),
        (["set", "100", "dnd", "--until", "25:00"], 2, "25:00"),
        (["set", "100", "dnd", "--for", "5m", "--until", "12:00"], 2, "not both"),
        (["reset"], 2, "--all"),
        (["history", "--csv", "--json"], 2, "not both"),
        (["no-such-command"], 2, "no-such-command"),
    ],
    ids=lambda value: " ".join(value)[:30].replace("\n", "~") if isinstance(value, list) else str(value),
)
def test_bad_command_is_one_line_with_the_right_exit_code(
    daemon: Daemon, words: list[str], code: int, says: str
) -> None:
    """Refused or not found is 1, wrong usage is 2; nothing changes."""
    begin = daemon.history("100")
    done = daemon.cli(*words)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("ari-presence: ")
    assert says in line
    assert daemon.history("100") == begin


def test_end_after_a_time_fires_and_turns_the_lamp_off(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """--for 2s: on, and by itself off within a second of the end; history tells why."""
    with SipPhone("109", staffed) as bob:
        lamp = bob.subscribe("100")
        done = daemon.cli("set", "100", "brb", "--for", "2s")
        assert done.returncode == 0
        until = datetime.fromisoformat(daemon.show("100")["until"])
        lamp.wait_for(lambda now: now.hold)
        lamp.wait_for(lambda now: now.state == "terminated", 5)
        assert timedelta(0) <= datetime.now(UTC) - until < timedelta(seconds=1)
    assert daemon.history("100")[-2:] == [("brb", "cli"), ("available", "expiry")]
    wait_lamps(staffed, "100", None)


def test_end_is_taken_back_by_setting_the_state_again(daemon: Daemon) -> None:
    """The old end does not fire for the new state."""
    daemon.set("100", "brb", **{"for": "1s"})
    daemon.set("100", "brb")
    daemon.set("101", "brb", **{"for": "2s"})
    eventually(lambda: daemon.state("101") == "available", "the later end")
    assert daemon.state("100") == "brb"
    assert daemon.show("100")["until"] is None


def test_until_shows_in_message_and_why(daemon: Daemon) -> None:
    """--until and --message reach the text of the presence state, base64 decoded by Asterisk."""
    with SipPhone("109", daemon.server, user_agent="Digium D65") as watcher:
        lamp = watcher.subscribe("100", "presence")
        until = (datetime.now(UTC) + timedelta(hours=1)).replace(second=0, microsecond=0)
        daemon.cli("set", "100", "lunch", "--until", f"{until:%H:%M}", "--message", "Café, 2. floor")
        lamp.wait_for(lambda now: now.message == f"Café, 2. floor (until {until:%H:%M})")
    why = json.loads(daemon.cli("why", "100", "--json").stdout)
    manual = next(layer for layer in why["layers"] if layer["layer"] == "manual")
    assert manual["applies"]
    assert datetime.fromisoformat(manual["until"]) == until
    assert {layer["layer"] for layer in why["layers"]} >= {"manual", "calls", "schedule", "registration", "default"}
    assert "wins" in daemon.cli("why", "100").stdout


def test_watch_tells_each_change_as_it_happens(daemon: Daemon) -> None:
    """`watch --json` prints one line for each change, and ends with 130 on Ctrl-C."""
    words = [sys.executable, "-m", "ari_presence", "--config", str(daemon.config), "watch", "--json"]
    seen: list[str] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
        assert watch.stdout is not None

        def read() -> None:
            assert watch.stdout is not None
            seen.extend(json.loads(line)["state"] for line in iter(watch.stdout.readline, ""))

        reader = threading.Thread(target=read)
        reader.start()
        try:  # the first change may come before it listens
            assert wait_until(lambda: (daemon.set("101", "away"), daemon.clear("101"), seen)[2], 10, every_s=0.2)
            begin = len(seen)
            daemon.set("101", "out")
            daemon.clear("101")
            eventually(lambda: seen[begin:][-2:] == ["out", "available"], "both changes")
        finally:
            watch.send_signal(signal.SIGINT)
            assert watch.wait(10) == 130
            reader.join()


def test_history_is_the_same_as_table_csv_and_json(daemon: Daemon) -> None:
    """Who was what, when, and who set it; --since leaves out what is older."""
    daemon.set("101", "lunch", message='quote " and, comma')
    daemon.clear("101")
    rows = json.loads(daemon.cli("history", "101", "--json").stdout)
    assert [(row["state"], row["source"]) for row in rows[-2:]] == [("lunch", "cli"), ("available", "cli")]
    table = list(csv.DictReader(io.StringIO(daemon.cli("history", "101", "--csv").stdout)))
    assert [row["message"] for row in table[-2:]] == ['quote " and, comma', ""]
    assert [row["at"] for row in table] == [row["at"] for row in rows]
    assert daemon.cli("history", "101", "--since", "2099-01-01", "--json").stdout.strip() == "[]"


def test_reset_turns_lamps_off_and_the_next_change_lights_them_again(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """Before uninstalling: manual states go, every lamp is off, presence is not set."""
    daemon.set("100", "dnd")
    daemon.set("101", "lunch")
    done = daemon.cli("reset", "100")
    assert (done.returncode, done.stdout) == (0, "100: lamps set to off\n") or done.stdout.startswith("100")
    assert lamps(staffed, "100") == expected(None)
    assert lamps(staffed, "101") == expected("lunch")
    assert daemon.cli("reset", "--all").returncode == 0
    for user in ("100", "101"):
        assert lamps(staffed, user) == expected(None)
        assert presence(staffed, user).split(",")[0] == "not_set"
    daemon.set("100", "dnd")
    assert lamps(staffed, "100") == expected("dnd")


def test_backup_is_a_whole_store_and_never_overwrites(daemon: Daemon, tmp_path: Path) -> None:
    """The copy can be opened, holds the latest change, and an existing file is refused."""
    daemon.set("100", "out")
    target = tmp_path / "copy.db"
    assert daemon.cli("backup", str(target)).returncode == 0
    with sqlite3.connect(target) as connection:
        assert ("out",) in connection.execute("SELECT state FROM manual WHERE user = '100'").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    again = daemon.cli("backup", str(target))
    assert again.returncode == 1
    assert str(target) in again.stderr
    assert len(again.stderr.splitlines()) == 1


# -- HTTP over TCP


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/users/100/state"),
        ("DELETE", "/api/v1/users/100/state"),
        ("POST", "/api/v1/control/reset"),
        ("POST", "/api/v1/control/reload"),
    ],
    ids=["set", "clear", "reset", "reload"],
)
def test_tcp_changes_nothing_without_a_token(daemon: Daemon, method: str, path: str) -> None:
    """Whoever reaches the port can ask for health, and cannot change anything."""
    daemon.set("100", "away")
    begin = daemon.history("100")
    answer = requests.request(method, daemon.url + path, json={"state": "dnd", "all": True}, timeout=5)
    assert answer.status_code in (401, 403, 404, 405)
    assert daemon.history("100") == begin
    assert daemon.http("GET", "/healthz").status_code == 200
    assert daemon.http("GET", "/readyz").json()["ready"] is True


def test_tcp_refuses_a_host_that_is_not_this_machine(daemon: Daemon) -> None:
    """A page of somebody else's cannot read it through the browser (DNS rebinding)."""
    assert requests.get(daemon.url + "/readyz", headers={"Host": "evil.example"}, timeout=5).status_code == 403


def test_server_is_listed_with_version_and_transport(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """REST over WebSocket on 22, HTTP on 16."""
    (hq,) = daemon.ask("GET", "/pbxs")
    assert (hq["name"], hq["connected"], hq["users_waiting"]) == ("hq", True, 0)
    assert hq["version"].startswith(f"{staffed.version}.")
    assert hq["transport"] == ("websocket" if staffed.version == 22 else "http")


# -- configuration


def test_user_who_leaves_the_configuration_gets_the_lamps_off(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """A reload drops who is listed no more and excluded; who comes back finds the old state again."""
    daemon.set("101", "dnd")
    begin = len(daemon.logged("configuration reloaded"))
    daemon.write(PEOPLE + '[users]\nexclude = "101$"\n')
    done = daemon.cli("reload")
    assert (done.returncode, done.stderr) == (0, "")
    wait_lamps(staffed, "101", None)
    eventually(lambda: presence(staffed, "101").startswith("not_set"), "presence is not set")
    assert daemon.cli("show", "101").returncode == 1
    daemon.write(PEOPLE)
    daemon.send(signal.SIGHUP)
    eventually(lambda: len(daemon.logged("configuration reloaded")) == begin + 2, "reloaded by the signal")
    wait_lamps(staffed, "101", "dnd")


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("[[user]]\nid = 'a,b'\n", "[[user]] 3, id"),
        ("[lamps]\nhole = true\n", "whole"),
        ("[[user]\n", "line"),
        ('[[user]]\nid = "104"\nendpoints = ["PJSIP/100"]\n', "PJSIP/100"),
    ],
    ids=["bad-id", "unknown-key", "not-toml", "shared-endpoint"],
)
def test_broken_configuration_leaves_the_running_one_in_force(daemon: Daemon, extra: str, says: str) -> None:
    """`reload` exits 2 with one line that names the place; SIGHUP logs it; the daemon goes on."""
    daemon.set("100", "away")
    daemon.write(PEOPLE + extra)
    try:
        done = daemon.cli("reload")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert str(daemon.config) in line and says in line
        begin = len(daemon.logged("configuration not reloaded, the running one stays in force"))
        daemon.send(signal.SIGHUP)
        eventually(
            lambda: len(daemon.logged("configuration not reloaded, the running one stays in force")) == begin + 1,
            "a log line",
        )
        assert daemon.state("100") == "away"
        assert daemon.set("100", "lunch")["confirmed"]
    finally:
        daemon.write(PEOPLE)
    assert daemon.cli("reload").returncode == 0


@pytest.mark.parametrize("key", ["app", "url"], ids=str)
def test_what_needs_a_restart_is_refused_by_a_reload(daemon: Daemon, key: str) -> None:
    """Half a change of servers would be worse than none."""
    daemon.write(PEOPLE, **{key: "other" if key == "app" else "http://127.0.0.1:9"})
    try:
        done = daemon.cli("reload")
        assert done.returncode == 2
        assert "restart" in done.stderr
    finally:
        daemon.write(PEOPLE)
    assert daemon.is_ready()


def test_without_the_whole_lamp_it_is_turned_off_and_not_written(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """[lamps] whole = false leaves the other lamps as they are."""
    daemon.set("100", "dnd")
    daemon.write(PEOPLE + "[lamps]\nwhole = false\n")
    try:
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: staffed.device_state("Stasis:presence-100") in ("NOT_INUSE", "UNKNOWN"), "whole lamp off")
        assert lamps(staffed, "100", whole=False) == expected("dnd", whole=False)
        daemon.set("100", "lunch")
        assert staffed.device_state("Stasis:presence-100") in ("NOT_INUSE", "UNKNOWN")
    finally:
        daemon.write(PEOPLE)
        assert daemon.cli("reload").returncode == 0
    wait_lamps(staffed, "100", "lunch")


def test_state_of_ones_own_gets_its_lamp_and_code(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """A state that the configuration adds is set, shown and removed again."""
    extra = '[[state]]\nid = "training"\ndigit = 7\njoined = "BUSY"\nexpires = "1h"\n'
    daemon.write(PEOPLE + extra)
    try:
        assert daemon.cli("reload").returncode == 0
        daemon.set("100", "training")
        assert staffed.device_state("Custom:training-100") == "INUSE"
        assert staffed.device_state("Custom:presence-100") == "BUSY"
        assert daemon.show("100")["until"] is not None
        with SipPhone("100", staffed) as phone:
            phone.dial("*847").wait_ended()
        assert daemon.state("100") == "available"
        daemon.set("100", "training")
    finally:
        daemon.write(PEOPLE)
        assert daemon.cli("reload").returncode == 0
    eventually(lambda: staffed.device_state("Custom:training-100") == "NOT_INUSE", "the lamp of a removed state")
    wait_lamps(staffed, "100", None)


def test_stopped_daemon_leaves_lamps_and_removes_its_socket(staffed: PrivateAsterisk, tmp_path: Path) -> None:
    """SIGTERM ends it with 0 within seconds; what was set stays lit, and the command line says what to do."""
    other = Daemon(tmp_path, staffed, app="other", extra='[users]\ndiscover = "PJSIP/(?P<user>108)"\n')
    with other:
        other.set("108", "dnd")
        assert other.stop() == 0
    assert lamps(staffed, "108") == expected("dnd")
    assert not (other.state_dir / "control.sock").exists()
    done = other.cli("show", "108")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "is it running?" in done.stderr
    with other:
        assert other.state("108") == "dnd"
        assert other.cli("reset", "--all").returncode == 0
        assert (other.state_dir / "control.sock").stat().st_mode & 0o777 == 0o660
        assert not other.logged("bug: an event was not carried out")
