"""The buffer below the websocket, and writes of many frames."""

import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import websocket

from ari_presence.ari.sockets import buffer, close, send_all, shut
from tests.unit.ari.fake_ari import PONG, TEXT, FakeAri, ServerSocket


@pytest.fixture
def web(ari: FakeAri) -> Iterator[websocket.WebSocket]:
    """Give a buffered websocket to the server."""
    secret = b64encode(f"{ari.username}:{ari.password}".encode()).decode()
    ari.answers_websocket = False
    made = websocket.create_connection(
        ari.url.replace("http", "ws") + "/ari/events?app=x",
        header=[f"Authorization: Basic {secret}"],
        timeout=5,
        enable_multithread=True,
        skip_utf8_validation=True,
    )
    buffer(made)
    yield made
    close(made)


def _frames(*texts: str) -> bytes:
    return b"".join(bytes([0x81, len(text)]) + text.encode() for text in texts)


def test_frames_that_come_together_are_read_one_by_one(ari: FakeAri, web: websocket.WebSocket) -> None:
    """One read of the socket fetches all, so that what follows the first is there although the connection has ended."""
    ari.socket().raw(_frames("one", "two", "three"))
    assert web.recv() == "one"
    shut(web)
    assert [web.recv(), web.recv()] == ["two", "three"]


def test_frame_in_pieces_survives_a_timeout_in_the_middle(ari: FakeAri, web: websocket.WebSocket) -> None:
    """A frame whose rest comes after a timeout is still whole."""
    whole = _frames("hello")
    web.settimeout(0.05)
    ari.socket().raw(whole[:4])
    with pytest.raises(websocket.WebSocketTimeoutException):
        web.recv()
    web.settimeout(5)
    ari.socket().raw(whole[4:])
    assert web.recv() == "hello"


def test_large_frame_is_read_whole(ari: FakeAri, web: websocket.WebSocket) -> None:
    """A listing is longer than the buffer."""
    text = "x" * 300_000
    ari.socket().frame(TEXT, text.encode())
    ari.socket().frame(PONG, b"")
    assert web.recv() == text


def test_end_of_the_connection_is_noticed(ari: FakeAri, web: websocket.WebSocket) -> None:
    """Behind the last frame comes the end, as without a buffer."""
    ari.socket().raw(_frames("last"))
    ari.socket().cut()
    assert web.recv() == "last"
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        web.recv()


def test_several_texts_are_several_frames(web: websocket.WebSocket, ari: FakeAri) -> None:
    """What is sent in one piece arrives as separate frames, in order."""
    ari.answers_websocket = True
    send_all(web, [json.dumps({"method": "GET", "uri": f"sounds/{i}", "request_id": str(i)}) for i in range(20)])
    assert [json.loads(web.recv())["request_id"] for _ in range(20)] == [str(i) for i in range(20)]


def test_each_frame_has_a_mask_of_its_own() -> None:
    """A mask is fresh for every frame (RFC 6455 section 5.3), although the random bytes for all are fetched at once."""
    near, far = socket.socketpair()
    web: Any = SimpleNamespace(lock=threading.Lock(), sock=near)
    send_all(web, ["a"] * 50)
    near.close()
    data = far.recv(10_000)
    far.close()
    frames = [data[at : at + 7] for at in range(0, len(data), 7)]
    assert [frame[:2] for frame in frames] == [b"\x81\x81"] * 50
    assert [frame[2] ^ frame[6] for frame in frames] == [ord("a")] * 50
    assert len({frame[2:6] for frame in frames}) > 45


def test_send_waits_for_progress_not_for_all() -> None:
    """A slow server that keeps taking is not given up, although all of it takes longer than the time limit."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    near.settimeout(0.1)
    texts = ["x" * 60_000] * 2
    done = threading.Event()
    got = [0]

    def take_slowly() -> None:
        while not done.wait(0.02) or got[0] < 120_000:
            got[0] += len(far.recv(4096))

    thread = threading.Thread(target=take_slowly)
    thread.start()
    web: Any = SimpleNamespace(lock=threading.Lock(), sock=near)
    send_all(web, texts)
    done.set()
    thread.join(10)
    near.close()
    far.close()
    assert got[0] >= 120_000


def test_shut_and_closed_websocket_takes_nothing_more(web: websocket.WebSocket, ari: FakeAri) -> None:
    """Sending on an ended websocket is an OSError; ending it again does no harm."""
    server: ServerSocket = ari.socket()
    shut(web)
    with pytest.raises(OSError, match=r"closed|[Bb]roken|[Bb]ad file"):
        send_all(web, ["a"])
    close(web)
    shut(web)
    close(web)
    assert server.ended.wait(5)
