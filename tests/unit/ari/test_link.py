"""The link as a whole: what it posts, how it notices the end, how it comes back."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ari_presence.ari import connect as connecting
from ari_presence.ari import link as module
from ari_presence.ari.decode import DeviceSeen
from ari_presence.ari.link import Link, LinkDown, LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.core.events import CallerLeft, ClaimState, CodeDialled, PlaybackEnded
from ari_presence.errors import AriAuthError, AriReplacedError
from tests.unit.ari.collector import Collector
from tests.unit.ari.fake_ari import CLOSE, TEXT, FakeAri, ServerSocket, serving, stamp
from tests.unit.ari.fake_asterisk import FakeAsterisk

Start = Callable[[], Link]
PING = Request("GET", "asterisk/ping")


@pytest.fixture
def posted() -> Collector:
    """Collect what is posted."""
    return Collector()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back at once, and look often."""
    monkeypatch.setattr(module, "delays", lambda: count(0.02, 0.0))
    monkeypatch.setattr(module, "POLL_S", 0.05)
    monkeypatch.setattr(connecting, "LIVE_TIMEOUT_S", 0.4)
    monkeypatch.setattr(connecting, "PROBE_TIMEOUT_S", 0.3)


@pytest.fixture
def start(ari: FakeAri, posted: Collector) -> Iterator[Start]:
    """Start links, which are stopped with the test."""
    links: list[Link] = []

    def one() -> Link:
        links.append(Link(ari.address(), posted))
        links[-1].start()
        return links[-1]

    yield one
    for each in links:
        each.stop()
        assert not each._thread.is_alive()


def _stasis_start(socket: ServerSocket, channel: str, *, seconds_ago: float = 0.0) -> None:
    socket.event(
        "StasisStart",
        args=["dnd", "on"],
        channel={"id": channel, "name": "PJSIP/100-00000001"},
        timestamp=stamp(seconds_ago),
    )


def _ask(link: Link, *requests: Request) -> list[list[Response] | None]:
    """Submit a group and give a list that gets its outcome."""
    got: list[list[Response] | None] = []
    link.submit(requests or [PING], got.append)
    return got


def _eventually(what: Callable[[], Any], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not what():
        assert time.monotonic() < deadline, "not in time"
        tick.wait(0.005)


def test_live_link_is_announced_with_what_was_learnt(ari: FakeAri, start: Start, posted: Collector) -> None:
    """One event says all that the engine must know."""
    ari.asterisk.enter("1.1", "dnd", "on")
    ari.asterisk.enter("1.2", "dnd", "on", app="other")
    start()
    up = posted.wait(LinkUp)
    assert (up.pbx, up.version, up.over_websocket) == ("hq", "22.10.1", True)
    assert up.startup == ari.asterisk.startup
    assert up.endpoints.endpoints == ("PJSIP/100", "PJSIP/101")
    assert [channel.id for channel in up.calls.channels] == ["1.1", "1.2"]
    assert [(caller.channel, caller.claim) for caller in up.callers] == [("1.1", ClaimState.UNSURE)]
    assert posted.kinds() == ["LinkUp"]


def test_events_are_posted_in_order(ari: FakeAri, start: Start, posted: Collector) -> None:
    """What Asterisk reports arrives as our own events, in its order; what we do not use does not."""
    start()
    posted.wait(LinkUp)
    socket = ari.socket()
    socket.event("DeviceStateChanged", device_state={"name": "Custom:a", "state": "BUSY"})
    socket.event("ChannelCreated", channel={})
    _stasis_start(socket, "1.1")
    socket.event("PlaybackFinished", playback={"id": "p"})
    socket.event("StasisEnd", channel={"id": "1.1"})
    posted.wait(CallerLeft)
    assert posted.kinds() == ["LinkUp", "DeviceSeen", "CodeDialled", "PlaybackEnded", "CallerLeft"]
    assert posted.wait(DeviceSeen).device == "Custom:a"
    assert posted.wait(PlaybackEnded).playback == "p"


def test_requests_go_over_the_websocket(ari: FakeAri, start: Start, posted: Collector) -> None:
    """A group is answered as a whole, and no HTTP is used for it."""
    link = start()
    posted.wait(LinkUp)
    got = _ask(link, Request("GET", "sounds/beep"), Request("GET", "channels/none/variable"))
    _eventually(lambda: got)
    assert [response.status for response in got[0] or ()] == [200, 404]
    assert {call.way for call in ari.asterisk.seen("GET", "sounds/.*")} == {"ws"}


def test_older_server_is_served_over_http(posted: Collector) -> None:
    """The same requests and events work where requests cannot go over the websocket."""
    with serving(FakeAsterisk("16.28.0")) as old:
        old.answers_websocket = False
        link = Link(old.address(), posted)
        link.start()
        assert not posted.wait(LinkUp).over_websocket
        got = _ask(link, Request("GET", "sounds/beep"))
        _eventually(lambda: got)
        assert [response.status for response in got[0] or ()] == [200]
        old.asterisk.override("GET", "sounds/beep", Response(503))
        lost = _ask(link, Request("GET", "sounds/beep"))
        posted.wait(LinkDown)
        assert lost == [None]
        old.asterisk.normal()
        posted.wait(LinkUp, 2)
        link.stop()


def test_without_a_link_requests_fail_at_once(ari: FakeAri) -> None:
    """Whoever asks while there is no link is told so, and watching does nothing."""
    link = Link(ari.address(), lambda _event: None)
    assert _ask(link) == [None]
    link.watch(lambda: ["Custom:a"], lambda: None)


# --- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "says"),
    [
        pytest.param(lambda socket: socket.cut(), "ended", id="cut"),
        pytest.param(lambda socket: socket.frame(CLOSE, b"\x03\xf3"), "closed the websocket", id="close-1011"),
        pytest.param(lambda socket: socket.frame(CLOSE, b""), "closed the websocket", id="close-without-code"),
        pytest.param(lambda socket: socket.raw(b"\xf3\x05wrong"), "ended", id="no-websocket-frame"),
    ],
)
def test_end_of_the_socket_is_told_and_the_link_made_anew(
    ari: FakeAri, start: Start, posted: Collector, end: Callable[[ServerSocket], None], says: str
) -> None:
    """However the socket ends, the engine hears of it once, and the link comes back."""
    start()
    posted.wait(LinkUp)
    end(ari.socket())
    assert says in posted.wait(LinkDown).reason
    posted.wait(LinkUp, 2)
    assert posted.kinds() == ["LinkUp", "LinkDown", "LinkUp"]
    assert posted.wait(LinkDown).fatal is None


def test_end_fails_what_is_under_way(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Requests whose answers will not come are failed, before the link is said to be down or soon after."""
    ari.before_answer = lambda _socket, request: request.path == "asterisk/ping"
    link = start()
    posted.wait(LinkUp)
    got = _ask(link, Request("GET", "sounds/a"))
    ari.socket().cut()
    posted.wait(LinkDown)
    _eventually(lambda: got == [None])


def test_silence_ends_the_link(ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection is noticed by the pong that does not come."""
    monkeypatch.setattr(module, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(module, "SILENCE_S", 0.4)
    ari.answers_pings = False
    began = time.monotonic()
    start()
    assert "nothing heard" in posted.wait(LinkDown).reason
    assert 0.4 <= time.monotonic() - began < 2


def test_pongs_keep_a_quiet_link(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link on which nothing happens stays."""
    monkeypatch.setattr(module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(module, "SILENCE_S", 0.3)
    start()
    posted.wait(LinkUp)
    threading.Event().wait(0.9)
    assert posted.kinds() == ["LinkUp"]


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "with-events"])
def test_answer_that_does_not_come_ends_the_link(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    """Even while events and pongs come, an unanswered request means that the link is no good."""
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    monkeypatch.setattr(module, "PING_EVERY_S", 0.1)
    ari.before_answer = lambda _socket, request: request.path == "asterisk/ping"
    link = start()
    posted.wait(LinkUp)
    got = _ask(link, Request("GET", "sounds/a"))
    stop = threading.Event()

    def make_noise() -> None:
        while busy and not stop.wait(0.01):
            ari.socket().event("DeviceStateChanged", device_state={"name": "Custom:a", "state": "BUSY"})

    noise = threading.Thread(target=make_noise)
    noise.start()
    assert "not answered" in posted.wait(LinkDown).reason
    stop.set()
    noise.join(5)
    _eventually(lambda: got == [None])


def test_answer_to_nobody_ends_the_link(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Once the order of answers is lost, none of them can be trusted."""
    start()
    posted.wait(LinkUp)
    ari.socket().event("RESTResponse", request_id="17", status_code=204)
    assert "unexpected answer" in posted.wait(LinkDown).reason
    posted.wait(LinkUp, 2)


def test_replaced_application_is_fatal(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Two programs with one application would fight for ever: the link ends for good and says what to do."""
    link = start()
    posted.wait(LinkUp)
    ari.socket().event("ApplicationReplaced")
    down = posted.wait(LinkDown)
    assert isinstance(down.fatal, AriReplacedError)
    assert "`app`" in down.reason
    link._thread.join(5)
    assert not link._thread.is_alive()


def test_replaced_on_the_old_socket_does_not_matter(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Our own new connect replaces the old socket, which says so to nobody."""
    start()
    posted.wait(LinkUp)
    old = ari.socket()
    old.frame(CLOSE, b"")
    posted.wait(LinkUp, 2)
    old.event("ApplicationReplaced")
    ari.socket(1).event("DeviceStateChanged", device_state={"name": "Custom:a", "state": "BUSY"})
    posted.wait(DeviceSeen)
    assert posted.kinds() == ["LinkUp", "LinkDown", "LinkUp", "DeviceSeen"]


def test_replaced_while_connecting_is_fatal(ari: FakeAri, start: Start, posted: Collector) -> None:
    """It is found among the events that came early, too."""

    def userevent(name: str) -> None:
        ari.sockets[-1].event("ApplicationReplaced")
        ari.sockets[-1].event("ChannelUserevent", eventname=name)

    ari.asterisk.on_userevent = userevent
    start()
    assert isinstance(posted.wait(LinkDown).fatal, AriReplacedError)


# --- coming back ------------------------------------------------------------------------------------------------


def test_wrong_password_at_the_start_is_fatal(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Nothing but the operator helps: said once, not tried again, without the secret."""
    ari.password, secret = "changed", ari.password
    link = Link(ari.address(), posted)
    ari.password = secret
    link.start()
    down = posted.wait(LinkDown)
    assert isinstance(down.fatal, AriAuthError)
    assert "changed" not in down.reason
    link._thread.join(5)
    assert posted.kinds() == ["LinkDown"]
    assert len(ari.headers) == 1


def test_wrong_password_later_is_tried_again(ari: FakeAri, start: Start, posted: Collector) -> None:
    """A server that once knew us may know us again: its configuration is being changed."""
    start()
    posted.wait(LinkUp)
    ari.asterisk.override("GET", "asterisk/info", Response(401), Response(401), Response(200, "{}"))
    ari.socket().cut()
    down = posted.wait(LinkDown, 2)
    assert "401" in down.reason
    assert down.fatal is None
    posted.wait(LinkUp, 2)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Response(503, '{"message":"Asterisk not booted"}'), id="booting"),
        pytest.param(Response(404, "<html>"), id="not-loaded"),
        pytest.param(Response(200, "nonsense"), id="no-json"),
        pytest.param(Response(200, "[1, 2]"), id="list"),
        pytest.param(Response(200, '{"system": null, "status": 5}'), id="odd-types"),
        pytest.param(Response(500, ""), id="500"),
    ],
)
@pytest.mark.parametrize("path", ["asterisk/info", "endpoints", "channels", "bridges", "applications/[^/]*"])
def test_odd_answer_while_connecting_is_tried_again(
    ari: FakeAri, start: Start, posted: Collector, answer: Response, path: str
) -> None:
    """Whatever a step is answered, the link comes up once the answer is good, and never gives up."""
    ari.asterisk.override("GET", path, answer, answer)
    start()
    _eventually(lambda: len(ari.asterisk.seen("GET", path)) >= 2 or posted.all(LinkUp))
    ari.asterisk.normal()
    posted.wait(LinkUp)


def test_attempts_wait_longer_and_longer_and_short_again_after_success(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delays are those of `backoff`, begun anew by every link that was live."""
    taken: list[float] = []

    def delays() -> Iterator[float]:
        for step in count(1):
            taken.append(step)
            yield step / 1000

    monkeypatch.setattr(module, "delays", delays)
    ari.asterisk.override("GET", "asterisk/info", *[Response(503)] * 3, Response(200, "{}"))
    start()
    posted.wait(LinkUp)
    ari.socket().cut()
    posted.wait(LinkUp, 2)
    assert taken == [1, 2, 3, 1]


def test_nobody_there_is_said_and_tried_again(posted: Collector) -> None:
    """A server that is not running is no error of the operator."""
    with serving() as ari:
        address = ari.address()
    link = Link(address, posted)
    link.start()
    posted.wait(LinkDown, 3)
    link.stop()
    assert {(down.fatal, "connection refused" in down.reason) for down in posted.all(LinkDown)} == {(None, True)}


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_reconnects_leave_nothing_open(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Sockets and threads of ended links are gone."""
    start()
    posted.wait(LinkUp)
    for number in range(3):
        ari.socket(number).cut()
        posted.wait(LinkUp, number + 2)
    gc.collect()
    _eventually(lambda: all(s.ended.is_set() for s in ari.sockets[:3]))
    before, threads = _open_files(), threading.active_count()
    for number in range(3, 15):
        ari.socket(number).cut()
        posted.wait(LinkUp, number + 2)
    gc.collect()
    _eventually(lambda: _open_files() <= before + 2 and threading.active_count() <= threads + 2)


@pytest.mark.parametrize("phase", ["serving", "waiting", "connecting"])
def test_stop_is_quick_in_every_phase(
    ari: FakeAri, posted: Collector, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Stopping takes no longer than the step that is under way, and fails what waits."""
    monkeypatch.setattr(module, "delays", lambda: count(60.0))
    monkeypatch.setattr(connecting, "STEP_TIMEOUT_S", 0.5)
    go = threading.Event()
    if phase == "waiting":
        ari.asterisk.override("GET", "asterisk/info", Response(503))
    elif phase == "connecting":
        ari.gate = lambda _request: (go.wait(10), None)[1]
    link = Link(ari.address(), posted)
    link.start()
    if phase == "connecting":
        _eventually(lambda: ari.headers)
    else:
        posted.wait(LinkUp if phase == "serving" else LinkDown)
    began = time.monotonic()
    link.stop()
    assert time.monotonic() - began < 1.5
    assert not link._thread.is_alive()
    assert _ask(link) == [None]
    go.set()


# --- events that cannot be read, callers that may be gone -------------------------------------------------------


def test_malformed_events_are_counted_and_survived(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Noise costs a count and nothing else, in text frames as in binary ones."""
    link = start()
    posted.wait(LinkUp)
    socket = ari.socket()
    for noise in (b"", b"{", b"[]", b'{"type": 5}', b"\xff\xff", b'{"type": "StasisEnd"}'):
        socket.frame(TEXT, noise)
    socket.frame(2, b"\x00\x01")
    socket.event("DeviceStateChanged", device_state={"name": "Custom:a", "state": "BUSY"})
    posted.wait(DeviceSeen)
    assert link.malformed == 7
    assert posted.kinds() == ["LinkUp", "DeviceSeen"]


def test_caller_who_just_entered_is_fresh(ari: FakeAri, start: Start, posted: Collector) -> None:
    """A start that was sent just now may be acted upon at once, the first of a link like any other."""
    start()
    posted.wait(LinkUp)
    _stasis_start(ari.socket(), "1.1")
    _stasis_start(ari.socket(), "1.2")
    posted.wait(CodeDialled, 2)
    assert [event.claim for event in posted.all(CodeDialled)] == [ClaimState.FRESH] * 2


def test_caller_found_after_a_freeze_is_unsure(ari: FakeAri, start: Start, posted: Collector) -> None:
    """A start that waited in the socket is old, even if it is the first of the link; the next one is fresh again."""
    start()
    posted.wait(LinkUp)
    _stasis_start(ari.socket(), "1.1", seconds_ago=9)
    _stasis_start(ari.socket(), "1.2", seconds_ago=1.5)
    _stasis_start(ari.socket(), "1.3")
    posted.wait(CodeDialled, 3)
    assert [event.claim for event in posted.all(CodeDialled)] == [
        ClaimState.UNSURE,
        ClaimState.UNSURE,
        ClaimState.FRESH,
    ]


def test_clock_of_asterisk_may_be_wrong(
    ari: FakeAri, start: Start, posted: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the difference of the clocks, not what they show."""
    from tests.unit.ari import fake_ari

    monkeypatch.setattr(fake_ari, "stamp", lambda seconds_ago=0.0: stamp(seconds_ago - 3600))
    start()
    posted.wait(LinkUp)
    ari.socket().event("StasisStart", args=["a"], channel={"id": "1", "name": "PJSIP/100-1"})
    ari.socket().event("StasisStart", args=["a"], channel={"id": "2", "name": "PJSIP/100-2"}, timestamp=stamp(5 - 3600))
    posted.wait(CodeDialled, 2)
    assert [event.claim for event in posted.all(CodeDialled)] == [ClaimState.FRESH, ClaimState.UNSURE]


def test_start_without_a_time_is_unsure(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Who does not say when is not trusted."""
    start()
    posted.wait(LinkUp)
    ari.socket().event("StasisStart", args=["a"], channel={"id": "1", "name": "PJSIP/100-1"}, timestamp=None)
    assert posted.wait(CodeDialled).claim is ClaimState.UNSURE


def test_caller_who_came_while_connecting_is_unsure(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Early events waited until the link was live."""

    def userevent(name: str) -> None:
        _stasis_start(ari.sockets[-1], "1.1")
        ari.sockets[-1].event("ChannelUserevent", eventname=name)

    ari.asterisk.on_userevent = userevent
    start()
    assert posted.wait(CodeDialled).claim is ClaimState.UNSURE
    assert posted.kinds() == ["LinkUp", "CodeDialled"]


@pytest.mark.parametrize("early", [True, False], ids=["read-while-connecting", "still-in-the-socket"])
def test_caller_who_is_listed_and_started_counts_once(
    ari: FakeAri, start: Start, posted: Collector, early: bool
) -> None:
    """A toggle would be undone by being carried out twice; once gone, the same channel may come again."""
    ari.asterisk.enter("1.1", "dnd", "toggle")

    def gate(request: Request) -> None:
        if request.path == ("events/user/ari-presence-live" if early else "channels"):
            _stasis_start(ari.socket(), "1.1")

    ari.gate = gate
    start()
    up = posted.wait(LinkUp)
    assert [caller.channel for caller in up.callers] == ["1.1"]
    ari.socket().event("StasisEnd", channel={"id": "1.1"})
    _stasis_start(ari.socket(), "1.1")
    posted.wait(CodeDialled)
    assert posted.kinds() == ["LinkUp", "CallerLeft", "CodeDialled"]


def test_listed_channel_that_cannot_be_read_is_counted(ari: FakeAri, start: Start, posted: Collector) -> None:
    """One odd channel does not keep the link from coming up."""
    ari.asterisk.channels = {"x": {"id": "x", "dialplan": {"app_data": 5}}}
    ari.asterisk.enter("1.1", "dnd", "on")
    link = start()
    assert [caller.channel for caller in posted.wait(LinkUp).callers] == ["1.1"]
    assert link.malformed == 1


def test_devices_are_watched_beside_the_link(ari: FakeAri, start: Start, posted: Collector) -> None:
    """Subscriptions are made over HTTP while the link is up, and survive into the next session."""
    link, done = start(), threading.Event()
    posted.wait(LinkUp)
    link.watch(lambda: ["Custom:a"], done.set)
    assert done.wait(5)
    assert ari.asterisk.devices == ["Custom:a"]
    ari.asterisk.set_lamp("Custom:a", "BUSY")
    assert posted.wait(DeviceSeen).device == "Custom:a"
    ari.socket().cut()
    posted.wait(LinkUp, 2)
    again = threading.Event()
    link.watch(lambda: ["Custom:a", "Custom:b"], again.set)
    assert again.wait(5)
    assert ari.asterisk.devices == ["Custom:a", "Custom:b"]
