"""Calendars on real servers: lamps and texts follow the entries of a calendar, over restarts and with its server down."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daemon import PEOPLE, Daemon, Listener, eventually, expected, lamps

from private_asterisk import PrivateAsterisk, SipPhone, Subscription
from tests.unit.calendars.samples import event, text
from tests.unit.calendars.server import CalendarServer, serving

IN_MEETING = expected(None) | {"joined": "BUSY", "whole": "BUSY"}  # the lamp of a state is lit for one set by hand


@pytest.fixture
def server() -> Iterator[CalendarServer]:
    """Run a server of calendars."""
    with serving() as running:
        yield running


@pytest.fixture
def watched(staffed: PrivateAsterisk) -> Iterator[Subscription]:
    """Watch what a Digium phone shows of user 100."""
    with SipPhone("109", staffed, user_agent="Digium D65") as watcher:
        yield watcher.subscribe("100", "presence")


def moment(seconds: float) -> datetime:
    """Give a moment so many seconds from now, whole as calendars have it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


def entry(begin: datetime, end: datetime, *lines: str, title: str = "Budget", uid: str = "1") -> str:
    """Make an entry."""
    times = (f"{name}:{at:%Y%m%dT%H%M%SZ}" for name, at in (("DTSTART", begin), ("DTEND", end)))
    return event(*times, *lines, title=title, uid=uid)


def tables(server: CalendarServer, refresh: str = "1s") -> str:
    """Write the tables of people and of their calendar."""
    return f"""{PEOPLE}
[[calendar]]
name = "work"
url = "{server.url("/{user}.ics")}"
users = ["100"]
refresh = "{refresh}"
rules = [{{ words = ["lunch"], state = "lunch" }}]
"""


def clear(daemon: Daemon) -> None:
    """Begin with nothing set."""
    for user in ("100", "101", "102"):
        daemon.clear(user)


def test_entry_lights_lamp_and_text_from_its_begin_to_its_end(
    staffed: PrivateAsterisk, server: CalendarServer, watched: Subscription, tmp_path: Path
) -> None:
    """To the second, with title and end; what was set by hand covers it, and uncovers it when cleared."""
    begin, end = moment(8), moment(18)
    server.answers["/100.ics"] = text(entry(begin, end))
    with Daemon(tmp_path, staffed, extra=tables(server)) as daemon:
        clear(daemon)
        assert lamps(staffed, "100") == expected(None)
        said = f"Budget (until {end:%H:%M})"
        watched.wait_for(lambda now: (now.presence, now.subtype, now.message) == ("dnd", "meeting", said), 15)
        eventually(lambda: lamps(staffed, "100") == IN_MEETING, "the lamp")
        assert -1 <= (datetime.now(UTC) - begin).total_seconds() < 3
        shown = daemon.show("100")
        assert (shown["state"], shown["layer"], shown["source"]) == ("meeting", "calendar", "calendar:work")
        assert [datetime.fromisoformat(shown[key]) for key in ("since", "until")] == [begin, end]
        with Listener("100", staffed) as alice:
            alice.dial("*843*45").wait_ended(10)
            assert (lamps(staffed, "100"), daemon.state("100")) == (expected("lunch"), "lunch")
            alice.dial("*840").wait_ended(10)
        eventually(lambda: lamps(staffed, "100") == IN_MEETING, "the meeting again")
        watched.wait_for(lambda now: now.message == said)
        watched.wait_for(lambda now: now.presence == "available" and not now.message, 20)
        eventually(lambda: lamps(staffed, "100") == expected(None), "the lamp off")
        assert 0 <= (datetime.now(UTC) - end).total_seconds() < 3
        assert daemon.stop() == 0


def test_last_good_copy_counts_over_a_restart_with_the_server_down(
    staffed: PrivateAsterisk, server: CalendarServer, watched: Subscription, tmp_path: Path
) -> None:
    """The entry that runs, and the one that comes; `why` and `calendars` say how old that is and what is wrong."""
    switch, end = moment(20), moment(600)
    server.answers["/100.ics"] = text(
        entry(moment(-600), switch), entry(switch, end, "CATEGORIES:Food", title="Lunch with Bob", uid="2")
    )
    daemon = Daemon(tmp_path, staffed, extra=tables(server))
    with daemon:
        clear(daemon)
        eventually(lambda: daemon.state("100") == "meeting", "the meeting")
        assert daemon.stop() == 0
    server.shutdown()
    server.server_close()
    with daemon:
        eventually(lambda: lamps(staffed, "100") == IN_MEETING, "the lamp after the restart")
        line = daemon.wait_logged("calendar not read, the last good copy counts")
        assert "cannot be reached" in line["reason"] and line["calendar"] == "work"
        why = json.loads(daemon.cli("why", "100", "--json").stdout)
        assert why["calendars"][0]["read"] is not None and "reached" in why["calendars"][0]["failure"]
        said = daemon.cli("why", "100").stdout.splitlines()[-1]
        assert said.startswith("calendar work: read ") and "cannot be reached" in said
        table = daemon.cli("calendars").stdout.splitlines()
        assert table[1].split()[:2] == ["work", "100"] and "cannot be reached" in table[1]
        watched.wait_for(lambda now: now.message == f"Lunch with Bob (until {end:%H:%M})", 30)
        eventually(lambda: daemon.state("100") == "lunch", "the entry that came")
        assert lamps(staffed, "100") == expected(None) | {"joined": "ONHOLD", "whole": "ONHOLD"}
        assert len(daemon.logged("calendar not read, the last good copy counts")) == 1
        assert daemon.stop() == 0


def test_reload_puts_calendars_in_force_and_takes_them_out(
    staffed: PrivateAsterisk, server: CalendarServer, tmp_path: Path
) -> None:
    """A calendar that is added counts, one that is removed takes its state along, a broken one changes nothing."""
    server.answers["/100.ics"] = text(entry(moment(-600), moment(600)))
    with Daemon(tmp_path, staffed) as daemon:
        clear(daemon)
        daemon.write(tables(server, "1d"))
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: lamps(staffed, "100") == IN_MEETING, "the calendar that was added")
        server.answers["/100.ics"] = text(entry(moment(-600), moment(600), title="Review"))
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: daemon.show("100")["message"] == "Review", "calendars are read again at a reload")
        daemon.write(tables(server, "1d").replace('state = "lunch"', 'state = "nap"'))
        done = daemon.cli("reload")
        assert done.returncode == 2 and "there is no state 'nap'" in done.stderr
        assert daemon.state("100") == "meeting"
        daemon.write(PEOPLE)
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: lamps(staffed, "100") == expected(None), "the calendar that was removed")
        assert list((daemon.state_dir / "calendars").iterdir()) == []
        assert daemon.stop() == 0


def test_hostile_calendar_harms_nobody(staffed: PrivateAsterisk, server: CalendarServer, tmp_path: Path) -> None:
    """Endless, huge, silent: named in the log, while other calendars and codes work on."""
    server.answers["/100.ics"] = text(
        entry(moment(-600), moment(600), uid="good"),
        entry(moment(-60000), moment(-59000), "RRULE:FREQ=SECONDLY", uid="evil"),
    )
    server.answers["/101.ics"] = b"BEGIN:VCALENDAR\r\n" + b"x" * (11 * 2**20)
    extra = tables(server).replace('users = ["100"]', 'users = ["100", "101"]')
    with Daemon(tmp_path, staffed, extra=extra) as daemon, Listener("102", staffed) as boss:
        clear(daemon)
        line = daemon.wait_logged("calendar has entries that are not right", user="100")
        assert "entry evil: repeats every second" in line["problems"][0]
        line = daemon.wait_logged("calendar not read, the last good copy counts")
        assert "more than 10 MiB" in line["reason"] and line["first"] == ["101"]
        eventually(lambda: daemon.state("100") == "meeting", "the good entry")
        boss.dial("*78").wait_ended(10)
        assert lamps(staffed, "102") == expected("dnd")
        assert daemon.stop() == 0
