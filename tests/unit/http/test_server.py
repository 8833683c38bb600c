"""The sockets: modes, leftovers, addresses in use, starting and stopping."""

import os
import signal
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ari_presence.errors import AriPresenceError
from ari_presence.http import server as server_module
from ari_presence.http.app import create_app
from ari_presence.http.server import HttpServer, open_tcp_socket, open_unix_socket
from tests.unit.http.fake_service import FakeService, Running, serving


def make(folder: Path, listen: tuple[str, int] | None = None) -> HttpServer:
    """Make a server that is not started."""
    service = FakeService()
    tcp = create_app(service, local=False)
    return HttpServer(create_app(service, local=True), folder / "control.sock", tcp, listen)


def test_control_socket_has_mode_0660(running: Running) -> None:
    """Owner and group may use the socket, nobody else."""
    mode = running.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_control_socket_under_any_umask_has_mode_0660(tmp_path: Path) -> None:
    """The mode does not depend on how the daemon was started."""
    before = os.umask(0o077)
    try:
        with open_unix_socket(tmp_path / "s"):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket left by a killed daemon is in nobody's way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with serving(tmp_path) as running:
        assert running.request("GET", "/healthz")[0] == 200


def test_socket_that_answers_is_left_alone(running: Running) -> None:
    """A second daemon on the same folder is refused and does the first no harm."""
    with pytest.raises(AriPresenceError, match=r"another daemon answers on .*control\.sock"):
        make(running.path.parent).start()
    assert running.request("GET", "/healthz")[0] == 200


def test_file_in_the_place_of_the_socket_is_kept(tmp_path: Path) -> None:
    """Only sockets are ever removed."""
    (tmp_path / "control.sock").write_text("precious")
    with pytest.raises(AriPresenceError, match="in the way"):
        make(tmp_path).start()
    assert (tmp_path / "control.sock").read_text() == "precious"


@pytest.mark.parametrize("name", [pytest.param("nowhere/s", id="no folder"), pytest.param("x" * 120, id="too long")])
def test_impossible_socket_path_is_one_line_with_remedy(tmp_path: Path, name: str) -> None:
    """The operator learns which key to look at."""
    with pytest.raises(AriPresenceError, match="state_dir") as caught:
        open_unix_socket(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_tcp_port_in_use_names_address_and_key_and_cleans_up(running: Running, tmp_path_factory: object) -> None:
    """Nothing is left behind when one of the two sockets cannot be opened."""
    port = running.server.tcp_port
    assert port
    folder = running.path.parent / "second"
    folder.mkdir()
    with pytest.raises(AriPresenceError, match=rf"\[http\] listen: .*127\.0\.0\.1:{port}: .*in use") as caught:
        make(folder, ("127.0.0.1", port)).start()
    assert "\n" not in str(caught.value)
    assert not (folder / "control.sock").exists()


@pytest.mark.parametrize(
    "host", [pytest.param("192.0.2.1", id="foreign address"), pytest.param("no such host", id="no address")]
)
def test_tcp_address_that_is_not_ours_names_the_key(host: str) -> None:
    """A wrong address is explained, too."""
    with pytest.raises(AriPresenceError, match=r"\[http\] listen"):
        open_tcp_socket(host, 0)


def test_server_without_tcp_serves_the_socket_only(tmp_path: Path) -> None:
    """TCP is optional."""
    server = make(tmp_path, None)
    server.start()
    assert server.tcp_port is None
    server.stop()
    assert not (tmp_path / "control.sock").exists()


def test_stop_before_start_and_twice_is_harmless(tmp_path: Path) -> None:
    """A daemon that fails halfway through its start can stop everything."""
    server = make(tmp_path)
    server.stop()
    server = make(tmp_path)
    server.start()
    server.stop()
    server.stop()


def test_stop_leaves_a_successors_socket_alone(tmp_path: Path) -> None:
    """The file is removed only while it is the one that was made here."""
    server = make(tmp_path)
    server.start()
    (tmp_path / "control.sock").unlink()
    with open_unix_socket(tmp_path / "control.sock"):
        server.stop()
        assert (tmp_path / "control.sock").exists()


def test_stop_waits_at_most_a_second_for_a_blocked_change(tmp_path: Path) -> None:
    """A request that hangs in the daemon does not hold up the end."""
    with serving(tmp_path) as running:
        running.service.gate.clear()
        with running.connect() as sock:
            sock.sendall(b"GET /api/v1/users/100 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert running.request("GET", "/healthz")[0] == 200
            started = time.monotonic()
            running.server.stop()
            assert time.monotonic() - started < 1.0


def test_signal_handlers_stay_the_daemons(running: Running) -> None:
    """The server does not touch the signals of the process."""
    assert running.request("GET", "/healthz")[0] == 200
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_connection_without_a_request_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects and says nothing does not stay for ever."""
    monkeypatch.setattr(server_module, "FIRST_REQUEST_S", 0.1)
    with serving(tmp_path) as running, running.connect() as sock:
        sock.sendall(b"GET /healthz HT")
        with suppress(ConnectionResetError):
            assert sock.recv(10) == b""


def test_stopped_server_leaves_no_threads(tmp_path: Path) -> None:
    """Worker threads end with the server."""
    before = set(threading.enumerate())
    with serving(tmp_path) as running:
        assert running.request("GET", "/api/v1/users")[0] == 200
        assert len(threading.enumerate()) > len(before)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
