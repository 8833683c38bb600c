"""Two SIP programs that are not ours, so that not only our own phone says that it works: sipp and baresip.

Both run from the tree of the host's own suite (`packages.find_clients`) in a folder of their own, on loopback.
"""

import contextlib
import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from private_asterisk.agent import SipError
from private_asterisk.config import phone_password
from private_asterisk.packages import Tree
from private_asterisk.phone import Server
from private_asterisk.ports import free_port
from private_asterisk.server import wait_until

START_TIMEOUT_S = 10.0
MEDIA_PORTS = 4  # of sipp: sound and video, each with RTCP behind it
BARESIP_MODULES = "g711 aubridge account contact menu presence ctrl_tcp"


def run_sipp(
    clients: Tree,
    scenario: str,
    server: Server,
    folder: Path,
    *,
    service: str = "s",
    calls: int = 1,
    timeout_s: int = 20,
) -> None:
    """Run a sipp scenario until all its calls are done.

    Args:
        clients: the tree of `packages.find_clients`.
        scenario: the XML; `[authentication username=.. password=..]` in it answers challenges.
        server: where to send.
        folder: where the scenario and sipp's error log are written.
        service: what `[service]` stands for in the scenario.
        calls: how many runs of the scenario.
        timeout_s: the whole run ends by then.

    Raises:
        SipError: a call failed; the message ends with sipp's own words.
    """
    (folder / "scenario.xml").write_text(scenario)
    sip, media = str(free_port(socket.SOCK_DGRAM)), str(free_port(socket.SOCK_DGRAM, count=MEDIA_PORTS))
    ports = ["-i", "127.0.0.1", "-p", sip, "-mi", "127.0.0.1", "-mp", media]
    limits = ["-m", str(calls), "-timeout", f"{timeout_s}s", "-timeout_error", "-nostdin", "-trace_err"]
    words = [*clients.command("usr/bin/sipp"), f"127.0.0.1:{server.sip_port}", "-sf", "scenario.xml", "-s", service]
    done = subprocess.run(
        [*words, *ports, *limits],
        cwd=folder,
        env={"TERM": "dumb", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout_s + 10,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        errors = "".join(each.read_text(errors="replace") for each in folder.glob("*_errors.log"))
        raise SipError(f"sipp: exit {done.returncode}: {(errors or done.stderr or done.stdout)[-1500:]}")


class Baresip:
    """A softphone driven over its control socket; as a context manager it starts, registers and quits.

    Attributes:
        events: what it has told so far, oldest first, such as `{"type": "CALL_ESTABLISHED", ...}`.
    """

    def __init__(
        self, clients: Tree, user: str, server: Server, folder: Path, *, watched: Mapping[str, str] | None = None
    ) -> None:
        """Write its folder.

        Args:
            clients: the tree of `packages.find_clients`.
            user: its endpoint.
            server: where it registers.
            folder: made if absent.
            watched: names to numbers whose presence it subscribes.
        """
        self.user, self._server, self._folder = user, server, folder
        self._clients = clients
        self._control_port = free_port()
        self.events: list[dict[str, Any]] = []
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        folder.mkdir(parents=True, exist_ok=True)
        at = f"127.0.0.1:{server.sip_port}"
        account = f"<sip:{user}@{at}>;auth_user={user};auth_pass={phone_password(user)};regint=600\n"
        contacts = (f'"{name}" <sip:{number}@{at}>;presence=p2p\n' for name, number in (watched or {}).items())
        (folder / "accounts").write_text(account)
        (folder / "contacts").write_text("".join(contacts))
        (folder / "config").write_text(self._config())

    def _config(self) -> str:
        modules = self._clients.root / "usr/lib/baresip/modules"
        kinds = {"account": "module_tmp", "contact": "module_app", "menu": "module_app", "presence": "module_app"}
        kinds["ctrl_tcp"] = "module_app"
        lines = [
            f"module_path {modules}",
            "sip_listen 127.0.0.1:0",
            "net_interface 127.0.0.1",
            "audio_source aubridge,loop",
        ]
        lines += ["audio_player aubridge,loop", "audio_alert aubridge,alert", f"audio_path {self._folder}"]
        lines += [f"ctrl_tcp_listen 127.0.0.1:{self._control_port}"]
        lines += [f"{kinds.get(name, 'module')} {name}.so" for name in BARESIP_MODULES.split()]
        return "\n".join(lines) + "\n"

    def __enter__(self) -> Self:
        """Start and wait for the registration."""
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._clients.command("usr/bin/baresip"), "-f", str(self._folder)],
                cwd=self._folder,
                env={"HOME": str(self._folder), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._socket = self._connect()
            self._thread = threading.Thread(target=self._read, name=f"baresip-{self.user}", daemon=True)
            self._thread.start()
            # Its event may have come before the control connection; the printed line stays.
            if not wait_until(lambda: "200 OK" in self.output(), START_TIMEOUT_S):
                raise SipError(f"baresip {self.user}: not registered: {self.output()[-800:]}")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Quit."""
        with contextlib.suppress(OSError, SipError):
            self.command("quit")
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def command(self, name: str, params: str = "") -> str:
        """Run a command such as `dial`, `hangup`, `accept`, `hold`, `resume`, `contacts` and give what it prints."""
        text = json.dumps({"command": name, "params": params, "token": name}).encode()
        self._socket.sendall(b"%d:%s," % (len(text), text))
        try:
            return str(self._answers.get(timeout=START_TIMEOUT_S).get("data", ""))
        except queue.Empty:
            raise SipError(f"baresip {self.user}: no answer to {name}: {self.output()[-500:]}") from None

    def dial(self, number: str) -> None:
        """Dial; wait for `CALL_ESTABLISHED` or `CALL_CLOSED` with `wait_event`."""
        self.command("dial", f"sip:{number}@127.0.0.1:{self._server.sip_port}")

    def hangup(self) -> None:
        """End the call."""
        self.command("hangup")

    def presence(self, name: str) -> str:
        """Read what it shows for a watched name: `Online`, `Busy`, `Offline` or `Unknown`."""
        for line in self.command("contacts").splitlines():
            if name in line:
                return next((each for each in ("Online", "Busy", "Offline") if each in line), "Unknown")
        return "Unknown"

    def wait_presence(self, name: str, shown: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it shows that; SipError if it does not in time."""
        if not wait_until(lambda: self.presence(name) == shown, timeout_s):
            raise SipError(f"baresip {self.user}: {name} is {self.presence(name)}, not {shown}, after {timeout_s} s")

    def wait_event(self, kind: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Wait for an event of that type and take it; SipError if it does not come in time."""

        def found() -> dict[str, Any] | None:
            return next((each for each in self.events if each.get("type") == kind), None)

        if not wait_until(found, timeout_s):
            raise SipError(f"baresip {self.user}: no {kind} in {timeout_s} s: {self.output()[-800:]}")
        event = found() or {}
        self.events.remove(event)
        return event

    def output(self) -> str:
        """Read what it has printed."""
        return (self._folder / "output").read_text(errors="replace")

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + START_TIMEOUT_S
        found: list[socket.socket] = []

        def connected() -> bool:
            if self._process.poll() is not None:
                raise SipError(f"baresip {self.user} ended: {self.output()[-800:]}")
            with contextlib.suppress(OSError):
                found.append(socket.create_connection(("127.0.0.1", self._control_port)))
            return bool(found)

        if not wait_until(connected, deadline - time.monotonic()):
            raise SipError(f"baresip {self.user}: no control socket: {self.output()[-800:]}")
        return found[0]

    def _read(self) -> None:
        """Take netstrings apart: `<length>:<text>,`."""
        data = b""
        while chunk := self._socket.recv(65536):
            data += chunk
            while b":" in data:
                length, _, rest = data.partition(b":")
                if len(rest) <= int(length):
                    break
                message = json.loads(rest[: int(length)])
                data = rest[int(length) + 1 :]
                if message.get("response"):
                    self._answers.put(message)
                else:
                    self.events.append(message)
