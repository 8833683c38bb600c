"""The keeper with its thread, a real reader process, real files and a real server."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from ari_presence.calendars.keeper import Keeper, Setup
from ari_presence.calendars.plan import Calendar
from ari_presence.calendars.rules import DEFAULT_RULES, Rule
from ari_presence.core import events as ev
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.occurrences import CalendarRead
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Layer
from tests.unit.calendars import server as web
from tests.unit.calendars.samples import event, text
from tests.unit.calendars.server import serving
from tests.unit.engine_rig import make_settings

WAIT_S = 20.0
ALICE, BOB = UserId("100"), UserId("101")
BERLIN, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London")


def now_event(title: str = "Budget", uid: str = "1", *lines: str) -> str:
    """Make an entry that runs from an hour ago to an hour ahead."""
    now = datetime.now(UTC)
    begin, end = (f"{now + timedelta(hours=hours):%Y%m%dT%H%M%SZ}" for hours in (-1, 1))
    return event(f"DTSTART:{begin}", f"DTEND:{end}", *lines, uid=uid, title=title)


class Office:
    """A model that takes what a keeper posts."""

    def __init__(self, folder: Path, users: tuple[UserId, ...]) -> None:
        """Start with people who are there already."""
        self.folder = folder
        self.model = Model(make_settings())
        self.lock = threading.Lock()
        self.posted: list[CalendarRead] = []
        self.users = list(users)
        self.keeper = Keeper(folder / "kept", self.post, lambda: list(self.users))
        reduce(self.model, ev.Started(time.time(), {}))
        reduce(self.model, ev.EndpointsSeen(time.time(), "hq", tuple(f"PJSIP/{user}" for user in users)))

    def post(self, event: CalendarRead) -> None:
        """Take an event."""
        with self.lock:
            self.posted.append(event)
            reduce(self.model, event)

    def shows(self, user: UserId = ALICE) -> str | None:
        """Give the message of the calendar layer; its state if it has none."""
        with self.lock:
            entry = self.model.users[user].entries.get(Layer.CALENDAR)
        return (entry.message or entry.state) if entry else None

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, what or f"{self.keeper.status()} {self.posted[-3:]}"
            threading.Event().wait(0.02)

    def failure(self) -> str:
        """Give the first failure."""
        return next((each["failure"] for each in self.keeper.status() if each["failure"]), "")


def setup(*calendars: Calendar) -> Setup:
    """Make a setup in which Bob lives in London."""
    return Setup(calendars, (ALICE, BOB), lambda user: LONDON if user == BOB else BERLIN, BERLIN)


def calendar(place: object, *users: UserId, name: str = "work", **more: object) -> Calendar:
    """Make a calendar that is looked at all the time."""
    given = {"rules": DEFAULT_RULES, "refresh_s": 0.05, "order": 0, **more}
    return Calendar(name=name, place=str(place), users=frozenset(users) or None, **given)  # type: ignore[arg-type]


@contextmanager
def office(folder: Path, *calendars: Calendar, users: tuple[UserId, ...] = (ALICE, BOB)) -> Iterator[Office]:
    """Run a keeper for the length of a block."""
    made = Office(folder, users)
    made.keeper.start(setup(*calendars))
    try:
        yield made
    finally:
        made.keeper.stop()
        assert not made.keeper._thread.is_alive() and made.keeper.reader_pid is None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a calendar in which a meeting runs."""
    path = tmp_path / "a.ics"
    path.write_bytes(text(now_event()))
    return path


def test_file_is_shown_and_followed(file: Path, tmp_path: Path) -> None:
    """A change counts at the next look; what has not changed is posted once."""
    with office(tmp_path, calendar(file, ALICE)) as here:
        here.until(lambda: here.shows() == "Budget")
        assert here.shows(BOB) is None
        read = here.keeper.status()[0]["read"]
        here.until(lambda: here.keeper.status()[0]["read"] > read)
        assert len(here.posted) == 1
        file.write_bytes(text(now_event("Review")))
        here.until(lambda: here.shows() == "Review")
        status = here.keeper.status()[0]
        assert (status["calendar"], status["users"], status["entries"]) == ("work", [ALICE], 1)
        assert (status["occurrences"], status["failure"], status["problems"]) == (1, None, [])
        assert here.keeper.of_user(ALICE)[0]["calendar"] == "work" and here.keeper.of_user(BOB) == []


def test_last_good_data_stays_while_the_file_is_broken_and_over_a_restart(file: Path, tmp_path: Path) -> None:
    """It is said once what is wrong, not at every look, and once that it is right again."""
    with capture_logs() as logs, office(tmp_path, calendar(file, ALICE)) as here:
        here.until(lambda: here.shows() == "Budget")
        file.write_bytes(b"<html>")
        here.until(lambda: "not an iCalendar" in here.failure())
        assert here.shows() == "Budget"
    assert [each["event"] for each in logs] == ["calendar read", "calendar not read, the last good copy counts"]
    assert "<html>" in logs[1]["reason"] and logs[1]["log_level"] == "warning"
    with office(tmp_path, calendar(file, ALICE)) as here:
        here.until(lambda: here.shows() == "Budget" and here.failure())
        file.write_bytes(text(now_event("Review")))
        here.until(lambda: here.shows() == "Review" and not here.failure())


def test_restart_shows_the_copy_before_a_slow_server_answers(tmp_path: Path) -> None:
    """Whoever was in a meeting is in it at once."""
    with serving() as server:
        server.answers["/a.ics"] = text(now_event())
        with office(tmp_path, calendar(server.url(), ALICE)) as here:
            here.until(lambda: here.shows() == "Budget")
        server.answers["/a.ics"] = web.silent
        began = time.monotonic()
        with office(tmp_path, calendar(server.url(), ALICE)) as here:
            here.until(lambda: here.shows() == "Budget")
            assert not here.failure()  # the server has not been given up yet
    assert time.monotonic() - began < 60  # stopping does not wait for it


def test_server_without_the_calendar_is_asked_less_and_less(tmp_path: Path) -> None:
    """The time between two looks doubles with each failure."""
    with serving() as server, office(tmp_path, calendar(server.url(), ALICE, refresh_s=0.2)) as here:
        here.until(lambda: "404" in here.failure())
        began = time.monotonic()
        here.until(lambda: len(server.seen) >= 5)
        assert time.monotonic() - began > 1.5
        server.answers["/a.ics"] = text(now_event())
        here.until(lambda: here.shows() == "Budget")


def test_calendars_count_where_no_copies_can_be_kept(file: Path, tmp_path: Path) -> None:
    """It is said what is wrong with the folder, what is new counts at the next look, and copies are kept once they can be."""
    (tmp_path / "kept").write_text("no folder")
    with capture_logs() as logs, office(tmp_path, calendar(file, ALICE)) as here:
        here.until(lambda: here.shows() == "Budget")
        here.until(lambda: "no copy can be kept (Not a directory): make it a folder" in here.failure())
        for number in range(8):  # no less often
            file.write_bytes(text(now_event(f"Review {number}")))
            here.until(lambda wanted=f"Review {number}": here.shows() == wanted)  # type: ignore[misc]
        (tmp_path / "kept").unlink()
        here.until(lambda: (tmp_path / "kept/work.ics").exists() and not here.failure())
    assert [each["log_level"] for each in logs] == ["warning", "info"]


def test_each_user_has_the_own_file_of_a_folder(tmp_path: Path) -> None:
    """A file that appears counts, one that goes takes its state along, an empty folder is not believed."""
    folder = tmp_path / "calendars"
    folder.mkdir()
    (folder / "100.ics").write_bytes(text(now_event("A")))
    with capture_logs() as logs, office(tmp_path, calendar(folder, is_folder=True)) as here:
        here.until(lambda: here.shows() == "A")
        (folder / "101.ics").write_bytes(text(now_event("B")))
        here.until(lambda: here.shows(BOB) == "B")
        (folder / "100.ics").unlink()
        here.until(lambda: here.shows() is None)
        assert [path.name for path in (tmp_path / "kept").glob("*.ics")] == ["work@101.ics"]
        (folder / "101.ics").rename(tmp_path / "away.ics")
        here.until(lambda: "is it mounted" in here.failure())
        assert here.shows(BOB) == "B"
        (tmp_path / "away.ics").rename(folder / "101.ics")
        here.until(lambda: not here.failure())
    assert sum("is it mounted" in str(each.get("reason")) for each in logs) == 1


def test_folder_that_is_not_there_is_shown_and_taken_when_it_comes(tmp_path: Path) -> None:
    """A calendar of which nothing is known yet is listed all the same."""
    folder = tmp_path / "later"
    with office(tmp_path, calendar(folder, ALICE, is_folder=True)) as here:
        here.until(lambda: "cannot be listed" in here.failure())
        assert here.keeper.status()[0]["users"] == [ALICE] and here.keeper.status()[0]["read"] is None
        folder.mkdir()
        here.until(lambda: here.keeper.status()[0]["failure"] is None)
        (folder / "100.ics").write_bytes(text(now_event("A")))
        here.until(lambda: here.shows() == "A")


def test_address_with_user_is_asked_for_each_user_there_is(tmp_path: Path) -> None:
    """Also for those who are discovered later."""
    with serving() as server:
        server.answers |= {f"/{user}.ics": text(now_event(f"M{user}")) for user in (ALICE, BOB)}
        with office(tmp_path, calendar(server.url("/{user}.ics")), users=(ALICE,)) as here:
            here.until(lambda: here.shows() == "M100")
            reduce(here.model, ev.EndpointsSeen(time.time(), "hq", ("PJSIP/100", "PJSIP/101")))
            here.users.append(BOB)
            here.until(lambda: here.shows(BOB) == "M101")


def test_calendar_of_everybody_is_that_of_each_in_the_own_zone(tmp_path: Path) -> None:
    """Times without a zone: Berlin's and London's noon are an hour apart; who appears later has the default."""
    path = tmp_path / "a.ics"
    hour = datetime.now(BERLIN).replace(minute=0, second=0, microsecond=0)
    begin, end = (f"{hour + timedelta(minutes=minutes):%Y%m%dT%H%M%S}" for minutes in (-30, 59))
    path.write_bytes(text(event(f"DTSTART:{begin}", f"DTEND:{end}", title="Noon")))
    with office(tmp_path, calendar(path)) as here:
        here.until(lambda: here.keeper.status() and here.keeper.status()[0]["read"])
        own = here.model.agendas[BOB]["work"][0].start
        assert own - here.model.agenda_of_all["work"][0].start == 3600
        reduce(here.model, ev.EndpointsSeen(time.time(), "hq", ("PJSIP/100", "PJSIP/101", "PJSIP/102")))
        if datetime.now(BERLIN).minute < 59:
            assert here.shows(UserId("102")) == "Noon"


def test_reload_takes_other_rules_users_and_calendars_at_once(file: Path, tmp_path: Path) -> None:
    """What leaves takes its states and copies along."""
    with office(tmp_path, calendar(file, ALICE, refresh_s=86400)) as here:
        here.until(lambda: here.shows() == "Budget")
        rules = (Rule("out", words=("budget",)), *DEFAULT_RULES)
        here.keeper.configure(setup(calendar(file, ALICE, BOB, rules=rules, titles=False, refresh_s=86400)))
        here.until(lambda: here.shows() == "out" and here.shows(BOB) == "out")
        here.keeper.configure(setup(calendar(file, BOB, refresh_s=86400)))
        here.until(lambda: here.shows() is None and here.shows(BOB) == "Budget")
        here.keeper.configure(setup(calendar(file, refresh_s=86400)))
        here.until(lambda: here.shows() == here.shows(BOB) == "Budget")
        here.keeper.configure(setup())
        here.until(lambda: here.shows() is None and here.shows(BOB) is None)
        assert here.keeper.status() == [] and list((tmp_path / "kept").iterdir()) == []
        assert here.model.agendas == {} and here.model.agenda_of_all == {}


def test_strong_rule_of_the_first_calendar_counts_before_the_second(tmp_path: Path) -> None:
    """Calendars in their order, rules within them."""
    (tmp_path / "a.ics").write_bytes(text(now_event("First")))
    (tmp_path / "b.ics").write_bytes(text(now_event("Second", "2", "X-MICROSOFT-CDO-BUSYSTATUS:OOF")))
    first = calendar(tmp_path / "a.ics", ALICE, name="a")
    second = calendar(tmp_path / "b.ics", ALICE, name="b", order=1)
    with office(tmp_path, first, second) as here:
        here.until(lambda: all(each["read"] for each in here.keeper.status()) and len(here.keeper.status()) == 2)
        assert here.shows() == "First"
        assert [each["calendar"] for each in here.keeper.of_user(ALICE)] == ["a", "b"]


def test_hostile_calendar_costs_neither_the_others_nor_the_keeper(tmp_path: Path) -> None:
    """The process is killed under it, and the next calendar is read by another."""
    (tmp_path / "a.ics").write_bytes(text(now_event("First")))
    evil, good = calendar(tmp_path / "evil", ALICE, name="a"), calendar(tmp_path / "a.ics", BOB, name="b", order=1)
    (tmp_path / "evil").write_bytes(text(event("DTSTART:20100101T000000Z", "RRULE:FREQ=SECONDLY", uid="evil")))
    with capture_logs() as logs, office(tmp_path, evil, good) as here:
        here.until(lambda: here.shows(BOB) == "First")
        here.until(lambda: here.keeper.status()[0]["problems"])
    lines = [each for each in logs if each["event"] == "calendar has entries that are not right"]
    assert len(lines) == 1 and "entry evil: repeats every second" in lines[0]["problems"][0]


def test_without_calendars_nothing_runs(tmp_path: Path) -> None:
    """No process, no folder, no posts."""
    with office(tmp_path) as here:
        here.until(lambda: here.keeper._setup is not None)
        assert here.keeper.reader_pid is None and not (tmp_path / "kept").exists() and here.posted == []


def test_process_is_there_only_while_it_is_needed(file: Path, tmp_path: Path) -> None:
    """Between two looks it costs nothing."""
    with office(tmp_path, calendar(file, ALICE, refresh_s=86400)) as here:
        here.until(lambda: here.shows() == "Budget")
        here.until(lambda: here.keeper.reader_pid is None)


def test_window_moves_on(file: Path, tmp_path: Path) -> None:
    """What lies beyond the coming days is found when its time comes, from a file that has not changed."""

    class Clock:
        ahead = 0.0

        def time(self) -> float:
            return time.time() + self.ahead

        def monotonic(self) -> float:
            return time.monotonic()

    later = datetime.now(UTC) + timedelta(days=20)
    lines = [f"DTSTART:{later:%Y%m%dT%H%M%SZ}", f"DTEND:{later + timedelta(hours=1):%Y%m%dT%H%M%SZ}"]
    file.write_bytes(text(event(*lines)))
    here, clock = Office(tmp_path, (ALICE,)), Clock()
    here.keeper = Keeper(tmp_path / "kept", here.post, lambda: [ALICE], clock)
    here.keeper.start(setup(calendar(file, ALICE)))
    try:
        here.until(lambda: here.keeper.status() and here.keeper.status()[0]["read"])
        assert here.keeper.status()[0]["occurrences"] == 0
        clock.ahead = 13 * 86400.0
        here.until(lambda: here.keeper.status()[0]["occurrences"] == 1)
    finally:
        here.keeper.stop()


def test_large_answer_is_posted_in_small_parts(file: Path, tmp_path: Path) -> None:
    """So that no event keeps the engine for long."""
    lines = ["DTSTART:20260101T000000Z", "DURATION:PT5M", "RRULE:FREQ=HOURLY"]
    file.write_bytes(text(event(*lines)))
    users = tuple(UserId(f"{number}") for number in range(1000, 1300))
    with office(tmp_path, calendar(file, *users)) as here:
        here.until(lambda: len({user for each in here.posted for user in each.users}) == 300)
        found = here.posted[0].occurrences
        assert found is not None and 200 < len(found) < 300
        assert max(len(each.users) for each in here.posted) * len(found) <= 5000
        assert all(each.occurrences is found for each in here.posted)
