"""Calls, and a daemon, a link or an Asterisk that comes and goes in the middle of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import eventually, write_lamp
from office import ALICE, BOB, BOOK, CAROL, Office, start
from proxy import Proxy

from private_asterisk import People, PrivateAsterisk, Tree
from private_asterisk.config import whole_hints


@pytest.fixture
def bare(quick: PrivateAsterisk, tmp_path: Path) -> Iterator[Office]:
    """Give phones and a daemon that is not started."""
    daemon = start(tmp_path, quick)
    with Office(quick, daemon).opened() as office:
        try:
            yield office
        finally:
            office.hang_up()
            for device, off in (("Custom:lunch-101", "NOT_INUSE"), ("Custom:presence-101", "INVALID")):
                write_lamp(quick, device, off)  # or the next daemon adopts what a failed test has left


def test_calls_in_progress_are_known_at_the_start(bare: Office) -> None:
    """Ringing, talking, held, in a room: all of it is found."""
    held, _ = bare.talk("100", "101")
    held.hold()
    bare.enter("102", "9003")
    bare.ring("trunk", "103", "103")
    with bare.daemon:
        bare.expect(
            u100=f"on-hold holding {BOB}",
            u101=f"on-hold held by {ALICE}",
            u102="in-conference in room room",
            u103="ringing from trunk (outside)",
        )
        bare.hang_up()
        bare.expect()


def test_clean_stop_leaves_no_lamp_in_a_call(bare: Office) -> None:
    """The whole lamps show what is left without the calls: nobody follows them any more."""
    with bare.daemon:
        bare.daemon.set("101", "lunch")
        bare.talk("100", "101")
        bare.enter("102", "9003")
        bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}", u102="in-conference in room room")
        assert bare.daemon.stop() == 0
        bare.expect_lamps({"100": "available", "101": "lunch", "102": "available", "103": "available"})
    with bare.daemon:
        bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}", u102="in-conference in room room")
        bare.daemon.clear("101")


def test_killed_daemon_finds_what_has_changed(bare: Office) -> None:
    """A call ended and another began while it was dead: every lamp is right when it is back."""
    with bare.daemon:
        out, _ = bare.talk("100", "101")
        bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
        bare.daemon.kill()
        out.hangup()
        bare.talk("102", "103")
        bare.expect_lamps({"100": "on-call", "101": "on-call"})
    with bare.daemon:
        bare.expect(u102="on-call with 103", u103=f"on-call with {CAROL}")


def test_cut_link_heals(bare: Office) -> None:
    """What happened while nothing came through is known within moments of the link's coming back."""
    with Proxy(bare.server.http_port) as proxy:
        bare.daemon.write(BOOK, url=proxy.url)
        with bare.daemon:
            out, _ = bare.talk("100", "101")
            bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
            proxy.stall()
            out.hangup()
            bare.talk("102", "103")
            proxy.cut()
            proxy.resume()
            bare.expect(u102="on-call with 103", u103=f"on-call with {CAROL}")


def test_wrap_up_follows_a_call_that_was_talked(bare: Office) -> None:
    """[calls] wrap_up: after a talk, for its time; not after a call that nobody answered; a new call ends it."""
    bare.daemon.write('[calls]\nwrap_up = "2s"\n' + BOOK)
    with bare.daemon:
        _, incoming = bare.ring("102", "103", "103")
        bare.expect(u102="on-call with 103", u103=f"ringing from {CAROL}")
        incoming.reject()
        bare.expect()
        out, _ = bare.talk("100", "101")
        bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
        out.hangup()
        eventually(lambda: {bare.daemon.state(user) for user in ("100", "101")} == {"wrap-up"}, "wrapping up")
        bare.expect_lamps({"100": "wrap-up", "101": "wrap-up", "102": "available"})
        bare.ring("102", "101", "101")
        eventually(lambda: bare.state("101") == f"ringing from {CAROL}", "a new call")
        bare.expect(u101=f"ringing from {CAROL}", u102=f"on-call with {BOB}")


def test_history_of_calls_is_kept_when_asked_for(bare: Office) -> None:
    """[calls] history: what set itself is in the history, with the phone as its source."""
    bare.daemon.write("[calls]\nhistory = true\n" + BOOK)
    with bare.daemon:
        out, incoming = bare.ring("100", "101", "101")
        bare.expect(u100=f"on-call with {BOB}", u101=f"ringing from {ALICE}")
        incoming.answer()
        out.wait_answered()
        bare.expect(u100=f"on-call with {BOB}", u101=f"on-call with {ALICE}")
        out.hangup()
        bare.expect()
        eventually(lambda: len(bare.daemon.history("101")) >= 3, "the call is in the history")
        *kept, last = bare.daemon.history("101")
        assert kept == [("ringing", "phone:PJSIP/101"), ("on-call", "phone:PJSIP/101")]
        assert last[0] == "available"


def test_restarted_asterisk_has_no_calls(tree_of: Callable[[int], Tree], tmp_path: Path) -> None:
    """A power cut ends all calls without a word; nobody is left on call, and who registers again is available."""
    hints = whole_hints(("100", "101", "102", "103"))
    with PrivateAsterisk(22, hints=hints, tree=tree_of(22)) as server, start(tmp_path, server) as daemon:
        with People(server, ("100", "101")) as people:
            people.talk("100", "101")
            eventually(lambda: daemon.state("100") == "on-call", "on call")
            server.kill()
        server.start()
        with People(server, ("100", "101")):
            eventually(lambda: daemon.state("100") == daemon.state("101") == "available", "free", 20)
