"""Working hours, a calendar and a dialled `*843*1` of one user on real servers, over restarts: each moment of two minutes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from time import time

import pytest
from daemon import Daemon, Listener, eventually, lamps, presence, shorten_prompts

from private_asterisk import PrivateAsterisk, Tree, wait_until
from tests.unit.calendars.samples import event, text

LATE_S = 4.0
OUT = ("out", "schedule", "ONHOLD", "UNAVAILABLE", "xa")
FREE = ("available", "default", "INVALID", "NOT_INUSE", "available")
MEETING = ("meeting", "calendar", "BUSY", "BUSY", "dnd")
LUNCH = ("lunch", "manual", "ONHOLD", "ONHOLD", "away")


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server on which nobody is offline, and which the test may restart."""
    with PrivateAsterisk(request.param, contact_port=9, tree=tree_of(request.param)) as server:
        shorten_prompts(server)
        yield server


def shown(daemon: Daemon) -> tuple[str, str, str, str, str]:
    """Give state and layer, as the daemon has them, then both main lamps and the presence type, as Asterisk has them."""
    user, found = daemon.show("100"), lamps(daemon.server, "100")
    kind = presence(daemon.server, "100").partition(",")[0]
    return user["state"], user["layer"], found["joined"], found["whole"], kind


def sees(daemon: Daemon, at: float, wanted: tuple[str, str, str, str, str]) -> None:
    """Wait for a moment, and make sure that everybody says what is wanted soon after."""
    assert wait_until(lambda: time() >= at, 90.0, every_s=0.05)
    eventually(lambda: shown(daemon) == wanted, f"{wanted} at {at}, not {shown(daemon)}", LATE_S)


@pytest.mark.timeout(240)
def test_user_with_hours_calendar_and_code_is_right_at_each_moment(server: PrivateAsterisk, tmp_path: Path) -> None:
    """Out, then free, in a meeting, at lunch over it until that ends; daemon and Asterisk restart meanwhile."""
    begin = ceil(time()) + 8
    meeting, over, closing = begin + 6, begin + 92, begin + 100
    times = ("begin", begin), ("closing", closing)
    clock = {name: f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}" for name, at in times}
    entry = (f"DTSTART:{_utc(meeting)}", f"DTEND:{_utc(over)}")
    (tmp_path / "alice.ics").write_bytes(text(event(*entry, title="Budget", uid="1")))
    tables = f"""
[[schedule]]
name = "office"
users = ["100"]
timezone = "UTC"
hours = {{ mon-sun = "{clock["begin"]}-{clock["closing"]}" }}
outside = "out"

[[calendar]]
name = "work"
file = "{tmp_path / "alice.ics"}"
users = ["100"]
refresh = "2s"
"""
    with Daemon(tmp_path, server, extra=tables) as daemon:
        daemon.clear("100")
        sees(daemon, time(), OUT)
        sees(daemon, begin, FREE)
        sees(daemon, meeting, MEETING)
        with Listener("100", server) as alice:
            alice.dial("*843*1").wait_ended(10)
        dialled = time()
        sees(daemon, dialled, LUNCH)
        assert daemon.stop() == 0
        daemon.start()
        daemon.wait_ready()
        sees(daemon, time(), LUNCH)
        server.restart()
        daemon.wait_ready()
        sees(daemon, time(), LUNCH)
        assert not wait_until(lambda: daemon.state("100") != "lunch", dialled + 57 - time(), every_s=0.5)
        sees(daemon, dialled + 60, MEETING)
        sees(daemon, over, FREE)
        sees(daemon, closing, OUT)
        layers = daemon.ask("GET", "/users/100/history")
        assert [row["source"] for row in layers if row["source"] in ("phone:PJSIP/100", "expiry")][-2:] == [
            "phone:PJSIP/100",
            "expiry",
        ]
        assert daemon.stop() == 0


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"
