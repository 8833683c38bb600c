"""A daemon that does not read for seconds while events flood in: it finds its way back, and nobody else suffers."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from abrupt import WATCHED, Flood, healthy
from daemon import Daemon, Listener, eventually, shorten_prompts, wait_lamps, write_lamp

from private_asterisk import PrivateAsterisk, Tree

STALL_S = 6.0
BACK_S = 10.0  # the flood goes on and takes a core of its own


@pytest.mark.parametrize("version", [22, 16], ids=["22", "16"])
def test_daemon_that_did_not_read_in_a_flood_recovers(
    tree_of: Callable[[int], Tree], tmp_path: Path, version: int
) -> None:
    """Asterisk gives the socket up; once the daemon reads again all lamps are right in time, wishes of others included."""
    with PrivateAsterisk(version, tree=tree_of(version)) as server, Daemon(tmp_path, server) as daemon:
        shorten_prompts(server)
        daemon.set("100", "lunch")
        names = ",".join(f"deviceState:Custom:flood-{number}" for number in range(WATCHED))
        assert server.ari("POST", "applications/ari-presence/subscription", eventSource=names).ok
        with Flood(server) as flood:
            eventually(lambda: flood.written > 100, "a flood")
            daemon.send(signal.SIGSTOP)
            begun, written = time.monotonic(), flood.written
            with Listener("101", server) as bob:
                assert bob.say("*78")[-1] == "activated"
            write_lamp(server, "Custom:meeting-102", "INUSE")
            eventually(lambda: time.monotonic() - begun > STALL_S, "seconds without a reader", STALL_S + 1)
            assert flood.written - written > 300
            assert healthy(server) is None
            daemon.send(signal.SIGCONT)
            begun = time.monotonic()
            for user, state in (("100", "lunch"), ("101", "dnd"), ("102", "meeting")):
                wait_lamps(server, user, state, max(0.0, begun + BACK_S - time.monotonic()))
            daemon.wait_ready(BACK_S)
            assert daemon.set("100", "away")["confirmed"]
        assert daemon.history("101")[-1] == ("dnd", "dialplan")
        assert daemon.history("102")[-1] == ("meeting", "pbx:hq")
        assert healthy(server) is None
        assert not daemon.logged("bug: an event was not carried out")


@pytest.mark.parametrize("version", [22, 16], ids=["22", "16"])
def test_codes_are_served_during_a_flood(tree_of: Callable[[int], Tree], tmp_path: Path, version: int) -> None:
    """Thousands of events a second on the same link: a caller is served all the same, and no backlog grows."""
    with PrivateAsterisk(version, tree=tree_of(version)) as server, Daemon(tmp_path, server) as daemon:
        shorten_prompts(server)
        names = ",".join(f"deviceState:Custom:flood-{number}" for number in range(WATCHED))
        assert server.ari("POST", "applications/ari-presence/subscription", eventSource=names).ok
        with Flood(server) as flood, Listener("100", server) as alice:
            eventually(lambda: flood.written > 100, "a flood")
            for _ in range(5):
                assert alice.say("*76") == ["do-not-disturb", "activated"]
                assert alice.say("*76") == ["do-not-disturb", "de-activated"]
        assert [source for _, source in daemon.history("100")] == ["phone:PJSIP/100"] * 10
        assert len(daemon.logged("connected")) == 1
