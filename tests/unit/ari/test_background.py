"""Subscriptions and listings beside the link."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count

import pytest
from structlog.testing import capture_logs

from ari_presence.ari import background as module
from ari_presence.ari.background import NAMES_PER_CALL, Background
from ari_presence.ari.wire import Request, Response
from ari_presence.core.events import EndpointsSeen
from tests.unit.ari.collector import Collector
from tests.unit.ari.fake_ari import FakeAri

SUBSCRIPTION = ".*/subscription"
Start = Callable[..., Background]


@pytest.fixture
def posted() -> Collector:
    """Collect what is posted."""
    return Collector()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(module, "RETRY_S", (0.02, 0.05))


@pytest.fixture
def start(ari: FakeAri, posted: Collector) -> Iterator[Start]:
    """Start sessions, which are ended with the test."""
    ari.asterisk.app_known = True
    started: list[Background] = []

    def one(survived: Iterable[str] = ()) -> Background:
        started.append(Background(ari.address(), survived, posted))
        started[-1].start()
        return started[-1]

    yield one
    for each in started:
        each.end()
        each._thread.join(5)


def _sources(ari: FakeAri) -> list[list[str]]:
    return [json.loads(call.body)["eventSource"] for call in ari.asterisk.seen("POST", SUBSCRIPTION)]


def test_devices_are_subscribed_by_name_and_done_is_called(ari: FakeAri, start: Start) -> None:
    """Each device is named; whoever asked is told afterwards."""
    done = threading.Event()
    start().watch(lambda: ["Custom:a", "Custom:b"], done.set)
    assert done.wait(5)
    assert _sources(ari) == [["deviceState:Custom:a", "deviceState:Custom:b"]]


def test_only_what_is_missing_is_subscribed(ari: FakeAri, start: Start) -> None:
    """Subscriptions survive the socket, in whatever case Asterisk writes them; who misses nothing is not told."""
    done, other = threading.Event(), threading.Event()
    session = start(["custom:A", "Custom:b"])
    session.watch(lambda: ["Custom:a", "Custom:b"], other.set)
    session.watch(lambda: ["Custom:b", "Custom:c"], done.set)
    assert done.wait(5)
    assert _sources(ari) == [["deviceState:Custom:c"]]
    assert not other.is_set()


def _names(number: int) -> list[str]:
    return [f"Custom:{number}-{j}" for j in range(8)]


def test_many_devices_go_in_small_calls(ari: FakeAri, start: Start) -> None:
    """No call names more than Asterisk takes, none is lost, and all who asked are told."""
    told: list[int] = []
    all_told = threading.Event()

    def done(number: int) -> None:
        told.append(number)
        if len(told) == 60:
            all_told.set()

    session = start()
    for i in range(60):
        session.watch(partial(_names, i), partial(done, i))
    assert all_told.wait(10)
    sources = _sources(ari)
    assert max(map(len, sources)) <= NAMES_PER_CALL
    assert len(sources) < 15
    assert [name for names in sources for name in names] == [
        f"deviceState:Custom:{i}-{j}" for i in range(60) for j in range(8)
    ]
    assert told == list(range(60))


def test_nobody_is_told_before_the_last_of_his_devices(ari: FakeAri, start: Start) -> None:
    """A group that is spread over two calls is told after the second."""
    seen_when_told: list[int] = []
    done = threading.Event()

    def told() -> None:
        seen_when_told.append(len(ari.asterisk.devices))
        done.set()

    start().watch(lambda: [f"Custom:{i}" for i in range(NAMES_PER_CALL + 30)], told)
    assert done.wait(5)
    assert seen_when_told == [NAMES_PER_CALL + 30]


def test_calls_leave_asterisk_time_for_others(ari: FakeAri, start: Start) -> None:
    """After a call that took long, as much time passes before the next."""
    hold = 0.15
    ari.gate = lambda _request: (threading.Event().wait(hold), None)[1]
    began: list[float] = []
    session = start()
    two = threading.Event()

    def done() -> None:
        began.append(time.monotonic())
        if len(began) == 2:
            two.set()

    session.watch(lambda: [f"Custom:{i}" for i in range(NAMES_PER_CALL)], done)
    session.watch(lambda: ["Custom:x"], done)
    assert two.wait(5)
    assert began[1] - began[0] >= 2 * hold * 0.95


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Response(503, "{}"), id="booting"),
        pytest.param(Response(404, '{"message":"Application not found"}'), id="application-gone"),
        pytest.param(Response(403, "{}"), id="forbidden"),
        pytest.param(Response(500, ""), id="error"),
    ],
)
def test_failed_subscription_is_tried_again_within_the_session(ari: FakeAri, start: Start, failure: Response) -> None:
    """A call that fails costs time and nothing else: nobody else would ever ask again while the link is up."""
    ari.asterisk.override("POST", SUBSCRIPTION, failure, failure, Response(200, "{}"))
    done = threading.Event()
    with capture_logs() as logs:
        start().watch(lambda: ["Custom:a"], done.set)
        assert done.wait(5)
    assert _sources(ari) == [["deviceState:Custom:a"]] * 3
    assert [log["event"] for log in logs] == ["background call failed, tried again"] * 2


def test_failure_in_the_middle_repeats_only_what_failed(ari: FakeAri, start: Start) -> None:
    """What was subscribed before is not asked for again."""
    good = Response(200, "{}")
    ari.asterisk.override("POST", SUBSCRIPTION, good, Response(503, "{}"), good)
    done = threading.Event()
    start().watch(lambda: [f"Custom:{i}" for i in range(NAMES_PER_CALL + 1)], done.set)
    assert done.wait(5)
    assert [len(names) for names in _sources(ari)] == [NAMES_PER_CALL, 1, 1]


def test_what_is_asked_after_a_failure_is_done_too(ari: FakeAri, start: Start) -> None:
    """The thread survives a failure and goes on with what comes later."""
    ari.asterisk.override("POST", SUBSCRIPTION, Response(503, "{}"), Response(200, "{}"))
    session, first, second = start(), threading.Event(), threading.Event()
    session.watch(lambda: ["Custom:a"], first.set)
    assert first.wait(5)
    session.watch(lambda: ["Custom:b"], second.set)
    assert second.wait(5)


def test_retries_grow_apart(ari: FakeAri, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wedged ARI keeps a thread and a socket for every call: they become rarer."""
    monkeypatch.setattr(module, "RETRY_S", (0.01, 0.64))
    pauses: list[float] = []
    original = Background._pause

    def pause(self: Background, seconds: float) -> None:
        pauses.append(seconds)
        original(self, 0.0)

    monkeypatch.setattr(Background, "_pause", pause)
    ari.asterisk.override("POST", SUBSCRIPTION, *[Response(503, "{}")] * 8, Response(200, "{}"))
    done = threading.Event()
    start().watch(lambda: ["Custom:a"], done.set)
    assert done.wait(5)
    steps = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 0.64]
    assert all(0.69 * step <= pause <= step for step, pause in zip(steps, pauses, strict=False))


def test_end_of_the_session_ends_the_thread_whatever_it_does(ari: FakeAri, start: Start) -> None:
    """Waiting for work, pausing after a failure: the end is quick, and nothing is called afterwards."""
    idle = start()
    idle.end()
    idle._thread.join(5)
    assert not idle._thread.is_alive()
    ari.asterisk.override("POST", SUBSCRIPTION, Response(503, "{}"))
    told: list[int] = []
    pausing = start()
    pausing.watch(lambda: ["Custom:a"], lambda: told.append(1))
    ari.asterisk.wait_for("POST", SUBSCRIPTION)
    pausing.end()
    pausing._thread.join(5)
    assert not pausing._thread.is_alive()
    pausing.watch(lambda: ["Custom:b"], lambda: told.append(2))
    assert told == []


def test_end_during_a_call_keeps_quiet(ari: FakeAri, start: Start) -> None:
    """A call that ends after its session says nothing and tells nobody."""
    entered, go = threading.Event(), threading.Event()

    def gate(_request: Request) -> None:
        entered.set()
        go.wait(10)

    ari.gate = gate
    ari.asterisk.override("POST", SUBSCRIPTION, Response(503, "{}"))
    told: list[int] = []
    with capture_logs() as logs:
        session = start()
        session.watch(lambda: ["Custom:a"], lambda: told.append(1))
        assert entered.wait(5)
        session.end()
        go.set()
        session._thread.join(5)
    assert (told, logs) == ([], [])


def test_endpoints_are_listed_again_and_again(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every period the listing is posted, with what has changed meanwhile; work in between does not stop it."""
    monkeypatch.setattr(module, "LIST_EVERY_S", 0.05)
    session = start()
    assert posted.wait(EndpointsSeen, 2).endpoints == ("PJSIP/100", "PJSIP/101")
    ari.asterisk.endpoints.append("PJSIP/102")
    numbers = count()
    for _ in range(20):
        session.watch(lambda: [f"Custom:{next(numbers)}"], lambda: None)
    posted.wait_until(lambda: any(len(event.endpoints) == 3 for event in posted.all(EndpointsSeen)))
    assert {event.pbx for event in posted.all(EndpointsSeen)} == {"hq"}


def test_failed_listing_is_tried_again(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that fails or cannot be read posts nothing; the next one does."""
    monkeypatch.setattr(module, "LIST_EVERY_S", 0.05)
    ari.asterisk.override(
        "GET", "endpoints", Response(503), Response(200, "[1]"), Response(200, "{"), Response(200, "[]")
    )
    start()
    assert posted.wait(EndpointsSeen).endpoints == ()
    assert len(ari.asterisk.seen("GET", "endpoints")) == 4


def test_no_more_names_than_asterisk_should_keep(ari: FakeAri, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit nothing is subscribed, what survived included; smaller ones still fit."""
    monkeypatch.setattr(module, "NAMES_AT_MOST", 5)
    done = threading.Event()
    session = start(["Custom:x", "Custom:y"])
    session.watch(lambda: [f"Custom:{i}" for i in range(4)], done.set)
    session.watch(lambda: ["Custom:a", "Custom:b", "Custom:c"], done.set)
    assert done.wait(5)
    assert [len(names) for names in _sources(ari)] == [3]


def test_nothing_is_ever_deleted_or_left_without_a_name(ari: FakeAri, start: Start) -> None:
    """A deleted subscription or one to all devices can deadlock Asterisk (asterisk#2170)."""
    done = threading.Event()
    session = start()
    session.watch(lambda: ["Custom:a"], done.set)
    assert done.wait(5)
    session.end()
    assert not ari.asterisk.seen("DELETE", ".*")
    assert all(name != "deviceState:" for names in _sources(ari) for name in names)
