"""The harness itself: a test on a private Asterisk is worth as much as these are.

Each release is started for real, and real SIP goes over loopback.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from private_asterisk import PrivateAsterisk, SipPhone, StartError, Tree, packages, wait_until
from private_asterisk.clients import Baresip, run_sipp
from private_asterisk.config import MODULES, Ports, phone_password, pjsip
from private_asterisk.phone import SipError

Phones = Callable[..., SipPhone]
Trees = Callable[[int], Tree]
NOT_IN_16 = {"res_websocket_client"}

REGISTER = """<?xml version="1.0"?><!DOCTYPE scenario SYSTEM "sipp.dtd"><scenario name="register">
<send retrans="500"><![CDATA[{request}

]]></send><recv response="401" auth="true"/>
<send retrans="500"><![CDATA[{request}
[authentication username={user} password={password}]

]]></send><recv response="200"/></scenario>"""
REQUEST = """
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[service]@[remote_ip]>;tag=[call_number]
To: <sip:[service]@[remote_ip]>
Call-ID: [call_id]
CSeq: [cseq] REGISTER
Contact: <sip:[service]@[local_ip]:[local_port]>
Expires: 60
Content-Length: 0"""


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def victim(request: pytest.FixtureRequest, tree_of: Trees) -> Iterator[PrivateAsterisk]:
    """Start a server of this module, which each test finds running and may leave in any state."""
    with PrivateAsterisk(request.param, tree=tree_of(request.param)) as server:
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
def lamp(asterisk: PrivateAsterisk) -> PrivateAsterisk:
    """Give the shared server with its lamp off."""
    asterisk.cli("devstate change Custom:lamp NOT_INUSE")
    asterisk.cli("presencestate change CustomPresence:lamp not_set")
    return asterisk


# -- the server


def test_started_server_has_the_release_and_a_clean_log(own: PrivateAsterisk) -> None:
    """The right release answers, and its log holds no warning and no error of ours."""
    own.restart()
    info = own.ari("GET", "asterisk/info").json()
    assert info["system"]["version"].startswith(f"{own.version}.")
    assert [line for line in own.log().splitlines() if " ERROR[" in line or " WARNING[" in line] == []


def test_every_module_of_the_list_is_loaded(own: PrivateAsterisk) -> None:
    """A misspelt or missing module would silently do nothing, such as func_timeout."""
    shown = own.cli("module show")
    missing = {name for name in MODULES.split() if f"{name}.so" not in shown}
    assert missing == (NOT_IN_16 if own.version == 16 else set())


def test_restart_keeps_custom_states_and_ports(own: PrivateAsterisk) -> None:
    """Lamps live in the database, which a restart keeps."""
    before = (own.url, own.sip_port)
    own.cli("devstate change Custom:kept ONHOLD")
    own.restart()
    assert own.device_state("Custom:kept") == "ONHOLD"
    assert (own.url, own.sip_port) == before


def test_killed_server_comes_back_with_start(own: PrivateAsterisk) -> None:
    """A power cut ends the process at once, and the next start answers on the same ports."""
    url = own.url
    own.kill()
    assert not own.is_running
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)
    own.start()
    assert own.url == url
    assert own.device_state("Custom:never") == "UNKNOWN"


def test_frozen_server_accepts_but_does_not_answer_until_thawed(own: PrivateAsterisk) -> None:
    """A frozen server is a half-open link: the connection stands, nothing comes."""
    own.freeze()
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{own.url}/ari/asterisk/info", auth=(own.ari_user, own.ari_password), timeout=(1, 0.3))
    own.thaw()
    assert own.ari("GET", "asterisk/info").ok


def test_rewritten_dialplan_is_in_force_after_reload(own: PrivateAsterisk) -> None:
    """`write` and a reload change the dialplan of a running server."""
    own.write("extensions.conf", own.read("extensions.conf") + "[extra]\nexten => 5,1,NoOp(hello)\n")
    own.cli("dialplan reload")
    assert "NoOp(hello)" in own.cli("dialplan show 5@extra")


def test_stopped_server_leaves_no_process_and_no_folder(tree_of: Trees) -> None:
    """`stop` ends the process and removes the temporary folder."""
    with PrivateAsterisk(22, tree=tree_of(22)) as server:
        folder, pid = server.folder, server.pid
        assert folder.is_dir()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_killed_test_process_takes_its_server_along(tree_of: Trees) -> None:
    """When the process that started it is killed, the watchdog ends the server and removes its folder."""
    tree = tree_of(22)
    program = (
        "import sys, pathlib\n"
        "from private_asterisk import PrivateAsterisk, Tree\n"
        "server = PrivateAsterisk(22, tree=Tree(pathlib.Path(sys.argv[1]))).start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "sys.stdin.read()\n"
    )
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    words = [sys.executable, "-c", program, str(tree.root)]
    with subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid, folder = child.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        child.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists() and not Path(folder).exists(), 5)


def test_taken_port_makes_it_choose_others(tree_of: Trees) -> None:
    """Somebody else may take a port between the choice and the start."""
    server = PrivateAsterisk(22, tree=tree_of(22))
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.http_port))
        other.listen()
        taken = server.http_port
        with server:
            assert server.http_port != taken
            assert server.ari("GET", "asterisk/info").ok


def test_broken_configuration_is_reported_with_the_log(tree_of: Trees) -> None:
    """A server that cannot start says why."""
    server = PrivateAsterisk(22, tree=tree_of(22), config={"modules.conf": "[modules]\nrequire = nosuch.so\n"})
    with pytest.raises(StartError, match=r"nosuch\.so"), server:
        pass
    assert not server.folder.exists()


def test_too_long_folder_is_refused(tmp_path: Path, tree_of: Trees) -> None:
    """The control socket's path has a limit that Asterisk would only report as a missing console."""
    with pytest.raises(ValueError, match="shorter"):
        PrivateAsterisk(22, tmp_path / ("x" * 100), tree=tree_of(22))


def test_pjsip_of_a_second_phone_names_its_user() -> None:
    """The fallback dialplan takes the person from PRESENCE_USER, and a trunk is nobody."""
    text = pjsip(Ports(http=1, sip=2, ami=3, rtp=4), ["100", "100-mobile"])
    assert text.count("set_var=PRESENCE_USER=100\n") == 1
    assert "[trunk](endpoint)\nauth=trunk\naors=trunk\ncontext=from-trunk\nset_var=PRESENCE_USER=-\n" in text


# -- the phone


def test_wrong_password_is_refused(asterisk: PrivateAsterisk) -> None:
    """Registration is authenticated for real."""
    with pytest.raises(SipError) as caught, SipPhone("100", asterisk, password="wrong"):
        pass
    assert caught.value.status == 401


def test_registered_phone_is_online_until_it_closes(asterisk: PrivateAsterisk) -> None:
    """A registration makes the line NOT_INUSE, closing makes it UNAVAILABLE."""
    with SipPhone("105", asterisk):
        assert wait_until(lambda: asterisk.device_state("PJSIP/105") == "NOT_INUSE", 2)
    assert wait_until(lambda: asterisk.device_state("PJSIP/105") == "UNAVAILABLE", 2)


def test_dialled_phone_rings_answers_and_hangs_up(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """A call passes all its states on both sides, and Asterisk sees them."""
    alice, bob = phone("100", asterisk), phone("101", asterisk)
    call = alice.dial("101").wait_ringing()
    received = bob.wait_ringing()
    assert received.number == "100"
    assert wait_until(lambda: asterisk.device_state("PJSIP/101") == "RINGING", 2)
    received.answer()
    call.wait_answered()
    assert wait_until(lambda: asterisk.device_state("PJSIP/101") == "INUSE", 2)
    received.hangup()
    call.wait_ended()
    assert wait_until(lambda: asterisk.device_state("PJSIP/100") == "NOT_INUSE", 2)


@pytest.mark.parametrize("status", [486, 603], ids=["busy", "decline"])
def test_rejected_call_ends_with_the_status(asterisk: PrivateAsterisk, phone: Phones, status: int) -> None:
    """A refusal reaches the caller, and waiting for an answer says so."""
    alice, bob = phone("100", asterisk), phone("101", asterisk)
    call = alice.dial("101")
    bob.wait_ringing().reject(status)
    with pytest.raises(SipError, match="did not get an answer") as caught:
        call.wait_answered()
    assert caught.value.status == call.status >= 400


def test_cancelled_call_stops_ringing(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """Who gives up is told 487, and the other phone falls silent."""
    alice, bob = phone("100", asterisk), phone("101", asterisk)
    call = alice.dial("101").wait_ringing()
    received = bob.wait_ringing()
    call.cancel()
    assert call.status == 487
    assert received.wait_ended().answered_at is None


def test_call_to_nowhere_is_404(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """A number that the dialplan lacks is refused."""
    assert phone("100", asterisk).dial("8888").wait_ended().status == 404


def test_forged_caller_is_shown_but_the_endpoint_stays(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """Whoever authenticates decides the endpoint, not the number in From."""
    alice, bob = phone("100", asterisk), phone("101", asterisk)
    call = alice.dial("101", from_user="999")
    assert bob.wait_ringing().number == "999"
    assert wait_until(lambda: asterisk.device_state("PJSIP/100") == "INUSE", 2)
    call.cancel()


def test_held_call_is_onhold_until_taken_back(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """A re-INVITE holds: the line that was put on hold (not the one that holds) says so, and hears music."""
    alice, bob = phone("100", asterisk), phone("101", asterisk, auto_answer=True)
    call = alice.dial("101").wait_answered()
    bob.heard()
    call.hold()
    assert wait_until(lambda: asterisk.device_state("PJSIP/101") == "ONHOLD", 2)
    assert wait_until(bob.heard, 2)
    call.unhold()
    assert wait_until(lambda: asterisk.device_state("PJSIP/101") == "INUSE", 2)


def test_blind_transfer_to_the_lot_parks_the_caller(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """The parking lot works, and its space has a lamp that phones can watch."""
    alice, bob = phone("100", asterisk), phone("101", asterisk, auto_answer=True)
    watched = [bob.subscribe(str(space)) for space in (701, 702)]
    call = alice.dial("101").wait_answered()
    bob.wait_ringing().refer("700")
    assert wait_until(lambda: any(one.state() and one.state().state == "confirmed" for one in watched), 3)
    call.hangup()
    assert wait_until(lambda: all(one.state() and one.state().state == "terminated" for one in watched), 3)


def test_attended_transfer_connects_the_other_two(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """REFER with Replaces leaves the transferer free and the others in one call."""
    alice = phone("100", asterisk)
    bob, carol = phone("101", asterisk, auto_answer=True), phone("102", asterisk, auto_answer=True)
    first, second = alice.dial("101").wait_answered(), alice.dial("102").wait_answered()
    first.refer("102", replaces=second)
    second.wait_ended()
    assert wait_until(lambda: asterisk.device_state("PJSIP/100") == "NOT_INUSE", 2)
    assert bob.calls[0].ended_at is None
    bob.calls[0].hangup()
    carol.calls[0].wait_ended()


@pytest.mark.parametrize(
    ("state", "shown", "hold"),
    [("BUSY", "confirmed", False), ("ONHOLD", "confirmed", True), ("RINGING", "early", False)],
    ids=["busy", "onhold", "ringing"],
)
def test_dialog_watcher_gets_the_lamp(lamp: PrivateAsterisk, phone: Phones, state: str, shown: str, hold: bool) -> None:
    """A change of the device is a NOTIFY with that look, after the change and soon."""
    watching = phone("100", lamp).subscribe("lamp")
    watching.wait_for(lambda now: now.state == "terminated")
    lamp.cli(f"devstate change Custom:lamp {state}")
    assert watching.wait_for(lambda now: (now.state, now.hold) == (shown, hold)).at > watching.notifies[0].at


def test_digium_phone_gets_the_text(lamp: PrivateAsterisk, phone: Phones) -> None:
    """Only a User-Agent with that name gets type, subtype and message."""
    digium = phone("100", lamp, user_agent="Digium D65").subscribe("lamp", "presence")
    other = phone("101", lamp).subscribe("lamp", "presence")
    lamp.cli('presencestate change CustomPresence:lamp "away,lunch,back at two"')
    got = digium.wait_for(lambda now: now.presence == "away").shown
    assert got is not None
    assert (got.subtype, got.message) == ("lunch", "back at two")
    other.wait_for(lambda now: now.note == "Ready")
    assert other.state() is not None and other.state().presence == ""


def test_unknown_lamp_is_404(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """Watching a number without a hint is refused."""
    assert phone("100", asterisk).subscribe("nosuchlamp").status == 404


def test_subscription_survives_a_restart_and_ends_when_asked(own: PrivateAsterisk) -> None:
    """Persisted subscriptions are notified after the boot, and are gone after an unsubscribe."""
    with SipPhone("100", own) as alice:
        watching = alice.subscribe("701")
        watching.wait_for(lambda now: now.state == "terminated")
        count = len(watching.notifies)
        own.restart()
        assert wait_until(lambda: len(watching.notifies) > count, 5)
        assert "1 active" in own.cli("pjsip show subscriptions inbound")
        watching.unsubscribe()
        assert wait_until(lambda: "0 active" in own.cli("pjsip show subscriptions inbound"), 2)


# -- programs that are not ours


def test_sipp_registers(asterisk: PrivateAsterisk, clients: Tree, tmp_path: Path) -> None:
    """A scenario of sipp passes against the private server."""
    scenario = REGISTER.format(request=REQUEST, user="107", password=phone_password("107"))
    run_sipp(clients, scenario, asterisk, tmp_path, service="107")
    assert "107/sip:107@127.0.0.1" in asterisk.cli("pjsip show contacts")


def test_sipp_with_a_wrong_password_fails(asterisk: PrivateAsterisk, clients: Tree, tmp_path: Path) -> None:
    """A failing scenario is an error with sipp's own words."""
    scenario = REGISTER.format(request=REQUEST, user="108", password="wrong")
    with pytest.raises(SipError, match="401"):
        run_sipp(clients, scenario, asterisk, tmp_path, service="108")


def test_baresip_registers_watches_and_calls(
    lamp: PrivateAsterisk, clients: Tree, phone: Phones, tmp_path: Path
) -> None:
    """A real softphone shows the lamp and talks to our phone."""
    alice = phone("100", lamp, auto_answer=True)
    with Baresip(clients, "109", lamp, tmp_path, watched={"Lamp": "lamp"}) as baresip:
        baresip.wait_presence("Lamp", "Online")
        lamp.cli("devstate change Custom:lamp BUSY")
        baresip.wait_presence("Lamp", "Busy")
        baresip.dial("100")
        baresip.wait_event("CALL_ESTABLISHED")
        assert wait_until(alice.heard, 3)
        baresip.hangup()
        alice.calls[0].wait_ended()


# -- the cache of trees


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache folder, and one small real package in place of a download."""
    source = tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "usr").mkdir()
    (source / "usr/made").write_text("whole")
    control = "Package: made\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: x\n"
    (source / "DEBIAN/control").write_text(control)
    package = tmp_path / "made.deb"
    subprocess.run(["dpkg-deb", "-b", str(source), str(package)], check=True, capture_output=True)

    def download(suite: str, wanted: tuple[str, ...], work: Path) -> None:
        with (tmp_path / "downloads").open("a") as log:
            log.write(f"{suite}\n")
        (work / "cache/archives").mkdir(parents=True)
        (work / "cache/archives/made.deb").write_bytes(package.read_bytes())

    monkeypatch.setenv("ARI_PRESENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "_download", download)
    return tmp_path


def test_half_made_tree_is_made_again(cache: Path) -> None:
    """A folder without the mark of a whole one, and the rest of a killed run, are replaced."""
    for left in ("forky/usr", "forky.new-killed/apt"):
        (cache / "cache" / left).mkdir(parents=True)
    (cache / "cache/forky/usr/half").touch()
    found = packages.tree("forky")
    assert (found.root / "usr/made").read_text() == "whole"
    assert sorted(each.name for each in (cache / "cache").iterdir()) == ["forky", "forky.lock"]
    assert not (found.root / "usr/half").exists()


def test_parallel_callers_fetch_once(cache: Path) -> None:
    """Test workers that start together wait for the one that fetches, and use its tree."""
    callers = [threading.Thread(target=packages.tree, args=("forky",)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (cache / "downloads").read_text() == "forky\n"


@pytest.mark.parametrize(
    ("complaint", "kind"),
    [
        ("E: The repository 'x forky Release' does not have a Release file.", packages.SuiteMissingError),
        ("E: Failed to fetch x  Temporary failure resolving", packages.PackagesError),
    ],
    ids=["suite-missing", "no-network"],
)
def test_failing_apt_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: str, kind: type[Exception]
) -> None:
    """Only a suite that the mirror lacks may be skipped; every failure leaves nothing half-made."""
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(f'#!/bin/sh\ncase "$*" in *indextargets*) echo x; exit;; esac\necho "{complaint}" >&2\nexit 100\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent), prepend=os.pathsep)
    monkeypatch.setenv("ARI_PRESENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "KEYRING", apt)
    with pytest.raises(packages.PackagesError) as caught:
        packages.tree("forky")
    assert type(caught.value) is kind
    assert complaint in str(caught.value)
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["forky.lock"]


def test_machine_without_apt_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another distribution the message names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ARI_PRESENCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(packages.PackagesError, match=r"no apt-get here .* install asterisk"):
        packages.tree("forky")
