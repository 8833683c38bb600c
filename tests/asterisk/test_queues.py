"""Members of real queues: paused while a user's state says so, and afterwards as they were before.

The truth is what `queue show` says at the console.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import PEOPLE, Daemon, eventually
from proxy import Proxy
from test_parking import ami_keys

from private_asterisk import PrivateAsterisk, Tree, wait_until

SETTINGS = PEOPLE + "".join(f'[[state]]\nid = "{state}"\npause_queues = true\n' for state in ("lunch", "meeting"))
QUEUES = """[general]
persistentmembers=yes
[sales]
strategy=ringall
member => PJSIP/100
member => Local/101@internal/n,0,Bob
member => Local/103@internal/n,0,Dave,PJSIP/104
member => PJSIP/trunk
[support]
strategy=ringall
member => PJSIP/100
"""
PATIENCE_S = 5.0
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# 16 says "has taken", both put the interface in brackets where the member has a name of its own.
MEMBER = re.compile(r"^ +(?:.*\()?((?:PJSIP|Local)/[^\s)]+)\)? .*$", re.M)


def shown(server: PrivateAsterisk, queue: str) -> dict[str, str | None]:
    """Give the members of a queue, and why they are paused ("" without a reason, None if they are not)."""
    found: dict[str, str | None] = {}
    for line in COLOUR.sub("", server.cli(f"queue show {queue}")).splitlines():
        if (member := MEMBER.match(line)) is not None:
            pause = re.search(r"\(paused(?::(\S*))?[ )]", line)
            found[member[1]] = (pause[1] or "") if pause else None
    return found


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server whose phones can be reached."""
    with PrivateAsterisk(request.param, contact_port=9, tree=tree_of(request.param)) as found:
        yield found


@pytest.fixture(autouse=True)
def _members(server: PrivateAsterisk) -> None:
    """Begin with the members of the configuration, nobody paused."""
    server.write("queues.conf", QUEUES)
    server.cli("database deltree Queue")
    server.cli("module unload app_queue.so")
    server.cli("module load app_queue.so")


@pytest.fixture
def daemon(server: PrivateAsterisk, tmp_path: Path) -> Iterator[Daemon]:
    """Run a daemon with AMI."""
    found = Daemon(tmp_path, server)
    found.write(SETTINGS, **ami_keys(server, server.ami_port, tmp_path))
    with found:
        found.wait_logged("connected to AMI")
        yield found


def expect(server: PrivateAsterisk, queue: str = "sales", **members: str | None) -> None:
    """Wait until members are paused for these reasons, by number; others not."""
    wanted = {"100": None, "101": None, "104": None, "trunk": None} | members if queue == "sales" else members

    def now() -> dict[str, str | None]:
        names = {"Local/103@internal/n": "104", "Local/101@internal/n": "101"}
        return {names.get(name, name.partition("/")[2]): why for name, why in shown(server, queue).items()}

    assert wait_until(lambda: now() == wanted, PATIENCE_S), f"{now()} instead of {wanted}"


def quiet(daemon: Daemon, server: PrivateAsterisk) -> None:
    """Let a whole round of listing and putting right go by: what another member's pause and its end took."""
    daemon.set("101", "lunch")
    expect_paused(server, "Local/101@internal/n", "lunch")
    daemon.clear("101")
    expect_paused(server, "Local/101@internal/n", None)


def expect_paused(server: PrivateAsterisk, interface: str, why: str | None, queue: str = "sales") -> None:
    """Wait until one member is paused for a reason, or not paused."""
    eventually(lambda: shown(server, queue).get(interface, "-") == why, f"{interface} paused: {why}", PATIENCE_S)


def test_state_pauses_its_user_in_every_queue_and_ends_it(daemon: Daemon, server: PrivateAsterisk) -> None:
    """The reason is the state; another state changes it; nobody else is paused."""
    daemon.set("100", "lunch")
    expect(server, **{"100": "lunch"})
    expect(server, "support", **{"100": "lunch"})
    daemon.set("100", "meeting")
    expect(server, **{"100": "meeting"})
    daemon.set("100", "away")
    expect(server)
    expect(server, "support", **{"100": None})


def test_member_behind_a_local_channel_is_that_of_the_phone_or_the_number(
    daemon: Daemon, server: PrivateAsterisk
) -> None:
    """The state interface comes first, the number of the Local channel after it."""
    daemon.set("101", "lunch")
    daemon.set("104", "meeting")
    expect(server, **{"101": "lunch", "104": "meeting"})
    daemon.set("103", "lunch")
    daemon.clear("101")
    daemon.clear("104")
    expect(server)


@pytest.mark.parametrize("reason", ["wc", "lunch", ""], ids=["own-reason", "same-reason", "no-reason"])
def test_member_who_was_paused_before_stays_paused(daemon: Daemon, server: PrivateAsterisk, reason: str) -> None:
    """With the own reason, before, during and after."""
    words = f" reason {reason}" if reason else ""
    server.cli(f"queue pause member PJSIP/100 queue sales{words}")
    expect(server, **{"100": reason})
    daemon.set("100", "lunch")
    expect_paused(server, "PJSIP/100", "lunch", "support")
    expect(server, **{"100": reason})
    daemon.clear("100")
    expect_paused(server, "PJSIP/100", None, "support")
    quiet(daemon, server)
    expect(server, **{"100": reason})


def test_member_who_is_added_while_the_state_lasts_is_paused_too(daemon: Daemon, server: PrivateAsterisk) -> None:
    """And again when he leaves and comes back."""
    daemon.set("102", "lunch")
    for _ in range(2):
        server.cli("queue add member PJSIP/102 to support")
        expect_paused(server, "PJSIP/102", "lunch", "support")
        server.cli("queue remove member PJSIP/102 from support")
    server.cli("queue add member PJSIP/102 to support")
    expect_paused(server, "PJSIP/102", "lunch", "support")
    daemon.clear("102")
    expect_paused(server, "PJSIP/102", None, "support")


def test_pause_that_somebody_takes_back_is_not_made_again(daemon: Daemon, server: PrivateAsterisk) -> None:
    """Until the next state that pauses."""
    daemon.set("100", "lunch")
    expect(server, **{"100": "lunch"})
    server.cli("queue unpause member PJSIP/100 queue sales")
    quiet(daemon, server)
    expect(server)
    daemon.set("100", "meeting")
    expect(server, **{"100": "meeting"})


def test_pause_that_somebody_takes_over_stays(daemon: Daemon, server: PrivateAsterisk) -> None:
    """Whoever paused last has his way."""
    daemon.set("100", "lunch")
    expect(server, **{"100": "lunch"})
    server.cli("queue pause member PJSIP/100 queue sales reason training")
    expect(server, **{"100": "training"})
    daemon.clear("100")
    expect_paused(server, "PJSIP/100", None, "support")
    quiet(daemon, server)
    expect(server, **{"100": "training"})


def test_crash_of_the_daemon_loses_no_pause(daemon: Daemon, server: PrivateAsterisk) -> None:
    """What it had paused it unpauses in its next life, and nothing else."""
    server.cli("queue pause member PJSIP/100 queue support reason wc")
    daemon.set("100", "lunch")
    daemon.set("101", "meeting")
    expect(server, **{"100": "lunch", "101": "meeting"})
    daemon.kill()
    with daemon:
        assert daemon.state("100") == "lunch"
        daemon.clear("100")
        expect(server, **{"101": "meeting"})
        expect(server, "support", **{"100": "wc"})
        daemon.clear("101")
        expect(server)


def test_restart_of_asterisk_makes_the_pause_again(daemon: Daemon, server: PrivateAsterisk) -> None:
    """Members of the configuration come back without a pause, and the state still lasts."""
    daemon.set("100", "lunch")
    expect(server, **{"100": "lunch"})
    server.restart()
    assert wait_until(lambda: len(daemon.logged("connected to AMI")) == 2, 20.0), daemon.log()
    expect(server, **{"100": "lunch"})
    daemon.clear("100")
    expect(server)


def test_state_that_ends_while_ami_is_away_is_made_up_for(server: PrivateAsterisk, tmp_path: Path) -> None:
    """The lamps do not wait for it."""
    with Proxy(server.ami_port) as proxy:
        daemon = Daemon(tmp_path, server)
        daemon.write(SETTINGS, **ami_keys(server, int(proxy.url.rpartition(":")[2]), tmp_path))
        with daemon:
            daemon.wait_logged("connected to AMI")
            daemon.set("100", "lunch")
            daemon.set("101", "lunch")
            expect(server, **{"100": "lunch", "101": "lunch"})
            proxy.stall()
            proxy.cut()
            daemon.wait_logged("no AMI, tried again")
            assert daemon.clear("100")["confirmed"]
            daemon.set("101", "meeting")
            expect(server, **{"100": "lunch", "101": "lunch"})
            proxy.resume()
            assert wait_until(lambda: len(daemon.logged("connected to AMI")) == 2, 20.0), daemon.log()
            expect(server, **{"101": "meeting"})


def test_user_without_the_right_to_pause_is_told_so(server: PrivateAsterisk, tmp_path: Path) -> None:
    """One line, with what to write into manager.conf; states go on as ever."""
    text = server.read("manager.conf")
    server.write("manager.conf", text + "[weak]\nsecret=weak-secret\nread=call\nwrite=call,system\n")
    server.cli("manager reload")
    try:
        daemon = Daemon(tmp_path, server)
        keys = ami_keys(server, server.ami_port, tmp_path) | {"ami_username": "weak"}
        Path(keys["ami_password_file"]).write_text("weak-secret")
        daemon.write(SETTINGS, **keys)
        with daemon:
            daemon.wait_logged("connected to AMI")
            assert daemon.set("100", "lunch")["confirmed"]
            line = daemon.wait_logged("member of a queue not paused")
            assert "write = call,system,agent" in line["remedy"]
    finally:
        server.write("manager.conf", text)
        server.cli("manager reload")


def test_server_without_ami_is_told_at_the_start(server: PrivateAsterisk, tmp_path: Path) -> None:
    """The state works, the pause does not, and the log says what to do."""
    daemon = Daemon(tmp_path, server)
    daemon.write(SETTINGS)
    with daemon:
        line = daemon.wait_logged("pause_queues (lunch, meeting) pauses nobody in the queues of hq")
        assert (line["code"], line["place"]) == ("queues-without-ami", "[[pbx]] hq, ami")
        assert daemon.set("100", "lunch")["confirmed"]
