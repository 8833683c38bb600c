"""Whatever a peer sends, the FastAGI server lives, changes nothing that it may not, and serves the next call."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ari_presence.agi import server as module
from ari_presence.agi.answers import Answers
from ari_presence.agi.server import AgiServer
from ari_presence.agi.talk import is_more, parse_environment, result_of
from ari_presence.core.agi import parse_path
from ari_presence.core.names import printable
from ari_presence.core.userstate import StateTable
from ari_presence.errors import Refused
from ari_presence.service import AgiDesk
from tests.unit.agi.peer import ENVIRONMENT, Peer
from tests.unit.engine_rig import Rig, running

WORDS = st.sampled_from(
    ["set", "toggle", "clear", "say", "treat", "code", "user", "until", "dnd", "lunch", "45", "100"]
)
PIECES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [b"\n", b"\n\n", b"agi_channel: PJSIP/100-1\n", b"agi_arg_1: ", b"HANGUP\n", b"200 result=", b"520-"]
    ),
    st.integers(1, 40_000).map(lambda size: b"x" * size),
)
REPLIES = st.one_of(
    st.sampled_from(["200 result=0", "200 result=-1", "511 no", "HANGUP", "520-a\n520 b", "", "200 result=é"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=40),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Rig, int]]:
    """Give a running engine and the port of a server that loses patience soon."""
    patch = pytest.MonkeyPatch()
    for name in ("ENVIRONMENT_S", "REPLY_S", "LINGER_S", "PROMPT_S"):
        patch.setattr(module, name, 0.05)
    with running() as rig:
        server = AgiServer(Answers(AgiDesk(rig.engine)), "127.0.0.1", 0)
        server.start()
        yield rig, server.port
        server.stop()
    patch.undo()


def drain(peer: Peer) -> None:
    """Read until the server closes."""
    while peer.read():
        pass


@given(pieces=st.lists(PIECES, max_size=8))
def test_random_bytes_never_stop_the_server(served: tuple[Rig, int], pieces: list[bytes]) -> None:
    """Nobody is set who did not say who it is, no bug is logged, and the next call is served."""
    rig, port = served
    with capture_logs() as lines, Peer(port) as peer:
        for piece in pieces:
            peer.send(piece)
        drain(peer.end_sending())
        with Peer(port) as other:
            assert other.call("treat/100").serve()
            assert other.variables()["PRESENCE_RESULT"] == "ok"
    assert rig.manual("100") is None
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]


@given(words=st.lists(WORDS, max_size=6), replies=st.lists(REPLIES, max_size=6))
def test_random_paths_and_replies_never_stop_the_server(
    served: tuple[Rig, int], words: list[str], replies: list[str]
) -> None:
    """Each call ends, whatever it asks for and however it replies."""
    _, port = served
    with capture_logs() as lines, Peer(port) as peer:
        peer.call("/".join(words), "PJSIP/101-00000001")
        for reply in replies:
            peer.read()
            peer.send(reply.encode() + b"\n")
        drain(peer.end_sending())
        with Peer(port) as other:
            other.call("treat/100").serve()
            assert other.variables()["PRESENCE_RESULT"] == "ok"
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]


@given(words=st.lists(st.one_of(WORDS, st.text(max_size=10)), max_size=7))
def test_path_is_an_intent_or_is_refused(words: list[str]) -> None:
    """Nothing else is raised, and what is said of it can be shown."""
    try:
        intent = parse_path(words, StateTable())
    except Refused as error:
        assert error.code.startswith("bad-")
        assert printable(str(error)[:60]).split() == str(error)[:60].split()
    else:
        assert not intent.anybody or intent.action in ("say", "treat")


@given(text=st.text(), line=st.text(max_size=50))
def test_environment_and_reply_of_any_text_are_understood_or_refused(text: str, line: str) -> None:
    """Text from the network raises nothing else."""
    for given_text in (text, ENVIRONMENT.format(script=text, channel=line, space="")):
        try:
            parse_environment(given_text)
        except Refused as error:
            assert error.code == "bad-environment"
    assert result_of(line) is None or line.startswith("200 result=")
    assert is_more(line) in (True, False)
