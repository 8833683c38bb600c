"""The event stream: live, resumed, crowded, abandoned, stopped."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ari_presence.http import events
from tests.unit.http.fake_service import Running, eventually, serving


class Stream:
    """One client of the stream, reading raw lines."""

    def __init__(self, running: Running, last_id: int | None = None) -> None:
        """Connect and read the headers."""
        self.sock = running.connect()
        header = f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""
        self.sock.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        self.file = self.sock.makefile("rb")
        self.headers = self._until_blank()
        assert self.headers[0] == b"HTTP/1.1 200 OK"

    def _until_blank(self) -> list[bytes]:
        return list(iter(lambda: self.file.readline().rstrip(), b""))

    def line(self, start: bytes) -> bytes | None:
        """Give the next line with that start, None at the end of the stream."""
        for line in self.file:
            if line.startswith(start):
                return line.rstrip()
        return None

    def event(self) -> tuple[int, str] | None:
        """Give the next event's id and user, None at the end."""
        if (number := self.line(b"id: ")) is None:
            return None
        data = self.line(b"data: ")
        assert data is not None
        return int(number[4:]), json.loads(data[6:])["user"]

    def close(self) -> None:
        """Go away."""
        self.file.close()
        self.sock.close()


def change(running: Running, user: str = "100", **body: Any) -> None:
    """Make one change over HTTP."""
    assert running.request("PUT", f"/api/v1/users/{user}/state", {"state": "dnd", **body})[0] == 200


def test_change_is_streamed_at_once(running: Running) -> None:
    """An open stream gets each change with its id."""
    stream = Stream(running)
    assert b"content-type: text/event-stream; charset=utf-8" in stream.headers
    change(running)
    change(running, "101")
    assert [stream.event(), stream.event()] == [(1, "100"), (2, "101")]
    stream.close()


def test_message_with_newline_stays_one_event(running: Running) -> None:
    """Text cannot break out of its event."""
    stream = Stream(running)
    change(running, message="a\n\ndata: b")
    change(running, "101")
    assert [stream.event(), stream.event()] == [(1, "100"), (2, "101")]
    stream.close()


def test_resumed_stream_gets_what_it_missed_once(running: Running) -> None:
    """Last-Event-ID brings everything after it, then what happens, nothing twice."""
    for user in ("100", "101", "100"):
        change(running, user)
    stream = Stream(running, last_id=1)
    assert [stream.event(), stream.event()] == [(2, "101"), (3, "100")]
    change(running, "101")
    assert stream.event() == (4, "101")
    stream.close()


def test_streams_joining_in_a_flood_miss_nothing(running: Running) -> None:
    """Streams resumed while changes pour in see every id once and in order."""
    change(running)
    total = 2000
    started = threading.Event()

    def flood() -> None:
        for number in range(1, total):
            running.service.clear_state("100", "cli")
            if number == 200:
                started.set()
            if number % 100 == 0:
                running.request("GET", "/healthz")  # lets the server take part

    thread = threading.Thread(target=flood)
    thread.start()
    assert started.wait(10)
    streams = [Stream(running, last_id=1) for _ in range(8)]
    for stream in streams:
        seen = [item[0] for _ in range(2, total + 1) if (item := stream.event())]
        assert seen == list(range(2, total + 1))
        stream.close()
    thread.join()


@pytest.mark.parametrize("value", ["x", "-1", "1.5", str(2**70)])
def test_last_event_id_that_is_no_id_is_a_problem(running: Running, value: str) -> None:
    """A foreign id is refused, not guessed at."""
    answer = running.request("GET", "/api/v1/events", headers={"Last-Event-ID": value})
    assert (answer[0], answer[1]["code"]) == (422, "bad-request")


def test_silent_stream_gets_comments(tmp_path: Path) -> None:
    """A comment comes while nothing happens, so that a dead link is noticed."""
    with serving(tmp_path, keep_alive_s=0.05) as running:
        stream = Stream(running)
        assert stream.line(b": ") == b": keep-alive"
        stream.close()


def test_many_watchers_cost_no_threads_and_all_get_the_change(running: Running) -> None:
    """Fifty streams share one watch of the daemon, and other requests are served besides."""
    streams = [Stream(running) for _ in range(50)]
    threads = threading.active_count()
    assert threads < 12
    assert len(running.service.open_watches) == 1
    change(running)
    assert all(stream.event() == (1, "100") for stream in streams)
    for stream in streams:
        stream.close()


def test_one_watcher_too_many_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of streams is bounded; a place that becomes free can be taken."""
    monkeypatch.setattr(events, "MAX_WATCHERS", 2)
    first, second = Stream(running), Stream(running)
    status, body, headers = running.request("GET", "/api/v1/events")
    assert (status, body["code"], headers["retry-after"]) == (503, "no-stream", "2")
    first.close()
    assert eventually(lambda: _opens(running))
    second.close()


def _opens(running: Running) -> bool:
    try:
        Stream(running).close()
    except AssertionError:
        return False
    return True


def test_watcher_that_goes_away_is_forgotten(running: Running) -> None:
    """A closed client leaves nothing behind, and the others go on."""
    hub = running.server._app_local.state.close_streams.__self__
    gone, stays = Stream(running), Stream(running)
    assert len(hub._watchers) == 2
    gone.close()
    assert eventually(lambda: len(hub._watchers) == 1)
    change(running)
    assert stays.event() == (1, "100")
    stays.close()


def test_watcher_that_does_not_read_is_cut_off(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing is given up, its queue is bounded, and the others go on."""
    monkeypatch.setattr(events, "SEND_S", 0.2)
    monkeypatch.setattr(events, "MAX_QUEUE", 50)
    hub = running.server._app_local.state.close_streams.__self__
    stuck = Stream(running)
    number = 0
    while hub._watchers and number < 20_000:
        running.service.clear_state("100", "cli")
        number += 1
        if number % 500 == 0:
            running.request("GET", "/healthz")
    assert eventually(lambda: not hub._watchers)
    lively = Stream(running)
    change(running)
    assert lively.event() is not None
    stuck.close()
    lively.close()


def test_daemon_that_stops_ends_the_streams(running: Running) -> None:
    """When the daemon's watch ends, so do the streams, and new ones are refused."""
    stream = Stream(running)
    running.service.stop()
    assert stream.event() is None
    status, body, _ = running.request("GET", "/api/v1/events")
    assert (status, body["code"]) == (503, "no-stream")
    stream.close()


def test_failed_watch_is_opened_anew_by_the_next_client(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the daemon's watch is a problem document for one client, not the end of all streams."""

    def broken(_last_id: int | None) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(running.service, "watch", broken)
        assert running.request("GET", "/api/v1/events")[0] == 503
    stream = Stream(running)
    change(running)
    assert stream.event() == (1, "100")
    stream.close()


def test_server_stops_within_a_second_with_open_streams(tmp_path: Path) -> None:
    """Streams that are read and streams that are not both end with the server."""
    with serving(tmp_path) as running:
        streams = [Stream(running) for _ in range(10)]
        started = time.monotonic()
        running.server.stop()
        assert time.monotonic() - started < 1.0
        assert all(stream.event() is None for stream in streams)
        assert not running.path.exists()
        assert not any(thread.name == "http" for thread in threading.enumerate())
        for stream in streams:
            stream.close()
