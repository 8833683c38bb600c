"""Group lamps on real servers: what a watching phone shows while the members register, dial codes and call."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon, eventually, shorten_prompts

from private_asterisk import PrivateAsterisk, SipPhone, Tree
from private_asterisk.watch import Subscription

FREE, BUSY, OUT = "Ready", "On the phone", "Unavailable"
LAMP = {FREE: "NOT_INUSE", BUSY: "INUSE", OUT: "UNAVAILABLE"}
SALES = "Stasis:group-sales"
PEOPLE = """
[[user]]
id = "103"
name = "Carol Example"
endpoints = ["PJSIP/103"]
groups = ["sales"]
[[user]]
id = "104"
endpoints = ["PJSIP/104"]
groups = ["sales", "night"]
[[user]]
id = "nobody"
groups = ["sales", "empty"]
"""
WITHOUT_NIGHT = PEOPLE.replace(', "night"]', "]")
GROUPS = ("sales", "night", "empty")

Phones = Callable[..., SipPhone]


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server with a hint for each group."""
    hints = {f"group-{group}": f"Stasis:group-{group}" for group in GROUPS}
    with PrivateAsterisk(request.param, hints=hints, tree=tree_of(request.param)) as made:
        shorten_prompts(made)
        yield made


@pytest.fixture
def daemon(server: PrivateAsterisk, tmp_path: Path) -> Iterator[Daemon]:
    """Run a daemon, and clear what was set."""
    with Daemon(tmp_path, server, extra=PEOPLE) as made:
        yield made
        if made.is_running:
            for user in ("103", "104"):
                made.clear(user)


@pytest.fixture
def lamp(server: PrivateAsterisk, phone: Phones) -> Subscription:
    """Watch the group with a phone that is in none."""
    return phone("109", server).subscribe("group-sales", event="presence")


def wait_lamp(server: PrivateAsterisk, lamp: Subscription, note: str, timeout_s: float = 5.0) -> None:
    """Wait until the phone shows what it should, and Asterisk says the same."""
    lamp.wait_for(lambda shown: shown.note == note, timeout_s)
    assert server.device_state(SALES) == LAMP[note]


def sales(daemon: Daemon) -> dict[str, Any]:
    """Give the group as the daemon sees it, without the details."""
    (group,) = [group for group in daemon.ask("GET", "/groups") if group["group"] == "sales"]
    return {key: group[key] for key in ("state", "free", "busy", "out")}


def test_lamp_follows_registrations_codes_and_calls(
    server: PrivateAsterisk, daemon: Daemon, lamp: Subscription, phone: Phones
) -> None:
    """Nobody there, somebody free, nobody free: by registering, dialling *78, calling and hanging up."""
    wait_lamp(server, lamp, OUT)
    assert sales(daemon) == {"state": "out", "free": [], "busy": [], "out": ["103", "104", "nobody"]}
    carol = phone("103", server)
    wait_lamp(server, lamp, FREE)
    assert sales(daemon) == {"state": "free", "free": ["103"], "busy": [], "out": ["104", "nobody"]}
    carol.dial("*78").wait_ended(10)
    wait_lamp(server, lamp, BUSY)
    dave = phone("104", server)
    wait_lamp(server, lamp, FREE)
    call = dave.dial("9001").wait_answered()
    wait_lamp(server, lamp, BUSY)
    assert sales(daemon) == {"state": "busy", "free": [], "busy": ["103", "104"], "out": ["nobody"]}
    carol.dial("*79").wait_ended(10)
    wait_lamp(server, lamp, FREE)
    daemon.set("103", "out")
    wait_lamp(server, lamp, BUSY)
    call.hangup()
    wait_lamp(server, lamp, FREE)
    daemon.set("104", "out")
    wait_lamp(server, lamp, OUT)
    daemon.clear("104")
    wait_lamp(server, lamp, FREE)
    dave.unregister()
    wait_lamp(server, lamp, OUT, 30)  # a phone that comes and goes is given the longer to come back


def test_command_names_who_is_free_busy_and_out(server: PrivateAsterisk, daemon: Daemon, phone: Phones) -> None:
    """For people a row, for programs a list; what is no group is refused."""
    phone("103", server)
    phone("104", server)
    daemon.set("104", "lunch")
    eventually(lambda: sales(daemon)["free"] == ["103"], "103 should be free")
    rows = [line.split("  ") for line in daemon.cli("groups").stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[3] == ["sales", "free", "Carol Example", "104 (At lunch)", "nobody (Offline)"]
    assert [row[0] for row in cells] == ["group", "empty", "night", "sales"]
    refused = daemon.cli("groups", "unknown")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)


def test_change_by_somebody_else_is_corrected(
    server: PrivateAsterisk, daemon: Daemon, lamp: Subscription, phone: Phones
) -> None:
    """Another program writes our lamp: it is right again at once, and nobody's state has changed."""
    phone("103", server)
    wait_lamp(server, lamp, FREE)
    eventually(daemon.is_ready, "the daemon should be ready")
    server.ari("PUT", f"deviceStates/{SALES}", deviceState="BUSY").raise_for_status()
    eventually(lambda: server.device_state(SALES) == "NOT_INUSE", "the lamp should be corrected")
    wait_lamp(server, lamp, FREE)
    assert daemon.history("103") == []


@pytest.mark.parametrize("end", ["stop", "kill"], ids=str)
def test_lamp_is_right_after_a_restart_of_the_daemon(
    server: PrivateAsterisk, daemon: Daemon, lamp: Subscription, phone: Phones, end: str
) -> None:
    """What changed meanwhile counts, and a group that left the configuration meanwhile has its lamp off."""
    carol = phone("103", server)
    phone("104", server)
    daemon.set("104", "dnd")
    wait_lamp(server, lamp, FREE)
    eventually(lambda: server.device_state("Stasis:group-night") == "INUSE", "nobody of the night is free")
    eventually(lambda: "group:night" in str(daemon._select("SELECT user FROM lamps")), "it should be stored")
    getattr(daemon, end)()
    carol.unregister()
    server.ari("PUT", f"deviceStates/{SALES}", deviceState="RINGING").raise_for_status()
    daemon.write(WITHOUT_NIGHT)
    daemon.start().wait_ready()
    wait_lamp(server, lamp, BUSY)
    eventually(lambda: server.device_state("Stasis:group-night") == "NOT_INUSE", "the lamp of a gone group is off")


def test_group_that_a_reload_removes_has_its_lamp_off(server: PrivateAsterisk, daemon: Daemon, phone: Phones) -> None:
    """And one that it adds gets its lamp right."""
    phone("104", server)
    daemon.set("104", "dnd")
    eventually(lambda: server.device_state("Stasis:group-night") == "INUSE", "nobody of the night is free")
    daemon.write(PEOPLE.replace('"night"', '"day"'))
    assert daemon.cli("reload").returncode == 0
    eventually(lambda: server.device_state("Stasis:group-night") == "NOT_INUSE", "the lamp of a gone group is off")
    eventually(lambda: server.device_state("Stasis:group-day") == "INUSE", "nobody of the day is free")


def test_reset_of_all_turns_the_lamps_off(server: PrivateAsterisk, daemon: Daemon, lamp: Subscription) -> None:
    """Before uninstalling no lamp is left that says anything."""
    wait_lamp(server, lamp, OUT)
    assert daemon.cli("reset", "--all").returncode == 0
    assert {server.device_state(f"Stasis:group-{group}") for group in GROUPS} <= {"NOT_INUSE", "UNKNOWN"}
    wait_lamp(server, lamp, FREE)


@pytest.fixture(params=[22, 16], ids=["22", "16"])
def own(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server of the test's own."""
    with PrivateAsterisk(request.param, tree=tree_of(request.param)) as made:
        yield made


def test_lamp_is_right_after_a_crash_of_asterisk(own: PrivateAsterisk, tmp_path: Path, phone: Phones) -> None:
    """Whatever AstDB has brought back."""
    phone("103", own)
    with Daemon(tmp_path, own, extra=PEOPLE) as daemon:
        eventually(lambda: own.device_state(SALES) in ("NOT_INUSE", "UNKNOWN"), "somebody is free")
        daemon.set("103", "dnd")
        eventually(lambda: own.device_state(SALES) == "INUSE", "nobody is free")
        own.kill()
        daemon.wait_logged("not connected, trying again")
        own.start()
        daemon.wait_ready(15)
        eventually(lambda: own.device_state(SALES) in LAMP.values(), "the lamp should be there")
        eventually(lambda: own.device_state(SALES) == _lamp_of(daemon), "the lamp should be that of the model")


def _lamp_of(daemon: Daemon) -> str:
    return str(next(group["lamp"] for group in daemon.ask("GET", "/groups") if group["group"] == "sales"))


def test_hints_that_the_command_prints_work(own: PrivateAsterisk, tmp_path: Path, phone: Phones) -> None:
    """They load without a warning, and a phone can watch each; a name that only a dash tells apart is not among them."""
    people = PEOPLE.replace('["sales", "empty"]', '["sales", "em-pty", "empty"]')
    with Daemon(tmp_path, own, extra=people) as daemon:
        made = daemon.cli("hints").stdout
        own.write(
            "extensions.conf", own.read("extensions.conf") + made + "\n[hints](+)\ninclude => presence-hints-own\n"
        )
        before = own.log()
        own.cli("dialplan reload")
        shown = own.cli("core show hints")
        watcher = phone("109", own)
        for name, note in (("group-sales", OUT), ("group-em-pty", OUT), ("whole-103", OUT), ("parked-103", FREE)):
            watcher.subscribe(name, event="presence").wait_for(lambda shown, note=note: shown.note == note)
        assert "nobody" in shown
        assert "group-empty: not made" in made
        assert [line for line in own.log().removeprefix(before).splitlines() if "WARNING" in line] == []


def test_asterisk_takes_extensions_that_differ_in_dashes_for_one(own: PrivateAsterisk) -> None:
    """Why such hints are not made: the second is refused."""
    lines = "\n[hints](+)\nexten => group-a-b,hint,Stasis:group-a-b\nexten => group-ab,hint,Stasis:group-ab\n"
    own.write("extensions.conf", own.read("extensions.conf") + lines)
    own.cli("dialplan reload")
    shown = own.cli("dialplan show hints")
    assert ("Stasis:group-a-b" in shown, "Stasis:group-ab" in shown) == (True, False)
