"""The engine and time: ends while the daemon was away, clocks that jump, schedules; on a fake clock."""

from collections.abc import Iterator

import pytest

from ari_presence.core.events import ChangeAsked, Started
from ari_presence.core.features import Action
from ari_presence.core.names import StateId, UserId
from ari_presence.core.schedule import Schedule, ScheduleTable
from ari_presence.core.userstate import Entry
from ari_presence.engine import LONGEST_WAIT_S
from ari_presence.store.base import ManualChanged
from tests.unit.engine_rig import START, Rig, make_settings, running

HOUR = 3600
# START is 08:00 UTC on a Friday
OFFICE = Schedule("office", (((9 * HOUR, 17 * HOUR),),) * 7, None, StateId("out"))
SCHEDULED = {"schedules": ScheduleTable(everybody=OFFICE)}


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine in which everybody is out until nine."""
    with running(settings=make_settings(**SCHEDULED)) as made:
        made.sync()
        yield made


def setting(rig: Rig, user: str, after: float) -> None:
    """Set do not disturb for so many seconds."""
    rig.engine.ask(lambda n, at: ChangeAsked(at, n, user, Action.SET, "cli", "dnd", None, at + after))


def shown(rig: Rig, user: str = "100") -> tuple[str, str]:
    """Give both main lamps."""
    return rig.lamp(f"Custom:presence-{user}"), rig.lamp(f"Stasis:presence-{user}")


def test_schedule_is_on_the_lamps_and_follows_the_clock(rig: Rig) -> None:
    """Out before nine, nothing from then on, for the discovered user as well; the presence state says until when."""
    assert (shown(rig), shown(rig, "101")) == (("ONHOLD", "UNAVAILABLE"), ("ONHOLD", "UNAVAILABLE"))
    presence = rig.engine.call(lambda engine: engine.desired(UserId("100")))
    assert presence is not None and (presence[1].type, presence[1].message) == ("xa", "until 09:00")
    rig.advance(HOUR - 1)
    assert shown(rig) == ("ONHOLD", "UNAVAILABLE")
    rig.advance(1)
    assert (shown(rig), shown(rig, "101")) == (("INVALID", "NOT_INUSE"), ("INVALID", "NOT_INUSE"))


def test_clock_that_is_set_back_puts_the_schedule_right(rig: Rig) -> None:
    """Without waiting for an edge that may be years away."""
    rig.clock.wall += 10 * 365 * 86400 + HOUR
    rig.sync()
    rig.clock.wall = START
    rig.sync()
    assert shown(rig) == ("ONHOLD", "UNAVAILABLE")
    rig.advance(HOUR)
    assert shown(rig) == ("INVALID", "NOT_INUSE")


def test_engine_looks_at_the_wall_clock_often_enough_to_notice_a_jump(rig: Rig) -> None:
    """However far the next deadline is."""
    assert rig.engine.call(lambda engine: engine._on_time()) <= LONGEST_WAIT_S


def test_machine_that_slept_ends_what_ended_meanwhile_once(rig: Rig) -> None:
    """The steady clock stood still; ends come in the order of their times."""
    for user, after in (("100", 600), ("101", 300)):
        setting(rig, user, after)
    rig.trace.clear()
    rig.clock.wall += 2 * HOUR
    rig.sync()
    rig.sync()
    assert rig.trace == ["save 101 None", "save 100 None"]
    assert shown(rig) == ("INVALID", "NOT_INUSE")


def test_end_that_passed_while_the_daemon_was_away_comes_once_at_the_start_with_history() -> None:
    """Also for users who are found only when Asterisk answers; what is still to come is kept."""
    rig = Rig()
    entries = {
        UserId("100"): Entry(StateId("dnd"), "cli", START - 100, START - 10),
        UserId("101"): Entry(StateId("lunch"), "cli", START - 100, START - 20),
        UserId("102"): Entry(StateId("away"), "cli", START - 100, START + 30),
    }
    rig.asterisk.endpoints.append("PJSIP/102")
    rig.start(Started(START, entries))
    rig.sync()
    rig.connect()
    rows = [change for change, _ in rig.saves if isinstance(change, ManualChanged)]
    found = [(row.user, row.entry, row.history.source if row.history else None) for row in rows]
    assert found == [("100", None, "expiry"), ("101", None, "expiry")]
    assert [shown(rig, user)[0] for user in ("100", "101", "102")] == ["-", "-", "ONHOLD"]
    rig.advance(30)
    assert rig.manual("102") is None
    rig.stop()
