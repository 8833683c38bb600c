"""The link on real servers: what it subscribes to, what it leaves behind, and what it does with nonsense."""

import re
import struct
from collections.abc import Iterator

import pytest
from daemon import STATES, Daemon, eventually, expected, lamps, wait_lamps
from proxy import Proxy

from private_asterisk import PrivateAsterisk

APP = "ari-presence"


@pytest.fixture(scope="module")
def linked(quick: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Proxy]]:
    """Run one daemon behind a proxy for all tests here."""
    with Proxy(quick.http_port) as proxy, Daemon(tmp_path_factory.mktemp("link"), quick, url=proxy.url) as daemon:
        for user in ("100", "101"):
            daemon.clear(user)
        yield daemon, proxy
        assert daemon.stop() == 0


def application(server: PrivateAsterisk) -> dict[str, list[str]]:
    """Read what the application is subscribed to."""
    return dict(server.ari("GET", f"applications/{APP}").json())


def text_frame(text: bytes) -> bytes:
    """Make an unmasked text frame, as a server sends it (RFC 6455 section 5.2)."""
    length = bytes([len(text)]) if len(text) < 126 else b"\x7e" + struct.pack("!H", len(text))
    return b"\x81" + length + text


def watched(daemon: Daemon) -> set[str]:
    """Name what the daemon subscribes to in the end: its users' lamps and phones, and the parking spaces."""
    users = [user["user"] for user in daemon.ask("GET", "/users")]
    lamps = {f"Custom:{kind}-{user}" for user in users for kind in (*STATES, "presence")}
    phones = {f"PJSIP/{user}" for user in (*users, "100-mobile")}
    return lamps | phones | {f"park:{number}@parkedcalls" for number in range(701, 721)}


def test_application_watches_lamps_by_name_only(linked: tuple[Daemon, Proxy]) -> None:
    """Never all devices (they can deadlock ARI): one name for each lamp, phone and parking space, and the empty bridge.

    All channels and all bridges are safe; all bridges do not keep the application alive.
    """
    daemon, _ = linked
    wanted = watched(daemon)
    eventually(lambda: wanted <= set(application(daemon.server)["device_names"]), "watched")
    every = "__AST_CHANNEL_ALL_TOPIC"  # how Asterisk names the source `channel:`
    eventually(lambda: application(daemon.server)["channel_ids"] == [every], "the reader channel is gone")
    found = application(daemon.server)
    assert set(found["device_names"]) <= wanted | {name.replace("Custom:", "custom:") for name in wanted}
    assert set(found["bridge_ids"]) == {f"{APP}-keepalive", "__AST_BRIDGE_ALL_TOPIC"}
    assert found["endpoint_ids"] == []
    (bridge,) = daemon.server.ari("GET", "bridges").json()
    assert (bridge["bridge_type"], bridge["channels"]) == ("holding", [])


def test_reconnects_leave_nothing_behind(linked: tuple[Daemon, Proxy]) -> None:
    """After cuts and kills there is one bridge, no channel, the same subscriptions, and no complaint in Asterisk's log."""
    daemon, proxy = linked
    wanted = watched(daemon)
    eventually(lambda: wanted <= set(application(daemon.server)["device_names"]), "watched")
    before = application(daemon.server)
    for number in range(6):
        count = len(daemon.logged("connected"))
        if number % 3 == 2:
            daemon.kill()
            daemon.start()
        elif number % 3:
            proxy.finish()
            eventually(lambda n=count: len(daemon.logged("connected")) > n, "connected again")  # type: ignore[misc]
        else:
            proxy.cut()
            eventually(lambda n=count: len(daemon.logged("connected")) > n, "connected again")  # type: ignore[misc]
        daemon.wait_ready()
    assert sorted(application(daemon.server)["device_names"]) == sorted(before["device_names"])
    assert application(daemon.server)["bridge_ids"] == before["bridge_ids"]
    eventually(lambda: daemon.server.ari("GET", "channels").json() == [], "no channel")
    assert len(daemon.server.ari("GET", "bridges").json()) == 1
    wrong = [line for line in daemon.server.log().splitlines() if re.search(r"(?:ERROR|WARNING)\[", line)]
    ours = [line for line in wrong if re.search(r"devstate|presencestate|stasis|ari|http|websocket", line, re.I)]
    expected_lines = r"WebSocket|web ?socket|Error reading|No such device|Connection reset|session|closed"
    assert [line for line in ours if not re.search(expected_lines, line, re.I)] == []


NONSENSE = {
    "unknown-type": b'{"type":"SomethingFromTheFuture","application":"ari-presence","x":{"y":[1]}}',
    "no-json": b"{{{{",
    "no-object": b"[1,2,3]",
    "no-type": b'{"application":"ari-presence"}',
    "type-is-number": b'{"type":7}',
    "device-without-name": b'{"type":"DeviceStateChanged","device_state":{}}',
    "device-is-null": b'{"type":"DeviceStateChanged","device_state":null}',
    "device-name-is-list": b'{"type":"DeviceStateChanged","device_state":{"name":["Custom:dnd-100"],"state":"INUSE"}}',
    "state-of-the-future": b'{"type":"DeviceStateChanged","device_state":{"name":"Custom:dnd-100","state":"DREAMING"}}',
    "start-without-channel": b'{"type":"StasisStart","args":["dnd","on"]}',
    "start-args-are-text": b'{"type":"StasisStart","args":"dnd","channel":{"id":"1","name":"PJSIP/100-1"}}',
    "start-of-nobody": b'{"type":"StasisStart","args":["dnd","on"],"channel":{"id":"1.1","name":"PJSIP/999999999-1"}}',
    "end-of-nobody": b'{"type":"StasisEnd","channel":{"id":"never"}}',
    "end-of-nothing": b'{"type":"ChannelDestroyed"}',
    "playback-of-nobody": b'{"type":"PlaybackFinished","playback":{"id":"never"}}',
    "answer-to-nothing": b'{"type":"RESTResponse","request_id":"never","status_code":200}',
    "answer-without-id": b'{"type":"RESTResponse","status_code":"soon"}',
    "not-utf8": b'{"type":"X\xff\xfe"}',
    "deep": b"[" * 20000 + b"]" * 20000,
    "empty": b"",
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_on_the_link_changes_nothing(linked: tuple[Daemon, Proxy], text: bytes) -> None:
    """Unknown and malformed events are skipped: same states, lamps as before, and the daemon goes on."""
    daemon, proxy = linked
    daemon.set("100", "away")
    rows = daemon.history("100")
    proxy.inject(text_frame(text))
    assert daemon.set("101", "dnd")["confirmed"]
    assert daemon.clear("101")["confirmed"]
    wait_lamps(daemon.server, "100", "away")
    assert daemon.history("100") == rows
    assert daemon.is_ready()
    assert not daemon.logged("bug: an event was not carried out")


def test_malformed_events_are_counted_in_the_log(linked: tuple[Daemon, Proxy]) -> None:
    """The first, second, fourth ... is said with the number so far: known, and never a flood."""
    daemon, proxy = linked
    begin = len(daemon.logged("event skipped"))
    for _ in range(40):
        proxy.inject(text_frame(b'{"type":"StasisEnd"}'))
    eventually(lambda: len(daemon.logged("event skipped")) > begin, "said")
    daemon.set("101", "dnd")
    daemon.clear("101")
    counts = [int(line["so_far"]) for line in daemon.logged("event skipped")]
    assert len(counts) <= 12
    assert "StasisEnd" in daemon.logged("event skipped")[-1]["reason"]


BROKEN = {
    "reserved-bits": b"\xf1\x02ab",
    "unknown-opcode": b"\x83\x02ab",
    "masked-by-a-server": b"\x81\x82\x01\x02\x03\x04ab",
    "close-1011": b"\x88\x02\x03\xf3",
    "continuation-of-nothing": b"\x80\x02ab",
    "far-too-long": b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
    "long-ping": b"\x89\x7e\x01\x00" + b"x" * 256,
}


@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN)
def test_broken_frame_costs_one_reconnect_at_most(linked: tuple[Daemon, Proxy], frame: bytes) -> None:
    """Whatever the websocket says, the daemon is ready again and its lamps follow."""
    daemon, proxy = linked
    proxy.inject(frame)
    # A frame that never ends is noticed by the answers that do not come: within 5 s, and one reconnect.
    eventually(lambda: daemon.set("100", "lunch")["confirmed"], "works again", 15)
    daemon.wait_ready()
    assert lamps(daemon.server, "100") == expected("lunch")
    daemon.clear("100")
    assert "Traceback" not in daemon.log()
