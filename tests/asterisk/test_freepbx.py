"""A server with FreePBX's conventions and ari-presence: whoever changes do not disturb, all places say the same."""

import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import Daemon, eventually
from freepbx import (
    DEVICES,
    TYPES,
    Changes,
    dial_code,
    key,
    make_freepbx,
    panel_dnd,
    panel_presence,
    presence_type,
    says,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_parking import ami_keys

from private_asterisk import PrivateAsterisk, SipPhone, Tree, wait_until

SETTINGS = """
[lamps]
freepbx = true
[[user]]
id = "100"
name = "Alice Example"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
"""
PATIENCE_S = 6.0
CALM_S = 1.0
WRITES_OF_A_STEP = 24  # all lamps and the presence state, once by whoever changed and once by the other side


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def server(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server with FreePBX's conventions, whose phones can be reached."""
    with PrivateAsterisk(request.param, contact_port=9, tree=tree_of(request.param)) as found:
        make_freepbx(found)
        yield found


@pytest.fixture(scope="module", params=[True, False], ids=["ami", "ari"])
def daemon(
    request: pytest.FixtureRequest, server: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Run a daemon, with AMI and without."""
    folder = tmp_path_factory.mktemp("freepbx")
    found = Daemon(folder, server)
    found.write(SETTINGS, **(ami_keys(server, server.ami_port, folder) if request.param else {}))
    with found:
        if request.param:
            found.wait_logged("connected to AMI")
        yield found
        assert found.stop() == 0, found.log()[-3000:]
        assert not found.logged("FreePBX's keys DND/<user> not written")


@pytest.fixture(autouse=True)
def _nobody_is_disturbed(request: pytest.FixtureRequest) -> None:
    """Begin with nothing set."""
    if "daemon" in request.fixturenames:
        found = request.getfixturevalue("daemon")
        for user in DEVICES:
            found.clear(user)
            agree(found, user, on=False)


def agree(daemon: Daemon, user: str, *, on: bool) -> None:
    """Wait until all places say on, or off."""
    server = daemon.server
    right = wait_until(lambda: set(says(server, user).values()) == {on}, PATIENCE_S)
    assert right, f"{user} should be {on}: {says(server, user)}; {daemon.log()[-1500:]}"


def test_own_change_reaches_all_places(daemon: Daemon) -> None:
    """Do not disturb and a meeting are on, lunch is off, and the end is off."""
    for state, on in (("dnd", True), ("lunch", False), ("meeting", True), ("available", False)):
        assert daemon.set("100", state)["confirmed"]
        agree(daemon, "100", on=on)
    daemon.set("100", "dnd")
    agree(daemon, "100", on=True)
    daemon.clear("100")
    agree(daemon, "100", on=False)


@pytest.mark.parametrize("code", ["*76", "*78"])
def test_code_of_freepbx_is_adopted(daemon: Daemon, phone: Callable[..., SipPhone], code: str) -> None:
    """Dialled on a real phone, by FreePBX's own dialplan; the second phone's key is lit as well."""
    handset = phone("100-mobile", daemon.server)
    lamp = handset.subscribe("100")
    button = handset.subscribe("*76100")
    handset.dial(code).wait_ended()
    eventually(lambda: daemon.state("100") == "dnd", "adopted", PATIENCE_S)
    agree(daemon, "100", on=True)
    assert daemon.show("100")["source"] == "pbx:hq"
    for each in (lamp, button):
        each.wait_for(lambda shown: shown.state == "confirmed")
    handset.dial("*79" if code == "*78" else "*76").wait_ended()
    eventually(lambda: daemon.state("100") == "available", "cleared", PATIENCE_S)
    agree(daemon, "100", on=False)
    for each in (lamp, button):
        each.wait_for(lambda shown: shown.state == "terminated")


def test_key_of_freepbx_lights_for_our_own_change(daemon: Daemon, phone: Callable[..., SipPhone]) -> None:
    """The hints `ext-local` and `ext-dnd-hints` keep working."""
    watcher = phone("102", daemon.server)
    lamps = [watcher.subscribe("100"), watcher.subscribe("*76100"), watcher.subscribe("*76100-mobile")]
    daemon.set("100", "dnd")
    for lamp in lamps:
        lamp.wait_for(lambda shown: shown.state == "confirmed")
    daemon.clear("100")
    for lamp in lamps:
        lamp.wait_for(lambda shown: shown.state == "terminated")


@pytest.mark.parametrize("older", [False, True], ids=["now", "older"])
def test_user_panel_is_adopted(daemon: Daemon, older: bool) -> None:
    """On and off, in older releases' words too, which are left as they are."""
    server = daemon.server
    panel_dnd(server, "101", on=True)
    eventually(lambda: daemon.state("101") == "dnd", "adopted", PATIENCE_S)
    agree(daemon, "101", on=True)
    panel_dnd(server, "101", on=False, older=older)
    eventually(lambda: daemon.state("101") == "available", "cleared", PATIENCE_S)
    agree(daemon, "101", on=False)
    assert server.device_state("Custom:DND101") == ("NOT_INUSE" if older else "UNAVAILABLE")


def test_hot_desk_script_is_read(daemon: Daemon) -> None:
    """INUSE is on."""
    daemon.server.cli("devstate change Custom:DEVDND101 INUSE")
    eventually(lambda: daemon.state("101") == "dnd", "adopted", PATIENCE_S)
    agree(daemon, "101", on=True)


def test_off_by_freepbx_ends_a_meeting_but_no_lunch(daemon: Daemon) -> None:
    """What counts as do not disturb ends with it."""
    daemon.set("101", "meeting")
    agree(daemon, "101", on=True)
    dial_code(daemon.server, "off", "101")
    eventually(lambda: daemon.state("101") == "available", "ended", PATIENCE_S)
    agree(daemon, "101", on=False)


def test_change_while_the_daemon_was_away_is_adopted(server: PrivateAsterisk, tmp_path: Path) -> None:
    """And what changed here meanwhile is written there."""
    daemon = Daemon(tmp_path, server, app="freepbx-away")
    daemon.write(SETTINGS)
    with daemon:
        for user in DEVICES:
            daemon.clear(user)
        daemon.set("101", "dnd")
        agree(daemon, "101", on=True)
        agree(daemon, "100", on=False)
        assert daemon.stop() == 0
    dial_code(server, "toggle", "100")
    dial_code(server, "toggle", "101")
    eventually(lambda: key(server, "100") == "YES" and key(server, "101") is None, "FreePBX has done it")
    server.cli("database put DND 102 YES")  # the key alone means nothing to us, and is put right
    with daemon:
        eventually(lambda: daemon.state("100") == "dnd", "adopted", PATIENCE_S)
        for user, on in (("100", True), ("101", False), ("102", False)):
            agree(daemon, user, on=on)
        daemon.clear("100")
        agree(daemon, "100", on=False)


def test_restart_of_asterisk_leaves_all_equal(daemon: Daemon) -> None:
    """The key alone was changed, and Asterisk restarts: at the connect all say what the state says."""
    server = daemon.server
    daemon.set("100", "dnd")
    agree(daemon, "100", on=True)
    server.cli("database del DND 100")
    server.cli("database put DND 101 YES")
    before = len(daemon.logged("connected"))
    server.restart()
    assert wait_until(lambda: len(daemon.logged("connected")) > before, 20.0), daemon.log()[-2000:]
    daemon.wait_ready()
    agree(daemon, "100", on=True)
    agree(daemon, "101", on=False)


def test_users_are_taken_over_from_the_running_server(server: PrivateAsterisk, tmp_path: Path) -> None:
    """From its console, what that prints, and its database file: the same; then from a configuration that has them."""
    panel_dnd(server, "101", on=True)
    panel_presence(server, "102", "xa", "Gone fishing")
    daemon = Daemon(tmp_path, server, app="freepbx-import")
    daemon.write(SETTINGS)
    shown = tmp_path / "shown.txt"
    shown.write_text(server.cli("database show"))
    database = server.folder / "lib" / "astdb.sqlite3"
    console = shlex.join(server.console)
    wanted = {
        "users": [
            {"user": user, "name": f"User {user}", "endpoints": [f"PJSIP/{device}" for device in devices]}
            for user, devices in DEVICES.items()
        ],
        "added": ["101", "102"],
        "kept": ["100: name is 'Alice Example' here, 'User 100' in FreePBX"],
        "states": [
            {"user": "101", "state": "dnd", "message": None},
            {"user": "102", "state": "out", "message": "Gone fishing"},
        ],
    }
    for words in (["--asterisk", console], [str(shown)], [str(database)]):
        eventually(  # the database is written a second later
            lambda words=words: json.loads(daemon.cli("import", "freepbx", "--json", *words).stdout) == wanted,
            f"{words}: {daemon.cli('import', 'freepbx', '--json', *words)}",
        )
    before = daemon.config.read_text()
    assert daemon.cli("import", "freepbx", str(shown)).returncode == 0
    assert daemon.config.read_text() == before
    done = daemon.cli("import", "freepbx", str(shown), "--write")
    assert done.returncode == 0, done.stderr
    with daemon:
        done = daemon.cli("import", "freepbx", str(shown), "--states")
        assert done.returncode == 0, done.stderr
        assert daemon.show("102")["name"] == "User 102"
        assert (daemon.state("101"), daemon.state("102")) == ("dnd", "out")
        agree(daemon, "101", on=True)
        daemon.clear("101")
        daemon.clear("102")
        agree(daemon, "101", on=False)
        assert daemon.stop() == 0


def test_server_without_the_dialplan_is_told_what_to_include(tree_of: Callable[[int], Tree], tmp_path: Path) -> None:
    """The rest goes on: lamps and presence state are right."""
    with PrivateAsterisk(22, contact_port=9, tree=tree_of(22)) as server:
        make_freepbx(server)
        text = server.read("extensions.conf")
        server.write("extensions.conf", "\n".join(line for line in text.splitlines() if "#include" not in line))
        server.cli("dialplan reload")
        daemon = Daemon(tmp_path, server)
        daemon.write(SETTINGS)
        with daemon:
            assert daemon.set("100", "dnd")["confirmed"]
            line = daemon.wait_logged("FreePBX's keys DND/<user> not written")
            assert "presence-freepbx.conf" in line["remedy"]
            assert server.device_state("Custom:DND100") == "BUSY"
            assert key(server, "100") is None


def test_settings_are_known_to_have_an_effect(daemon: Daemon) -> None:
    """Nothing is said of them but, without AMI, what is missing."""
    told = [line for line in daemon.lines if "freepbx" in str(line.get("keys", ""))]
    assert told == []
    assert bool(daemon.logged("connected to AMI")) is not any(
        line.get("code") == "presence-without-ami" for line in daemon.lines
    )


# --- with AMI ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", [True], indirect=True, ids=["ami"])
@pytest.mark.parametrize(
    ("written", "state", "message", "there"),
    [
        pytest.param("dnd,,busy", "dnd", "busy", "dnd", id="dnd"),
        pytest.param("away,,Back at two", "away", "Back at two", "away", id="away"),
        pytest.param("away,lunch,", "lunch", None, "away", id="lunch"),
        pytest.param("dnd,meeting,", "meeting", None, "dnd", id="meeting"),
        pytest.param("xa,,", "out", None, "xa", id="xa"),
        pytest.param("unavailable,,", "out", None, "xa", id="unavailable"),
        pytest.param("chat,,", "available", None, "available", id="chat"),
    ],
)
def test_presence_of_the_user_panel_is_adopted(
    daemon: Daemon, written: str, state: str, message: str | None, there: str
) -> None:
    """With its message; a type that has no state of ours is put right."""
    server = daemon.server
    server.cli(f'presencestate change CustomPresence:101 "{written}"')
    eventually(lambda: daemon.state("101") == state, f"{state} adopted", PATIENCE_S)
    eventually(lambda: presence_type(server, "101") == there, f"{there} is there", PATIENCE_S)
    assert daemon.show("101")["message"] == message
    agree(daemon, "101", on=there == "dnd")


LAMP_STEPS = (
    st.tuples(st.just("set"), st.sampled_from(["dnd", "lunch", "meeting", "away", "available", ""])),
    st.tuples(st.just("code"), st.sampled_from(["toggle", "on", "off"])),
    st.tuples(st.just("panel"), st.sampled_from(["on", "off", "older-off"])),
    st.tuples(st.just("user-lamp"), st.sampled_from(["BUSY", "UNAVAILABLE", "NOT_INUSE", "INUSE", "RINGING"])),
    st.tuples(st.just("device-lamp"), st.sampled_from(["BUSY", "UNAVAILABLE", "NOT_INUSE", "INUSE"])),
)
PRESENCE_STEPS = st.tuples(st.just("presence"), st.sampled_from(TYPES))
Script = list[tuple[tuple[str, str], bool]]


def scripts(*steps: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[Script]:
    """Make sequences of steps, each with whether all comes to rest before the next."""
    return st.lists(st.tuples(st.one_of(*steps), st.booleans()), min_size=1, max_size=6)


on_a_server = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def do(daemon: Daemon, step: tuple[str, str]) -> None:
    """Do one step, on either side, to 100."""
    server = daemon.server
    match step:
        case ("set", ""):
            daemon.clear("100")
        case ("set", state):
            daemon.set("100", state)
        case ("code", what):
            dial_code(server, what, "100")
        case ("panel", what):
            panel_dnd(server, "100", on=what == "on", older=what == "older-off")
        case ("presence", kind):
            panel_presence(server, "100", kind, "words")
        case ("user-lamp", value):
            server.cli(f"devstate change Custom:DND100 {value}")
        case ("device-lamp", value):
            server.cli(f"devstate change Custom:DEVDND100-mobile {value}")


def calm(changes: Changes, limit: int) -> bool:
    """Wait until nothing has changed for a while; False if there is no end to it."""
    deadline, seen, since = time.monotonic() + PATIENCE_S * 2, changes.count, time.monotonic()
    while time.monotonic() - since < CALM_S:
        if changes.count != seen:
            seen, since = changes.count, time.monotonic()
        if time.monotonic() > deadline or seen > limit:
            return False
        threadless_pause()
    return True


def threadless_pause() -> None:
    """Let a twentieth of a second go by."""
    wait_until(lambda: False, 0.05)


def play(daemon: Daemon, script: Script) -> None:
    """Do all steps, and see that all places agree, that little was written, and that nothing goes on."""
    limit = WRITES_OF_A_STEP * len(script)
    with Changes(daemon.server) as changes:
        for step, rest in script:
            do(daemon, step)
            if rest:
                assert calm(changes, limit), (changes.count, daemon.log()[-3000:])
        assert calm(changes, limit), (changes.count, daemon.log()[-3000:])
        agree(daemon, "100", on=daemon.state("100") in ("dnd", "meeting"))
        before = changes.count
        assert calm(changes, before) and changes.count == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("daemon", [True], indirect=True, ids=["ami"])
@on_a_server
@given(script=scripts(*LAMP_STEPS, PRESENCE_STEPS))
def test_any_sequence_ends_in_agreement(daemon: Daemon, script: Script) -> None:
    """Whoever changes what, at once or one after another: all four places say the same, as the daemon does, and rest."""
    play(daemon, script)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("daemon", [False], indirect=True, ids=["ari"])
@on_a_server
@given(script=scripts(*LAMP_STEPS))
def test_any_sequence_ends_in_agreement_without_ami(daemon: Daemon, script: Script) -> None:
    """All that FreePBX's codes and panel do to do not disturb, and every lamp alone."""
    play(daemon, script)
