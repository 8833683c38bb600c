"""Two SIP programs that are not ours say the same: sipp counts NOTIFYs, baresip dials and watches."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemon import Daemon, expected, lamps, wait_lamps

from private_asterisk import PrivateAsterisk, Tree, wait_until
from private_asterisk.clients import Baresip, run_sipp
from private_asterisk.config import phone_password
from private_asterisk.phone import SipError


@pytest.fixture(scope="module")
def daemon(staffed: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for all tests here."""
    with Daemon(tmp_path_factory.mktemp("clients"), staffed) as daemon:
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture(autouse=True)
def fresh(daemon: Daemon) -> None:
    """Begin each test with nothing set."""
    for user in ("100", "101"):
        assert daemon.clear(user)["confirmed"]


HEAD = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
Call-ID: [call_id]
Contact: <sip:{user}@[local_ip]:[local_port]>"""


def request(
    user: str, method: str, *lines: str, to: str = "[service]", cseq: int = 1, credentials: bool = False
) -> str:
    """Write a request of a sipp scenario outside of a dialog."""
    head = [f"{method} sip:{to}@[remote_ip]:[remote_port] SIP/2.0", HEAD.format(user=user)]
    head += [f"From: <sip:{user}@[remote_ip]>;tag=[call_number]", f"To: <sip:{to}@[remote_ip]>"]
    head += [f"CSeq: {cseq} {method}"]
    if credentials:
        head += [f"[authentication username={user} password={phone_password(user)}]"]
    return "\n".join([*head, *lines])


def send(text: str) -> str:
    """Wrap a request."""
    return f'<send retrans="500"><![CDATA[\n{text}\n\n]]></send>'


SESSION = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000"""
ACK = """ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 2 ACK
Content-Length: 0"""
OK = """SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0"""


def dial(user: str) -> str:
    """Make the scenario of one call to `[service]`: answered, and ended by Asterisk with BYE."""
    refused = request(user, "INVITE", SESSION)
    accepted = request(user, "INVITE", SESSION, cseq=2, credentials=True)
    head = '<?xml version="1.0"?><!DOCTYPE scenario SYSTEM "sipp.dtd"><scenario name="dial">'
    first_ack = ACK.replace("[next_url]", "sip:[service]@[remote_ip]:[remote_port]").replace("2 ACK", "1 ACK")
    steps = [send(refused), '<recv response="401" auth="true"/>', f"<send><![CDATA[\n{first_ack}\n\n]]></send>"]
    steps += [send(accepted), '<recv response="100" optional="true"/>', '<recv response="183" optional="true"/>']
    steps += ['<recv response="200" rrs="true"/>', f"<send><![CDATA[\n{ACK}\n\n]]></send>"]
    steps += ['<recv request="BYE"/>', f"<send><![CDATA[\n{OK}\n\n]]></send>"]
    return head + "\n".join(steps) + "</scenario>"


def watch(user: str, pattern: str) -> str:
    """Make the scenario of a watcher: SUBSCRIBE, the first NOTIFY, one more that matches `pattern`, and then none."""
    event = ["Event: dialog", "Accept: application/dialog-info+xml", "Expires: 60", "Content-Length: 0"]
    head = '<?xml version="1.0"?><!DOCTYPE scenario SYSTEM "sipp.dtd"><scenario name="watch">'
    steps = [send(request(user, "SUBSCRIBE", *event)), '<recv response="401" auth="true"/>']
    steps += [send(request(user, "SUBSCRIBE", *event, cseq=2, credentials=True)), '<recv response="200" rrs="true"/>']
    answer = f"<send><![CDATA[\n{OK}\n\n]]></send>"
    check = f'<action><ereg regexp="{pattern}" search_in="msg" check_it="true" assign_to="1"/></action>'
    steps += ['<recv request="NOTIFY"/>', answer, f'<recv request="NOTIFY">{check}</recv>', answer]
    steps += ['<pause milliseconds="700"/>']  # a message that comes now is unexpected, and the call has failed
    return head + "\n".join(steps) + '<Reference variables="1"/></scenario>'


@pytest.mark.parametrize(("code", "state"), [("*78", "dnd"), ("*843*45", "lunch"), ("*79", None)], ids=str)
def test_code_dialled_by_sipp_is_answered_and_carried_out(
    daemon: Daemon, clients: Tree, tmp_path: Path, code: str, state: str | None
) -> None:
    """Answer, prompt and BYE come in the order that a strict scenario asks for."""
    daemon.set("101", "dnd")
    run_sipp(clients, dial("101"), daemon.server, tmp_path, service=code)
    assert lamps(daemon.server, "101") == expected(state)


def test_ten_calls_of_sipp_in_a_row_are_all_served(daemon: Daemon, clients: Tree, tmp_path: Path) -> None:
    """A toggle dialled an even number of times is where it was, and history has each."""
    begin = len(daemon.history("101"))
    run_sipp(clients, dial("101"), daemon.server, tmp_path, service="*76", calls=10, timeout_s=40)
    assert len(daemon.history("101")) == begin + 10
    wait_lamps(daemon.server, "101", None)


def test_sipp_counts_one_notify_for_one_change(daemon: Daemon, clients: Tree, tmp_path: Path) -> None:
    """A key lamp gets its first NOTIFY and then exactly one for the change, not one for every write."""

    def subscribed() -> bool:
        return "Watchers  1" in daemon.server.cli("core show hint *842101")

    with ThreadPoolExecutor(1) as pool:
        scenario = watch("109", "<state>confirmed</state>")
        watcher = pool.submit(run_sipp, clients, scenario, daemon.server, tmp_path, service="*842101")
        assert wait_until(lambda: subscribed() or watcher.done(), 10)
        daemon.set("101", "dnd")
        watcher.result(30)


def test_sipp_fails_when_the_lamp_does_not_follow(daemon: Daemon, clients: Tree, tmp_path: Path) -> None:
    """The scenario above can fail: another state leaves this key dark, and sipp waits for nothing."""
    with ThreadPoolExecutor(1) as pool:
        scenario = watch("109", "<state>confirmed</state>")
        watcher = pool.submit(run_sipp, clients, scenario, daemon.server, tmp_path, service="*843101", timeout_s=3)
        daemon.set("101", "dnd")
        with pytest.raises(SipError):
            watcher.result(30)


def test_baresip_dials_and_another_baresip_watches(daemon: Daemon, clients: Tree, tmp_path: Path) -> None:
    """A real softphone hears the prompt and hangs up; another shows Busy, and Online again."""
    with (
        Baresip(clients, "109", daemon.server, tmp_path / "watcher", watched={"Alice": "100"}) as watcher,
        Baresip(clients, "100", daemon.server, tmp_path / "caller") as caller,
    ):
        watcher.wait_presence("Alice", "Online")
        caller.dial("*78")
        caller.wait_event("CALL_ESTABLISHED")
        caller.wait_event("CALL_CLOSED")
        watcher.wait_presence("Alice", "Busy")
        assert daemon.history("100")[-1] == ("dnd", "phone:PJSIP/100")
        caller.dial("*79")
        caller.wait_event("CALL_CLOSED")
        watcher.wait_presence("Alice", "Online")
    assert lamps(daemon.server, "100") == expected(None)
