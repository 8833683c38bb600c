"""The feature codes, dialled by real phones, with the daemon up: what is heard, stored and shown."""

import resource
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from daemon import (
    JOINED,
    PEOPLE,
    STATES,
    TYPES,
    WHOLE,
    Daemon,
    Listener,
    codes_over,
    eventually,
    expected,
    lamps,
    presence,
    wait_lamps,
)

from private_asterisk import PrivateAsterisk, SipPhone, wait_until

EXTRA = f"""{PEOPLE}
[users]
exclude = "^PJSIP/(trunk|555)"
timezone = "Europe/Berlin"
"""
ME = "phone:PJSIP/100"


@pytest.fixture(scope="module", params=["presence-codes", "presence-codes-agi"], ids=["stasis", "agi"])
def daemon(
    request: pytest.FixtureRequest, staffed: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Run one daemon for all tests here, with each form of the codes in turn."""
    with (
        Daemon(tmp_path_factory.mktemp("codes"), staffed, extra=EXTRA) as daemon,
        codes_over(request.param, staffed, daemon),
    ):
        yield daemon
        assert daemon.stop() == 0


def refusals(daemon: Daemon) -> list[dict[str, Any]]:
    """Give the lines of the log about refused codes, whichever form they came over."""
    return daemon.logged("code refused") + daemon.logged("agi refused")


@pytest.fixture(autouse=True)
def fresh(daemon: Daemon) -> None:
    """Begin each test with nothing set."""
    for user in ("100", "101", "102"):
        assert daemon.clear(user)["confirmed"]


@pytest.fixture
def alice(staffed: PrivateAsterisk) -> Iterator[Listener]:
    """Register the phone of user 100, who has no special right."""
    with Listener("100", staffed) as phone:
        yield phone


@pytest.fixture
def boss(staffed: PrivateAsterisk) -> Iterator[Listener]:
    """Register the phone of user 102, who may set others."""
    with Listener("102", staffed) as phone:
        yield phone


def subject(state: str) -> str:
    """Name the prompt of a state."""
    return "do-not-disturb" if state == "dnd" else f"digits/{STATES[state]}"


SET = [
    ("*78", None, "dnd"),
    ("*78", "dnd", "dnd"),
    ("*78", "lunch", "dnd"),
    ("*76", None, "dnd"),
    ("*76", "meeting", "dnd"),
    ("*76100", None, "dnd"),
    ("*842100", "away", "dnd"),
    *((f"*84{digit}", None, state) for state, digit in STATES.items()),
    ("*843100", None, "lunch"),
    ("*846100", "lunch", "out"),
    ("*84-3", None, "lunch"),
]


@pytest.mark.parametrize(("code", "before", "after"), SET, ids=[f"{code}-{before}" for code, before, _ in SET])
def test_code_that_sets_a_state_lights_all_lamps_and_says_so(
    daemon: Daemon, alice: Listener, code: str, before: str | None, after: str
) -> None:
    """Prompt, every lamp, presence and the line of history are right by the time the call is over."""
    if before:
        daemon.set("100", before)
    begin = len(daemon.history("100"))
    assert alice.say(code) == [subject(after), "activated"]
    assert lamps(daemon.server, "100") == expected(after)
    assert presence(daemon.server, "100").split(",")[0] == TYPES[after]
    assert daemon.history("100")[begin:] == [(after, ME)]
    assert daemon.stored("100")[-1] == after


OFF = [
    ("*79", "dnd", ["do-not-disturb", "de-activated"]),
    ("*76", "dnd", ["do-not-disturb", "de-activated"]),
    ("*76100", "dnd", ["do-not-disturb", "de-activated"]),
    ("*842", "dnd", ["do-not-disturb", "de-activated"]),
    ("*843", "lunch", ["digits/3", "de-activated"]),
    ("*843100", "lunch", ["digits/3", "de-activated"]),
    ("*846", "out", ["digits/6", "de-activated"]),
]


@pytest.mark.parametrize(("code", "before", "heard"), OFF, ids=[code for code, *_ in OFF])
def test_code_that_ends_a_state_turns_all_lamps_off_and_says_so(
    daemon: Daemon, alice: Listener, code: str, before: str, heard: list[str]
) -> None:
    """The off half of a toggle and *79 remove the manual state."""
    daemon.set("100", before)
    assert alice.say(code) == heard
    assert lamps(daemon.server, "100") == expected(None)
    assert daemon.history("100")[-1] == ("available", ME)


@pytest.mark.parametrize(
    ("before", "heard"),
    [
        pytest.param(None, ["de-activated"], id="none"),
        pytest.param("lunch", ["digits/3", "de-activated"], id="lunch"),
        pytest.param("dnd", ["do-not-disturb", "de-activated"], id="dnd"),
    ],
)
def test_back_to_available_clears_whatever_is_set_and_says_what_has_ended(
    daemon: Daemon, alice: Listener, before: str | None, heard: list[str]
) -> None:
    """*840 is no error when nothing is set."""
    if before:
        daemon.set("100", before)
    assert alice.say("*840") == heard
    assert lamps(daemon.server, "100") == expected(None)
    assert daemon.show("100")["layer"] == "default"


def test_dnd_off_with_another_state_changes_nothing_and_confirms(daemon: Daemon, alice: Listener) -> None:
    """*79 ends do not disturb only."""
    daemon.set("100", "lunch", message="soup")
    begin = daemon.history("100")
    assert alice.say("*79") == ["do-not-disturb", "de-activated"]
    assert daemon.show("100")["message"] == "soup"
    assert daemon.history("100") == begin
    assert lamps(daemon.server, "100") == expected("lunch")


def test_minutes_set_an_end_that_is_stored_shown_and_said(daemon: Daemon, alice: Listener) -> None:
    """*843*45 ends in 45 minutes, and the caller hears the time of day on the user's clock."""
    called = datetime.now(UTC)
    heard = alice.say("*843*45")
    until = datetime.fromisoformat(daemon.show("100")["until"])
    assert timedelta(minutes=45) <= until - called < timedelta(minutes=45, seconds=10)
    assert heard[:2] == ["digits/3", "activated"]
    assert len(heard) > 2
    with SipPhone("109", daemon.server, user_agent="Digium D65") as watcher:
        from zoneinfo import ZoneInfo

        text = f"until {until.astimezone(ZoneInfo('Europe/Berlin')):%H:%M}"
        watcher.subscribe("100", "presence").wait_for(lambda now: now.message == text)


def test_minutes_dialled_again_set_the_end_anew(daemon: Daemon, alice: Listener) -> None:
    """The timed form never toggles."""
    alice.say("*843*45")
    first = datetime.fromisoformat(daemon.show("100")["until"])
    alice.say("*843*90")
    second = datetime.fromisoformat(daemon.show("100")["until"])
    assert timedelta(minutes=44) < second - first < timedelta(minutes=46)
    assert lamps(daemon.server, "100") == expected("lunch")


@pytest.mark.parametrize("hours", [2, -2], ids=["later-today-or-tomorrow", "past-means-tomorrow"])
def test_time_of_day_is_the_next_one_in_the_zone_of_the_user(daemon: Daemon, alice: Listener, hours: int) -> None:
    """*844**HHMM is read on the clock of [users] timezone."""
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    called = datetime.now(berlin)
    wanted = called + timedelta(hours=hours)
    assert alice.say(f"*844**{wanted:%H%M}")[:2] == ["digits/4", "activated"]
    until = datetime.fromisoformat(daemon.show("100")["until"]).astimezone(berlin)
    assert (until.hour, until.minute, until.second) == (wanted.hour, wanted.minute, 0)
    assert timedelta(0) < until - called <= timedelta(hours=25)


@pytest.mark.parametrize("code", ["*76101", "*842101"], ids=str)
def test_number_of_somebody_else_with_the_right_toggles_that_user(daemon: Daemon, boss: Listener, code: str) -> None:
    """set_others lets one key set and end another user's state; the own one stays."""
    assert boss.say(code) == ["do-not-disturb", "activated"]
    assert lamps(daemon.server, "101") == expected("dnd")
    assert daemon.history("101")[-1] == ("dnd", "phone:PJSIP/102")
    assert boss.say(code) == ["do-not-disturb", "de-activated"]
    assert lamps(daemon.server, "101") == expected(None)
    assert daemon.state("102") == "available"


@pytest.mark.parametrize(
    ("code", "user", "heard"),
    [("*849", "100", ["digits/3"]), ("*849100", "100", ["digits/3"]), ("*849102", "102", ["digits/4"])],
    ids=["own", "own-number", "other"],
)
def test_asking_says_the_state_and_changes_nothing(
    daemon: Daemon, alice: Listener, code: str, user: str, heard: list[str]
) -> None:
    """*849 needs no right, since the lamp shows it as well."""
    daemon.set("100", "lunch")
    daemon.set("102", "meeting")
    begin = daemon.history(user)
    assert alice.say(code) == heard
    assert daemon.history(user) == begin


def test_second_phone_sets_the_state_of_its_person(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """A listed endpoint with another name is the same user, and history tells which phone it was."""
    with Listener("100-mobile", staffed) as mobile:
        assert mobile.say("*841") == ["digits/1", "activated"]
    assert daemon.history("100")[-1] == ("away", "phone:PJSIP/100-mobile")
    assert lamps(staffed, "100") == expected("away")


# -- lamps as phones get them


@pytest.mark.parametrize("state", STATES, ids=str)
def test_watchers_of_every_hint_see_what_was_dialled(
    daemon: Daemon, staffed: PrivateAsterisk, alice: Listener, state: str
) -> None:
    """Joined, whole and key hints by dialog, the joined one by presence, and text for a Digium phone."""
    looks = {"BUSY": ("confirmed", False), "ONHOLD": ("confirmed", True), "UNAVAILABLE": ("terminated", False)}
    key = f"*84{STATES[state]}100"
    with SipPhone("108", staffed) as bob, SipPhone("109", staffed, user_agent="Digium D65") as digium:
        numbers = ["100", "whole-100", "*76100", *(f"*84{digit}100" for digit in STATES.values())]
        dialogs = {number: bob.subscribe(number) for number in numbers}
        plain, text = bob.subscribe("100", "presence"), digium.subscribe("100", "presence")
        for lamp in dialogs.values():
            lamp.wait_for(lambda now: now.state == "terminated")
        alice.say(key)
        lit = {"100": looks[JOINED[state]], "whole-100": looks[WHOLE[state]], key: ("confirmed", False)}
        lit |= {"*76100": ("confirmed", False)} if state == "dnd" else {}
        for number, lamp in dialogs.items():
            lamp.wait_for(lambda now, n=number: (now.state, now.hold) == lit.get(n, ("terminated", False)))  # type: ignore[misc]
        plain.wait_for(lambda now: now.note == ("On hold" if JOINED[state] == "ONHOLD" else "On the phone"))
        subtype = state if state in ("lunch", "meeting", "brb") else ""
        text.wait_for(lambda now: (now.presence, now.subtype) == (TYPES[state], subtype))
        assert plain.state() is not None and plain.state().presence == ""  # type: ignore[union-attr]
        daemon.set("100", state, message='Döner, <b> & "so" on')
        text.wait_for(lambda now: now.message == 'Döner, <b> & "so" on')
        alice.say("*840")
        for lamp in dialogs.values():
            lamp.wait_for(lambda now: now.state == "terminated")
        plain.wait_for(lambda now: now.note == "Ready")
        text.wait_for(lambda now: now.presence == "available" and not now.message)


# -- refusals

REFUSED = {
    "*847": "no state has the digit 7",
    "*848": "no state has the digit 8",
    "*843*0": "minutes",
    "*843*1441": "minutes",
    "*843*99999": "minutes",
    "*843**2460": "",
    "*843**2400": "",
    "*843**133": "",
    "*843*": "",
    "*843*4*5": "",
    "*840*5": "",
    "*76101": "no right",
    "*842101": "no right",
    "*76777": "no user",
    "*842777": "no user",
    "*849777": "no user",
    "*8421": "",
}


@pytest.mark.parametrize(("code", "reason"), REFUSED.items(), ids=REFUSED)
def test_refused_code_changes_nothing_and_leaves_a_log_line(
    daemon: Daemon, staffed: PrivateAsterisk, alice: Listener, code: str, reason: str
) -> None:
    """The error prompt is all that comes of it, and the log names channel and reason."""
    daemon.set("100", "away")
    begin, lines = (daemon.history("100"), daemon.history("101")), len(refusals(daemon))
    assert alice.say(code) == ["beeperr"]
    assert (daemon.history("100"), daemon.history("101")) == begin
    assert lamps(staffed, "100") == expected("away")
    assert lamps(staffed, "101") == expected(None)
    (line,) = refusals(daemon)[lines:]
    assert line["channel"].startswith("PJSIP/100-")
    assert reason in line["reason"]
    assert line["reason"]


@pytest.mark.parametrize("endpoint", ["555", "door", "anonymous"], ids=["excluded", "not-discovered", "anonymous"])
def test_endpoint_that_is_nobody_is_refused(daemon: Daemon, staffed: PrivateAsterisk, endpoint: str) -> None:
    """A trunk, a door phone and the anonymous endpoint have no user, whatever their caller ID says."""
    lines = len(refusals(daemon))
    with Listener(endpoint, staffed) as phone:
        assert phone.say("*78", from_user="100") == ["beeperr"]
    (line,) = refusals(daemon)[lines:]
    assert line["channel"].startswith(f"PJSIP/{endpoint}-")
    assert lamps(staffed, "100") == expected(None)
    assert endpoint not in [user["user"] for user in daemon.ask("GET", "/users")]


def test_forged_caller_id_sets_the_state_of_the_endpoint(daemon: Daemon, alice: Listener) -> None:
    """Who dialled is the endpoint that authenticated, never the number in From."""
    assert alice.say("*78", from_user="102") == ["do-not-disturb", "activated"]
    assert daemon.state("102") == "available"
    assert daemon.state("100") == "dnd"
    assert alice.say("*76101", from_user="102") == ["beeperr"]


def test_local_channel_is_refused(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """A channel that no phone made belongs to nobody."""
    lines = len(refusals(daemon))
    staffed.ari("POST", "channels", endpoint="Local/*78@internal", extension="9000", context="internal", priority="1")
    eventually(lambda: len(refusals(daemon)) > lines, "a log line")
    assert refusals(daemon)[-1]["channel"].startswith("Local/*78@internal-")
    eventually(lambda: not staffed.ari("GET", "channels").json(), "the call is over")


# -- when the caller is told


def test_confirmation_is_heard_only_when_stored_and_confirmed(daemon: Daemon, alice: Listener) -> None:
    """At the first packet of the prompt the row is in the file and the lamps are right."""
    for code, state in (("*78", "dnd"), ("*843", "lunch"), ("*841", "away")):
        alice.prompts()
        call = alice.dial(code)
        assert wait_until(alice.heard, 5, every_s=0.001)
        assert daemon.stored("100")[-1] == state
        assert lamps(daemon.server, "100") == expected(state)
        call.wait_ended()


def test_caller_who_hangs_up_at_once_has_still_set_the_state(daemon: Daemon, alice: Listener) -> None:
    """Nobody has to listen to the prompt."""
    call = alice.dial("*844").wait_answered()
    call.hangup()
    wait_lamps(daemon.server, "100", "meeting")
    assert daemon.history("100")[-1] == ("meeting", ME)


def test_full_disk_gives_the_error_prompt_and_an_error_at_the_command_line(daemon: Daemon, alice: Listener) -> None:
    """What cannot be stored is never confirmed; when there is room again the codes work again."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        assert alice.say("*78") == ["beeperr"]
        done = daemon.cli("set", "100", "lunch")
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert "ari-presence" in done.stderr
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, before)
    assert daemon.logged("not stored")
    assert alice.say("*843*5")[:2] == ["digits/3", "activated"]
    assert daemon.stored("100")[-1] == "lunch"


def test_store_that_is_locked_gives_the_error_prompt_in_time(daemon: Daemon, alice: Listener) -> None:
    """A store that does not answer keeps a caller waiting for three seconds, not longer."""
    other = sqlite3.connect(daemon.store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        call = alice.dial("*78")
        call.wait_ended(6)
        assert alice.prompts() == ["beeperr"]
        assert call.ended_at is not None and 2.5 < call.ended_at - call.sent_at < 5
    finally:
        other.execute("ROLLBACK")
        other.close()
    eventually(lambda: daemon.is_ready(), "ready")
    daemon.clear("100")
    assert alice.say("*841") == ["digits/1", "activated"]


def test_prompt_without_a_recording_is_a_beep(daemon: Daemon, alice: Listener) -> None:
    """A recording that the server lacks is never silence; the log says which."""
    daemon.write(EXTRA + '[prompts]\nactivated = "no-such-recording"\nerror = "neither"\n')
    try:
        daemon.ask("POST", "/control/reload")
        warning = daemon.wait_logged("no recording of some prompts, a beep stands in")
        assert warning["sounds"] == ["neither", "no-such-recording"]
        assert alice.say("*78") == ["do-not-disturb", "beep"]
        assert alice.say("*847") == ["beep"]
    finally:
        daemon.write(EXTRA)
        daemon.ask("POST", "/control/reload")
    assert alice.say("*79") == ["do-not-disturb", "de-activated"]


def test_codes_dialled_by_several_phones_at_once_are_all_served(daemon: Daemon, staffed: PrivateAsterisk) -> None:
    """Five phones at the same moment, each gets its own."""
    users = ["103", "104", "105", "106", "107"]
    phones = [Listener(user, staffed) for user in users]
    try:
        for phone in phones:
            phone.register()
        calls = [phone.dial("*843") for phone in phones]
        for call in calls:
            call.wait_ended(10)
        assert [phone.prompts() for phone in phones] == [["digits/3", "activated"]] * 5
        for user in users:
            assert lamps(staffed, user) == expected("lunch")
    finally:
        for phone, user in zip(phones, users, strict=True):
            phone.close()
            daemon.clear(user)
