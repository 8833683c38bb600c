"""Connecting: the steps, their order, and what each failure becomes."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ari_presence.ari import connect as module
from ari_presence.ari.address import Address
from ari_presence.ari.connect import Session, connect
from ari_presence.ari.decode import _READERS
from ari_presence.ari.sockets import close
from ari_presence.ari.wire import Request, Response
from ari_presence.errors import AriAuthError, AriConnectionError, AriError, AriResponseError
from tests.unit.ari.fake_ari import CLOSE, FakeAri, ServerSocket, serving, stamp
from tests.unit.ari.fake_asterisk import FakeAsterisk

PEM = Path(__file__).parent / "data" / "localhost.pem"
BRIDGE = "ari-presence-keepalive"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make silence cost less than in reality."""
    monkeypatch.setattr(module, "LIVE_TIMEOUT_S", 0.4)
    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 0.4)


def _connect(ari: FakeAri, address: Address | None = None) -> Session:
    address = address or ari.address()
    rest = address.rest()
    try:
        session = connect(address, rest)
    finally:
        rest.close()
    close(session.socket)
    return session


def _fails(ari: FakeAri, kind: type[AriError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        _connect(ari)
    assert ari.password not in str(caught.value)


def test_steps_come_in_the_order_that_was_measured(ari: FakeAri) -> None:
    """Ask whether ARI is well, upgrade, keep alive, filter, prove live, probe, then what there is."""
    upgraded_after: list[int] = []
    ari.gate = lambda r: upgraded_after.append(len(ari.asterisk.calls)) if r.path == "events" else None
    _connect(ari)
    assert upgraded_after == [2]
    assert ari.asterisk.orders() == [
        "GET asterisk/info",
        "GET applications/ari-presence",
        f"GET bridges/{BRIDGE}",
        f"POST bridges/{BRIDGE}",
        "POST applications/ari-presence/subscription",
        "PUT applications/ari-presence/eventFilter",
        "POST applications/ari-presence/subscription",
        "POST events/user/ari-presence-live",
        "GET asterisk/ping",
        "GET endpoints",
        "GET channels",
        "GET bridges",
    ]
    assert ari.asterisk.followed == ["channel:", "bridge:"]


def test_session_knows_what_asterisk_said(ari: FakeAri) -> None:
    """Version, start, devices that survived, endpoints and channels are learnt."""
    ari.asterisk.app_known = True
    ari.asterisk.devices = ["Custom:a", "Custom:b"]
    ari.asterisk.enter("1.1", "dnd", "on")
    session = _connect(ari)
    assert (session.version, session.startup) == ("22.10.1", "2026-11-22T23:53:20.395+0000")
    assert list(session.watched) == ["Custom:a", "Custom:b"]
    assert session.endpoints == ("PJSIP/100", "PJSIP/101")
    assert [channel["id"] for channel in session.channels] == ["1.1"]
    assert session.over_websocket
    assert abs(session.offset_s) < 1.0


def test_nothing_dangerous_is_ever_asked(ari: FakeAri) -> None:
    """No subscribeAll, no device state without a name, no deleted subscription (asterisk#2170)."""
    _connect(ari)
    assert not ari.asterisk.seen("DELETE", ".*")
    sources = [call.query for call in ari.asterisk.seen("POST", "applications/.*")]
    assert sources == [(("eventSource", f"bridge:{BRIDGE}"),), (("eventSource", "channel:,bridge:"),)]
    upgrade: list[Request] = []
    ari.gate = lambda r: upgrade.append(r) if r.path == "events" else None
    _connect(ari)
    assert upgrade[0].query == (("app", "ari-presence"),)


def test_secret_goes_in_a_header_only(ari: FakeAri) -> None:
    """URLs end up in logs: the secret is in none."""
    requests: list[Request] = []
    ari.gate = requests.append
    _connect(ari)
    assert all(ari.password not in f"{r.path}{r.query}" for r in requests)
    assert all(headers["Authorization"].startswith("Basic ") for headers in ari.headers)


def test_application_with_other_letters_is_encoded(ari: FakeAri) -> None:
    """A legal name of an application reaches Asterisk as it is."""
    address = Address("hq", ari.url, ari.username, ari.password, app="My_app.2-x")
    _connect(ari, address)
    assert ari.asterisk.seen("POST", r"bridges/My_app\.2-x-keepalive")


def test_keepalive_that_exists_is_not_made_again(ari: FakeAri) -> None:
    """Making a bridge that exists is 409 on 22 and 500 on 16; a subscription that survived is not repeated."""
    _connect(ari)
    ari.asterisk.calls.clear()
    _connect(ari)
    assert not ari.asterisk.seen("POST", "bridges/.*")
    assert ari.asterisk.subscribed_bridges == [BRIDGE]


def test_calls_are_followed_at_each_connect_behind_the_filter(ari: FakeAri) -> None:
    """Sources without a name end with the socket; the filter is there before their first event."""
    for _ in range(2):
        ari.asterisk.followed.clear()
        ari.asterisk.calls.clear()
        _connect(ari)
        assert ari.asterisk.followed == ["channel:", "bridge:"]
        orders = ari.asterisk.orders()
        filtered = orders.index("PUT applications/ari-presence/eventFilter")
        assert orders[filtered + 1] == "POST applications/ari-presence/subscription"


def test_bridge_that_was_destroyed_is_made_and_subscribed_again(ari: FakeAri) -> None:
    """A new bridge is another one than that of the old subscription, whatever the listing says."""
    _connect(ari)
    ari.asterisk.bridges.clear()
    ari.asterisk.calls.clear()
    _connect(ari)
    assert ari.asterisk.seen("POST", "bridges/.*")
    assert ari.asterisk.seen("POST", ".*/subscription")


def test_event_filter_leaves_out_only_what_nobody_reads(ari: FakeAri) -> None:
    """Answers pass the filter too, so only unwanted types are named, never wanted ones."""
    _connect(ari)
    assert list(ari.asterisk.event_filter) == ["disallowed"]
    types = {row["type"] for row in ari.asterisk.event_filter["disallowed"]}
    assert {"ChannelVarset", "ChannelDialplan"} <= types
    used = {"RESTResponse", "StasisStart", "StasisEnd", "DeviceStateChanged", "ApplicationReplaced", "ChannelUserevent"}
    assert not types & (
        used | {"PlaybackFinished"} | {kind for kind in _READERS if kind.startswith(("Channel", "Bridge"))}
    )


def test_deaf_websocket_is_given_up(ari: FakeAri) -> None:
    """A socket that is open but gets no events is worth nothing."""
    ari.deaf = True
    _fails(ari, AriConnectionError, "deaf")
    assert ari.socket().ended.wait(5)


def test_somebody_elses_user_event_does_not_prove_life(ari: FakeAri) -> None:
    """Only our own event counts, by its name."""
    ari.asterisk.on_userevent = lambda name: ari.sockets[-1].event("ChannelUserevent", eventname=f"not-{name}")
    _fails(ari, AriConnectionError, "deaf")


def test_events_that_come_early_are_kept_in_order(ari: FakeAri) -> None:
    """What arrives while connecting is neither lost nor reordered; noise that is no event is skipped."""

    def before_live(name: str) -> None:
        socket = ari.sockets[-1]
        socket.event("StasisStart", args=["dnd", "on"], channel={"id": "1", "name": "PJSIP/100-1"})
        socket.raw(b"\x81\x03{{{")
        socket.event("ChannelUserevent", eventname=name, userevent={})

    def before_pong(socket: ServerSocket, request: Request) -> bool:
        socket.event("StasisEnd", channel={"id": "1", "name": "PJSIP/100-1"})
        return True

    ari.asterisk.on_userevent = before_live
    ari.before_answer = before_pong
    assert [message["type"] for message in _connect(ari).early] == ["StasisStart", "StasisEnd"]


def test_wedged_applications_are_told_apart_from_silence(ari: FakeAri, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ping is answered and the application is not, only a restart of Asterisk helps (asterisk#2170)."""
    monkeypatch.setattr(module, "STEP_TIMEOUT_S", 0.3)
    ended = threading.Event()
    ari.gate = lambda r: (ended.wait(10) if r.path.startswith("applications") else None, None)[1]
    _fails(ari, AriConnectionError, "Asterisk must be restarted")
    assert ari.sockets == []
    ended.set()


def test_frozen_server_is_not_called_wedged(ari: FakeAri, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers nothing at all is just silent, and is given up after one step."""
    monkeypatch.setattr(module, "STEP_TIMEOUT_S", 0.3)
    ended = threading.Event()
    ari.gate = lambda _request: (ended.wait(10), None)[1]
    _fails(ari, AriConnectionError, "timed out")
    ended.set()


def test_probe_that_is_not_answered_means_http(ari: FakeAri) -> None:
    """An older Asterisk reads the request and ignores it."""
    ari.answers_websocket = False
    session = _connect(ari)
    assert not session.over_websocket
    assert session.endpoints == ("PJSIP/100", "PJSIP/101")


def test_probe_that_is_refused_means_http(ari: FakeAri) -> None:
    """An answer that is an error proves nothing."""
    ari.asterisk.override("GET", "asterisk/ping", Response(500))
    assert not _connect(ari).over_websocket


@pytest.mark.parametrize(
    ("version", "probed"),
    [
        pytest.param("16.28.0~dfsg-0+deb11u4", False, id="16"),
        pytest.param("18.26.4", False, id="18"),
        pytest.param("certified/18.9-cert11", False, id="certified-18"),
        pytest.param("20.14.0", True, id="20"),
        pytest.param("22.10.1", True, id="22"),
        pytest.param("certified/22.8-cert1", True, id="certified-22"),
        pytest.param("certified-22.8-cert1", True, id="certified-22-dash"),
        pytest.param("23.4.1", True, id="23"),
        pytest.param("GIT-master-abcdef", True, id="development"),
    ],
)
def test_only_versions_that_may_answer_are_probed(version: str, probed: bool) -> None:
    """A surely too old server is not waited for."""
    with serving(FakeAsterisk(version)) as ari:
        assert _connect(ari).over_websocket is probed
        assert bool(ari.asterisk.seen("GET", "asterisk/ping")) is probed


def test_websocket_that_ends_at_the_probe_is_tried_again(ari: FakeAri) -> None:
    """A dead socket is no reason to go on over HTTP."""

    def cut(socket: ServerSocket, _request: Request) -> bool:
        socket.cut()
        return False

    ari.before_answer = cut
    _fails(ari, AriConnectionError, "ended while connecting")


def test_close_frame_while_connecting_is_tried_again(ari: FakeAri) -> None:
    """Asterisk may end the socket at any moment."""
    ari.asterisk.on_userevent = lambda _name: ari.sockets[-1].frame(CLOSE, b"\x03\xf3")
    _fails(ari, AriConnectionError, "closed the websocket")


@pytest.mark.parametrize(
    ("method", "path", "response", "kind"),
    [
        pytest.param("GET", "asterisk/info", Response(503, "{}"), AriConnectionError, id="booting"),
        pytest.param("GET", "asterisk/info", Response(404, "<html>"), AriConnectionError, id="ari-not-loaded"),
        pytest.param("GET", "asterisk/info", Response(401, "{}"), AriAuthError, id="wrong-password"),
        pytest.param("POST", "bridges/.*", Response(403, "{}"), AriAuthError, id="read-only-user"),
        pytest.param("POST", "bridges/.*", Response(500, "{}"), AriResponseError, id="no-bridge"),
        pytest.param(
            "PUT", ".*/eventFilter", Response(404, '{"message":"x"}'), AriResponseError, id="application-gone"
        ),
        pytest.param(
            "POST", "events/.*", Response(404, '{"message":"x"}'), AriResponseError, id="application-not-there"
        ),
        pytest.param("GET", "endpoints", Response(200, '{"a": 1}'), AriError, id="odd-endpoints"),
        pytest.param("GET", "asterisk/info", Response(200, "nonsense"), AriError, id="odd-info"),
    ],
)
def test_failing_step_ends_the_attempt_and_the_socket(
    ari: FakeAri, method: str, path: str, response: Response, kind: type[AriError]
) -> None:
    """Whatever step fails, the error says who acts, and no socket is left open."""
    ari.asterisk.override(method, path, response)
    with pytest.raises(kind):
        _connect(ari)
    assert all(socket.ended.wait(5) for socket in ari.sockets)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(401, AriAuthError, id="401"),
        pytest.param(403, AriAuthError, id="403"),
        pytest.param(404, AriConnectionError, id="404"),
        pytest.param(500, AriConnectionError, id="500"),
        pytest.param(503, AriConnectionError, id="503"),
    ],
)
def test_refused_upgrade_becomes_the_error_of_whoever_acts(ari: FakeAri, status: int, kind: type[AriError]) -> None:
    """The websocket has rules of its own: a server may refuse it although HTTP works."""
    ari.upgrade_status = status
    with pytest.raises(kind, match=str(status)) as caught:
        _connect(ari)
    assert type(caught.value) is kind
    assert ari.password not in str(caught.value)


def test_redirected_upgrade_is_not_followed(ari: FakeAri) -> None:
    """Another server never gets the secret, not by a redirect of the websocket either."""
    with serving() as other:
        ari.upgrade_status, ari.upgrade_body = 302, other.url.replace("http", "ws") + "/ari/events?app=x"
        with pytest.raises(AriConnectionError):
            _connect(ari)
        assert other.headers == []


def test_proxy_variables_are_ignored(ari: FakeAri, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither HTTP nor the websocket goes through a proxy of the environment."""
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ws_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert _connect(ari).over_websocket
        assert proxy.headers == []


@pytest.fixture
def tls() -> Iterator[FakeAri]:
    """Give a server with a certificate that no authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with serving(context=context) as server:
        yield server


def test_tls_works_with_a_known_authority(tls: FakeAri) -> None:
    """HTTP and websocket both trust `ca_file`."""
    session = _connect(tls, tls.address(PEM))
    assert session.over_websocket
    assert session.frames.tls  # the link does not rest between records


def test_certificate_that_nobody_signed_is_an_error_of_the_operator(tls: FakeAri) -> None:
    """Nothing is sent to a server that cannot prove who it is."""
    with pytest.raises(AriAuthError, match="certificate does not verify"):
        _connect(tls)
    assert tls.headers == []


def test_websocket_checks_the_certificate_itself(tls: FakeAri, tmp_path: Path) -> None:
    """The websocket does not rely on HTTP's check."""
    with pytest.raises(AriAuthError, match="certificate does not verify"):
        module._upgrade(tls.address())
    assert tls.headers == []


def test_offset_comes_from_the_freshest_event(ari: FakeAri) -> None:
    """An event that waited while we were frozen would make later ones look fresh: the smallest difference counts."""

    def old_then_live(name: str) -> None:
        ari.sockets[-1].event("ChannelUserevent", eventname=name, userevent={}, timestamp=stamp(30))

    ari.asterisk.on_userevent = old_then_live
    assert _connect(ari).offset_s < 1.0
