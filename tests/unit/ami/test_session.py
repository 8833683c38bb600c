"""One connection to AMI, against a manager interface in memory."""

import socket
from collections.abc import Callable, Iterator

import pytest

from ari_presence.ami import session
from ari_presence.ami.session import AmiAddress, Session, parked_info
from ari_presence.ami.wire import Messages
from ari_presence.core.parked import ParkedInfo, ParkingListed
from ari_presence.errors import AriAuthError, AriConnectionError
from tests.unit.ami.fake_ami import CALL, SECRET, FakeAmi, message

FORGED = "Eve\r\n\r\nEvent: ParkedCall\r\nParkingSpace: 1"


class Posted(list[ParkingListed]):
    """Keeps what is posted, and ends the session after so many."""

    def __init__(self, enough: int, then: Callable[[int], None] = lambda count: None) -> None:
        """End after `enough`; `then` is called with the number so far."""
        self.enough, self.then = enough, then

    def __call__(self, event: object) -> None:
        """Take one."""
        assert isinstance(event, ParkingListed)
        self.append(event)
        self.then(len(self))
        if len(self) >= self.enough:
            raise EOFError


@pytest.fixture
def sock(ami: FakeAmi) -> Iterator[socket.socket]:
    """Give a connected socket."""
    with socket.create_connection(("127.0.0.1", ami.address().port), 5) as found:
        yield found


def follow(ami: FakeAmi, sock: socket.socket, posted: Posted) -> None:
    """Log in and follow until enough was posted."""
    found = Session(ami.address(), sock, posted)
    found.login()
    with pytest.raises(EOFError):
        found.follow()


def test_listing_is_posted_whole(ami: FakeAmi, sock: socket.socket) -> None:
    """After the login every parked call is listed."""
    ami.calls = [CALL, {**CALL, "ParkeeUniqueid": "1.2", "ParkingSpace": "702", "ParkerDialString": ""}]
    posted = Posted(1)
    follow(ami, sock, posted)
    at = posted[0].at
    first = ParkedInfo("1.1", "default", "701", ("100", ""), "PJSIP/101", at - 5)
    second = ParkedInfo("1.2", "default", "702", ("100", ""), None, at - 5)
    assert posted == [ParkingListed(at, "hq", (first, second))]
    assert ami.actions("Login")[0]["Events"] == "call,agent"


@pytest.mark.parametrize(
    "event", ["ParkedCall", "UnParkedCall", "ParkedCallGiveUp", "ParkedCallTimeOut", "ParkedCallSwap"]
)
def test_live_event_makes_a_new_listing(ami: FakeAmi, sock: socket.socket, event: str) -> None:
    """Whatever happened, the list is asked for again rather than worked out."""
    ami.calls = [CALL]

    def change(count: int) -> None:
        if count == 1:
            ami.calls = []
            ami.send(message(Event="Newchannel") + message(Event=event, **CALL))

    posted = Posted(2, change)
    follow(ami, sock, posted)
    assert [len(each.calls or ()) for each in posted] == [1, 0]


def test_event_during_a_listing_makes_another(ami: FakeAmi, sock: socket.socket) -> None:
    """The listing under way may not hold it; many events make one more listing, not many."""

    def answer(action: dict[str, str]) -> bytes | None:
        if action["ActionID"] != "list-1":
            return None
        ami.calls = [CALL]
        return message(Event="ParkedCall", **CALL) * 50 + message(Event="ParkedCallsComplete", ActionID="list-1")

    ami.answer = answer
    posted = Posted(2)
    follow(ami, sock, posted)
    assert [len(each.calls or ()) for each in posted] == [0, 1]
    assert len(ami.actions("ParkedCalls")) == 2


def test_listing_is_repeated_without_events(ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missed event, or a user who may not read them, heals by itself."""
    monkeypatch.setattr(session, "LIST_EVERY_S", 0.05)
    follow(ami, sock, Posted(3))
    assert [action["ActionID"] for action in ami.actions("ParkedCalls")] == ["list-1", "list-2", "list-3"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"ParkeeUniqueid": ""}, id="no channel"),
        pytest.param({"Parkinglot": ""}, id="no lot"),
        pytest.param({"ParkingSpace": "seven"}, id="space no number"),
        pytest.param({"ParkingDuration": "-1"}, id="duration no number"),
        pytest.param({"ParkeeCallerIDName": "Eve\r\nParkingSpace: 1"}, id="a line end in the caller's name"),
        pytest.param({"ParkeeCallerIDName": FORGED}, id="a whole message in the caller's name"),
    ],
)
def test_listing_that_cannot_be_read_is_not_believed(
    ami: FakeAmi, sock: socket.socket, broken: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One call that cannot be read makes the list one that is not whole: None, and one line in the log."""
    ami.calls = [CALL, {**CALL, **broken}]
    posted = Posted(2, lambda count: ami.send(message(Event="UnParkedCall")))
    follow(ami, sock, posted)
    assert [each.calls for each in posted] == [None, None]
    assert capsys.readouterr().out.count("cannot be read") == 1


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        pytest.param("Invalid/unknown command: ParkedCalls.", "is res_parking loaded", id="no module"),
        pytest.param("Permission denied", "write = call,system in manager.conf", id="no right"),
    ],
)
def test_server_that_lists_nothing_is_said_once(
    ami: FakeAmi, sock: socket.socket, capsys: pytest.CaptureFixture[str], said: str, remedy: str
) -> None:
    """With what mends it; the module may be loaded later, so it is asked for again."""

    def answer(action: dict[str, str]) -> bytes | None:
        refused = message(Response="Error", ActionID=action["ActionID"], Message=said)
        return refused if action["Action"] == "ParkedCalls" else None

    ami.answer = answer
    posted = Posted(2, lambda count: ami.send(message(Event="UnParkedCall")))
    follow(ami, sock, posted)
    assert [each.calls for each in posted] == [None, None]
    assert capsys.readouterr().out.count(remedy) == 1


def test_wrong_secret_is_an_error_that_names_the_place_but_not_the_secret(ami: FakeAmi, sock: socket.socket) -> None:
    """The operator finds [[pbx]], both keys and the file of Asterisk in it."""
    wrong = ami.address("wr0ng-word")
    with pytest.raises(AriAuthError) as refused:
        Session(wrong, sock, Posted(1)).login()
    assert all(
        word in str(refused.value) for word in ("[[pbx]] hq", "ami_username", "ami_password_file", "manager.conf")
    )
    assert "wr0ng-word" not in f"{refused.value} {refused.value!r} {wrong} {wrong!r}"


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not AMI", id="http"),
        pytest.param(b"Asterisk Call Manager/" + b"x" * 2000, "is not AMI", id="endless greeting"),
        pytest.param(b"Aster", "no greeting in time", id="half a greeting"),
        pytest.param(b"", "no greeting in time", id="silence"),
    ],
)
def test_peer_that_is_not_ami_is_found_out(monkeypatch: pytest.MonkeyPatch, greeting: bytes, reason: str) -> None:
    """Nothing is sent to it, least of all the secret."""
    monkeypatch.setattr(session, "STEP_S", 0.3)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(greeting)
        with pytest.raises(AriConnectionError, match=reason):
            Session(AmiAddress("hq", "127.0.0.1", 1, "a", SECRET), ours, Posted(1)).login()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_login_without_answer_ends_in_time(ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs does not hold the thread."""
    monkeypatch.setattr(session, "STEP_S", 0.3)
    ami.answer = lambda action: message(Event="Other")
    with pytest.raises(AriConnectionError, match="did not answer the login"):
        Session(ami.address(), sock, Posted(1)).login()


def test_peer_that_falls_silent_is_pinged_and_given_up(
    ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is half open is noticed."""
    monkeypatch.setattr(session, "QUIET_S", 0.1)
    ami.answer = lambda action: b"" if action["Action"] == "Ping" else None
    found = Session(ami.address(), sock, Posted(9))
    found.login()
    with pytest.raises(AriConnectionError, match="fell silent"):
        found.follow()
    assert len(ami.actions("Ping")) == 1


def test_ping_that_is_answered_keeps_the_connection(
    ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to say is no fault."""
    monkeypatch.setattr(session, "QUIET_S", 0.1)

    def answer(action: dict[str, str]) -> bytes | None:
        second = action["Action"] == "Ping" and len(ami.actions("Ping")) == 2
        return message(Event="ParkedCall", **CALL) if second else None  # it makes the listing that ends the session

    ami.answer = answer
    follow(ami, sock, Posted(2))
    assert len(ami.actions("Ping")) >= 2


def test_listing_that_does_not_end_is_given_up(
    ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much comes meanwhile."""
    monkeypatch.setattr(session, "LIST_S", 0.3)
    monkeypatch.setattr(session, "QUIET_S", 0.05)
    ami.answer = lambda action: message(Event="Other") if action["Action"] in ("ParkedCalls", "Ping") else None
    found = Session(ami.address(), sock, Posted(1))
    found.login()
    with pytest.raises(AriConnectionError, match="did not end a listing"):
        found.follow()


def test_listing_without_measure_is_given_up(
    ami: FakeAmi, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory has a limit whatever a server lists."""
    monkeypatch.setattr(session, "LISTED_AT_MOST", 10)
    ami.calls = [CALL] * 11
    found = Session(ami.address(), sock, Posted(1))
    found.login()
    with pytest.raises(AriConnectionError, match="more than 10"):
        found.follow()


@pytest.mark.parametrize(
    ("dialled", "endpoint"),
    [
        pytest.param("PJSIP/101", "PJSIP/101", id="endpoint"),
        pytest.param("PJSIP/100-mobile", "PJSIP/100-mobile", id="with a dash"),
        pytest.param("Local/601@internal", None, id="local"),
        pytest.param("PJSIP/101&PJSIP/102", None, id="two"),
        pytest.param("PJSIP/101/sip:x", None, id="contact"),
        pytest.param("101", None, id="number"),
        pytest.param("", None, id="empty"),
    ],
)
def test_parker_is_an_endpoint_or_nobody(dialled: str, endpoint: str | None) -> None:
    """What Asterisk would call back tells who parked, where it is one endpoint."""
    (fields,) = Messages().feed(message(Event="ParkedCall", **{**CALL, "ParkerDialString": dialled}))
    found = parked_info(fields, 100.0)
    assert found is not None
    assert (found.parker, found.since) == (endpoint, 95.0)
