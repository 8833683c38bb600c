"""Groups of requests: their order, the window, and that each is answered exactly once whatever happens."""

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ari_presence.ari.pipeline import (
    FEW,
    NARROW_WINDOW,
    URGENT_WINDOW,
    WINDOW,
    Done,
    Group,
    HttpPipeline,
    WebSocketPipeline,
)
from ari_presence.ari.rest import Rest
from ari_presence.ari.wire import Request, Response
from ari_presence.errors import AriConnectionError
from tests.unit.ari.fake_ari import FakeAri

OK = Response(204)


def _requests(*names: str) -> list[Request]:
    return [Request("GET", name) for name in names]


class Wire:
    """The far end of a websocket on which nobody answers but the test."""

    def __init__(self) -> None:
        """Make a pair of sockets, ours with a short time limit."""
        near, self.far = socket.socketpair()
        near.settimeout(0.2)
        self.far.settimeout(5)
        self.web: Any = SimpleNamespace(lock=threading.Lock(), sock=near)
        self._file = self.far.makefile("rb")

    def read(self) -> tuple[str, str]:
        """Give id and path of the next request."""
        _, second = self._file.read(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(self._file.read(2), "big")
        mask, data = self._file.read(4), self._file.read(size)
        message = json.loads(bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))
        return message["request_id"], message["uri"]

    def paths(self, count: int) -> list[str]:
        """Give the paths of the next requests."""
        return [self.read()[1] for _ in range(count)]

    def is_silent(self) -> bool:
        """Tell whether nothing more was sent."""
        self.far.setblocking(False)
        try:
            return not self._file.peek(1)
        except BlockingIOError:
            return True
        finally:
            self.far.settimeout(5)

    def close(self) -> None:
        """Let go of the sockets."""
        self._file.close()
        self.far.close()
        self.web.sock.close()


class Answers:
    """Collects what groups were told, by name."""

    def __init__(self) -> None:
        """Start empty."""
        self.got: list[tuple[str, list[int] | None]] = []
        self._changed = threading.Condition()

    def of(self, name: str) -> Done:
        """Make a `done` for one group."""

        def done(responses: list[Response] | None) -> None:
            with self._changed:
                self.got.append((name, None if responses is None else [response.status for response in responses]))
                self._changed.notify_all()

        return done

    def wait(self, count: int) -> list[tuple[str, list[int] | None]]:
        """Wait until so many groups were told, and give what."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, 5), self.got
            return list(self.got)


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Give a websocket whose far end is the test's."""
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def answers() -> Answers:
    """Give a collection of answers."""
    return Answers()


def test_requests_leave_in_order_and_group_is_answered_as_a_whole(wire: Wire, answers: Answers) -> None:
    """A group gets its responses together, in the order of its requests."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests("a", "b"), answers.of("one")), urgent=False)
    ids = [wire.read()[0], wire.read()[0]]
    pipeline.answered(ids[0], Response(200))
    assert answers.got == []
    pipeline.answered(ids[1], Response(404))
    assert answers.got == [("one", [200, 404])]


def test_window_limits_what_is_in_flight(wire: Wire, answers: Answers) -> None:
    """No more than the window is sent; the rest follows in larger pieces as answers come."""
    pipeline = WebSocketPipeline(wire.web)
    names = [f"r{i}" for i in range(WINDOW * 2)]
    pipeline.submit(Group(_requests(*names), answers.of("big")), urgent=False)
    ids = [wire.read()[0] for _ in range(WINDOW)]
    for request_id in ids[: WINDOW // 2 - 1]:
        pipeline.answered(request_id, OK)
    assert wire.is_silent()
    pipeline.answered(ids[WINDOW // 2 - 1], OK)
    assert wire.paths(WINDOW // 2) == names[WINDOW : WINDOW + WINDOW // 2]
    assert wire.is_silent()


def test_window_is_narrow_once_an_urgent_request_has_met_others(wire: Wire, answers: Answers) -> None:
    """A dialled code waits for what is in flight, so that while people dial less of it is."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests(*(f"r{i}" for i in range(WINDOW * 2))), answers.of("bulk")), urgent=False)
    ids = [wire.read()[0] for _ in range(WINDOW)]
    pipeline.submit(Group(_requests("code"), answers.of("code")), urgent=True)
    ids.append(wire.read()[0])
    for request_id in ids[: -NARROW_WINDOW // 2]:
        assert wire.is_silent()
        pipeline.answered(request_id, OK)
    assert len(wire.paths(NARROW_WINDOW // 2)) == NARROW_WINDOW // 2
    assert wire.is_silent()


def test_long_group_is_sent_and_answered_to_its_end(wire: Wire, answers: Answers) -> None:
    """Nothing but answers is needed to keep a long group going."""
    pipeline = WebSocketPipeline(wire.web)
    names = [f"r{i}" for i in range(WINDOW * 3 + 7)]
    pipeline.submit(Group(_requests(*names), answers.of("big")), urgent=False)
    for _ in names:
        pipeline.answered(wire.read()[0], OK)
    assert answers.got == [("big", [204] * len(names))]


def test_urgent_group_goes_before_bulk_that_was_not_sent(wire: Wire, answers: Answers) -> None:
    """An urgent group does not wait for room in the window; the rest of the bulk waits behind it."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests(*(f"bulk{i}" for i in range(WINDOW + 1))), answers.of("bulk")), urgent=False)
    wire.paths(WINDOW)
    pipeline.submit(Group(_requests("u1", "u2"), answers.of("first")), urgent=True)
    pipeline.submit(Group(_requests("u3"), answers.of("second")), urgent=True)
    assert wire.paths(3) == ["u1", "u2", "u3"]
    assert wire.is_silent()
    for count in range(1, WINDOW + 4):
        pipeline.answered(str(count), OK)
    assert wire.paths(1) == [f"bulk{WINDOW}"]
    assert [name for name, _ in answers.got] == ["first", "second"]


def test_urgent_requests_have_a_limit_too(wire: Wire, answers: Answers) -> None:
    """Even urgent requests cannot fill the socket of a frozen server."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests(*(f"u{i}" for i in range(URGENT_WINDOW + 5))), answers.of("u")), urgent=True)
    wire.paths(URGENT_WINDOW)
    assert wire.is_silent()


def test_close_fails_everything_exactly_once(wire: Wire, answers: Answers) -> None:
    """Groups in flight, half sent, queued and late are all told once that the link ended."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests(*"abc"), answers.of("sent")), urgent=False)
    pipeline.submit(Group(_requests(*(str(i) for i in range(WINDOW))), answers.of("half")), urgent=False)
    pipeline.submit(Group(_requests("x"), answers.of("queued")), urgent=True)
    first = wire.read()[0]
    pipeline.answered(first, OK)
    pipeline.close()
    pipeline.close()
    pipeline.submit(Group(_requests("y"), answers.of("late")), urgent=True)
    pipeline.answered("2", OK)
    assert Counter(answers.got) == Counter([(name, None) for name in ("sent", "half", "queued", "late")])


@pytest.mark.parametrize("request_id", ["2", "0", "", "probe"], ids=["next", "before", "none", "probe"])
def test_answer_with_another_id_ends_the_link(wire: Wire, answers: Answers, request_id: str) -> None:
    """Once order is lost nobody knows which answer belongs to whom; nobody is told a wrong one."""
    pipeline = WebSocketPipeline(wire.web)
    pipeline.submit(Group(_requests("a"), answers.of("a")), urgent=False)
    pipeline.submit(Group(_requests("b"), answers.of("b")), urgent=False)
    with pytest.raises(AriConnectionError, match="unexpected answer"):
        pipeline.answered(request_id, OK)
    assert answers.got == []


def test_answer_that_nobody_asked_for_ends_the_link(wire: Wire) -> None:
    """With nothing in flight, an answer is somebody else's."""
    with pytest.raises(AriConnectionError):
        WebSocketPipeline(wire.web).answered("1", OK)


def test_failed_send_shuts_the_socket_and_close_tells_the_group(wire: Wire, answers: Answers) -> None:
    """After a send that failed the reader sees the end, and the group is told once."""
    pipeline = WebSocketPipeline(wire.web)
    wire.far.shutdown(socket.SHUT_RDWR)
    pipeline.submit(Group(_requests("a"), answers.of("a")), urgent=False)
    assert answers.got == []
    assert wire.web.sock.recv(1) == b""
    pipeline.close()
    assert answers.got == [("a", None)]


def test_server_that_takes_nothing_does_not_hold_up_the_sender(wire: Wire, answers: Answers) -> None:
    """A full socket is given up after the time limit of the socket, and the link ends."""
    pipeline = WebSocketPipeline(wire.web)
    wire.web.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    big = [Request("GET", "x" * 60_000) for _ in range(WINDOW)]
    pipeline.submit(Group(big, answers.of("big")), urgent=False)
    pipeline.close()
    assert answers.got == [("big", None)]
    assert wire.web.sock.recv(1) == b""


def test_oldest_request_tells_since_when_it_waits(wire: Wire, answers: Answers) -> None:
    """The link's time limit for answers counts from the oldest one that is missing."""
    pipeline = WebSocketPipeline(wire.web)
    assert pipeline.waiting_since() is None
    pipeline.submit(Group(_requests("a"), answers.of("a")), urgent=False)
    since = pipeline.waiting_since()
    pipeline.submit(Group(_requests("b"), answers.of("b")), urgent=False)
    assert since is not None
    assert pipeline.waiting_since() == since
    pipeline.answered("1", OK)
    pipeline.answered("2", OK)
    assert pipeline.waiting_since() is None


def _hammer(submit: Callable[[int, int], None], threads: int = 4, each: int = 50) -> None:
    def work(thread: int) -> None:
        for i in range(each):
            submit(thread, i)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)


def test_many_threads_are_all_answered_in_their_own_order(wire: Wire, answers: Answers) -> None:
    """Groups of several threads are never mixed up: ids on the wire rise, and each group gets its own answers."""
    pipeline = WebSocketPipeline(wire.web)
    wire.web.sock.settimeout(5)
    seen: list[str] = []

    def serve() -> None:
        for count in range(1, 401):
            request_id, path = wire.read()
            assert request_id == str(count)
            seen.append(path)
            pipeline.answered(request_id, Response(int(path.rpartition("-")[2])))

    server = threading.Thread(target=serve)
    server.start()

    def submit(thread: int, i: int) -> None:
        group = Group(_requests(f"{thread}-{200 + i}", f"{thread}-{300 + i}"), answers.of(f"{thread}-{i}"))
        pipeline.submit(group, urgent=random.random() < 0.3)

    _hammer(submit)
    server.join(10)
    assert dict(answers.wait(200)) == {f"{n}-{i}": [200 + i, 300 + i] for n in range(4) for i in range(50)}
    assert len(seen) == 400


def test_close_amid_many_threads_tells_each_group_exactly_once(wire: Wire, answers: Answers) -> None:
    """Whenever the link ends, no group is forgotten or told twice."""
    pipeline = WebSocketPipeline(wire.web)
    wire.web.sock.settimeout(5)

    def serve() -> None:
        for _ in range(120):
            pipeline.answered(wire.read()[0], OK)
        pipeline.close()

    server = threading.Thread(target=serve)
    server.start()
    _hammer(lambda n, i: pipeline.submit(Group(_requests("a", "b"), answers.of(f"{n}-{i}")), urgent=i % 3 == 0))
    server.join(10)
    names = Counter(name for name, _ in answers.wait(200))
    assert names == Counter({f"{n}-{i}": 1 for n in range(4) for i in range(50)})


# --- the same over HTTP -----------------------------------------------------------------------------------------


class Http:
    """An HTTP pipeline to a server whose answers can be held back."""

    def __init__(self, ari: FakeAri) -> None:
        """Start with the gate open."""
        self.broken = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        ari.gate = self._wait
        self.pipeline = HttpPipeline(ari.address().rest(), self.broken.set)

    def _wait(self, _request: Request) -> None:
        self.entered.release()
        assert self.open.wait(10)


@pytest.fixture
def http(ari: FakeAri) -> Iterator[Http]:
    """Give a pipeline over HTTP."""
    made = Http(ari)
    yield made
    made.open.set()
    made.pipeline.close()


def test_http_group_is_answered_as_a_whole(http: Http, answers: Answers) -> None:
    """Over HTTP a group looks the same, an error status among its responses."""
    http.pipeline.submit(Group(_requests("asterisk/ping", "channels/x/play"), answers.of("one")), urgent=False)
    assert answers.wait(1) == [("one", [200, 404])]


def test_http_urgent_group_goes_before_bulk(ari: FakeAri, http: Http, answers: Answers) -> None:
    """While one call is under way, an urgent group overtakes the rest of the bulk."""
    http.open.clear()
    http.pipeline.submit(Group(_requests("sounds/a", "sounds/b"), answers.of("bulk")), urgent=False)
    assert http.entered.acquire(timeout=5)
    http.pipeline.submit(Group(_requests("sounds/u"), answers.of("urgent")), urgent=True)
    http.open.set()
    assert [name for name, _ in answers.wait(2)] == ["urgent", "bulk"]
    assert ari.asterisk.orders() == ["GET sounds/a", "GET sounds/u", "GET sounds/b"]


def test_http_close_fails_what_waits_exactly_once(http: Http, answers: Answers) -> None:
    """The half-done group, the queued one and the late one are told once; the call under way harms nobody."""
    http.open.clear()
    http.pipeline.submit(Group(_requests("sounds/a", "sounds/b"), answers.of("half")), urgent=False)
    assert http.entered.acquire(timeout=5)
    http.pipeline.submit(Group(_requests("sounds/c"), answers.of("queued")), urgent=False)
    http.pipeline.close()
    http.pipeline.close()
    http.pipeline.submit(Group(_requests("sounds/d"), answers.of("late")), urgent=True)
    http.open.set()
    http.pipeline._thread.join(5)
    assert answers.got == [("half", None), ("queued", None), ("late", None)]
    assert not http.broken.is_set()


@pytest.mark.parametrize("urgent", [False, True], ids=["bulk", "urgent"])
@pytest.mark.parametrize("names", [["asterisk/ping"], ["asterisk/ping", "sounds/a"]], ids=["last", "first-of-two"])
def test_http_server_that_is_gone_fails_all_and_says_so(
    ari: FakeAri, http: Http, answers: Answers, names: list[str], urgent: bool
) -> None:
    """When the server cannot be reached the link is told, and every group once."""
    ari.asterisk.override("GET", "asterisk/ping", Response(503))
    http.open.clear()
    http.pipeline.submit(Group(_requests(*names), answers.of("first")), urgent=urgent)
    assert http.entered.acquire(timeout=5)
    http.pipeline.submit(Group(_requests("sounds/x"), answers.of("second")), urgent=False)
    http.open.set()
    assert http.broken.wait(5)
    assert sorted(answers.wait(2)) == [("first", None), ("second", None)]


def test_http_pipeline_amid_many_threads_tells_each_group_exactly_once(
    ari: FakeAri, http: Http, answers: Answers
) -> None:
    """Over HTTP too, no group is forgotten or told twice when the end comes in between."""
    count = [0]

    def end_after_some(_request: Request) -> None:
        count[0] += 1
        if count[0] == 60:
            http.pipeline.close()

    ari.gate = end_after_some
    _hammer(
        lambda n, i: http.pipeline.submit(Group(_requests("asterisk/ping"), answers.of(f"{n}-{i}")), urgent=i % 3 == 0)
    )
    names = Counter(name for name, _ in answers.wait(200))
    assert names == Counter({f"{n}-{i}": 1 for n in range(4) for i in range(50)})


def test_http_session_is_closed_with_the_pipeline(ari: FakeAri) -> None:
    """The connection does not outlive the pipeline."""
    closed = threading.Event()

    class Watched(Rest):
        def close(self) -> None:
            super().close()
            closed.set()

    HttpPipeline(Watched(ari.url, ari.username, ari.password), lambda: None).close()
    assert closed.wait(5)


@pytest.mark.parametrize(
    ("count", "urgent", "hurried"),
    [(0, False, False), (FEW, False, False), (FEW + 1, False, True), (1, True, True)],
    ids=["none", "few", "many", "somebody-waits"],
)
def test_answers_are_read_at_once_where_somebody_waits_or_many_come(
    wire: Wire, count: int, urgent: bool, hurried: bool
) -> None:
    """A few that nobody waits for can be read with what comes next."""
    pipeline = WebSocketPipeline(wire.web)
    if count:
        pipeline.submit(Group(_requests(*map(str, range(count))), lambda _: None), urgent=urgent)
    assert pipeline.is_hurried is hurried
    for _ in range(count):
        pipeline.answered(wire.read()[0], OK)
    assert not pipeline.is_hurried
