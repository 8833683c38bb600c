"""Actions asked by others: sent in the link's thread, each answered once."""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ari_presence.ami import asks as module
from ari_presence.ami import link as link_module
from ari_presence.ami.asks import Asks, Rows, error_of
from ari_presence.ami.link import AmiLink
from ari_presence.ami.wire import Fields, one
from ari_presence.core.parked import ParkingListed
from ari_presence.errors import AriConnectionError
from tests.unit.ami.fake_ami import FakeAmi, message


class Turns:
    """Takes what is posted and calls it; keeps what was answered."""

    def __init__(self) -> None:
        """Start empty."""
        self.answers: list[Rows] = []

    def __call__(self, item: object) -> None:
        """Take one."""
        assert callable(item)
        item()

    def answered(self, rows: Rows) -> None:
        """Keep an answer."""
        self.answers.append(rows)


@pytest.fixture
def turns() -> Turns:
    """Give a place for answers."""
    return Turns()


@pytest.fixture
def asks(turns: Turns) -> Iterator[Asks]:
    """Give asks with a connection."""
    found = Asks(turns)
    found.open()
    yield found
    found.close()


def row(number: str, **fields: str) -> Fields:
    """Make a message."""
    return {"actionid": [number], **{key: [value] for key, value in fields.items()}}


def test_ask_wakes_the_link_and_is_answered(asks: Asks, turns: Turns) -> None:
    """What is sent carries its number; the answer finds who asked, once."""
    asks.ask("QueuePause", {"Queue": "sales"}, turns.answered)
    assert select.select([asks], [], [], 0)[0] == [asks]
    assert asks.to_send() == b"Action: QueuePause\r\nQueue: sales\r\nActionID: ask-1\r\n\r\n"
    assert select.select([asks], [], [], 0)[0] == []
    assert not asks.take(row("list-1", response="Success"))
    assert asks.take(row("ask-1", response="Success"))
    assert turns.answers == [[row("ask-1", response="Success")]]
    assert not asks.take(row("ask-1", response="Success"))
    assert asks.deadline() is None


def test_list_is_answered_whole(asks: Asks, turns: Turns) -> None:
    """Up to the event that ends it."""
    asks.ask("QueueStatus", {}, turns.answered, ends="QueueStatusComplete")
    asks.to_send()
    rows = [row("ask-1", response="Success"), row("ask-1", event="QueueMember")]
    rows.append(row("ask-1", event="QueueStatusComplete"))
    for each in rows:
        assert turns.answers == []
        asks.take(each)
    assert turns.answers == [rows]


def test_error_ends_a_list(asks: Asks, turns: Turns) -> None:
    """Nothing follows it."""
    asks.ask("QueueStatus", {}, turns.answered, ends="QueueStatusComplete")
    asks.to_send()
    asks.take(row("ask-1", response="Error", message="Permission denied"))
    assert turns.answers[0] is not None
    assert error_of(turns.answers[0]) == "Permission denied"


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "queued"])
def test_end_of_the_connection_answers_with_nothing(asks: Asks, turns: Turns, sent: bool) -> None:
    """Whether it was carried out is not known."""
    asks.ask("QueuePause", {}, turns.answered)
    if sent:
        asks.to_send()
    asks.close()
    assert turns.answers == [None]
    asks.ask("QueuePause", {}, turns.answered)
    assert turns.answers == [None, None]
    assert (asks.to_send(), asks.fileno(), asks.deadline()) == (b"", -1, None)


def test_only_a_window_is_under_way(asks: Asks, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow does not fill buffers on both sides."""
    monkeypatch.setattr(module, "WINDOW", 2)
    for _ in range(3):
        asks.ask("QueuePause", {}, turns.answered)
    assert asks.to_send().count(b"Action:") == 2
    assert asks.to_send() == b""
    asks.take(row("ask-1", response="Success"))
    assert asks.to_send().count(b"ask-3") == 1


def test_late_answer_is_found(asks: Asks, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link ends the connection then."""
    asks.ask("QueuePause", {}, turns.answered)
    asks.to_send()
    asks.check()
    late = time.monotonic() + module.ANSWER_S
    monkeypatch.setattr(time, "monotonic", lambda: late)
    with pytest.raises(AriConnectionError, match="in time"):
        asks.check()


def test_list_without_measure_is_refused(asks: Asks, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has a limit whatever a server lists."""
    monkeypatch.setattr(module, "ROWS_AT_MOST", 2)
    asks.ask("QueueStatus", {}, turns.answered, ends="QueueStatusComplete")
    asks.to_send()
    with pytest.raises(AriConnectionError, match="more than 2"):
        for _ in range(3):
            asks.take(row("ask-1", event="QueueMember"))


def test_value_that_would_be_an_action_of_its_own_is_refused(asks: Asks, turns: Turns) -> None:
    """A line end in a name never reaches the wire."""
    with pytest.raises(ValueError, match="control character"):
        asks.ask("QueuePause", {"Queue": "a\r\n\r\nAction: Command"}, turns.answered)
    assert asks.to_send() == b""


class Ears:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        """Start empty."""
        self.up = threading.Event()
        self.heard: list[str | None] = []
        self.event = threading.Event()

    def ami_up(self, pbx: str) -> None:
        """Take a connection."""
        assert pbx == "hq"
        self.up.set()

    def ami_event(self, pbx: str, fields: Fields) -> None:
        """Take an event."""
        self.heard.append(one(fields, "event"))
        self.event.set()


@contextmanager
def linked(ami: FakeAmi, ears: Ears) -> Iterator[AmiLink]:
    """Run a link to a manager interface in memory."""

    def post(item: object) -> None:
        if not isinstance(item, ParkingListed):
            assert callable(item)
            item()

    link = AmiLink(ami.address(), post, lambda error: None, (ears,))
    link.start()
    try:
        assert ears.up.wait(5)
        yield link
    finally:
        link.stop()


def ask(link: AmiLink, name: str, fields: dict[str, str]) -> Callable[[], Rows]:
    """Ask, and give what waits for the answer."""
    came, found = threading.Event(), []

    def done(rows: Rows) -> None:
        found.append(rows)
        came.set()

    link.ask(name, fields, done)

    def wait() -> Rows:
        assert came.wait(5)
        return found[0]

    return wait


def test_link_carries_out_what_is_asked_at_once(ami: FakeAmi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket, while it waits for events; and what is told without being asked is told on."""
    ears = Ears()
    with linked(ami, ears) as link:
        rows = ask(link, "QueuePause", {"Queue": "sales"})()
        assert rows is not None and error_of(rows) == ""
        ami.send(message(Event="QueueMemberStatus") + message(Event="QueueMemberPause", Queue="sales"))
        assert ears.event.wait(5)
        assert ears.heard == ["QueueMemberPause"]


def test_link_that_is_cut_answers_and_begins_anew(ami: FakeAmi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked learns that there is no answer, and is told when there can be one."""
    monkeypatch.setattr(link_module, "delays", lambda **_: iter([0.01] * 1000))
    ears = Ears()
    ami.answer = lambda action: b"" if action["Action"] == "QueuePause" else None
    with linked(ami, ears) as link:
        wait = ask(link, "QueuePause", {})
        ears.up.clear()
        ami.hang_up()
        assert wait() is None
        assert ears.up.wait(5)
