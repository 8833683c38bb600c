"""The daemon as a whole against a small ARI server: exit codes, signals, reload, lock, systemd.

It runs in the test's own thread, as it must for signals; what the test does meanwhile is a script in another.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog

from ari_presence import daemon as module
from ari_presence import engine
from ari_presence.ari import link
from ari_presence.ari.wire import Response
from ari_presence.cli.client import ControlClient
from ari_presence.core.lamps import LampLayout
from ari_presence.core.names import UserId
from ari_presence.core.userstate import StateTable
from ari_presence.daemon import notify, run
from ari_presence.errors import ConfigError, ControlError, StoreError
from ari_presence.store.sqlite import FILE_NAME, SqliteStore
from tests.unit.ari.fake_ari import FakeAri, serving


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ap-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Put back what the daemon sets for its process."""
    root, own, interval = logging.getLogger(), logging.getLogger("ari_presence"), sys.getswitchinterval()
    handlers, levels = list(root.handlers), (root.level, own.level)
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    structlog.reset_defaults()
    sys.setswitchinterval(interval)
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the links notice their end sooner than in reality."""
    monkeypatch.setattr(link, "POLL_S", 0.02)


class Daemon:
    """One daemon: its files, what it tells systemd, and how to talk to it."""

    def __init__(self, folder: Path, url: str, password: str) -> None:
        """Write its configuration."""
        self.state_dir = folder / "state"
        self.state_dir.mkdir(mode=0o750, exist_ok=True)
        self.config = folder / "c.toml"
        self.control = ControlClient(self.state_dir / "control.sock")
        self.notified: list[str] = []
        self._base = (
            f'state_dir = "{self.state_dir}"\n'
            f'[http]\nlisten = ""\n[agi]\nlisten = ""\n[users]\ntimezone = "Europe/Berlin"\n'
            f'[[pbx]]\nname = "hq"\nurl = "{url}"\nusername = "ari-presence"\npassword = "{password}"\n'
        )
        self.write()

    def write(self, more: str = "", replace: tuple[str, str] = ("", "")) -> None:
        """Write the configuration, with more at its end or something replaced."""
        self.config.write_text((self._base.replace(*replace) if replace[0] else self._base) + more)

    def run(self, script: Callable[[], None] = lambda: None, *, stop: bool = True) -> int:
        """Run the daemon in this thread and the script in another once it is ready; then end it with SIGTERM.

        Args:
            script: What to do meanwhile; what it raises is raised here.
            stop: Whether to end the daemon; else it must end by itself.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            path = str(self.state_dir.parent / "notify")
            Path(path).unlink(missing_ok=True)
            systemd.bind(path)
            systemd.settimeout(10)
            raised: list[BaseException] = []
            over = threading.Event()

            def play() -> None:
                try:
                    self.notified.append(systemd.recv(100).decode())
                    if not over.is_set():
                        script()
                except BaseException as error:
                    raised.append(error)
                if (stop or raised) and not over.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)

            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: None)  # whatever goes wrong, the tests live on
            thread = threading.Thread(target=play)
            thread.start()
            try:
                code = run(self.config, {"NOTIFY_SOCKET": path})
            finally:
                over.set()
                notify({"NOTIFY_SOCKET": path}, "")  # whoever still waits for READY=1 waits no longer
                thread.join(15)
            if raised:
                raise raised[0]
            systemd.setblocking(False)
            self.notified.append(systemd.recv(100).decode())
        return code

    def eventually(self, what: Callable[[], Any]) -> Any:
        """Ask until something is true."""
        deadline, tick = time.monotonic() + 8, threading.Event()
        while not (found := what()):
            assert time.monotonic() < deadline, "not in time"
            tick.wait(0.01)
        return found

    def ready(self) -> None:
        """Wait until every lamp is compared."""
        self.eventually(lambda: self.control.get("/pbxs")[0]["connected"])
        self.eventually(lambda: not self.control.get("/pbxs")[0]["users_waiting"])

    def set(self, user: str, state: str) -> Any:
        """Set a state as the command line does."""
        return self.control.call("PUT", f"/users/{user}/state", {"state": state})


@pytest.fixture
def ari() -> Iterator[FakeAri]:
    """Give a server."""
    with serving() as server:
        server.password = "s3cret-pass"
        yield server


@pytest.fixture
def daemon(folder: Path, ari: FakeAri) -> Daemon:
    """Give a daemon that is configured for the server."""
    return Daemon(folder, ari.url, ari.password)


# --- from the start to the end ----------------------------------------------------------------------------------


def test_change_goes_from_the_control_socket_to_the_lamp_and_survives_a_restart(ari: FakeAri, daemon: Daemon) -> None:
    """All parts together: set, lit, stored; after a restart it is still so, and the lamp is not written again."""

    def first() -> None:
        daemon.ready()
        daemon.set("100", "dnd")
        assert ari.asterisk.lamps["Custom:presence-100"] == "BUSY"

    assert daemon.run(first) == 0
    assert daemon.notified == ["READY=1", "STOPPING=1"]
    store = SqliteStore(daemon.state_dir / FILE_NAME)
    assert store.load().manual[UserId("100")].state == "dnd"
    store.close()
    ari.asterisk.calls.clear()

    def second() -> None:
        daemon.ready()
        assert daemon.control.get("/users/100")["state"] == "dnd"

    assert daemon.run(second) == 0
    assert not [c for c in ari.asterisk.calls if dict(c.query).get("variable", "").startswith("DEVICE_STATE")]


def test_lamp_that_was_changed_while_the_daemon_was_away_is_adopted(ari: FakeAri, daemon: Daemon) -> None:
    """The fallback in the dialplan counts: its caller has heard a confirmation."""

    def first() -> None:
        daemon.ready()
        daemon.set("100", "dnd")

    daemon.run(first)
    for device, value in (("dnd", "INVALID"), ("lunch", "BUSY"), ("presence", "ONHOLD")):
        ari.asterisk.lamps[f"Custom:{device}-100"] = value

    def second() -> None:
        daemon.ready()
        daemon.eventually(lambda: daemon.control.get("/users/100")["state"] == "lunch")
        daemon.eventually(lambda: ari.asterisk.lamps["Custom:dnd-100"] == "NOT_INUSE")

    daemon.run(second)


def test_dialled_code_is_carried_out(ari: FakeAri, daemon: Daemon) -> None:
    """From the StasisStart to the prompt and out again, over real sockets."""

    def script() -> None:
        daemon.ready()
        ari.asterisk.enter("1.1", "dnd", "on")
        ari.socket().event("StasisStart", args=["dnd", "on"], channel={"id": "1.1", "name": "PJSIP/100-00000001"})
        ari.asterisk.wait_for("POST", "channels/1.1/play/.*")
        assert ari.asterisk.lamps["Custom:presence-100"] == "BUSY"
        ari.socket().event("PlaybackFinished", playback={"id": "1.1-presence"})
        ari.asterisk.wait_for("POST", "channels/1.1/continue")

    assert daemon.run(script) == 0


def test_nothing_is_left_behind(ari: FakeAri, daemon: Daemon) -> None:
    """After the end there is no thread, no socket and no lock of the daemon."""
    before = {thread.name for thread in threading.enumerate()}
    daemon.run(daemon.ready)
    assert not (daemon.state_dir / "control.sock").exists()
    left = {t.name for t in threading.enumerate()} - before
    assert not {name for name in left if not name.startswith(("Thread-", "AnyIO", "background"))}, left
    assert daemon.run() == 0


def test_secret_is_in_no_line_of_the_log(
    ari: FakeAri, daemon: Daemon, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting, failing and ending never show it."""
    monkeypatch.setattr(link, "delays", lambda: count(0.02, 0.0))

    def script() -> None:
        daemon.ready()
        ari.asterisk.override("GET", "asterisk/info", Response(401, "{}"))
        ari.socket().cut()
        ari.asterisk.wait_for("GET", "asterisk/info", 4)

    daemon.run(script)
    logged = capfd.readouterr().err
    assert "401" in logged
    assert ari.password not in logged


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        pytest.param("[cluster]\n", False, id="heading"),
        pytest.param('[cluster]\nurl = "redis://127.0.0.1"\n', True, id="url"),
    ],
)
def test_setting_without_effect_is_named_only_where_it_asks_for_something(
    daemon: Daemon, capfd: pytest.CaptureFixture[str], more: str, *, warned: bool
) -> None:
    """The headings that `init` writes are no reason to warn."""
    daemon.write(more)
    daemon.run(daemon.ready)
    assert ("settings without effect" in capfd.readouterr().err) is warned


# --- exit codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403], ids=["wrong-password", "read-only-user"])
def test_refused_credentials_end_with_2(
    ari: FakeAri, daemon: Daemon, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    """Only the operator can help, so nothing is tried again."""
    ari.asterisk.override("GET", "asterisk/info", Response(status, "{}"))
    assert daemon.run(stop=False) == module.EXIT_CONFIG == 2
    assert str(status) in capfd.readouterr().err


def test_taken_application_ends_with_4(ari: FakeAri, daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    """The systemd unit does not restart on 4: two daemons would fight."""

    def script() -> None:
        daemon.ready()
        ari.socket().event("ApplicationReplaced")

    assert daemon.run(script, stop=False) == module.EXIT_REPLACED == 4
    assert "another program took the application" in capfd.readouterr().err


def test_server_that_is_not_there_is_waited_for(ari: FakeAri, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Booting is no error: the daemon is up, not ready, and takes changes meanwhile."""
    url = ari.url
    ari.close()
    lonely = Daemon(folder, url, "x")
    lonely.write('[[user]]\nid = "100"\n')
    monkeypatch.setattr(engine, "CONFIRM_S", 0.3)

    def script() -> None:
        row = lonely.eventually(lambda: lonely.control.get("/pbxs")[0])
        assert row["connected"] is False
        changed = lonely.set("100", "away")
        assert (changed["confirmed"], changed["waiting"]) == (False, ["hq"])

    assert lonely.run(script) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signal_ends_with_0(daemon: Daemon, number: signal.Signals) -> None:
    """Whoever stops the daemon in the usual way gets a clean end."""
    assert daemon.run(lambda: os.kill(os.getpid(), number), stop=False) == 0


def test_broken_configuration_starts_nothing(daemon: Daemon, ari: FakeAri) -> None:
    """An unknown key is an error that names it, and no server is asked anything."""
    daemon.write("unknown_key = 1\n")
    with pytest.raises(ConfigError, match="unknown_key"):
        daemon.run()
    assert ari.headers == []


def test_state_dir_that_does_not_exist_is_an_error_with_a_remedy(daemon: Daemon) -> None:
    """The daemon makes no folders: it might make them in the wrong place."""
    daemon.write(replace=(str(daemon.state_dir), str(daemon.state_dir) + "-none"))
    with pytest.raises(ConfigError, match=r"cannot use state_dir .*-none: No such file .*create it"):
        daemon.run()


def test_damaged_store_is_an_error_and_lets_the_lock_go(daemon: Daemon) -> None:
    """A file that is no store is left as it is."""
    file = daemon.state_dir / FILE_NAME
    file.write_bytes(b"no database at all " * 100)
    with pytest.raises(StoreError):
        daemon.run()
    assert file.read_bytes().startswith(b"no database")
    file.unlink()
    assert daemon.run() == 0


# --- the lock ---------------------------------------------------------------------------------------------------


def test_second_daemon_names_the_first(daemon: Daemon) -> None:
    """Two daemons in one folder would spoil each other's store: the second says who is there and what to do."""

    def script() -> None:
        with pytest.raises(ConfigError, match=rf"another daemon \(process {os.getpid()}\) uses .*own 'state_dir'"):
            run(daemon.config, {})
        assert daemon.control.get("/users") is not None

    assert daemon.run(script) == 0


def test_lock_names_its_process_at_once(folder: Path) -> None:
    """Also while the first daemon is still starting, and whatever an older one has left in the file."""
    (folder / "lock").write_text("99999999999999\n")
    with module._Lock(folder):
        assert (folder / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"), module._Lock(folder):
            pass
    with module._Lock(folder):
        pass


# --- reload -----------------------------------------------------------------------------------------------------


def test_reload_puts_new_users_in_force(daemon: Daemon) -> None:
    """Both ways to ask for it work: the command and SIGHUP."""

    def script() -> None:
        daemon.ready()
        daemon.write('[[user]]\nid = "alice"\nname = "Alice"\n')
        said = daemon.control.call("POST", "/control/reload")["message"]
        assert said == "configuration reloaded: 3 users (before: 2)"
        assert daemon.control.get("/users/alice")["name"] == "Alice"
        daemon.write('[[user]]\nid = "bob"\nname = "Bob"\n')
        os.kill(os.getpid(), signal.SIGHUP)
        daemon.eventually(lambda: {row["user"] for row in daemon.control.get("/users")} == {"100", "101", "bob"})

    assert daemon.run(script) == 0


def test_hangups_while_a_reload_waits_are_one(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of SIGHUP leaves no queue of reloads behind, and what was written last is in force."""
    load, loads, gate = module.load_config, count(1), threading.Event()
    last = [0]

    def slow(*args: Any) -> Any:
        last[0] = next(loads)
        assert gate.wait(10)
        return load(*args)

    def script() -> None:
        daemon.ready()
        monkeypatch.setattr(module, "load_config", slow)
        for number in range(50):
            daemon.write(f'[[user]]\nid = "u{number}"\n')
            os.kill(os.getpid(), signal.SIGHUP)
            assert len([thread for thread in threading.enumerate() if thread.name == "reload"]) <= 2
        gate.set()
        daemon.eventually(lambda: {row["user"] for row in daemon.control.get("/users")} == {"100", "101", "u49"})
        daemon.eventually(lambda: "reload" not in {thread.name for thread in threading.enumerate()})
        assert last[0] <= 2

    assert daemon.run(script) == 0


def test_user_who_leaves_the_configuration_gets_dark_lamps(ari: FakeAri, daemon: Daemon) -> None:
    """A lamp that nobody would ever put out is put out at once."""
    daemon.write('[[user]]\nid = "alice"\n')

    def script() -> None:
        daemon.ready()
        daemon.set("alice", "dnd")
        assert ari.asterisk.lamps["Custom:presence-alice"] == "BUSY"
        daemon.write()
        daemon.control.call("POST", "/control/reload")
        daemon.eventually(lambda: ari.asterisk.lamps["Custom:presence-alice"] == "INVALID")

    assert daemon.run(script) == 0


@pytest.mark.parametrize(
    ("more", "replace", "says"),
    [
        pytest.param("nonsense\n", ("", ""), "not TOML", id="broken-file"),
        pytest.param("", ('username = "ari-presence"', 'username = "other"'), r"\[\[pbx\]\]", id="pbx"),
        pytest.param("", ("s3cret-pass", "changed-pass"), r"\[\[pbx\]\]", id="password"),
        pytest.param("", ('[http]\nlisten = ""', '[http]\nlisten = "127.0.0.1:1"'), r"\[http\]", id="http"),
        pytest.param("", ('[agi]\nlisten = ""', '[agi]\nlisten = "127.0.0.1:2"'), r"\[agi\]", id="agi"),
    ],
)
def test_reload_that_cannot_be_leaves_the_running_configuration(
    daemon: Daemon, more: str, replace: tuple[str, str], says: str
) -> None:
    """The running one stays in force, and the asker hears why, without secrets."""

    def script() -> None:
        daemon.ready()
        daemon.write(more, replace)
        with pytest.raises(ConfigError, match=says) as caught:
            daemon.control.call("POST", "/control/reload")
        assert "-pass" not in str(caught.value)
        os.kill(os.getpid(), signal.SIGHUP)
        assert daemon.control.get("/users/100")["state"] == "available"
        daemon.write('[[user]]\nid = "alice"\n')
        daemon.control.call("POST", "/control/reload")
        assert daemon.control.get("/users/alice")["user"] == "alice"

    assert daemon.run(script) == 0


def test_reload_with_another_state_dir_needs_a_restart(daemon: Daemon, folder: Path) -> None:
    """The store cannot move while it is open."""

    def script() -> None:
        daemon.write(replace=(str(daemon.state_dir), str(folder)))
        with pytest.raises(ConfigError, match="state_dir was changed: that needs a restart"):
            daemon.control.call("POST", "/control/reload")

    assert daemon.run(script) == 0


def test_reload_without_other_lamps_reads_none_again(ari: FakeAri, daemon: Daemon) -> None:
    """Ten thousand lamps are not read for a new name; with another state they are."""

    def rested(reads: int) -> bool:
        before = len(ari.asterisk.seen("GET", "deviceStates/.*"))
        threading.Event().wait(0.3)
        return reads <= before == len(ari.asterisk.seen("GET", "deviceStates/.*"))

    def script() -> None:
        daemon.ready()
        lamps = 2 * len(LampLayout(StateTable()).kinds)  # read at first, and again once they are watched
        daemon.eventually(lambda: rested(2 * lamps))
        ari.asterisk.calls.clear()
        daemon.write('[[user]]\nid = "100"\nname = "Alice"\n')
        daemon.control.call("POST", "/control/reload")
        assert daemon.control.get("/users/100")["name"] == "Alice"
        assert not ari.asterisk.seen("GET", "deviceStates/.*")
        daemon.write('[[state]]\nid = "gym"\ndigit = "7"\n')
        daemon.control.call("POST", "/control/reload")
        daemon.set("100", "gym")
        assert ari.asterisk.lamps["Custom:gym-100"] == "INUSE"

    assert daemon.run(script) == 0


# --- the history ------------------------------------------------------------------------------------------------


def test_old_history_is_deleted_and_a_full_disk_survived(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A store that cannot be written just then is no reason to stop; the next time it works."""
    monkeypatch.setattr(module, "PRUNE_EVERY_S", 0.02)
    monkeypatch.setattr(module, "SIGNAL_S", 0.02)
    pruned: list[float] = []
    enough = threading.Event()

    def prune(_self: SqliteStore, before: float) -> int:
        pruned.append(before)
        if len(pruned) == 1:
            raise StoreError("the disk is full: make room")
        enough.set()
        return 0

    monkeypatch.setattr(SqliteStore, "prune", prune)
    assert daemon.run(lambda: None if enough.wait(5) else pytest.fail("never again")) == 0
    assert abs(pruned[0] - (time.time() - 365 * 86400)) < 60
    assert "the disk is full" in capfd.readouterr().err


# --- small parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_systemd_is_told_where_it_says(folder: Path, abstract: bool) -> None:
    """Both kinds of addresses of sd_notify(3) work."""
    name = f"@ap-test-{os.getpid()}" if abstract else str(folder / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5)
        notify({"NOTIFY_SOCKET": name}, "READY=1")
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}], ids=["no", "empty", "gone"]
)
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    """A daemon that was started by hand tells nobody."""
    notify(environ, "READY=1")


def test_control_socket_is_gone_with_the_daemon(daemon: Daemon) -> None:
    """Who asks afterwards hears that nobody is there."""
    daemon.run()
    with pytest.raises(ControlError):
        daemon.control.get("/users")
