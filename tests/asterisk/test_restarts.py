"""Either side stops, dies, freezes or loses the other: states stay, and lamps are right within five seconds."""

import contextlib
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemon import (
    JOINED,
    Daemon,
    Listener,
    eventually,
    expected,
    lamps,
    presence,
    shorten_prompts,
    wait_lamps,
    write_lamp,
)
from proxy import Proxy

from private_asterisk import PrivateAsterisk, SipPhone, Tree, wait_until
from private_asterisk.ports import free_port

Trees = Callable[[int], Tree]
BACK_S = 5.0
NOTICED_S = 5.5  # 4 s without a frame, read every half second, and a busy machine


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def victim(request: pytest.FixtureRequest, tree_of: Trees) -> Iterator[PrivateAsterisk]:
    """Start a server of this module, which each test finds running and may leave in any state."""
    with PrivateAsterisk(request.param, contact_port=9, tree=tree_of(request.param)) as server:
        shorten_prompts(server)
        yield server


@pytest.fixture
def own(victim: PrivateAsterisk) -> Iterator[PrivateAsterisk]:
    """Give a server that the test may stop, kill or freeze."""
    yield victim
    if victim.is_running:
        victim.thaw()
    else:
        victim.start()


@pytest.fixture
def daemon(own: PrivateAsterisk, tmp_path: Path) -> Iterator[Daemon]:
    """Run a daemon of the test's own, and leave every lamp off behind it."""
    with Daemon(tmp_path, own) as daemon:
        for user in ("100", "101", "102", "103"):
            daemon.clear(user)
        yield daemon


def not_connected(daemon: Daemon) -> bool:
    """Tell whether the daemon knows that its link is gone."""
    return daemon.http("GET", "/readyz").status_code == 503


def restart_daemon(daemon: Daemon) -> None:
    """Stop and start it."""
    assert daemon.stop() == 0
    daemon.start()


def kill_daemon(daemon: Daemon) -> None:
    """Kill and start it."""
    daemon.kill()
    daemon.start()


def restart_asterisk(daemon: Daemon) -> None:
    """Stop and start the server gently."""
    daemon.server.restart()


def kill_asterisk(daemon: Daemon) -> None:
    """Cut the server's power; AstDB may have lost its last second."""
    daemon.server.kill()
    daemon.server.start()


def kill_both(daemon: Daemon) -> None:
    """Cut the power of both."""
    daemon.server.kill()
    daemon.kill()
    daemon.server.start()
    daemon.start()


def lose_database(daemon: Daemon) -> None:
    """The server comes back without any of its states."""
    daemon.server.kill()
    for file in (daemon.server.folder / "lib").glob("astdb*"):
        file.unlink()
    daemon.server.start()


FAULTS = [restart_daemon, kill_daemon, restart_asterisk, kill_asterisk, kill_both, lose_database]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_states_and_lamps_survive(daemon: Daemon, fault: Callable[[Daemon], None]) -> None:
    """What was set is there again, with its end and message, and the lamps show it."""
    daemon.set("100", "dnd", message="Ruhe")
    daemon.set("101", "lunch", **{"for": "45m"})
    daemon.set("102", "out")
    daemon.clear("102")
    before = [{**daemon.show(user), "since": None} for user in ("100", "101", "102")]
    rows = [daemon.history(user) for user in ("100", "101", "102")]
    fault(daemon)
    for user, state in (("100", "dnd"), ("101", "lunch"), ("102", None), ("103", None)):
        wait_lamps(daemon.server, user, state, BACK_S)
    daemon.wait_ready()
    assert [{**daemon.show(user), "since": None} for user in ("100", "101", "102")] == before
    assert [daemon.history(user) for user in ("100", "101", "102")] == rows
    eventually(lambda: presence(daemon.server, "100").startswith("dnd,"), "the text")
    assert not daemon.logged("bug: an event was not carried out")


def test_stale_lamp_after_a_crash_is_no_wish(daemon: Daemon) -> None:
    """AstDB that is a second older than the crash brings back values of ours; they are corrected, not adopted."""
    daemon.set("100", "dnd")
    daemon.set("101", "dnd")
    eventually(lambda: "BUSY" in daemon.server.cli("database get CustomDevstate presence-101"), "written")
    file = daemon.server.folder / "lib" / "astdb.sqlite3"
    time_s = time.monotonic() + 2  # its writer runs once a second, in a process that we cannot ask
    eventually(lambda: time.monotonic() > time_s, "flushed", 3)
    old = file.read_bytes()
    daemon.set("100", "lunch")
    daemon.clear("101")
    rows = [daemon.history(user) for user in ("100", "101")]
    daemon.server.kill()
    file.write_bytes(old)
    for rest in file.parent.glob("astdb.sqlite3-*"):
        rest.unlink()
    daemon.server.start()
    wait_lamps(daemon.server, "100", "lunch", BACK_S)
    wait_lamps(daemon.server, "101", None, BACK_S)
    assert [daemon.history(user) for user in ("100", "101")] == rows


def test_change_while_asterisk_is_down_is_stored_and_follows(daemon: Daemon) -> None:
    """Exit 3 and one line that says so; 202 with confirmed false; the lamp follows when Asterisk is back."""
    daemon.server.kill()
    eventually(lambda: not_connected(daemon), "noticed")
    begun = time.monotonic()
    done = daemon.cli("set", "100", "meeting")
    assert time.monotonic() - begun < 6
    assert (done.returncode, done.stderr) == (3, "ari-presence: stored; the lamp follows when hq is back\n")
    assert daemon.stored("100")[-1] == "meeting"
    answer = daemon.set("101", "lunch")
    assert (answer["confirmed"], answer["waiting"], answer["state"]) == (False, ["hq"], "lunch")
    daemon.server.start()
    wait_lamps(daemon.server, "100", "meeting", BACK_S)
    wait_lamps(daemon.server, "101", "lunch", BACK_S)
    done = daemon.cli("clear", "100")
    assert (done.returncode, done.stderr) == (0, "")


def test_frozen_asterisk_is_noticed_and_put_right_after_it_thaws(daemon: Daemon) -> None:
    """A server that stands still is known to be away within about 4 s, and told what it missed."""
    daemon.set("100", "dnd")
    daemon.server.freeze()
    try:
        begun = time.monotonic()
        assert daemon.cli("set", "100", "lunch").returncode == 3
        eventually(lambda: not_connected(daemon), "noticed", NOTICED_S)
        assert time.monotonic() - begun < NOTICED_S
        daemon.set("101", "away")
    finally:
        daemon.server.thaw()
    wait_lamps(daemon.server, "100", "lunch", BACK_S)
    wait_lamps(daemon.server, "101", "away", BACK_S)
    assert daemon.history("100")[-2:] == [("dnd", "cli"), ("lunch", "cli")]
    daemon.wait_ready()


def test_write_that_a_frozen_server_carries_out_late_is_no_wish(daemon: Daemon) -> None:
    """What the old link had sent is in Asterisk's socket, and is done when it thaws, perhaps behind our first read."""
    users = [str(number) for number in range(100, 110)]
    for user in users:
        daemon.clear(user)
    begin = {user: len(daemon.history(user)) for user in users}
    daemon.server.freeze()
    try:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda user: daemon.set(user, "lunch"), users))
            eventually(lambda: not_connected(daemon), "noticed", NOTICED_S)
            list(pool.map(lambda user: daemon.set(user, "out"), users))
    finally:
        daemon.server.thaw()
    daemon.wait_ready()
    for user in users:
        wait_lamps(daemon.server, user, "out", BACK_S)
        assert daemon.history(user)[begin[user] :] == [("lunch", "cli"), ("out", "cli")]
        daemon.clear(user)


def test_asterisk_that_is_frozen_for_a_moment_costs_nothing(daemon: Daemon) -> None:
    """Two seconds of silence are no lost link: the change is confirmed as soon as it goes on."""
    daemon.server.freeze()
    with ThreadPoolExecutor(1) as pool:
        change = pool.submit(daemon.set, "100", "dnd")
        resumes = time.monotonic() + 1.5
        eventually(lambda: time.monotonic() > resumes, "a moment")
        daemon.server.thaw()
        assert change.result(10)["confirmed"]
    assert len(daemon.logged("connected")) == 1


@pytest.fixture
def proxied(own: PrivateAsterisk, tmp_path: Path) -> Iterator[tuple[Daemon, Proxy]]:
    """Run a daemon behind a proxy."""
    with Proxy(own.http_port) as proxy, Daemon(tmp_path, own, url=proxy.url) as daemon:
        for user in ("100", "101"):
            daemon.clear(user)
        yield daemon, proxy


def test_half_open_link_is_noticed_and_put_right(proxied: tuple[Daemon, Proxy]) -> None:
    """Nothing comes and nothing breaks: the ping tells, and what was set meanwhile is shown once traffic flows."""
    daemon, proxy = proxied
    daemon.set("100", "dnd")
    proxy.stall()
    begun = time.monotonic()
    assert daemon.cli("set", "100", "lunch").returncode == 3
    eventually(lambda: not_connected(daemon), "noticed", NOTICED_S)
    assert time.monotonic() - begun < NOTICED_S
    assert lamps(daemon.server, "100") == expected("dnd")
    daemon.set("101", "out")
    write_lamp(daemon.server, "Custom:meeting-102", "INUSE")
    proxy.resume()
    wait_lamps(daemon.server, "100", "lunch", BACK_S)
    wait_lamps(daemon.server, "101", "out", BACK_S)
    wait_lamps(daemon.server, "102", "meeting", BACK_S)
    daemon.wait_ready()
    daemon.clear("102")


def test_cut_link_is_made_again_and_put_right(proxied: tuple[Daemon, Proxy]) -> None:
    """Ten resets in a row, each in the middle of changes, and every lamp is right at the end."""
    daemon, proxy = proxied
    states = ["dnd", "lunch", "out", "away", "brb"]
    begin = {user: len(daemon.history(user)) for user in ("100", "101")}
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(10):
            changes = [pool.submit(daemon.set, user, states[round_ % 5]) for user in ("100", "101")]
            proxy.cut()
            for change in changes:
                change.result(10)
            daemon.wait_ready()
    for user in ("100", "101"):
        wait_lamps(daemon.server, user, "brb", BACK_S)
        assert daemon.history(user)[begin[user] :] == [(states[round_ % 5], "cli") for round_ in range(10)]
    assert daemon.server.ari("GET", "applications").ok


# -- one daemon only


def test_second_daemon_with_the_same_folder_ends_with_2_and_names_the_first(daemon: Daemon) -> None:
    """Two writers of one store are refused; the first is not disturbed."""
    second = Daemon(daemon.folder, daemon.server)
    assert second.run_to_end() == 2
    (line,) = second.lines
    assert str(daemon.pid) in line["text"] and "state_dir" in line["text"]
    assert daemon.set("100", "dnd")["confirmed"]


def test_second_daemon_with_the_same_application_ends_the_first_with_4(daemon: Daemon, tmp_path: Path) -> None:
    """Whoever connects last has the application; the other gives up instead of fighting."""
    second = Daemon(tmp_path / "second", daemon.server)
    with second:
        assert daemon.wait_exit() == 4
        assert [line for line in daemon.lines if "another program took the application" in str(line.get("reason"))]
        assert second.set("100", "lunch")["confirmed"]
        assert lamps(daemon.server, "100") == expected("lunch")
        second.clear("100")


def test_port_of_http_in_use_ends_with_2_and_nothing_is_half_started(daemon: Daemon, tmp_path: Path) -> None:
    """The second daemon may not begin to serve before all its sockets are open."""
    second = Daemon(tmp_path / "second", daemon.server)
    second.url = daemon.url
    second.write("")
    assert second.run_to_end() == 2
    (line,) = second.lines
    assert "[http] listen" in line["text"]
    assert not (second.state_dir / "control.sock").exists()
    assert daemon.set("100", "away")["confirmed"]


# -- time while nobody looks


def test_end_that_passed_while_the_daemon_was_down_fires_once_at_the_start(daemon: Daemon) -> None:
    """The state is over, the lamps are off, and history has one line for it."""
    daemon.set("100", "brb", **{"for": "1s"})
    rows = daemon.history("100")
    daemon.kill()
    over = time.monotonic() + 1.2
    eventually(lambda: time.monotonic() > over, "the end")
    daemon.start()
    wait_lamps(daemon.server, "100", None, 10)
    daemon.wait_ready()
    assert daemon.history("100") == [*rows, ("available", "expiry")]
    daemon.stop()
    daemon.start().wait_ready()
    assert daemon.history("100") == [*rows, ("available", "expiry")]


def test_end_that_passes_while_asterisk_is_down_turns_the_lamp_off_later(daemon: Daemon) -> None:
    """Expiry needs no Asterisk; the lamp follows."""
    daemon.set("100", "brb", **{"for": "1s"})
    daemon.server.kill()
    eventually(lambda: daemon.state("100") == "available", "the end")
    daemon.server.start()
    wait_lamps(daemon.server, "100", None, BACK_S)


# -- callers who were left behind


@contextlib.contextmanager
def waiting(server: PrivateAsterisk, seconds: int) -> Iterator[None]:
    """Change how long the dialplan waits for the daemon's claim."""
    server.cli(f"dialplan set global PRESENCE_TIMEOUT {seconds}")
    try:
        yield
    finally:
        server.cli("dialplan set global PRESENCE_TIMEOUT 3")


def in_stasis(server: PrivateAsterisk) -> bool:
    """Tell whether a caller is in the application."""
    return any(one["dialplan"].get("app_name") == "Stasis" for one in server.ari("GET", "channels").json())


def test_caller_of_a_killed_daemon_is_served_by_the_next(daemon: Daemon) -> None:
    """Nobody has claimed the call: the new daemon finds it in the listing and serves it once."""
    with waiting(daemon.server, 30), Listener("100", daemon.server) as alice:
        daemon.send(signal.SIGSTOP)
        call = alice.dial("*76")
        eventually(lambda: in_stasis(daemon.server), "in the application")
        daemon.kill()
        daemon.start()
        call.wait_ended(10)
        assert alice.prompts() == ["do-not-disturb", "activated"]
    assert daemon.history("100")[-1] == ("dnd", "phone:PJSIP/100")
    wait_lamps(daemon.server, "100", "dnd")


def test_caller_of_a_killed_daemon_gets_the_fallback_when_none_comes(daemon: Daemon) -> None:
    """After the time limit the T extension serves the call, and the next daemon adopts it."""
    with Listener("100", daemon.server) as alice:
        daemon.send(signal.SIGSTOP)
        call = alice.dial("*76")
        eventually(lambda: in_stasis(daemon.server), "in the application")
        daemon.kill()
        call.wait_ended(8)
        assert alice.prompts() == ["do-not-disturb", "activated"]
    assert daemon.server.device_state("Custom:dnd-100") == "BUSY"
    daemon.start().wait_ready()
    eventually(lambda: daemon.history("100")[-1] == ("dnd", "dialplan"), "adopted")
    wait_lamps(daemon.server, "100", "dnd")


def lengthen(server: PrivateAsterisk, name: str, seconds: float) -> None:
    """Make a prompt last."""
    path = server.folder / "data/sounds/short" / f"{name}.ulaw"
    path.write_bytes(path.read_bytes()[:1] * int(8000 * seconds))


@pytest.mark.parametrize("fault", ["killed-daemon", "cut-link"], ids=str)
def test_toggle_that_was_confirmed_is_not_repeated(own: PrivateAsterisk, tmp_path: Path, fault: str) -> None:
    """A caller who hears the confirmation is found in the listing again: the toggle must not be undone."""
    lengthen(own, "do-not-disturb", 5)
    try:
        with (
            Proxy(own.http_port) as proxy,
            Daemon(tmp_path, own, url=proxy.url) as daemon,
            Listener("100", own) as alice,
        ):
            daemon.clear("100")
            call = alice.dial("*76")
            assert wait_until(alice.heard, 5)
            rows = daemon.history("100")
            assert rows[-1] == ("dnd", "phone:PJSIP/100")
            if fault == "cut-link":
                count = len(daemon.logged("connected"))
                proxy.cut()
                eventually(lambda: len(daemon.logged("connected")) > count, "connected again")
            else:
                daemon.kill()
                daemon.start()
            daemon.wait_ready()
            call.wait_ended(15)
            assert daemon.history("100") == rows
            assert lamps(own, "100") == expected("dnd")
            eventually(lambda: not in_stasis(own), "nobody is left behind")
            daemon.clear("100")
    finally:
        lengthen(own, "do-not-disturb", 0.1)


def test_caller_whose_daemon_was_killed_before_the_prompt_hears_the_error(daemon: Daemon) -> None:
    """Answered, and the daemon dies before it can confirm: the next one does not carry it out again, nor keep silent."""
    with Listener("100", daemon.server) as alice:
        other = sqlite3.connect(daemon.store, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the confirmation waits for the store, for three seconds
        call = alice.dial("*76").wait_answered()
        daemon.kill()
        other.close()
        daemon.start().wait_ready()
        call.wait_ended(10)
        assert alice.prompts() == ["beeperr"]
    assert not in_stasis(daemon.server)
    state = daemon.state("100")  # nobody was told: either outcome is right, if the lamps agree
    wait_lamps(daemon.server, "100", None if state == "available" else state)


# -- many users


@pytest.mark.parametrize(("version", "count"), [(22, 1000), (16, 200)], ids=["22-1000", "16-200"])
def test_many_users_are_right_within_five_seconds(tree_of: Trees, tmp_path: Path, version: int, count: int) -> None:
    """Asterisk comes back having lost everything; all lamps of all users are right in time."""
    users = [str(2000 + number) for number in range(count)]
    states = ["dnd", "lunch", "out"]
    with (
        PrivateAsterisk(version, phones=users, contact_port=9, tree=tree_of(version)) as server,
        Daemon(tmp_path, server) as daemon,
    ):
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda pair: daemon.set(pair[1], states[pair[0] % 3]), enumerate(users))
            assert all(answer["confirmed"] for answer in answers)
        lose_database(daemon)
        begun = time.monotonic()
        wanted = {f"presence-{user}": JOINED[states[i % 3]] for i, user in enumerate(users)}
        wanted |= {f"{states[i % 3]}-{user}": "INUSE" for i, user in enumerate(users)}

        def right() -> bool:
            found = dict(re.findall(r"Name: 'Custom:(\S+)'\s+State: '(\w+)'", server.cli("devstate list")))
            return wanted.items() <= found.items()

        assert wait_until(right, BACK_S, every_s=0.1), f"not right {time.monotonic() - begun:.1f} s after the start"
        daemon.wait_ready()
        texts = server.cli("database show CustomPresence")
        assert len(re.findall(r": (?:dnd|away|xa),", texts)) == count


def test_wrong_port_is_said_once_and_tried_until_it_is_there(tree_of: Trees, tmp_path: Path) -> None:
    """No Asterisk yet: not ready, one line, alive; then it comes, and all is well."""
    server = PrivateAsterisk(22, tree=tree_of(22))
    daemon = Daemon(tmp_path, server, url=f"http://127.0.0.1:{free_port()}")
    daemon.start()
    try:
        line = daemon.wait_logged("not connected, trying again")
        assert "refused" in line["reason"]
        eventually(lambda: not_connected(daemon), "not ready")
        assert daemon.http("GET", "/healthz").status_code == 200
        later = time.monotonic() + 2
        eventually(lambda: time.monotonic() > later, "some attempts")
        assert len(daemon.logged("not connected, trying again")) == 1
        daemon.stop()
        daemon.write("", url=server.url)
        daemon.start()
        daemon.wait_logged("not connected, trying again")
        with server, SipPhone("100", server) as phone:
            daemon.wait_ready(10)
            reasons = [one["reason"] for one in daemon.logged("not connected, trying again")]
            assert len(reasons) == len(set(reasons)), "refused, then perhaps booting: each said once"
            phone.dial("*78").wait_answered()
    finally:
        daemon.__exit__()
        server.stop()
