"""Frames that come together, in pieces or wrong, and writes of many frames."""

import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import websocket

from ari_presence.ari.sockets import FRAME_BYTES, Frames, close, send_all, shut
from tests.unit.ari.fake_ari import CLOSE, PING, PONG, TEXT, FakeAri, ServerSocket


@pytest.fixture
def web(ari: FakeAri) -> Iterator[websocket.WebSocket]:
    """Give a websocket to the server."""
    secret = b64encode(f"{ari.username}:{ari.password}".encode()).decode()
    ari.answers_websocket = False
    made = websocket.create_connection(
        ari.url.replace("http", "ws") + "/ari/events?app=x",
        header=[f"Authorization: Basic {secret}"],
        timeout=5,
        enable_multithread=True,
        skip_utf8_validation=True,
    )
    yield made
    close(made)


def _take(frames: Frames, count: int) -> list[tuple[int, bytes]]:
    """Read until so many messages have come."""
    got: list[tuple[int, bytes]] = []
    while len(got) < count:
        got += frames.read()
    return got


def _frames(*texts: str) -> bytes:
    return b"".join(bytes([0x81, len(text)]) + text.encode() for text in texts)


def test_frames_that_come_together_are_given_together(ari: FakeAri, web: websocket.WebSocket) -> None:
    """One read of the socket fetches all that is there, in order."""
    frames = Frames(web)
    ari.socket().raw(_frames("one", "two", "three"))
    assert _take(frames, 3) == [(TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three")]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 9, 12])
def test_frame_in_pieces_survives_a_timeout_in_the_middle(ari: FakeAri, web: websocket.WebSocket, cut: int) -> None:
    """A frame whose rest comes after a timeout is still whole, wherever it was cut; one before it is not held up."""
    frames, whole = Frames(web), bytes([0x81, 126, 0, 130]) + b"x" * 130
    web.settimeout(0.05)
    ari.socket().raw(_frames("first") + whole[:cut])
    assert _take(frames, 1) == [(TEXT, b"first")]
    with pytest.raises(TimeoutError):
        while not frames.read():
            pass
    web.settimeout(5)
    ari.socket().raw(whole[cut:])
    assert _take(frames, 1) == [(TEXT, b"x" * 130)]


def test_large_frame_is_read_whole(ari: FakeAri, web: websocket.WebSocket) -> None:
    """A listing is longer than one read."""
    frames, text = Frames(web), b"x" * 300_000
    ari.socket().frame(TEXT, text)
    ari.socket().frame(PONG, b"")
    assert _take(frames, 2) == [(TEXT, text), (PONG, b"")]


def test_message_in_several_frames_is_one(ari: FakeAri, web: websocket.WebSocket) -> None:
    """A proxy may divide a message, and put control frames between the parts (RFC 6455 section 5.4)."""
    frames = Frames(web)
    parts = bytes([0x01, 2]) + b"ab" + bytes([0x8A, 1]) + b"p" + bytes([0x00, 1]) + b"c" + bytes([0x80, 1]) + b"d"
    ari.socket().raw(parts + _frames("next"))
    assert _take(frames, 3) == [(PONG, b"p"), (TEXT, b"abcd"), (TEXT, b"next")]


def test_ping_is_answered(ari: FakeAri, web: websocket.WebSocket) -> None:
    """With the same data; the reader is not bothered with it."""
    frames, seen = Frames(web), threading.Event()
    server = ari.socket()
    server.frame(PING, b"are you there")
    ari._take = lambda _socket, opcode, data: (  # type: ignore[method-assign]
        seen.set() if (opcode, data) == (PONG, b"are you there") else None
    )
    server.frame(CLOSE, b"")
    assert _take(frames, 1) == [(CLOSE, b"")]
    assert seen.wait(5)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(bytes([0x81, 0x81, 1, 2, 3, 4, 5]), websocket.WebSocketProtocolException, id="masked"),
        pytest.param(bytes([0xC1, 1, 65]), websocket.WebSocketProtocolException, id="extension"),
        pytest.param(
            bytes([0x81, 127]) + (FRAME_BYTES + 1).to_bytes(8, "big"), websocket.WebSocketPayloadException, id="huge"
        ),
    ],
)
def test_what_is_no_frame_of_a_server_is_an_error(
    ari: FakeAri, web: websocket.WebSocket, data: bytes, error: type[Exception]
) -> None:
    """The link ends then, and is made anew."""
    frames = Frames(web)
    ari.socket().raw(data)
    with pytest.raises(error):
        _take(frames, 1)


def test_end_of_the_connection_is_noticed(ari: FakeAri, web: websocket.WebSocket) -> None:
    """Behind the last frame comes the end."""
    frames = Frames(web)
    ari.socket().raw(_frames("last"))
    ari.socket().cut()
    assert _take(frames, 1) == [(TEXT, b"last")]
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        frames.read()


def test_several_texts_are_several_frames(web: websocket.WebSocket, ari: FakeAri) -> None:
    """What is sent in one piece arrives as separate frames, in order."""
    ari.answers_websocket = True
    frames = Frames(web)
    send_all(web, [json.dumps({"method": "GET", "uri": f"sounds/{i}", "request_id": str(i)}) for i in range(20)])
    assert [json.loads(data)["request_id"] for _, data in _take(frames, 20)] == [str(i) for i in range(20)]


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
