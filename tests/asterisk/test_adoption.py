"""Lamps that somebody else changes become the person's state; our own echoes never do."""

import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from daemon import (
    PEOPLE,
    STATES,
    Daemon,
    Listener,
    eventually,
    expected,
    lamps,
    presence,
    wait_lamps,
    write_lamp,
)

from private_asterisk import PrivateAsterisk
from private_asterisk.ports import free_port

HQ = "pbx:hq"


@pytest.fixture(scope="module")
def running(staffed: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for all tests here."""
    with Daemon(tmp_path_factory.mktemp("adoption"), staffed) as daemon:
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture
def daemon(running: Daemon) -> Daemon:
    """Give it running, ready and with nothing set."""
    if not running.is_running:
        running.__exit__()
        running.start()
    running.wait_ready()
    for user in ("100", "101", "102"):
        assert running.clear(user)["confirmed"]
        wait_lamps(running.server, user, None)
    return running


def rows_after(daemon: Daemon, begin: int) -> list[tuple[str, str]]:
    """Give the lines of history of user 100 after the first `begin`."""
    return daemon.history("100")[begin:]


def quiet(daemon: Daemon, user: str = "100") -> None:
    """Wait until half a second has passed in which history and lamps stayed as they were."""

    def now() -> tuple[object, ...]:
        return daemon.history(user), lamps(daemon.server, user), presence(daemon.server, user)

    last, since = now(), time.monotonic()

    def settled() -> bool:
        nonlocal last, since
        if (seen := now()) != last:
            last, since = seen, time.monotonic()
        return time.monotonic() - since > 0.5

    eventually(settled, "rest", 8)


@pytest.mark.parametrize("value", ["INUSE", "BUSY", "RINGING", "ONHOLD"], ids=str)
@pytest.mark.parametrize("state", ["dnd", "out"], ids=str)
def test_state_lamp_that_is_lit_by_hand_becomes_that_state(daemon: Daemon, state: str, value: str) -> None:
    """`devstate change` is a person's wish; every other lamp follows and the lamp itself gets our value."""
    begin = len(daemon.history("100"))
    write_lamp(daemon.server, f"Custom:{state}-100", value)
    wait_lamps(daemon.server, "100", state)
    quiet(daemon)
    ((found, source),) = rows_after(daemon, begin)
    assert (found, source) == (state, "dialplan" if value == "BUSY" else HQ)
    assert presence(daemon.server, "100").startswith("dnd" if state == "dnd" else "xa")


@pytest.mark.parametrize("value", ["NOT_INUSE", "INVALID", "UNAVAILABLE"], ids=str)
def test_state_lamp_that_is_darkened_by_hand_clears_the_state(daemon: Daemon, value: str) -> None:
    """The lamp of the present state, turned off, ends it."""
    daemon.set("100", "meeting")
    write_lamp(daemon.server, "Custom:meeting-100", value)
    wait_lamps(daemon.server, "100", None)
    quiet(daemon)
    assert daemon.history("100")[-1][0] == "available"
    assert daemon.history("100")[-2] == ("meeting", "cli")


@pytest.mark.parametrize("value", ["INVALID", "UNAVAILABLE"], ids=str)
def test_dark_lamp_of_another_state_changes_nothing(daemon: Daemon, value: str) -> None:
    """Turning off what is not on is no wish; the lamp is put right."""
    daemon.set("100", "meeting")
    begin = len(daemon.history("100"))
    write_lamp(daemon.server, "Custom:lunch-100", value)
    wait_lamps(daemon.server, "100", "meeting")
    quiet(daemon)
    assert rows_after(daemon, begin) == []


MAIN = [
    ("BUSY", None, "dnd"),
    ("BUSY", "lunch", "dnd"),
    ("ONHOLD", None, "away"),
    ("ONHOLD", "dnd", "away"),
    ("INVALID", "dnd", None),
    ("UNAVAILABLE", "lunch", None),
    ("NOT_INUSE", "meeting", None),
]


@pytest.mark.parametrize(("value", "before", "after"), MAIN, ids=[f"{v}-{b}" for v, b, _ in MAIN])
def test_main_lamp_alone_is_read_as_its_table_says(
    daemon: Daemon, value: str, before: str | None, after: str | None
) -> None:
    """BUSY is dnd, ONHOLD is away, dark clears."""
    if before:
        daemon.set("100", before)
    begin = len(daemon.history("100"))
    write_lamp(daemon.server, "Custom:presence-100", value)
    wait_lamps(daemon.server, "100", after)
    quiet(daemon)
    assert rows_after(daemon, begin) == [(after or "available", HQ)]


@pytest.mark.parametrize("value", ["RINGING", "RINGINUSE", "INUSE"], ids=str)
def test_value_that_means_nothing_is_corrected(daemon: Daemon, value: str) -> None:
    """No state is made of it, and it does not stay."""
    daemon.set("100", "lunch")
    begin = len(daemon.history("100"))
    write_lamp(daemon.server, "Custom:presence-100", value)
    eventually(lambda: daemon.server.device_state("Custom:presence-100") == "ONHOLD", "corrected")
    quiet(daemon)
    assert rows_after(daemon, begin) == []


def test_state_lamp_beats_the_main_lamp(daemon: Daemon) -> None:
    """Both changed within a moment: the one that says more wins."""
    begin = len(daemon.history("100"))
    for device, value in (("presence-100", "BUSY"), ("meeting-100", "INUSE")):
        daemon.server.ari("POST", "asterisk/variable", variable=f"DEVICE_STATE(Custom:{device})", value=value)
    wait_lamps(daemon.server, "100", "meeting")
    quiet(daemon)
    assert rows_after(daemon, begin) == [("meeting", HQ)]


def test_lamps_of_somebody_who_is_nobody_are_left_alone(daemon: Daemon) -> None:
    """A device with such a name and no user is not ours."""
    write_lamp(daemon.server, "Custom:dnd-777", "INUSE")
    write_lamp(daemon.server, "Custom:presence-zoe", "BUSY")
    write_lamp(daemon.server, "Custom:dnd-100-extra", "INUSE")
    quiet(daemon)
    assert daemon.server.device_state("Custom:dnd-777") == "INUSE"
    assert daemon.server.device_state("Custom:presence-zoe") == "BUSY"
    assert daemon.state("100") == "available"
    assert not daemon.logged("bug: an event was not carried out")


def test_change_by_hand_while_the_daemon_is_down_is_adopted_when_it_is_back(daemon: Daemon) -> None:
    """The lamps that changed vote; so do wishes to clear."""
    daemon.set("101", "lunch")
    begin = len(daemon.history("100"))
    eventually(lambda: daemon.noted("101"), "the lamps are noted in the store")
    daemon.kill()
    write_lamp(daemon.server, "Custom:brb-100", "INUSE")
    write_lamp(daemon.server, "Custom:lunch-101", "NOT_INUSE")
    daemon.start().wait_ready()
    wait_lamps(daemon.server, "100", "brb")
    wait_lamps(daemon.server, "101", None)
    assert rows_after(daemon, begin) == [("brb", HQ)]
    assert daemon.history("101")[-1] == ("available", HQ)


def test_lamp_that_shows_what_is_wanted_is_no_wish_even_if_never_noted(daemon: Daemon) -> None:
    """A crash between the confirmation and its note in the store: the main lamp of lunch is not taken for "away"."""
    daemon.set("100", "lunch")
    rows = daemon.history("100")
    daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute("DELETE FROM lamps")
    store.close()
    write_lamp(daemon.server, "Custom:lunch-100", "NOT_INUSE")
    daemon.start().wait_ready()
    wait_lamps(daemon.server, "100", "lunch")
    quiet(daemon)
    assert daemon.history("100") == rows


def test_foreign_lamp_wins_over_what_was_stored_while_the_link_was_down(daemon: Daemon) -> None:
    """Its caller heard a confirmation; who used the command line was told that the lamp follows later."""
    daemon.kill()
    write_lamp(daemon.server, "Custom:out-100", "BUSY")
    daemon.write(PEOPLE, url=f"http://127.0.0.1:{free_port()}")
    daemon.start()
    daemon.wait_logged("not connected, trying again")
    done = daemon.cli("set", "100", "lunch")
    assert (done.returncode, done.stderr) == (3, "ari-presence: stored; the lamp follows when hq is back\n")
    daemon.stop()
    daemon.write(PEOPLE)
    daemon.start().wait_ready()
    wait_lamps(daemon.server, "100", "out")
    assert daemon.history("100")[-2:] == [("lunch", "cli"), ("out", "dialplan")]


def test_whole_lamp_is_ours_alone_and_put_right(daemon: Daemon) -> None:
    """Nothing is made of a change of `Stasis:presence-<user>`; the next comparison corrects it."""
    daemon.set("100", "dnd")
    begin = len(daemon.history("100"))
    daemon.kill()
    daemon.server.ari("PUT", "deviceStates/Stasis:presence-100", deviceState="INUSE")
    daemon.start().wait_ready()
    wait_lamps(daemon.server, "100", "dnd")
    assert rows_after(daemon, begin) == []


def test_presence_text_changed_by_hand_is_put_right_at_the_next_connect(daemon: Daemon) -> None:
    """CustomPresence makes no event: it is written again for every user."""
    daemon.set("100", "lunch", message="soup")
    daemon.kill()
    daemon.server.cli('presencestate change CustomPresence:100 "chat,nonsense,hello"')
    daemon.server.cli('presencestate change CustomPresence:101 "xa,,forgotten"')
    daemon.start().wait_ready()
    eventually(lambda: presence(daemon.server, "100").startswith("away,"), "of 100")
    eventually(lambda: not presence(daemon.server, "101").startswith("xa"), "of 101")


# -- the fallback

DIALLED = [
    (None, ["*78"], "dnd"),
    (None, ["*843*45"], "lunch"),
    ("lunch", ["*78"], "dnd"),
    ("dnd", ["*79"], None),
    ("dnd", ["*76"], None),
    ("out", ["*840"], None),
    ("dnd", ["*841"], "away"),
    ("lunch", ["*841"], "away"),
    (None, ["*78", "*842", "*844"], "meeting"),
    ("brb", ["*845", "*845"], "brb"),
    ("lunch", ["*79"], "lunch"),
    ("lunch", ["*849"], "lunch"),
]


@pytest.mark.parametrize(
    ("before", "codes", "after"), DIALLED, ids=[f"{before}-{'-'.join(codes)}" for before, codes, _ in DIALLED]
)
def test_code_dialled_while_the_daemon_is_down_is_adopted(
    daemon: Daemon, before: str | None, codes: list[str], after: str | None
) -> None:
    """What the plain dialplan confirmed is the state when the daemon is back, and the source says dialplan."""
    if before:
        daemon.set("100", before)
    begin = len(daemon.history("100"))
    daemon.kill()
    with Listener("100", daemon.server) as alice:
        for code in codes:
            assert alice.say(code)[-1:] != ["beeperr"]
    daemon.start().wait_ready()
    wait_lamps(daemon.server, "100", after)
    if after == before:
        assert [row for row in rows_after(daemon, begin) if row[0] != before] == []
    else:
        assert rows_after(daemon, begin) == [(after or "available", "dialplan")]
    assert presence(daemon.server, "100").split(",")[0] == {
        "dnd": "dnd",
        "meeting": "dnd",
        None: "available",
    }.get(after, "away")


@pytest.mark.parametrize("code", ["*76", "*843"], ids=str)
def test_code_dialled_while_the_daemon_is_frozen_is_adopted_once(daemon: Daemon, code: str) -> None:
    """The fallback serves the caller; the daemon that wakes up finds the old StasisStart and must not toggle back."""
    begin = len(daemon.history("100"))
    daemon.send(signal.SIGSTOP)
    try:
        with Listener("100", daemon.server) as alice:
            assert alice.say(code)[-1] == "activated"
    finally:
        daemon.send(signal.SIGCONT)
    state = "dnd" if code == "*76" else "lunch"
    eventually(lambda: rows_after(daemon, begin) == [(state, "dialplan")], "adopted", 10)
    daemon.wait_ready()
    wait_lamps(daemon.server, "100", state)
    quiet(daemon)
    assert rows_after(daemon, begin) == [(state, "dialplan")]


# -- echoes


def test_own_echoes_in_a_fast_loop_are_never_adopted(daemon: Daemon) -> None:
    """Three users changed as fast as it goes: history has exactly those rows."""
    states = [*STATES, "available"]
    begin = {user: len(daemon.history(user)) for user in ("100", "101", "102")}

    def loop(user: str) -> list[tuple[str, str]]:
        made = []
        for number in range(40):
            state = states[(number * 5 + int(user)) % len(states)]
            assert daemon.set(user, state)["confirmed"]
            made.append((state, "cli"))
            if number % 3 == 2:
                assert daemon.clear(user)["confirmed"]
                made.append(("available", "cli"))
        return made

    with ThreadPoolExecutor(3) as pool:
        made = dict(zip(begin, pool.map(loop, begin), strict=True))
    for user, rows in made.items():
        quiet(daemon, user)
        assert daemon.history(user)[begin[user] :] == rows


def test_codes_and_command_line_at_once_leave_no_adopted_row(daemon: Daemon) -> None:
    """A phone that toggles and an operator who sets the same user: every row has one of the two as its source."""
    begin = len(daemon.history("100"))
    stop = threading.Event()

    def operate() -> None:
        while not stop.is_set():
            daemon.set("100", "away")
            daemon.clear("100")

    with Listener("100", daemon.server) as alice, ThreadPoolExecutor(1) as pool:
        other = pool.submit(operate)
        try:
            for _ in range(5):
                alice.say("*842")
        finally:
            stop.set()
            other.result(10)
    quiet(daemon)
    rows = rows_after(daemon, begin)
    assert {source for _, source in rows} == {"cli", "phone:PJSIP/100"}
    assert sum(source == "phone:PJSIP/100" for _, source in rows) == 5
    state = daemon.state("100")
    assert lamps(daemon.server, "100") == expected(None if state == "available" else state)


def test_two_changers_at_once_end_in_one_agreed_state(daemon: Daemon) -> None:
    """The console and the command line fight over one user: it comes to rest, and all lamps agree with the state."""
    with ThreadPoolExecutor(2) as pool:

        def console() -> None:
            for number in range(12):
                state = list(STATES)[number % 6]
                daemon.server.ari(
                    "POST", "asterisk/variable", variable=f"DEVICE_STATE(Custom:{state}-100)", value="INUSE"
                )
                daemon.server.ari(
                    "POST", "asterisk/variable", variable="DEVICE_STATE(Custom:presence-100)", value="BUSY"
                )

        def operator() -> None:
            for number in range(12):
                daemon.set("100", list(STATES)[(number * 5) % 6])

        for done in (pool.submit(console), pool.submit(operator)):
            done.result(30)
    quiet(daemon)
    state = daemon.state("100")
    assert lamps(daemon.server, "100") == expected(None if state == "available" else state)
    rows = daemon.history("100")
    quiet(daemon)
    assert daemon.history("100") == rows
    assert re.search(r"^\w+,", presence(daemon.server, "100"))
