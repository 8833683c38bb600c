"""The client against servers that misbehave."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ari_presence.cli.client import ControlClient
from ari_presence.errors import ControlError


@contextmanager
def server_saying(path: Path, answer: bytes) -> Iterator[None]:
    """Listen on `path`, read a request, send `answer`, close."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(b"", "not reachable", id="closes at once"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "not reachable", id="not http"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "is not ari-presence", id="not json"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
            "is not ari-presence",
            id="broken json",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            "not reachable",
            id="cut",
        ),
        pytest.param(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "HTTP 502", id="foreign error"),
    ],
)
def test_answer_that_makes_no_sense_is_a_control_error(tmp_path: Path, answer: bytes, text: str) -> None:
    """Whatever answers on the socket, the operator gets one line."""
    with server_saying(tmp_path / "s", answer), pytest.raises(ControlError, match=text) as caught:
        ControlClient(tmp_path / "s").get("/users")
    assert "\n" not in str(caught.value)


def test_frozen_daemon_is_given_up_after_the_time_limit(tmp_path: Path) -> None:
    """A socket that accepts and says nothing does not hold the command line for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        with pytest.raises(ControlError, match=r"did not answer within 0\.1 s"):
            ControlClient(tmp_path / "s").call("GET", "/users", None, 0.1)


def test_socket_path_that_is_too_long_is_explained(tmp_path: Path) -> None:
    """The limit of Unix sockets is not the operator's to know."""
    with pytest.raises(ControlError, match="shorter state_dir"):
        ControlClient(tmp_path / ("x" * 120)).get("/users")
