"""The daemon beside a private Asterisk, for the demo and the benchmarks: a process of its own in a folder of its own.

with PrivateAsterisk(22) as server, Daemon(server) as daemon:
    daemon.wait_ready()
    daemon.command("set", "100", "dnd")
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ari_presence.cli.client import ControlClient
from ari_presence.errors import AriPresenceError
from private_asterisk.server import PrivateAsterisk, StartError, wait_until

PROGRAM = (sys.executable, "-m", "ari_presence")
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 15.0
COMMAND_TIMEOUT_S = 120.0


class Daemon:
    """One daemon for one server, as a context manager or with `start` and `stop`.

    Attributes:
        folder: `state_dir`, the configuration and the log; removed at the end.
        config: The configuration file.
        spawned_at: When the process was made, seconds since the epoch.
    """

    def __init__(self, server: PrivateAsterisk, more: str = "", *, agi_port: int = 0) -> None:
        """Write the configuration; nothing is started yet.

        Args:
            server: The Asterisk to connect to; the same ports after it was started again.
            more: Further TOML, from a table header on.
            agi_port: Where its FastAGI server listens; 0 for none.
        """
        self.agi_port = agi_port
        self.folder = Path(tempfile.mkdtemp(prefix="ari-presence-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.folder / "ari-presence.toml"
        self.spawned_at = 0.0
        self._head = self._configuration(server)
        self._process: subprocess.Popen[bytes] | None = None
        self._client = ControlClient(self.folder / "control.sock")
        self.configure(more)

    def _configuration(self, server: PrivateAsterisk) -> str:
        secret = self.folder / "hq.secret"
        secret.touch(0o600)
        secret.write_text(server.ari_password)
        agi = f"127.0.0.1:{self.agi_port}" if self.agi_port else ""
        return (
            f'state_dir = "{self.folder}"\n[[pbx]]\nname = "hq"\nurl = "{server.url}"\nusername = "{server.ari_user}"\n'
            f'password_file = "{secret}"\n[agi]\nlisten = "{agi}"\n[http]\nlisten = ""\n'
        )

    def configure(self, more: str) -> None:
        """Write the configuration with other tables at its end; `command("reload")` puts it in force."""
        self.config.write_text(self._head + more)

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError when it is not running."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the daemon is not running: {self.log()[-2000:]}")
        return self._process.pid

    @property
    def database(self) -> Path:
        """The store's file."""
        return next(self.folder.glob("ari-presence.sqlite"), self.folder / "ari-presence.sqlite")

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            StartError: With the end of its log.
        """
        self.spawned_at = datetime.now().timestamp()
        with (self.folder / "log").open("ab") as log:
            # A session of its own: an interrupt typed in the terminal is for the caller, who then stops the daemon.
            self._process = subprocess.Popen(
                [*PROGRAM, "--config", str(self.config), "run"],
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        ended = self._process.poll
        if not wait_until(lambda: ended() is not None or self._answers(), START_TIMEOUT_S) or ended() is not None:
            self.stop()
            raise StartError(f"the daemon did not start: {self.log()[-2000:]}")
        return self

    def stop(self) -> None:
        """Stop it; a process that is stopped already is no error."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop, and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self._client.get("/pbxs")
        except AriPresenceError:
            return False
        return True

    def ask(self, method: str, resource: str, body: dict[str, Any] | None = None) -> Any:
        """Send one request to the control socket, below `/api/v1`; errors are those of the command line."""
        return self._client.call(method, resource, body, COMMAND_TIMEOUT_S)

    def is_ready(self) -> bool:
        """Tell whether Asterisk is connected and every lamp confirmed."""
        (pbx,) = self.ask("GET", "/pbxs")
        return bool(pbx["connected"]) and pbx["users_waiting"] == 0

    def wait_ready(self, timeout_s: float = 30.0, *, every_s: float = 0.02) -> Self:
        """Wait until it is ready; raises StartError with the end of its log."""
        if not wait_until(self.is_ready, timeout_s, every_s=every_s):
            raise StartError(f"not ready within {timeout_s} s: {self.log()[-2000:]}")
        return self

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `ari-presence` as a person would."""
        return subprocess.run(
            [*PROGRAM, "--config", str(self.config), *arguments],
            env=self._environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )

    def log(self) -> str:
        """Read its log so far, one JSON document a line."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def connected_at(self) -> float:
        """Tell when it last connected, by its log; seconds since the epoch, 0 for never."""
        lines = [json.loads(line) for line in self.log().splitlines() if '"connected"' in line]
        return datetime.fromisoformat(lines[-1]["timestamp"]).timestamp() if lines else 0.0

    def resident_kib(self) -> int:
        """Read the resident memory (VmRSS)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def cpu_s(self) -> float:
        """Read the processor time used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _environ() -> dict[str, str]:
        return {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")
        }
