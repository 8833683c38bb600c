"""ARI over HTTP, against real servers on loopback."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest

from ari_presence.ari.rest import Rest, error_text
from ari_presence.ari.wire import Request, Response
from ari_presence.errors import AriAuthError, AriConnectionError, AriDecodeError, AriError, AriResponseError
from tests.unit.ari.fake_ari import FakeAri, serving

PING = Request("GET", "asterisk/ping")
PEM = Path(__file__).parent / "data" / "localhost.pem"


@pytest.fixture
def rest(ari: FakeAri) -> Iterator[Rest]:
    """Give a session with the server."""
    session = ari.address().rest()
    yield session
    session.close()


@pytest.fixture
def tls() -> Iterator[FakeAri]:
    """Give a server with a certificate that no authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with serving(context=context) as server:
        yield server


def test_call_gives_status_and_body(rest: Rest) -> None:
    """A good call gives what was answered."""
    assert rest.call(PING).json() == {"ping": "pong"}


def test_values_and_body_arrive_as_they_are(ari: FakeAri, rest: Rest) -> None:
    """Values are encoded for the URL, bodies go as JSON in UTF-8."""
    ari.asterisk.app_known = True
    rest.call(Request("POST", "asterisk/variable", (("variable", "DEVICE_STATE(Custom:é&a)"), ("value", "BUSY"))))
    rest.need(Request("POST", "applications/a/subscription", body='{"eventSource": ["deviceState:Custom:ü"]}'))
    assert ari.asterisk.lamps == {"Custom:é&a": "BUSY"}
    assert ari.asterisk.devices == ["Custom:ü"]
    assert ari.headers[-1]["Content-Type"] == "application/json"


def test_encoded_slash_stays_encoded(ari: FakeAri, rest: Rest) -> None:
    """A slash in a name must arrive as %2F, or Asterisk answers 404."""
    paths: list[str] = []
    ari.gate = lambda request: paths.append(request.path)
    rest.call(Request("GET", "deviceStates/PJSIP%2F100"))
    assert paths == ["deviceStates/PJSIP%2F100"]


@pytest.mark.parametrize(
    ("response", "kind", "says"),
    [
        pytest.param(Response(401, "{}"), AriAuthError, "username and password", id="401"),
        pytest.param(Response(403, "{}"), AriAuthError, "read_only", id="403"),
        pytest.param(Response(404, "<html>no</html>"), AriConnectionError, "not there", id="404-html"),
        pytest.param(Response(404, ""), AriConnectionError, "not there", id="404-empty"),
        pytest.param(Response(503, '{"message":"Asterisk not booted"}'), AriConnectionError, "503", id="503"),
        pytest.param(Response(404, '{"message":"Channel not found"}'), AriResponseError, "Channel not found", id="404"),
        pytest.param(Response(500, "oops"), AriResponseError, "500", id="500-no-json"),
        pytest.param(Response(409, "[1]"), AriResponseError, "409", id="409-odd-json"),
    ],
)
def test_bad_answer_becomes_the_error_of_whoever_acts(
    ari: FakeAri, rest: Rest, response: Response, kind: type[AriError], says: str
) -> None:
    """Each answer becomes the error of the one who must act, in one line without the secret."""
    ari.asterisk.override("GET", "asterisk/ping", response)
    with pytest.raises(kind, match=says) as caught:
        rest.need(PING)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert ari.password not in str(caught.value)


def test_error_status_of_a_call_is_only_returned(ari: FakeAri, rest: Rest) -> None:
    """A caller that expects a 404 or a 409 gets it as a response."""
    assert rest.call(Request("POST", "channels/gone/answer")).status == 404


def test_wrong_password_is_an_error_of_the_operator(ari: FakeAri) -> None:
    """The message names server and remedy, never the secret."""
    session = Rest(ari.url, ari.username, "wrong-hush")
    with pytest.raises(AriAuthError, match=r"127\.0\.0\.1:\d+: Asterisk answered 401: check") as caught:
        session.call(PING)
    assert "hush" not in str(caught.value)
    session.close()


def test_refused_connection_is_tried_again() -> None:
    """Nobody listening is an error that passes, and says so in two words."""
    with create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    session = Rest(url, "u", "hush-hush")
    with pytest.raises(AriConnectionError, match="connection refused") as caught:
        session.call(PING)
    assert "hush" not in str(caught.value)
    session.close()


def test_silent_server_is_given_up_in_time() -> None:
    """A server that accepts and says nothing costs no more than the time limit."""
    with create_server(("127.0.0.1", 0)) as silent:
        session = Rest(f"http://127.0.0.1:{silent.getsockname()[1]}", "u", "p")
        with pytest.raises(AriConnectionError, match="timed out"):
            session.call(PING, 0.1)
        session.close()


def test_connection_closed_without_an_answer_is_tried_again() -> None:
    """That is what Asterisk does above its session limit."""
    with create_server(("127.0.0.1", 0)) as server:

        def close_at_once() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=close_at_once)
        thread.start()
        session = Rest(f"http://127.0.0.1:{server.getsockname()[1]}", "u", "p")
        with pytest.raises(AriConnectionError):
            session.call(PING, 2)
        session.close()
        thread.join(5)


def test_redirect_is_not_followed(ari: FakeAri, rest: Rest) -> None:
    """The secret is for one server; another that a redirect names never hears from us."""
    with serving() as other:
        ari.asterisk.override("GET", "asterisk/ping", Response(302, f"{other.url}/ari/asterisk/ping"))
        with pytest.raises(AriResponseError, match="302"):
            rest.need(PING)
        assert other.headers == []


def test_proxy_variables_are_ignored(ari: FakeAri, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would get the secret: it is not asked."""
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        session = ari.address().rest()
        assert session.call(PING).ok
        assert proxy.headers == []
        session.close()


def test_netrc_is_ignored(ari: FakeAri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the user who runs the daemon are not sent in place of the configured ones."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = ari.address().rest()
    assert session.call(PING).ok
    session.close()


def test_certificate_that_nobody_signed_is_an_error_of_the_operator(tls: FakeAri) -> None:
    """A certificate that does not verify is fatal, and the secret is not sent."""
    session = tls.address().rest()
    with pytest.raises(AriAuthError, match="certificate does not verify"):
        session.call(PING)
    assert tls.headers == []
    session.close()


def test_certificate_of_a_known_authority_is_taken(tls: FakeAri) -> None:
    """With `ca_file` the same server is trusted."""
    session = tls.address(PEM).rest()
    assert session.call(PING).ok
    session.close()


def test_tls_handshake_that_breaks_off_is_tried_again(ari: FakeAri) -> None:
    """A server that is starting or ending may break a handshake off; that says nothing of its certificate."""
    session = Rest(ari.url.replace("http:", "https:"), "u", "p")
    with pytest.raises(AriConnectionError):
        session.call(PING, 2)
    session.close()


def test_error_text_is_asterisks_own_or_nothing() -> None:
    """Only a message of Asterisk is quoted."""
    assert error_text(Response(404, '{"message":"Bridge not found"}')) == "Bridge not found"
    assert error_text(Response(500, "<html>")) == error_text(Response(500, "[]")) == ""


def test_listing_of_odd_bytes_is_a_decode_error(ari: FakeAri, rest: Rest) -> None:
    """What is no JSON raises the project's own error."""
    ari.asterisk.override("GET", "endpoints", Response(200, "\ufffd"))
    with pytest.raises(AriDecodeError):
        rest.need(Request("GET", "endpoints")).json()
