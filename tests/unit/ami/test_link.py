"""The link to AMI: connects, connects again, and says why not."""

from collections.abc import Callable, Iterator

import pytest

from ari_presence.ami import link as module
from ari_presence.ami.link import AmiLink
from ari_presence.ami.session import AmiAddress
from ari_presence.core.parked import ParkingListed
from ari_presence.errors import AriAuthError, AriError
from tests.unit.ami.fake_ami import CALL, SECRET, FakeAmi
from tests.unit.http.fake_service import eventually

Start = Callable[..., "Watched"]


class Watched:
    """A link, and what it told."""

    def __init__(self, address: AmiAddress) -> None:
        """Prepare one."""
        self.posted: list[ParkingListed] = []
        self.fatal: list[AriError] = []
        self.link = AmiLink(address, self._take, self.fatal.append)

    def _take(self, event: object) -> None:
        assert isinstance(event, ParkingListed)
        self.posted.append(event)

    def listed(self) -> list[int | None]:
        """Give how many calls each listing had, None for AMI gone."""
        return [None if each.calls is None else len(each.calls) for each in self.posted]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start links, with shorter waits; they are stopped at the end."""
    monkeypatch.setattr(module, "REFUSED_S", 0.05)
    monkeypatch.setattr(module, "delays", lambda most_s: iter(lambda: 0.05, None))
    started: list[Watched] = []

    def make(address: AmiAddress) -> Watched:
        started.append(Watched(address))
        started[-1].link.start()
        return started[-1]

    yield make
    for each in started:
        each.link.stop()


def test_link_lists_and_says_when_ami_is_gone(ami: FakeAmi, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """A listing after each connect, None between; each change is logged once."""
    ami.calls = [CALL]
    watched = start(ami.address())
    assert eventually(lambda: watched.listed() == [1])
    ami.hang_up()
    assert eventually(lambda: watched.listed() == [1, None, 1])
    watched.link.stop()
    assert watched.listed() == [1, None, 1, None]
    out = capsys.readouterr().out
    assert (out.count("connected to AMI"), out.count("no AMI, tried again")) == (2, 1)


def test_wrong_secret_at_the_first_login_is_fatal(ami: FakeAmi, start: Start) -> None:
    """As a wrong password of ARI: the daemon ends, and says what to do."""
    watched = start(ami.address("wrong"))
    assert eventually(lambda: bool(watched.fatal))
    assert isinstance(watched.fatal[0], AriAuthError)
    assert watched.posted == []
    assert len(ami.actions("Login")) == 1


def test_secret_that_is_refused_later_is_one_line_and_tried_again(
    ami: FakeAmi, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon goes on without AMI, and takes it up again when it is mended."""
    watched = start(ami.address())
    assert eventually(lambda: watched.listed() == [0])
    good, ami.answer = ami.answer, lambda action: b"Response: Error\r\nActionID: login\r\n\r\n"
    ami.hang_up()
    assert eventually(lambda: len(ami.actions("Login")) >= 4)
    ami.answer = good
    assert eventually(lambda: watched.listed() == [0, None, 0])
    out = capsys.readouterr().out
    assert out.count("refused the login") == 1
    assert watched.fatal == []
    assert SECRET not in out


def test_server_that_is_not_there_is_one_line_and_tried_again(
    ami: FakeAmi, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is tried."""
    address = ami.address()
    ami.close()
    watched = start(address)
    assert not eventually(lambda: bool(watched.posted), 0.5)
    watched.link.stop()
    assert capsys.readouterr().out.count("no AMI, tried again") == 1


def test_link_is_stopped_whatever_it_does(ami: FakeAmi, start: Start) -> None:
    """Before it was started, twice, and while it waits for an answer."""
    idle = Watched(ami.address())
    idle.link.stop()
    ami.greeting = b""
    watched = start(ami.address())
    watched.link.stop()
    watched.link.stop()
    assert watched.posted == []
