"""The FastAGI server over real sockets: well-behaved peers, slow ones and hostile ones."""

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from ari_presence.agi import server as module
from ari_presence.agi.answers import Answers, Settled
from ari_presence.agi.complaints import LINES
from ari_presence.agi.server import AgiServer
from ari_presence.agi.talk import Environment
from ari_presence.core.features import Action, Intent
from ari_presence.errors import ConfigError, StoreError
from ari_presence.service import AgiDesk
from tests.unit.agi.peer import ENVIRONMENT, Peer
from tests.unit.engine_rig import Rig, running
from tests.unit.http.fake_service import eventually

PROMPT = ["ANSWER", 'STREAM FILE "do-not-disturb" ""', 'STREAM FILE "activated" ""']
ERROR = ["ANSWER", 'STREAM FILE "beeperr" ""']


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine with one live link."""
    with running() as made:
        yield made


@contextmanager
def serving(rig: Rig) -> Iterator[int]:
    """Run the server on a free port for the length of a block."""
    server = AgiServer(Answers(AgiDesk(rig.engine)), "127.0.0.1", 0)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@pytest.fixture
def port(rig: Rig) -> Iterator[int]:
    """Give the port of a running server."""
    with serving(rig) as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server lose patience soon."""
    monkeypatch.setattr(module, "ENVIRONMENT_S", 0.3)
    monkeypatch.setattr(module, "REPLY_S", 0.3)
    monkeypatch.setattr(module, "LINGER_S", 0.3)


def works(port: int) -> bool:
    """Tell whether a call that behaves is served."""
    with Peer(port) as peer:
        return peer.call("treat/100").serve()[0].startswith('EXEC MSet "PRESENCE_RESULT=ok,')


def test_change_claims_then_changes_then_tells_and_plays(rig: Rig, port: int) -> None:
    """Nothing is said before everything is stored and confirmed."""
    with Peer(port) as peer:
        peer.call("set/dnd")
        assert peer.read() == "SET VARIABLE PRESENCE_RESULT unconfirmed"
        rig.sync()
        assert rig.manual() is None
        peer.send(b"200 result=1\n")
        assert peer.read().startswith('EXEC MSet "PRESENCE_RESULT=ok,')
        assert (rig.stored(), rig.lamp("Custom:dnd-100")) == ("dnd", "INUSE")
        peer.send(b"200 result=0\n")
        assert peer.serve()[2:] == PROMPT
        assert peer.variables()["PRESENCE_USER_STATE"] == "dnd"


def test_environment_in_small_pieces_is_understood(rig: Rig, port: int) -> None:
    """TCP keeps no borders."""
    with Peer(port) as peer:
        for byte in ENVIRONMENT.format(script="set/lunch", channel="PJSIP/100-1", space=" ").encode():
            peer.send(bytes([byte]))
        peer.serve()
    assert rig.manual() == "lunch"


@pytest.mark.parametrize(
    "gone",
    [b"HANGUP\n200 result=1\n", b"511 Command Not Permitted on a dead channel\n", b"", b"x" * 70_000],
    ids=["hung up", "dead", "closed", "nonsense"],
)
def test_caller_who_is_gone_before_the_claim_changes_nothing(rig: Rig, port: int, gone: bytes) -> None:
    """A daemon that was frozen finds calls that have ended since: what they dialled is not done any more."""
    with capture_logs(), Peer(port) as peer:
        peer.call("set/dnd").read()
        peer.send(gone).end_sending()
        assert peer.serve() == ["SET VARIABLE PRESENCE_RESULT unconfirmed"]
    rig.sync()
    assert rig.manual() is None
    assert works(port)


def test_caller_who_hangs_up_in_the_prompt_is_left_alone(rig: Rig, port: int) -> None:
    """What is set stays set, and nothing more is sent."""
    with Peer(port) as peer:
        said = peer.call("set/dnd").serve({"STREAM FILE": "HANGUP\n200 result=-1"})
    assert said[2:] == PROMPT[:2]
    assert rig.manual() == "dnd"


def test_usage_of_a_command_in_several_lines_is_one_reply(port: int) -> None:
    """520 is an error, and the conversation goes on behind it."""
    usage = "520-Invalid command syntax.  Proper usage follows:\nUsage: X\n520 End of proper usage."
    with Peer(port) as peer:
        assert peer.call("set/nonsense").serve({"EXEC MSet": usage})[1:] == ERROR


@pytest.mark.parametrize(
    ("data", "reason", "why"),
    [
        (b"", "no-environment", "no whole environment within"),
        (b"agi_network: yes\nagi_chan", "no-environment", "no whole environment within"),
        (b"agi_channel: " + b"x" * 65536, "too-long", "of more than"),
        (b"x" * 65536 + b"\n\n", "too-long", "of more than"),
        (b"a: b\n" * 20_000, "too-long", "of more than"),
        (b"GET / HTTP/1.1\r\n\r\n\n\n", "bad-environment", "no AGI environment"),
        (b"\n\n", "bad-environment", "no AGI environment"),
        (bytes(range(256)) + b"\n\n", "bad-environment", "no AGI environment"),
    ],
    ids=["nothing", "half a line", "64 kB line", "64 kB line that ends", "many lines", "HTTP", "empty", "bytes"],
)
@pytest.mark.usefixtures("quick")
def test_peer_that_speaks_no_agi_is_refused_so_that_it_sees_it(
    rig: Rig, port: int, data: bytes, reason: str, why: str
) -> None:
    """A line of the log, a result that can be read, and others are served meanwhile and afterwards."""
    with capture_logs() as lines, Peer(port) as peer:
        peer.send(data)
        assert works(port)
        while peer.read():
            pass
        assert peer.variables() == {"PRESENCE_RESULT": "refused", "PRESENCE_REASON": reason}
    (line,) = [line for line in lines if line["event"] == "agi refused"]
    assert (line["code"], line["peer"].partition(":")[0]) == (reason, "127.0.0.1")
    assert why in line["reason"]
    assert rig.manual() is None
    assert works(port)


def test_peer_that_ends_in_the_environment_is_refused_at_once(port: int) -> None:
    """Half a line and the end: nothing more can come."""
    with capture_logs() as lines, Peer(port) as peer:
        peer.send(b"agi_network: y").end_sending().read()
        assert peer.variables()["PRESENCE_REASON"] == "no-environment"
    assert [line["reason"] for line in lines if line["event"] == "agi refused"] == [
        "the connection ended in the environment, behind 'agi_network: y'"
    ]


@pytest.mark.parametrize(
    ("path", "reason", "heard"),
    [
        ("nonsense", "bad-path", []),
        ("", "bad-path", []),
        ("set/nonsense", "bad-state", ERROR),
        ("set/dnd/0", "bad-time", ERROR),
        ("set/lunch/until/2460", "bad-time", ERROR),
        ("code/state/7", "bad-code", ERROR),
        ("toggle/dnd/user/A%20B", "bad-user", ERROR),
        ("treat/%00", "bad-user", []),
        ("a/" * 2000, "bad-path", []),
    ],
    ids=["path", "none", "state", "minutes", "time", "code", "user", "treat", "long"],
)
def test_path_that_makes_no_sense_is_logged_and_told(
    rig: Rig, port: int, path: str, reason: str, heard: list[str]
) -> None:
    """Nothing is changed, and the log names channel, path and reason."""
    with capture_logs() as lines, Peer(port) as peer:
        said = peer.call(path).serve()
        assert said[1:] == heard
        assert peer.variables()["PRESENCE_REASON"] == reason
    (line,) = [line for line in lines if line["event"] == "agi refused"]
    assert (line["code"], line["channel"]) == (reason, "PJSIP/100-00000005")
    assert line["path"] == path.rstrip("/")[:60]
    assert rig.manual() is None


def test_refusal_by_the_rules_is_logged_once_and_told(rig: Rig, port: int) -> None:
    """Who, whom and why, as for a dialled code."""
    with capture_logs() as lines, Peer(port) as peer:
        assert peer.call("toggle/dnd/user/100", "PJSIP/101-00000001").serve()[2:] == ERROR
        assert peer.variables() == {"PRESENCE_RESULT": "refused", "PRESENCE_REASON": "not-allowed"}
    (line,) = [line for line in lines if line["event"] == "agi refused"]
    assert (line["who"], line["whom"], line["state"], line["endpoint"]) == ("101", "100", "dnd", "PJSIP/101")
    assert rig.manual() is None


def test_full_disk_is_told(rig: Rig, port: int) -> None:
    """What is not stored is not confirmed."""
    rig.store_error = StoreError("full")
    with capture_logs(), Peer(port) as peer:
        assert peer.call("set/dnd").serve()[2:] == ERROR
        assert peer.variables() == {"PRESENCE_RESULT": "failed", "PRESENCE_REASON": "not-stored"}


def open_files() -> int:
    """Count the open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("quick")
def test_thousand_connections_held_open_hinder_nobody(rig: Rig, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost no thread and few files, callers are served meanwhile, and each silent one is refused in the end."""
    monkeypatch.setattr(module, "ENVIRONMENT_S", 3.0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))  # the peers are in this process, too
    before, files = threading.active_count(), open_files()
    with capture_logs() as lines, ExitStack() as stack:
        silent = []
        for number in range(1000):
            if number % 100 == 50:
                assert works(port)
            silent.append(stack.enter_context(Peer(port)))
            assert threading.active_count() == before
        assert eventually(lambda: open_files() - files - len(silent) <= module.MAX_OPEN)
        assert works(port)
        with Peer(port) as caller:
            assert caller.call("set/dnd").serve()[2:] == PROMPT
        for peer in silent:
            while peer.read():
                pass
    reasons = [peer.variables().get("PRESENCE_REASON") for peer in silent]
    assert set(reasons) == {"crowded", "no-environment"}
    assert reasons.count("no-environment") <= module.MAX_OPEN
    refused = [line for line in lines if line["event"] == "agi refused"]
    assert {line["code"] for line in refused} == {"crowded", "no-environment"}
    assert len(refused) <= 2 * LINES


@pytest.mark.parametrize("after", ["the environment", "the claim"], ids=str)
def test_calls_that_never_reply_give_way_to_others(rig: Rig, port: int, after: str) -> None:
    """Whoever has said who it is and then falls silent holds no place either."""
    with capture_logs(), ExitStack() as stack:
        for _ in range(module.MAX_OPEN + 20):
            peer = stack.enter_context(Peer(port)).call("set/nonsense" if after == "the environment" else "set/dnd")
            assert peer.read()
        assert works(port)


@pytest.mark.usefixtures("quick")
def test_call_that_never_replies_is_let_go(port: int) -> None:
    """Each step has its limit."""
    with capture_logs(), Peer(port) as peer:
        peer.call("set/dnd")
        assert peer.read().startswith("SET VARIABLE")
        assert peer.read() == ""


def test_fifty_at_once_are_all_served(rig: Rig, port: int) -> None:
    """Each call gets its own answer."""
    results: list[dict[str, str]] = []

    def call(number: int) -> None:
        with Peer(port) as peer:
            peer.call("set/lunch" if number % 2 else "treat/101", f"PJSIP/{100 + number % 2}-{number:08x}").serve()
            results.append(peer.variables())

    workers = [threading.Thread(target=call, args=(number,)) for number in range(50)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert [result["PRESENCE_RESULT"] for result in results] == ["ok"] * 50
    assert rig.manual("101") == "lunch"


def test_connection_that_is_reset_leaves_no_trace(port: int) -> None:
    """Who goes without a word is no bug."""
    with capture_logs() as lines:
        for _ in range(20):
            raw = socket.create_connection(("127.0.0.1", port))
            raw.sendall(b"agi_network: yes\n")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            raw.close()
        assert works(port)
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]


def test_stop_ends_what_is_under_way(rig: Rig) -> None:
    """The daemon ends, whoever is connected."""
    with serving(rig) as port:
        peer = Peer(port).call("set/dnd")
        peer.read()
    assert peer.read() == ""
    peer.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "agi"])


def test_address_that_is_taken_names_key_and_remedy(rig: Rig, port: int) -> None:
    """The operator sees it at the start."""
    with pytest.raises(ConfigError, match=rf"\[agi\] listen: cannot listen on 127\.0\.0\.1:{port}: .* stop the other"):
        AgiServer(Answers(AgiDesk(rig.engine)), "127.0.0.1", port).start()


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"], ids=["foreign", "unknown"])
def test_address_that_is_not_of_this_machine_names_key_and_remedy(rig: Rig, host: str) -> None:
    """Nothing is opened."""
    server = AgiServer(Answers(AgiDesk(rig.engine)), host, 0)
    with pytest.raises(ConfigError, match=r"\[agi\] listen: cannot listen on .* choose an address of this machine"):
        server.start()
    server.stop()


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)], ids=["all", "loopback"])
def test_address_that_others_can_reach_is_a_warning(host: str, warned: bool) -> None:
    """AGI has no passwords."""
    with capture_logs() as lines:
        module.open_socket(host, 0).close()
    assert bool(lines) is warned


def test_bug_in_one_call_is_logged_and_others_are_served(rig: Rig, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server outlives what nobody thought of."""
    monkeypatch.setattr(Answers, "begin", _broken)
    with capture_logs() as lines, Peer(port) as peer:
        assert peer.call("treat/100").serve() == []
    assert [line["event"] for line in lines] == ["bug: an AGI call was not served"]
    monkeypatch.undo()
    assert works(port)


class _Desk:
    """Notes what is begun in which block."""

    def __init__(self) -> None:
        self.blocks: list[list[str]] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        self.blocks.append([])
        yield
        self.blocks[-1].append("end")

    def begin(self, call: Environment, _intent: Intent) -> "Future[Settled]":
        self.blocks[-1].append(call.name)
        done: Future[Settled] = Future()
        threading.Timer(0.01, done.set_result, [None]).start()
        return done


def test_what_is_asked_in_one_round_is_carried_out_together() -> None:
    """Fifty calls that come at once cost one turn of the engine, and each gets its own outcome."""
    desk = _Desk()

    async def ask() -> list["Future[Settled]"]:
        asking = module._Asking(cast(Answers, desk), asyncio.get_running_loop())
        one = [asking.ask(Environment("", name, ()), Intent(Action.SAY)) for name in "ab"]
        found = await asyncio.gather(*one)
        return [*found, await asking.ask(Environment("", "c", ()), Intent(Action.SAY))]

    assert len(set(map(id, asyncio.run(ask())))) == 3
    assert desk.blocks == [["a", "b", "end"], ["c", "end"]]


def _broken(*_: object) -> Callable[[], None]:
    raise ValueError("a bug")
