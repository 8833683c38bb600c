"""AGI by a real dialplan: the FastAGI server and the script, what is heard, stored, shown and told to the dialplan."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daemon import PEOPLE, Daemon, Listener, codes_over, eventually, expected, lamps, wait_lamps

from private_asterisk import PrivateAsterisk, wait_until

EXTRA = f"""{PEOPLE}
[[user]]
id = "103"
endpoints = ["PJSIP/103"]
groups = ["sales"]
rights = ["set_group"]
[[user]]
id = "104"
endpoints = ["PJSIP/104"]
groups = ["sales", "night"]
rights = []
[[user]]
id = "105"
endpoints = ["PJSIP/105"]
settable = ["dnd", "lunch"]
[users]
exclude = "^PJSIP/(trunk|555)"
discover = '^PJSIP/(?P<user>\\d{{2,6}}|door)$'
no_set = '^PJSIP/door'
timezone = "Europe/Berlin"
"""
TOLD = ("PRESENCE_RESULT", "PRESENCE_REASON", "PRESENCE_USER_STATE", "PRESENCE_TREATMENT", "AGISTATUS")
PROGRAM = Path(sys.executable).with_name("ari-presence")
ME = "phone:PJSIP/100"


class Desk:
    """Paths as extensions, over one form of AGI; what the dialplan was told is kept in a global variable.

    Attributes:
        form: `fastagi` or `script`.
    """

    def __init__(self, form: str, server: PrivateAsterisk, daemon: Daemon) -> None:
        """Keep them."""
        self.form, self.server, self.daemon = form, server, daemon
        self._before = server.read("extensions.conf")

    def offer(self, path: str, number: str = "7700") -> None:
        """Let a number ask for a path, from the phones and from the trunk."""
        words = path.replace("/", ",")
        address = f"agi://127.0.0.1:{self.daemon.agi_port}/{path}"
        agi = address if self.form == "fastagi" else f"{PROGRAM},--config,{self.daemon.config},agi,{words}"
        told = "|".join(f"${{{name}}}" for name in TOLD)
        lines = [f"exten => {number},1,AGI({agi})", f" same => n,Set(GLOBAL(TOLD)={told})", " same => n,Hangup()"]
        text = self._before
        for context in ("[internal]\n", "[from-trunk]\n"):
            text = text.replace(context, context + "\n".join(lines) + "\n")
        self.server.write("extensions.conf", text)
        self.server.cli("dialplan reload")
        self.server.cli("dialplan set global TOLD none")

    def told(self) -> dict[str, str]:
        """Give the variables that the last call was told."""
        eventually(lambda: self._told() != "none", "the call is over")
        return dict(zip(TOLD, self._told().split("|"), strict=True))

    def _told(self) -> str:
        return str(self.server.ari("GET", "asterisk/variable", variable="TOLD").json()["value"])

    def close(self) -> None:
        """Put the dialplan back."""
        self.server.write("extensions.conf", self._before)
        self.server.cli("dialplan reload")


@pytest.fixture(scope="module")
def daemon(staffed: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for all tests here."""
    with Daemon(tmp_path_factory.mktemp("agi"), staffed, extra=EXTRA) as daemon:
        yield daemon
        assert daemon.stop() == 0
        assert not [line for line in daemon.lines if line.get("level") in ("error", "critical")]


@pytest.fixture(scope="module", params=["fastagi", "script"])
def desk(request: pytest.FixtureRequest, staffed: PrivateAsterisk, daemon: Daemon) -> Iterator[Desk]:
    """Offer paths over one form after the other."""
    desk = Desk(request.param, staffed, daemon)
    yield desk
    desk.close()


@pytest.fixture(autouse=True)
def fresh(daemon: Daemon) -> None:
    """Begin each test with nothing set."""
    for user in ("100", "101", "102", "103", "104", "105"):
        assert daemon.clear(user)["confirmed"]


@pytest.fixture
def phones(staffed: PrivateAsterisk) -> Iterator[dict[str, Listener]]:
    """Make phones as they are asked for."""
    with ExitStack() as stack:

        class _Phones(dict[str, Listener]):
            def __missing__(self, user: str) -> Listener:
                self[user] = stack.enter_context(Listener(user, staffed))
                return self[user]

        yield _Phones()


DONE = [
    ("set/dnd", None, "dnd", ["do-not-disturb", "activated"], "refuse"),
    ("set/dnd", "dnd", "dnd", ["do-not-disturb", "activated"], "refuse"),
    ("set/lunch", "dnd", "lunch", ["digits/3", "activated"], "voicemail"),
    ("set/available", "lunch", "available", None, "ring"),
    ("toggle/lunch", None, "lunch", ["digits/3", "activated"], "voicemail"),
    ("toggle/lunch", "lunch", None, ["digits/3", "de-activated"], "ring"),
    ("clear/dnd", "dnd", None, ["do-not-disturb", "de-activated"], "ring"),
    ("clear/dnd", "lunch", "lunch", ["do-not-disturb", "de-activated"], "voicemail"),
    ("clear", "lunch", None, None, "ring"),
    ("toggle/dnd/user/100", None, "dnd", ["do-not-disturb", "activated"], "refuse"),
    ("code/state/4", None, "meeting", ["digits/4", "activated"], "voicemail"),
]


@pytest.mark.parametrize(("path", "before", "after", "heard", "treatment"), DONE, ids=[f"{p}-{b}" for p, b, *_ in DONE])
def test_path_changes_the_state_of_who_dialled(
    daemon: Daemon,
    desk: Desk,
    phones: dict[str, Listener],
    path: str,
    before: str | None,
    after: str | None,
    heard: list[str] | None,
    treatment: str,
) -> None:
    """Stored, shown by every lamp, heard as after a dialled code, and told to the dialplan."""
    if before:
        daemon.set("100", before)
    desk.offer(path)
    said = phones["100"].say("7700", from_user="102")
    assert said == heard or (heard is None and said[-1] in ("activated", "de-activated"))
    told = desk.told()
    assert told == {
        "PRESENCE_RESULT": "ok",
        "PRESENCE_REASON": "ok",
        "PRESENCE_USER_STATE": after or "available",
        "PRESENCE_TREATMENT": treatment,
        "AGISTATUS": "SUCCESS",
    }
    assert lamps(daemon.server, "100") == expected(after if after != "available" else None)
    assert daemon.state("102") == "available"
    if before != after:
        assert daemon.history("100")[-1] == (after or "available", ME)


@pytest.mark.parametrize("path", ["set/lunch/45", "toggle/lunch/45"], ids=str)
def test_minutes_set_an_end(daemon: Daemon, desk: Desk, phones: dict[str, Listener], path: str) -> None:
    """The caller hears the time of day."""
    desk.offer(path)
    called = datetime.now(UTC)
    heard = phones["100"].say("7700")
    until = datetime.fromisoformat(daemon.show("100")["until"])
    assert timedelta(minutes=45) <= until - called < timedelta(minutes=45, seconds=10)
    assert heard[:2] == ["digits/3", "activated"] and len(heard) > 2


def test_time_of_day_is_on_the_users_clock(daemon: Daemon, desk: Desk, phones: dict[str, Listener]) -> None:
    """`until/HHMM` in the zone of [users]."""
    from zoneinfo import ZoneInfo

    wanted = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(hours=2)
    desk.offer(f"set/meeting/until/{wanted:%H%M}")
    assert phones["100"].say("7700")[:2] == ["digits/4", "activated"]
    until = datetime.fromisoformat(daemon.show("100")["until"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (until.hour, until.minute) == (wanted.hour, wanted.minute)


def test_state_is_said_and_nothing_is_changed(daemon: Daemon, desk: Desk, phones: dict[str, Listener]) -> None:
    """The own one, and another's."""
    daemon.set("100", "lunch")
    daemon.set("102", "meeting")
    for path, heard in (("say", ["digits/3"]), ("say/102", ["digits/4"])):
        desk.offer(path)
        assert phones["100"].say("7700") == heard
    assert daemon.state("100") == "lunch"


def test_call_from_outside_learns_its_treatment_and_is_not_answered(
    daemon: Daemon, desk: Desk, phones: dict[str, Listener]
) -> None:
    """A trunk is nobody, and the dialplan asks all the same; a number that is no user rings."""
    for state, treatment in ((None, "ring"), ("dnd", "refuse"), ("lunch", "voicemail")):
        if state:
            daemon.set("100", state)
        desk.offer("treat/100")
        call = phones["trunk"].dial("7700").wait_ended()
        told = desk.told()
        assert (told["PRESENCE_RESULT"], told["PRESENCE_TREATMENT"]) == ("ok", treatment)
        assert call.answered_at is None
    desk.offer("treat/777")
    assert phones["trunk"].dial("7700").wait_ended().answered_at is None
    told = desk.told()
    assert (told["PRESENCE_RESULT"], told["PRESENCE_REASON"]) == ("refused", "unknown-user")
    assert told["PRESENCE_TREATMENT"] == "ring"


REFUSED = {
    "nobody": ("555", "set/dnd", "no-user"),
    "somebody else": ("100", "toggle/dnd/user/101", "not-allowed"),
    "unknown user": ("102", "toggle/dnd/user/777", "unknown-user"),
    "no right at all": ("104", "set/dnd", "not-allowed"),
    "another group": ("103", "set/dnd/user/101", "not-allowed"),
    "state that is not settable": ("105", "set/out", "not-allowed"),
    "barred phone": ("door", "set/dnd", "not-allowed"),
    "no such state": ("100", "set/nonsense", "bad-state"),
    "absurd time": ("100", "set/dnd/1441", "bad-time"),
}


@pytest.mark.parametrize(("phone", "path", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusal_is_heard_told_and_logged(
    daemon: Daemon, desk: Desk, phones: dict[str, Listener], phone: str, path: str, reason: str
) -> None:
    """The error prompt, the word for the dialplan, one line with who, what and why, and nothing changed."""
    histories = {user: daemon.history(user) for user in ("100", "101", "104", "105")}
    lines = len(daemon.logged("agi refused"))
    desk.offer(path)
    assert phones[phone].say("7700") == ["beeperr"]
    told = desk.told()
    assert (told["PRESENCE_RESULT"], told["PRESENCE_REASON"], told["AGISTATUS"]) == ("refused", reason, "SUCCESS")
    (line,) = daemon.logged("agi refused")[lines:]
    assert line["channel"].startswith(f"PJSIP/{phone}-")
    assert (line["code"], bool(line["reason"])) == (reason, True)
    if not reason.startswith("bad-"):
        assert line["endpoint"] == f"PJSIP/{phone}"
        assert {"who", "whom", "state"} <= line.keys()
    assert {user: daemon.history(user) for user in histories} == histories


def test_path_that_does_not_exist_is_told_and_logged_but_not_heard(
    daemon: Daemon, desk: Desk, phones: dict[str, Listener]
) -> None:
    """A slip in the dialplan answers nobody's call."""
    desk.offer("sett/dnd")
    call = phones["100"].dial("7700").wait_ended()
    assert (desk.told()["PRESENCE_REASON"], call.answered_at) == ("bad-path", None)
    assert daemon.logged("agi refused")[-1]["code"] == "bad-path"


def test_right_to_the_group_sets_a_colleague(daemon: Daemon, desk: Desk, phones: dict[str, Listener]) -> None:
    """set_group reaches those who share a group, and oneself."""
    for path, user in (("set/dnd/user/104", "104"), ("set/lunch", "103")):
        desk.offer(path)
        assert phones["103"].say("7700")[-1] == "activated"
        assert daemon.history(user)[-1][1] == "phone:PJSIP/103"
    assert (daemon.state("104"), daemon.state("103")) == ("dnd", "lunch")


def test_who_hears_the_confirmation_is_not_on_the_phone(
    daemon: Daemon, desk: Desk, phones: dict[str, Listener]
) -> None:
    """Setting a state is no call."""
    desk.offer("set/available")
    begin = len(daemon.history("100"))
    call = phones["100"].dial("7700").wait_answered()
    seen = set()
    while call.ended_at is None:
        seen.add(daemon.state("100"))
    assert seen == {"available"}
    assert daemon.history("100")[begin:] == [("available", ME)]


def test_caller_who_hangs_up_in_the_prompt_has_still_set_the_state(
    daemon: Daemon, desk: Desk, phones: dict[str, Listener]
) -> None:
    """Nobody has to listen."""
    desk.offer("set/meeting")
    phones["100"].dial("7700").wait_answered().hangup()
    wait_lamps(daemon.server, "100", "meeting")
    eventually(lambda: not daemon.server.ari("GET", "channels").json(), "no channel is left")


def test_daemon_that_is_away_is_failure(daemon: Daemon, desk: Desk, phones: dict[str, Listener]) -> None:
    """AGISTATUS tells the dialplan that it has to help itself."""
    assert daemon.stop() == 0
    try:
        desk.offer("set/dnd")
        phones["100"].dial("7700").wait_ended()
        told = desk.told()
        assert (told["AGISTATUS"], told["PRESENCE_RESULT"]) == ("FAILURE", "" if desk.form == "fastagi" else "failed")
    finally:
        daemon.start().wait_ready()
    assert daemon.state("100") == "available"


def test_codes_over_agi_work_from_the_dialplan_and_are_adopted(
    daemon: Daemon, staffed: PrivateAsterisk, phones: dict[str, Listener]
) -> None:
    """With the daemon down the fallback writes the lamps; the daemon makes them its own."""
    with codes_over("presence-codes-agi", staffed, daemon):
        assert daemon.stop() == 0
        try:
            assert phones["100"].say("*843") == ["digits/3", "activated"]
        finally:
            daemon.start().wait_ready()
        eventually(lambda: daemon.state("100") == "lunch", "adopted")
        wait_lamps(staffed, "100", "lunch")
        assert daemon.history("100")[-1] == ("lunch", "dialplan")
        assert phones["100"].say("*843") == ["digits/3", "de-activated"]


def unread(port: int) -> int:
    """Count the bytes that were sent to a port of this machine and not read yet (`/proc/net/tcp`)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def test_frozen_daemon_does_not_carry_out_what_a_caller_who_has_gone_dialled(
    daemon: Daemon, staffed: PrivateAsterisk, phones: dict[str, Listener]
) -> None:
    """When it goes on, it finds the call and its end."""
    with codes_over("presence-codes-agi", staffed, daemon):
        daemon.send(signal.SIGSTOP)
        try:
            call = phones["100"].dial("*78")
            assert wait_until(lambda: unread(daemon.agi_port) > 0, 5), staffed.cli("core show channels concise")
            environment = unread(daemon.agi_port)
            call.hangup()
            call.wait_ended()
            assert wait_until(lambda: unread(daemon.agi_port) > environment, 5), "Asterisk does not say HANGUP"
        finally:
            daemon.send(signal.SIGCONT)
        daemon.wait_logged("agi caller gone before the claim")
        daemon.wait_ready()
    assert daemon.state("100") == "available"
    eventually(lambda: not staffed.ari("GET", "channels").json(), "no channel is left")


def test_calls_are_served_beside_a_thousand_silent_connections(
    daemon: Daemon, staffed: PrivateAsterisk, phones: dict[str, Listener]
) -> None:
    """Phones, the command line and HTTP go on as if nothing were."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with codes_over("presence-codes-agi", staffed, daemon), ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", daemon.agi_port), timeout=10)).sendall(b"agi_")
        begin = time.monotonic()
        assert phones["100"].say("*78") == ["do-not-disturb", "activated"]
        assert time.monotonic() - begin < 5
        assert daemon.cli("show", "100").returncode == 0
        assert daemon.is_ready()
    assert daemon.logged("agi refused", code="crowded")
