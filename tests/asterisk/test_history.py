"""History of states that set themselves, on real servers: kept when it is wanted, and only then."""

from collections.abc import Callable
from pathlib import Path

import pytest
from daemon import Daemon, eventually

from private_asterisk import PrivateAsterisk, SipPhone

PEOPLE = '[[user]]\nid = "106"\nendpoints = ["PJSIP/106"]\n'


@pytest.mark.parametrize("wanted", [True, False], ids=["kept", "not-kept"])
def test_history_of_calls_is_kept_when_wanted(
    asterisk: PrivateAsterisk, tmp_path: Path, phone: Callable[..., SipPhone], wanted: bool
) -> None:
    """A phone that comes, a call and its end, in the order of events; what was set by hand is kept in any case."""
    with Daemon(tmp_path, asterisk, extra=f"{PEOPLE}[calls]\nhistory = {str(wanted).lower()}\n") as daemon:
        eventually(lambda: daemon.state("106") == "offline", "nobody is there")
        caller = phone("106", asterisk)
        eventually(lambda: daemon.state("106") == "available", "the phone is there")
        call = caller.dial("9001").wait_answered()
        eventually(lambda: daemon.state("106") == "on-call", "the call is seen")
        call.hangup()
        eventually(lambda: daemon.state("106") == "available", "the call is over")
        daemon.set("106", "lunch")
        daemon.clear("106")
        by_itself = [
            ("offline", "registration", "registration"),
            ("available", "default", "default"),
            ("on-call", "calls", "phone:PJSIP/106"),
            ("available", "default", "default"),
        ]
        by_hand = [("lunch", "manual", "cli"), ("available", "default", "cli")]
        expected = [*by_itself, *by_hand] if wanted else by_hand
        eventually(lambda: rows(daemon) == expected, "all of it is stored")
        assert ("On the phone" in daemon.cli("history", "106").stdout) is wanted


def rows(daemon: Daemon) -> list[tuple[str, str, str]]:
    """Give the history as state, layer and source, oldest first."""
    found = daemon.ask("GET", "/users/106/history")
    return [(row["state"], row["layer"], row["source"]) for row in found]
