"""A real Asterisk of one's own: started without root or installation, on loopback, ready in about half a second.

Owns the private folder and the process. Files come from `packages`, configuration text from `config`.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

import requests

from private_asterisk import config
from private_asterisk.packages import Tree, find_asterisk
from private_asterisk.ports import free_port

START_TIMEOUT_S = 30.0
START_ATTEMPTS = 4
STOP_TIMEOUT_S = 3.0
CLI_TIMEOUT_S = 10.0
SOCKET_PATH_LIMIT = 107  # sun_path of a Unix socket, less the closing zero: unix(7)

# Ends the server and its folder when this process is gone without having said goodbye (end of file instead of a line).
WATCHDOG = 'read -r line && exit; kill -KILL "$1"; [ -z "$2" ] || rm -rf -- "$2"'


class StartError(Exception):
    """Asterisk did not come up: the message holds the end of its log."""


class PrivateAsterisk:
    """One Asterisk with its own folder, ports and database.

    Use it as a context manager, or call `start` and `stop`. The database is kept from one start to the next.

    Attributes:
        version: 22 or 16.
        folder: everything of this server; removed by `stop` if it was made here.
        ari_user, ari_password: the user of ARI, and of AMI too.
        pid: process id while it runs.
    """

    def __init__(
        self,
        version: int = 22,
        folder: Path | None = None,
        *,
        config: Mapping[str, str] | None = None,
        phones: Iterable[str] = config.DEFAULT_PHONES,
        hints: Mapping[str, str] | None = None,
        contact_port: int = 0,
        tree: Tree | None = None,
    ) -> None:
        """Write the configuration; nothing is started yet.

        Args:
            version: which release, a key of `packages.ASTERISK_SUITES`.
            folder: where to live, made if absent; without one a temporary folder.
            config: file name to text, in place of the text made here.
            phones: names of the endpoints; the password of each is `config.phone_password`.
            hints: further hints in the context `hints`: extension to what follows `hint,`.
            contact_port: where phones are that are not registered: 9 is nobody, 0 makes them offline.
            tree: files to use; default those that `find_asterisk` gives for the version.
        """
        self.version = version
        self._tree = tree or find_asterisk(version)
        self._temporary = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="private-asterisk-"))).absolute()
        if self._temporary:  # a server that is never started must leave nothing either
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.ari_user = "ari-presence"
        self.ari_password = secrets.token_hex(12)
        self._overrides = dict(config or {})
        self._phones = tuple(phones)
        self._hints = dict(hints or {})
        self._contact_port = contact_port
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._make_folders()
        self._ports = _free_ports()
        self._write_all()

    # -- where it is

    @property
    def http_port(self) -> int:
        """TCP port of HTTP and ARI."""
        return self._ports.http

    @property
    def sip_port(self) -> int:
        """UDP and TCP port of SIP."""
        return self._ports.sip

    @property
    def ami_port(self) -> int:
        """TCP port of AMI."""
        return self._ports.ami

    @property
    def url(self) -> str:
        """Base URL, such as `http://127.0.0.1:40001`; ARI is below `/ari`."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError when it is not running."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    # -- life

    def start(self) -> Self:
        """Start and return when ARI answers; other ports are chosen when somebody took one meanwhile.

        Raises:
            StartError: with the end of the log.
        """
        for attempt in range(1, START_ATTEMPTS + 1):
            self._launch()
            if self._wait_ready(last=attempt == START_ATTEMPTS):
                return self
            self.kill()
            self._ports = _free_ports()
            self._write_all()
        raise StartError("no free ports")

    def stop(self) -> None:
        """Stop it gently, then less gently; remove the folder if it was made here. Safe to call twice."""
        self._end()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill it like a power cut; `start` brings it back with the database as it is on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    def restart(self) -> None:
        """Stop it gently and start it again on the same ports."""
        self._end()
        self.start()

    def freeze(self) -> None:
        """Stop the process without ending it: sockets stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        """Start unless it runs."""
        try:
            return self if self.is_running else self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    # -- use

    def cli(self, command: str) -> str:
        """Run a command of Asterisk's console, such as `core show hints`, and give what it prints.

        Raises:
            RuntimeError: the console cannot be reached.
        """
        done = subprocess.run(
            [*self._command(), "-rx", command],
            env=self._environ(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=CLI_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        if "Unable to connect to remote asterisk" in done.stdout + done.stderr:
            raise RuntimeError(f"no console of the private Asterisk in {self.folder}: is it running?")
        return done.stdout.strip()

    @property
    def console(self) -> list[str]:
        """Give the words of the command that starts its console; `-rx COMMAND` comes behind them."""
        return self._command()

    def ari(self, method: str, path: str, body: object = None, **params: str) -> requests.Response:
        """Send one request below `/ari/`, such as `server.ari("GET", "deviceStates/Custom:x")`; a body goes as JSON."""
        auth, url = (self.ari_user, self.ari_password), f"{self.url}/ari/{path}"
        return requests.request(method, url, params=params, json=body, auth=auth, timeout=CLI_TIMEOUT_S)

    def device_state(self, device: str) -> str:
        """Read one device state over ARI, such as `NOT_INUSE`."""
        return str(self.ari("GET", f"deviceStates/{device.replace('/', '%2F')}").json()["state"])

    def write(self, name: str, text: str) -> None:
        """Write a configuration file; reload it yourself, as with `cli("dialplan reload")`."""
        self._overrides[name] = text
        (self.folder / "etc" / name).write_text(text)

    def read(self, name: str) -> str:
        """Read a configuration file as it is now."""
        return (self.folder / "etc" / name).read_text()

    def log(self) -> str:
        """Read the notices, warnings and errors since the folder was made."""
        path = self.folder / "log" / "messages.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    # -- inside

    def _make_folders(self) -> None:
        for name in ("etc", "lib", "data", "spool", "run", "log", "cache", "moh", "lib/keys"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if len(str(self.folder / "run" / "asterisk.ctl")) > SOCKET_PATH_LIMIT:
            raise ValueError(f"folder {self.folder}: too long for the control socket: choose a shorter one")
        share = self._tree.root / "usr/share/asterisk"
        english = share / "sounds/en_US_f_Allison"
        links = {name: share / name for name in ("documentation", "rest-api", "static-http")}
        links |= {"sounds/en": english if english.is_dir() else share / "sounds/en"}
        (self.folder / "data/sounds").mkdir(exist_ok=True)
        for name, target in links.items():
            _link(self.folder / "data" / name, target)
        _link(self.folder / "moh/hello.gsm", english / "demo-congrats.gsm")

    def _write_all(self) -> None:
        login = config.Login(self.ari_user, self.ari_password)
        moh = self.folder / "moh"
        made = config.files(
            self._ports, login, phones=self._phones, hints=self._hints, moh=moh, contact_port=self._contact_port
        )
        made["modules.conf"] = config.modules(self._tree.modules())
        made["asterisk.conf"] = self._asterisk_conf()
        for name, text in (made | self._overrides).items():
            (self.folder / "etc" / name).write_text(text)

    def _asterisk_conf(self) -> str:
        places = {"etc": "etc", "varlib": "lib", "db": "lib", "key": "lib", "data": "data", "agi": "lib/agi-bin"}
        places |= {"spool": "spool", "run": "run", "log": "log", "cache": "cache"}
        folders = "".join(f"ast{kind}dir => {self.folder / name}\n" for kind, name in places.items())
        return f"[directories]\n{folders}astmoddir => {self._tree.modules()}\n[options]\nhideconnect = yes\n"

    def _command(self) -> list[str]:
        return [*self._tree.command("usr/sbin/asterisk"), "-C", str(self.folder / "etc" / "asterisk.conf")]

    def _environ(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TERM": "dumb"}

    def _launch(self) -> None:
        if self.is_running:
            raise RuntimeError("this private Asterisk runs already: stop it first")
        (self.folder / "log" / "messages.log").write_text("")
        # A session of its own: an interrupt typed in the terminal is for the caller, who then stops the server.
        with (self.folder / "log" / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [*self._command(), "-f"],
                env=self._environ(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        removed = str(self.folder) if self._temporary else ""
        self._watchdog = subprocess.Popen(
            ["sh", "-c", WATCHDOG, "watchdog", str(self._process.pid), removed],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_ready(self, *, last: bool) -> bool:
        """Wait until ARI answers; False when a port was taken, so that another try may help."""
        ready = wait_until(lambda: not self.is_running or self._port_taken() or self._answers(), START_TIMEOUT_S)
        if self._port_taken():
            if not last:
                return False
        elif ready and self.is_running:
            return True
        console = (self.folder / "log" / "console.log").read_text(errors="replace")
        message = f"Asterisk {self.version} did not start: {(console + self.log())[-2000:]}"
        self.kill()
        raise StartError(message)

    def _port_taken(self) -> bool:
        log = self.log()
        return "Address already in use" in log or "could not be started" in log

    def _answers(self) -> bool:
        url = f"{self.url}/ari/asterisk/info"
        try:
            return requests.get(url, auth=(self.ari_user, self.ari_password), timeout=1).ok
        except requests.RequestException:
            return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the private Asterisk in {self.folder} is not running: start it")
        return self._process

    def _end(self) -> None:
        if self._process is not None and self.is_running:
            self.thaw()
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.cli("core stop now")
            for end in (self._process.terminate, self._process.kill):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_S)
                    break
                end()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self._watchdog is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.communicate(b"done\n")
            self._watchdog = None


def wait_until(condition: Callable[[], object], timeout_s: float, *, every_s: float = 0.02) -> bool:
    """Wait until the condition holds; False when it did not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(every_s)
    return True


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target)


def _free_ports() -> config.Ports:
    """Choose ports that nobody has now; SIP needs the same number for UDP and TCP, media lie where clients are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
        media.bind(("127.0.0.1", 0))
        rtp = min(int(media.getsockname()[1]) & ~1, 65000)
    ports = config.Ports(free_port(), free_port(socket.SOCK_DGRAM, socket.SOCK_STREAM), free_port(), rtp)
    return ports if len({ports.http, ports.sip, ports.ami}) == 3 else _free_ports()
