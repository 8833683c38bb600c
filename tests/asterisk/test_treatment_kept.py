"""What the dialplan keeps about calls is right again after whatever happens to Asterisk, its database or the daemon."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import Daemon, eventually

from private_asterisk import PrivateAsterisk, SipPhone, Tree

REFUSE, VOICEMAIL = "refuse^0^^do-not-disturb", "voicemail^0^^digits/3"
FEW, MANY = ("200", "201"), tuple(str(number) for number in range(200, 240))


def kept(server: PrivateAsterisk, name: str) -> str:
    """Read what AstDB holds of a text, decoded; "" where it holds none."""
    value = server.cli(f"database get CustomPresence _ap-{name}")
    return b64decode(value.split(",")[2]).decode() if value.startswith("Value: ") else ""


def tamper(server: PrivateAsterisk, name: str) -> None:
    """Give a text an older value behind everybody's back, as a crash does: nothing of voicemail, and no end."""
    server.cli(f"database put CustomPresence _ap-{name} not_set,,Zm9yd2FyZDo5XjBeXg==,e")


@pytest.fixture(params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server of the test's own; nobody is offline."""
    with PrivateAsterisk(request.param, phones=MANY, contact_port=9, tree=tree_of(request.param)) as made:
        yield made


def start(folder: Path, server: PrivateAsterisk, users: tuple[str, ...], more: str = "") -> Daemon:
    """Make a daemon for some users."""
    pattern = "|".join(users)
    return Daemon(folder, server, extra=f"[users]\ndiscover = '^PJSIP/(?P<user>{pattern})$'\n{more}")


@pytest.mark.parametrize("users", [FEW, MANY], ids=["few", "many"])
def test_text_that_is_wrong_at_connect_is_healed(
    tmp_path: Path, server: PrivateAsterisk, users: tuple[str, ...]
) -> None:
    """Written blindly where there are few, compared where there are many."""
    with start(tmp_path, server, users) as daemon:
        daemon.set("200", "dnd")
        eventually(lambda: kept(server, "user-200") == REFUSE, "kept")
        daemon.stop()
        assert kept(server, "user-200") == REFUSE
        for name in ("user-200", "user-201", "site", "through-1"):
            tamper(server, name)
        daemon.start().wait_ready()
        right = {"user-200": REFUSE, "user-201": "", "site": "180^*86", "through-1": "112|911"}
        eventually(lambda: {name: kept(server, name) for name in right} == right, "healed")


@pytest.mark.parametrize("users", [FEW, MANY], ids=["few", "many"])
def test_crash_of_asterisk_loses_no_treatment(tmp_path: Path, server: PrivateAsterisk, users: tuple[str, ...]) -> None:
    """AstDB is flushed about once a second: what was written just before is written again."""
    with start(tmp_path, server, users) as daemon:
        assert daemon.set("200", "lunch")["confirmed"]
        assert daemon.set("200", "dnd")["confirmed"]
        assert daemon.set("201", "lunch")["confirmed"]
        server.kill()
        server.start()
        right = {"user-200": REFUSE, "user-201": VOICEMAIL, "site": "180^*86"}
        eventually(lambda: {name: kept(server, name) for name in right} == right, "healed", 10)


def test_state_changed_while_asterisk_is_away_is_kept_when_it_is_back(tmp_path: Path, server: PrivateAsterisk) -> None:
    """Level-triggered, like the lamps."""
    with start(tmp_path, server, FEW) as daemon:
        daemon.set("200", "dnd")
        server.kill()
        assert not daemon.set("200", "lunch")["confirmed"]
        server.start()
        eventually(lambda: kept(server, "user-200") == VOICEMAIL, "kept", 10)


def test_user_who_leaves_the_configuration_keeps_nothing(tmp_path: Path, server: PrivateAsterisk) -> None:
    """A number without a user rings."""
    listed = [f'[[user]]\nid = "{user}"\nendpoints = ["PJSIP/{user}"]\n' for user in FEW]
    with start(tmp_path, server, ("999",), "".join(listed)) as daemon:
        for user in FEW:
            daemon.set(user, "dnd")
        daemon.write("[users]\ndiscover = ''\n" + listed[0])
        assert daemon.cli("reload").returncode == 0
        eventually(lambda: kept(server, "user-201") == "", "gone by reload")
        assert kept(server, "user-200") == REFUSE


def test_calls_change_nothing_that_is_kept(tmp_path: Path, server: PrivateAsterisk) -> None:
    """No write for a call: neither at its beginning, nor at its end."""
    with start(tmp_path, server, FEW) as daemon, SipPhone("200", server) as phone:
        daemon.set("200", "lunch")
        eventually(lambda: kept(server, "user-200") == VOICEMAIL, "kept")
        tamper(server, "user-200")  # only a write would put it right
        call = phone.dial("9001")
        eventually(lambda: daemon.state("200") == "on-call", "a call")
        call.hangup()
        eventually(lambda: daemon.state("200") == "lunch", "the end of it")
        assert kept(server, "user-200") == "forward:9^0^^"
