"""A running ari-presence for the tests: a process of its own with its configuration and store in a folder of the test.

Its log is read as it is written, line by line. Nothing here sleeps for luck: every wait has a condition and a deadline.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import requests

from ari_presence.cli.client import ControlClient
from private_asterisk import PrivateAsterisk, SipPhone, wait_until
from private_asterisk.ports import free_port

READY_S = 10.0
CLI_S = 30.0
STATES = {"away": 1, "dnd": 2, "lunch": 3, "meeting": 4, "brb": 5, "out": 6}
JOINED = {"away": "ONHOLD", "dnd": "BUSY", "lunch": "ONHOLD", "meeting": "BUSY", "brb": "ONHOLD", "out": "ONHOLD"}
WHOLE = JOINED | {"out": "UNAVAILABLE"}
TYPES = {"away": "away", "dnd": "dnd", "lunch": "away", "meeting": "dnd", "brb": "away", "out": "xa"}
PROMPTS = ["do-not-disturb", "activated", "de-activated", "beeperr", "beep"]
PROMPTS += [f"digits/{number}" for number in (*range(20), 20, 30, 40, 50)]
PEOPLE = """
[[user]]
id = "100"
name = "Alice Example"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
[[user]]
id = "102"
name = "Boss"
endpoints = ["PJSIP/102"]
rights = ["set_others"]
"""


class Daemon:
    """One daemon; as a context manager it is started, ready, and ended whatever happened.

    Attributes:
        folder: configuration and store.
        agi_port: where its FastAGI server listens.
        lines: what it has logged so far, one dictionary for each line; a line that is no JSON is under `text`.
        url: its HTTP interface over TCP.
    """

    def __init__(
        self,
        folder: Path,
        server: PrivateAsterisk,
        *,
        url: str = "",
        app: str = "ari-presence",
        extra: str = PEOPLE,
        name: str = "hq",
    ) -> None:
        """Write the configuration.

        Args:
            folder: made if absent.
            server: which Asterisk; its user and password are used.
            url: another way to it, such as a proxy.
            app: the Stasis application.
            extra: further tables of the configuration.
            name: of the server in the configuration.
        """
        self.folder, self.server, self.app = folder, server, app
        self.config = folder / "ari-presence.toml"
        self.state_dir = folder / "state"
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.store = self.state_dir / "ari-presence.sqlite"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.agi_port = free_port()
        self._pbx = {"name": name, "url": url or server.url, "username": server.ari_user, "app": app}
        self._password = server.ari_password
        self.lines: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self.write(extra)

    # -- configuration

    def write(self, extra: str, **pbx: str) -> None:
        """Write the configuration anew, with other further tables and other keys of the server."""
        secret = self.folder / "hq.secret"
        secret.write_text(self._password)
        keys = {"password_file": str(secret)} | self._pbx | pbx
        lines = [f"state_dir = {json.dumps(str(self.state_dir))}", "[[pbx]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        lines += ["[http]", f'listen = "{self.url.removeprefix("http://")}"']
        lines += ["[agi]", f'listen = "127.0.0.1:{self.agi_port}"']
        self.config.write_text("\n".join(lines) + "\n" + extra)

    # -- life

    def start(self) -> Self:
        """Start the process and return at once."""
        assert self._process is None, "it runs already"
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ari_presence", "--config", str(self.config), "run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environ(),
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return self

    def run_to_end(self, timeout_s: float = READY_S) -> int:
        """Start it, expect it to end by itself, and give its exit code."""
        self.start()
        return self.wait_exit(timeout_s)

    def wait_exit(self, timeout_s: float = READY_S) -> int:
        """Wait until it ends by itself, and give its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._forget()
        return code

    def stop(self) -> int:
        """End it gently and give its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        return self.wait_exit()

    def kill(self) -> None:
        """End it like a power cut."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._forget()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP, SIGCONT or SIGHUP."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Start and wait until it is ready."""
        try:
            return self.start().wait_ready()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        """End it if it still runs."""
        if self.is_running:
            self.kill()
        elif self._process is not None:
            self._forget()

    def _forget(self) -> None:
        process, self._process = self._process, None
        self._reader.join(5)
        if process is not None and process.stderr is not None:
            process.stderr.close()

    def _environ(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ARI_PRESENCE")}
        return kept | {"TZ": "UTC"}

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        lines = self.lines
        for line in process.stderr:
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"text": line.rstrip()})

    # -- what it says

    def wait_ready(self, timeout_s: float = READY_S) -> Self:
        """Wait until every lamp is compared."""
        assert wait_until(self.is_ready, timeout_s), f"not ready after {timeout_s} s: {self.log()}"
        return self

    def is_ready(self) -> bool:
        """Ask `/readyz`."""
        try:
            return self.http("GET", "/readyz").status_code == 200
        except requests.ConnectionError:
            assert self.is_running, f"the daemon has ended: {self.log()}"
            return False

    def http(self, method: str, path: str, timeout_s: float = 5.0) -> requests.Response:
        """Make a request over TCP, where only reading is allowed."""
        return requests.request(method, self.url + path, timeout=timeout_s)

    def log(self) -> str:
        """Give the whole log as text."""
        return "\n".join(json.dumps(line) for line in self.lines)

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Give the lines of an event whose fields have these values."""
        found = [line for line in list(self.lines) if line.get("event") == event]
        return [line for line in found if all(line.get(key) == value for key, value in fields.items())]

    def wait_logged(self, event: str, timeout_s: float = READY_S, **fields: object) -> dict[str, Any]:
        """Wait for a line of the log and give the latest."""
        assert wait_until(lambda: self.logged(event, **fields), timeout_s), f"no {event!r} {fields}: {self.log()}"
        return self.logged(event, **fields)[-1]

    # -- what it is told

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the program `ari-presence` with this daemon's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "ari_presence", "--config", str(self.config), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=CLI_S,
            stdin=subprocess.DEVNULL,
            env=self._environ(),
        )

    def ask(self, method: str, resource: str, body: dict[str, Any] | None = None) -> Any:
        """Use the control socket as the command line does, without starting a process each time."""
        return ControlClient(self.state_dir / "control.sock").call(method, resource, body)

    def set(self, user: str, state: str, **more: str) -> dict[str, Any]:
        """Set a state and give the answer."""
        return dict(self.ask("PUT", f"/users/{user}/state", {"state": state, **more}))

    def clear(self, user: str) -> dict[str, Any]:
        """Clear a state and give the answer."""
        return dict(self.ask("DELETE", f"/users/{user}/state"))

    def show(self, user: str) -> dict[str, Any]:
        """Give one user."""
        return dict(self.ask("GET", f"/users/{user}"))

    def state(self, user: str) -> str:
        """Give one user's effective state."""
        return str(self.show(user)["state"])

    def history(self, user: str) -> list[tuple[str, str]]:
        """Give the changes of a user as (state, source), oldest first."""
        return [(row["state"], row["source"]) for row in self.ask("GET", f"/users/{user}/history")]

    def stored(self, user: str) -> list[str]:
        """Read the states in the history of a user from the store's file, whatever the daemon says."""
        return [state for (state,) in self._select("SELECT state FROM history WHERE user = ? ORDER BY id", user)]

    def noted(self, user: str) -> bool:
        """Tell whether the store holds lamps of a user that were confirmed and are not all off."""
        return bool(self._select("SELECT text FROM lamps WHERE user = ?", user))

    def _select(self, query: str, *values: str) -> list[tuple[str, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()


# -- lamps


def lamps(server: PrivateAsterisk, user: str, *, whole: bool = True) -> dict[str, str]:
    """Read all lamps of a user from Asterisk; one that was never written counts as off."""
    names = {"joined": f"Custom:presence-{user}"} | {state: f"Custom:{state}-{user}" for state in STATES}
    if whole:
        names["whole"] = f"Stasis:presence-{user}"
    off = {"joined": "INVALID"}
    found = {name: server.device_state(device) for name, device in names.items()}
    return {name: off.get(name, "NOT_INUSE") if value == "UNKNOWN" else value for name, value in found.items()}


def expected(state: str | None, *, whole: bool = True) -> dict[str, str]:
    """Tell what all lamps of a user show for a manual state, by the table of the contract."""
    values = {"joined": JOINED.get(state or "", "INVALID")}
    values |= {each: "INUSE" if each == state else "NOT_INUSE" for each in STATES}
    return values | ({"whole": WHOLE.get(state or "", "NOT_INUSE")} if whole else {})


def wait_lamps(server: PrivateAsterisk, user: str, state: str | None, timeout_s: float = 5.0) -> None:
    """Wait until all lamps of a user show a state."""
    right = wait_until(lambda: lamps(server, user) == expected(state), timeout_s)
    assert right, f"{user} should show {state}, after {timeout_s} s: {lamps(server, user)}"


def write_lamp(server: PrivateAsterisk, device: str, value: str) -> None:
    """Change a lamp as an administrator would at the console."""
    server.cli(f"devstate change {device} {value}")


def presence(server: PrivateAsterisk, user: str) -> str:
    """Read what AstDB holds for CustomPresence."""
    return server.cli(f"database get CustomPresence {user}").removeprefix("Value: ")


# -- phones that understand what they hear


class Listener(SipPhone):
    """A phone that tells prompts apart: with `shorten_prompts` each is a tenth of a second of one byte."""

    def prompts(self) -> list[str]:
        """Name the prompts heard since this was last called, in order."""
        names: list[str] = []
        try:
            while packet := self._audio.recv(2048):
                index = packet[12] - 1
                name = PROMPTS[index] if index < len(PROMPTS) else "other"
                if names[-1:] != [name]:
                    names.append(name)
        except BlockingIOError:
            return names
        return names

    def say(self, number: str, timeout_s: float = 10.0, **options: Any) -> list[str]:
        """Dial a code, listen until the call is over, and name what was heard."""
        self.prompts()
        self.dial(number, **options).wait_ended(timeout_s)
        return self.prompts()


def shorten_prompts(server: PrivateAsterisk) -> None:
    """Give a running server's phones a language whose prompts last a tenth of a second and can be told apart."""
    for index, name in enumerate(PROMPTS, 1):
        path = server.folder / "data/sounds/short" / f"{name}.ulaw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([index]) * 800)
    server.write(
        "pjsip.conf",
        server.read("pjsip.conf").replace("[phone](!,endpoint)\n", "[phone](!,endpoint)\nlanguage=short\n"),
    )
    server.cli("module reload res_pjsip.so")
    server.cli("module reload sounds")


@contextlib.contextmanager
def codes_over(form: str, server: PrivateAsterisk, daemon: Daemon) -> Iterator[None]:
    """Let the phones of a running server dial `presence-codes` or `presence-codes-agi` for the length of a block."""
    before = server.read("extensions.conf")
    included = "include => presence-codes\n"
    assert before.count(included) == 1
    address = f"[globals]\nPRESENCE_AGI_PORT={daemon.agi_port}\n"
    server.write("extensions.conf", before.replace(included, f"include => {form}\n") + address)
    server.cli("dialplan reload")
    try:
        yield
    finally:
        server.write("extensions.conf", before)
        server.cli("dialplan reload")


def eventually(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
    """Wait until the condition holds, or fail and say what should have been."""
    assert wait_until(condition, timeout_s), f"{what}: not within {timeout_s} s"
