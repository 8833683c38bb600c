"""The HTTP server: one thread, one event loop, the control socket and (if wanted) a TCP address.

Sockets are opened in the caller's thread, so that what is wrong with them is raised where the operator sees it.
"""

import asyncio
import errno
import os
import socket
import stat
import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ari_presence.errors import AriPresenceError, ConfigError
from ari_presence.http.problems import MEDIA_TYPE, problem_bytes

FIRST_REQUEST_S = 10.0
"""Seconds that a connection may stay without a first complete request head."""
MAX_CONNECTIONS = 512
_GRACE_S = 0.4
TICK_S = 0.3
_log = structlog.get_logger()


class _Protocol(H11Protocol):
    """HTTP/1.1 of uvicorn, with a time limit for the first request and problem documents for nonsense."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._first_request = self.loop.call_later(FIRST_REQUEST_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._first_request.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        body = problem_bytes(400, "malformed-request", msg)
        headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            with suppress(h11.LocalProtocolError):  # the nonsense came behind a request that is being answered
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """The server of uvicorn, looking three times a second instead of ten whether it shall end: idle is idle."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(TICK_S)


class HttpServer:
    """Serves two applications from one thread; uvicorn's signal handlers stay out of it."""

    def __init__(
        self, app_local: FastAPI, socket_path: Path, app_tcp: FastAPI | None, listen: tuple[str, int] | None
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            app_local: Application of the control socket.
            socket_path: The Unix socket, made with mode 0660.
            app_tcp: Application of the TCP address.
            listen: Host and port (0: any free one), or None for no TCP.
        """
        self._app_local = app_local
        self._path = socket_path
        self._app_tcp = app_tcp
        self._listen = listen
        self._servers: list[uvicorn.Server] = []
        self._started = threading.Event()
        self._failed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._inode: tuple[int, int] | None = None
        self._tcp_port: int | None = None

    @property
    def tcp_port(self) -> int | None:
        """The port that TCP listens on, None without TCP or before `start`."""
        return self._tcp_port

    def start(self) -> None:
        """Open the sockets and serve; returns when requests are answered.

        Raises:
            ConfigError: A socket cannot be opened; says which and what to do.
        """
        unix = open_unix_socket(self._path)
        made = self._path.stat()
        self._inode = (made.st_dev, made.st_ino)
        sockets = [(self._app_local, unix)]
        try:
            if self._listen is not None and self._app_tcp is not None:
                tcp = open_tcp_socket(*self._listen)
                self._tcp_port = tcp.getsockname()[1]
                sockets.append((self._app_tcp, tcp))
        except AriPresenceError:
            unix.close()
            self._remove_socket()
            raise
        self._sockets = sockets
        self._thread.start()
        if not self._started.wait(10) or self._failed:
            self.stop()
            raise AriPresenceError("the HTTP server did not start: the log says why")

    def stop(self) -> None:
        """Finish within a second, open event streams included; may be called twice or before `start`."""
        self._app_local.state.close_streams()
        for server in self._servers:
            server.should_exit = True
        if self._thread.is_alive():
            loop = self._loop
            if loop is not None:
                with suppress(RuntimeError):  # the loop has just ended
                    loop.call_soon_threadsafe(loop.call_later, _GRACE_S, self._abort_rest)
            self._thread.join(0.9)
        self._remove_socket()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            self._failed = True
            _log.exception("HTTP server failed")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers = [_Server(_uvicorn_config(app)) for app, _ in self._sockets]
        tasks = [
            asyncio.create_task(server.serve(sockets=[sock]))
            for server, (_, sock) in zip(self._servers, self._sockets, strict=True)
        ]
        while not all(server.started for server in self._servers):
            if any(task.done() for task in tasks):
                break
            await asyncio.sleep(0.005)
        else:
            self._started.set()
        await asyncio.gather(*tasks)

    def _abort_rest(self) -> None:
        """Cut the connections whose clients do not finish in time."""
        for server in self._servers:
            for connection in list(server.server_state.connections):
                connection.transport.abort()

    def _remove_socket(self) -> None:
        """Remove the socket file, if it is still the one made here."""
        with suppress(OSError):
            found = self._path.stat()
            if self._inode == (found.st_dev, found.st_ino):
                self._path.unlink()
        self._inode = None


def _uvicorn_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # faults of requests are logged in `problems`
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )


def open_unix_socket(path: Path) -> socket.socket:
    """Listen on a Unix socket of mode 0660; one that nothing answers on is replaced.

    Raises:
        ConfigError: Another daemon answers there, or the place cannot be used.
    """
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o660)  # before listen(): nobody can connect until it has the right mode
        sock.listen(128)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot make the control socket {path}: {reason}; check 'state_dir' and its owner") from None
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} is in the way of the control socket: move it away")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot look at {path}: {error.strerror}; check 'state_dir' and its owner") from None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError:  # it exists and does not refuse: busy or not ours
            pass
    raise ConfigError(f"another daemon answers on {path}: stop it, or give this one its own 'state_dir'")


def open_tcp_socket(host: str, port: int) -> socket.socket:
    """Listen on a TCP address.

    Raises:
        ConfigError: It is in use or not an address of this machine; names the key `[http] listen`.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if not ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise ConfigError(
                f"[http] listen: {host} is not a loopback address, and there is no API token: write 127.0.0.1:{port}"
            )
        sock = socket.create_server((str(address[0]), port), family=family, backlog=128)
    except OSError as error:
        remedy = "choose a free address"
        if error.errno == errno.EADDRINUSE:
            remedy = "another program uses it; stop that one or choose another port"
        raise ConfigError(f"[http] listen: cannot listen on {host}:{port}: {_reason(error)}; {remedy}") from None
    sock.setblocking(False)
    return sock


def _reason(error: OSError) -> str:
    # create_server() adds the address to the text of the error
    plain = isinstance(error, socket.gaierror) or error.errno is None
    return str(error.strerror) if plain or error.errno is None else os.strerror(error.errno)
