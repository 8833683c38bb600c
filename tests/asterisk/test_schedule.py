"""Schedules, ends and forgotten states on real servers: lamps, presence text, prompts, restarts. Edges are seconds away."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from time import time

import pytest
from daemon import Daemon, Listener, eventually, expected, lamps, presence, shorten_prompts, wait_lamps

from private_asterisk import PrivateAsterisk, SipPhone, Tree, wait_until

SOON_S = 6
LATE_S = 3.0  # a lamp that is later than this is not "within seconds"
OUT = {"joined": "ONHOLD", "whole": "UNAVAILABLE"}
MEETING = {"joined": "BUSY", "whole": "BUSY"}
FREE = {"joined": "INVALID", "whole": "NOT_INUSE"}


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server of this module, on which nobody is offline, and which a test may restart."""
    hints = {"100": "Custom:presence-100,CustomPresence:100", "whole-100": "Stasis:presence-100"}
    with PrivateAsterisk(request.param, hints=hints, contact_port=9, tree=tree_of(request.param)) as server:
        shorten_prompts(server)
        yield server


@pytest.fixture
def made(server: PrivateAsterisk, tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """Make a daemon with further tables, which is ended behind the test with all lamps off."""
    daemons: list[Daemon] = []

    def make(extra: str) -> Daemon:
        daemons.append(Daemon(tmp_path, server, extra=extra))
        return daemons[-1]

    yield make
    for daemon in daemons:
        if not daemon.is_running:
            daemon.write("")
            daemon.start()
        daemon.wait_ready()
        daemon.ask("POST", "/control/reset", {"all": True})
        daemon.__exit__()


def clock(at: float) -> str:
    """Write a time of day with its seconds."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def hours(start: float, end: float, states: str = 'inside = "meeting"\noutside = "out"') -> str:
    """Write a schedule for all, every day from `start` to `end`."""
    head = '[[schedule]]\nname = "office"\nall = true\ntimezone = "UTC"\n'
    return f'{head}hours = {{ mon-sun = "{clock(start)}-{clock(end)}" }}\n{states}\n'


def main(daemon: Daemon, user: str = "100") -> dict[str, str]:
    """Read both main lamps."""
    found = lamps(daemon.server, user)
    return {name: found[name] for name in ("joined", "whole")}


def text(daemon: Daemon, user: str = "100") -> tuple[str, str, str]:
    """Read type, subtype and message of the presence state."""
    kind, subtype, message, *_ = [*presence(daemon.server, user).split(","), "", ""]
    return kind, b64decode(subtype).decode(), b64decode(message).decode()


def wait_until_time(at: float) -> None:
    """Wait until the clock shows a time."""
    assert wait_until(lambda: time() >= at, 60.0, every_s=0.05)


def follows(daemon: Daemon, at: float, wanted: dict[str, str], user: str = "100") -> None:
    """Make sure that nothing changes before a time, and that both lamps show what is wanted soon after."""
    before = main(daemon, user)
    assert time() < at, "the test came too late to see the edge"
    while time() < at - 0.2:
        shown = main(daemon, user)
        assert shown == before or time() >= at, f"{shown} before its time"
    wait_until_time(at)
    eventually(lambda: main(daemon, user) == wanted, f"{user} shows {wanted}", LATE_S)


def test_lamps_and_message_follow_both_edges_of_the_hours(made: Callable[[str], Daemon]) -> None:
    """Joined, whole, presence state and what a watching phone is told, at each moment of a real schedule."""
    start = ceil(time()) + SOON_S
    end = start + 4
    with made(hours(start, end)) as daemon, SipPhone("103", daemon.server) as watcher:
        joined, whole = watcher.subscribe("100"), watcher.subscribe("whole-100")
        assert main(daemon) == OUT
        assert text(daemon) == ("xa", "", f"until {clock(start)[:5]}")
        joined.wait_for(lambda now: (now.state, now.hold) == ("confirmed", True))
        follows(daemon, start, MEETING)
        joined.wait_for(lambda now: (now.state, now.hold) == ("confirmed", False), LATE_S)
        whole.wait_for(lambda now: (now.state, now.hold) == ("confirmed", False), LATE_S)
        eventually(lambda: text(daemon) == ("dnd", "meeting", f"until {clock(end)[:5]}"), "until the end")
        assert lamps(daemon.server, "100")["meeting"] == "NOT_INUSE"  # nobody has set it by hand
        follows(daemon, end, OUT)
        joined.wait_for(lambda now: (now.state, now.hold) == ("confirmed", True), LATE_S)
        why = {row["layer"]: row for row in daemon.ask("GET", "/users/100?layers=true")["layers"]}
        assert (why["schedule"]["source"], why["schedule"]["applies"]) == ("schedule:office", True)
        assert len(daemon.logged("schedule", state="meeting")) == 1


def test_state_set_by_hand_covers_the_schedule_and_its_end_uncovers_it(made: Callable[[str], Daemon]) -> None:
    """A dialled lunch over the hours; cleared over an edge, what the schedule gives by then shows."""
    start = ceil(time()) + SOON_S
    daemon = made(hours(start, start + 3600, 'outside = "out"'))
    with daemon, Listener("100", daemon.server) as phone:
        assert main(daemon) == OUT
        assert phone.say("*843*1")[:2] == ["digits/3", "activated"]
        assert daemon.state("100") == "lunch"
        wait_lamps(daemon.server, "100", "lunch")
        daemon.set("101", "available")
        assert main(daemon, "101") == FREE
        daemon.set("100", "dnd", until=datetime.fromtimestamp(start + 2, UTC).isoformat())
        wait_until_time(start + 0.5)
        assert main(daemon) == MEETING  # both are BUSY: dnd
        eventually(lambda: main(daemon) == FREE, "free when do not disturb ends within the hours", 2 + LATE_S)
        eventually(lambda: daemon.history("100")[-1] == ("available", "expiry"), "the history says so")


def test_daemon_that_was_down_over_an_edge_shows_what_holds_now(made: Callable[[str], Daemon]) -> None:
    """And an end that passed meanwhile comes once, with history."""
    start = ceil(time()) + SOON_S
    daemon = made(hours(start, start + 3600))
    with daemon:
        assert main(daemon) == OUT
        daemon.set("101", "dnd", **{"for": "2s"})
        assert daemon.stop() == 0
        wait_until_time(start + 0.1)
        daemon.start().wait_ready()
        assert (main(daemon), main(daemon, "101")) == (MEETING, MEETING)
        assert (daemon.state("100"), daemon.state("101")) == ("meeting", "meeting")
        assert lamps(daemon.server, "101")["dnd"] == "NOT_INUSE"
        eventually(lambda: daemon.history("101") == [("dnd", "cli"), ("meeting", "expiry")], "the history says so")


def test_asterisk_that_was_down_over_an_edge_and_an_end_shows_what_holds_now(made: Callable[[str], Daemon]) -> None:
    """The daemon goes on by the clock; the lamps are right when Asterisk is back."""
    start = ceil(time()) + SOON_S
    with made(hours(start, start + 3600)) as daemon:
        daemon.set("101", "lunch", until=datetime.fromtimestamp(start - 1, UTC).isoformat())
        wait_lamps(daemon.server, "101", "lunch")
        daemon.server.kill()
        eventually(lambda: not daemon.is_ready(), "the daemon notices", 10)
        wait_until_time(start + 0.1)
        daemon.server.start()
        daemon.wait_ready()
        eventually(lambda: (main(daemon), main(daemon, "101")) == (MEETING, MEETING), "all in the meeting")
        assert lamps(daemon.server, "101")["lunch"] == "NOT_INUSE"
        eventually(lambda: text(daemon)[0] == "dnd", "presence")
        eventually(lambda: daemon.history("101") == [("lunch", "cli"), ("out", "expiry")], "the history says so")


def test_schedule_command_shows_what_then_happens(made: Callable[[str], Daemon]) -> None:
    """What is listed as next is what the lamps show next."""
    start = ceil(time()) + SOON_S
    with made(hours(start, start + 3600)) as daemon:
        (each,) = json.loads(daemon.cli("schedule", "--json").stdout)
        assert [row["state"] for row in each["coming"][:2]] == ["out", "meeting"]
        assert datetime.fromisoformat(each["coming"][1]["since"]).timestamp() == start
        shown = daemon.cli("schedule", "--user", "100", "--week")
        assert shown.returncode == 0
        assert "Out of office" in shown.stdout.splitlines()[0]
        assert len(shown.stdout.splitlines()) > 2 * 7
        follows(daemon, start, MEETING)


def test_reload_puts_other_hours_in_force(made: Callable[[str], Daemon]) -> None:
    """A schedule that is taken away leaves nothing behind; one that is wrong changes nothing."""
    now = time()
    with made(hours(now - 3600, now + 3600)) as daemon:
        assert main(daemon) == MEETING
        daemon.write(hours(now, now + 3600).replace("mon-sun", "someday"))
        broken = daemon.cli("reload")
        assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
        assert "'someday' is not a day" in broken.stderr
        assert main(daemon) == MEETING
        daemon.write("")
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: lamps(daemon.server, "100") == expected(None), "off")


def test_forgotten_state_is_heard_listed_and_measured(made: Callable[[str], Daemon]) -> None:
    """Whatever its owner dials: first what is on, then what was dialled for; another phone hears nothing of it."""
    with made('[users]\nremind_after = "1s"\n') as daemon, Listener("100", daemon.server) as phone:
        daemon.set("100", "dnd")
        eventually(lambda: daemon.ask("GET", "/users?stale=true"), "stale")
        assert [row["user"] for row in daemon.ask("GET", "/users?stale=true")] == ["100"]
        assert daemon.cli("users", "--stale").stdout.splitlines()[1].split()[0] == "100"
        metrics = daemon.http("GET", "/metrics").text
        assert 'ari_presence_forgotten_state_seconds{state="dnd",user="100"}' in metrics
        assert 'ari_presence_users{state="dnd"} 1.0' in metrics
        with Listener("101", daemon.server) as other:
            assert other.say("*78") == ["do-not-disturb", "activated"]
        assert phone.say("*79") == ["do-not-disturb", "activated", "do-not-disturb", "de-activated"]
        assert phone.say("*78") == ["do-not-disturb", "activated"]


def test_phone_that_registers_after_being_away_clears_a_forgotten_state(
    tree_of: Callable[[int], Tree], tmp_path: Path
) -> None:
    """`reset_on_register`, with a phone that really goes and comes back."""
    with PrivateAsterisk(22, tree=tree_of(22)) as server:
        extra = '[users]\nremind_after = "1s"\nreset_on_register = true\n'
        with SipPhone("100", server) as phone, Daemon(tmp_path, server, extra=extra) as daemon:
            daemon.set("100", "away")
            eventually(lambda: daemon.ask("GET", "/users?stale=true"), "stale")
            phone.unregister()

            def offline() -> bool:
                layers = daemon.ask("GET", "/users/100?layers=true")["layers"]
                return any(row["layer"] == "registration" and row["applies"] for row in layers)

            eventually(offline, "counts as offline", 15)
            assert daemon.state("100") == "away"
            phone.register()
            eventually(lambda: daemon.state("100") == "available", "cleared", 10)
            eventually(lambda: daemon.history("100")[-1] == ("available", "reset"), "the history says so")
            wait_lamps(server, "100", None)
