"""Calls to users follow the state, on real servers: dialled by sipp and by our phones, with the daemon up and down.

The dialplan is the sample of contrib/asterisk as an administrator would copy it; the mailbox alone is a stand-in that
notes whose it is, because Debian 11 packages voicemail apart.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import Daemon, Listener, eventually, shorten_prompts

from private_asterisk import PrivateAsterisk, Tree
from private_asterisk.clients import run_sipp
from private_asterisk.config import DIALPLAN, phone_password
from private_asterisk.phone import Call, SipError

CONTRIB = Path(__file__).resolve().parents[2] / "contrib" / "asterisk"
SITE = """
[mailbox]
exten => _X.,1,Set(GLOBAL(MAILBOX)=${EXTEN})
 same => n,Answer()
 same => n,Playback(beep)
 same => n,Hangup()
[from-trunk]
include => from-provider
[internal]
exten => 7100,1,Answer()
 same => n,Gosub(presence-treat,say,1(100))
 same => n,Playback(beeperr)
 same => n,Hangup()
exten => 7200,1,Set(CALLERID(num)=)
 same => n,Gosub(presence-treat,s,1(100))
 same => n,Set(GLOBAL(ASKED)=${PRESENCE_TREATMENT})
 same => n,Hangup()
exten => 7300,1,Dial(Local/100@users)
[call-user]
exten => h,1,Set(GLOBAL(REASON)=${REDIRECTING(reason)})
"""
CONFIG = """
[users]
exclude = '^PJSIP/(trunk|103)$'
[[user]]
id = "100"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
[[state]]
id = "out"
treatment = "forward:104"
[[state]]
id = "travel"
digit = 7
treatment = "forward:0301234"
[[state]]
id = "left"
digit = 8
treatment = "forward:101"
[treatment]
vip = ["0170555*"]
emergency = ["112"]
repeat_within = "3m"
"""
INSIDE, OUTSIDE = "101", "trunk"
STATES = ["available", "away", "dnd", "lunch", "meeting", "brb", "out"]
TREATMENTS = dict(zip(STATES, ["ring", "ring", "refuse", "voicemail", "voicemail", "ring", "forward"], strict=True))


class Site:
    """A server with the sample's dialplan, a daemon that can be stopped, and phones that are called."""

    def __init__(self, server: PrivateAsterisk, folder: Path, clients: Tree) -> None:
        self.server, self.daemon, self.clients = server, Daemon(folder, server, extra=CONFIG), clients
        self.callee, self.substitute = (self.phone(user) for user in ("100", "104"))

    def phone(self, user: str) -> Listener:
        """Register a phone."""
        made = Listener(user, self.server)
        made.register()
        return made

    def reset(self) -> None:
        """Start the daemon if it is down, and begin with nothing set and nobody remembered."""
        if not self.daemon.is_running:
            self.daemon.start().wait_ready()
        for user in ("100", "101", "104"):
            assert self.daemon.clear(user)["confirmed"]
        for family in ("presence-tried", "presence-emergency"):
            self.server.cli(f"database deltree {family}")
        for phone in (self.callee, self.substitute):
            phone.forget_calls()
        self.remember("MAILBOX", "nobody")

    def set(self, state: str, user: str = "100", *, up: bool = True, **more: str) -> None:
        """Set a state and leave the daemon running, or kill it."""
        assert self.daemon.set(user, state, **more)["confirmed"]
        if not up:
            self.daemon.kill()

    def remember(self, name: str, value: str) -> None:
        """Set a global variable."""
        assert self.server.ari("POST", "asterisk/variable", variable=name, value=value).ok

    def recall(self, name: str) -> str:
        """Read a global variable."""
        found = self.server.ari("GET", "asterisk/variable", variable=name)
        return str(found.json()["value"]) if found.ok else ""

    def sipp(self, way: str, number: str, folder: Path, from_user: str = "") -> None:
        """Call user 100 by sipp, which fails if the call does not go as a treatment goes."""
        run_sipp(self.clients, scenario(way, from_user or number, number), self.server, folder, service="100")

    def call(self, phone: Listener, number: str = "100", from_user: str = "") -> str:
        """Call by a phone of ours, and tell what became of it."""
        self.remember("MAILBOX", "nobody")
        call = phone.dial(number, from_user=from_user)
        eventually(lambda: call.ringing_at or call.answered_at or call.ended_at, "an answer to the call")
        return self._outcome(call)

    def _outcome(self, call: Call) -> str:
        try:
            if call.ended_at and not call.answered_at:
                return {486: "refuse"}.get(call.status, str(call.status))
            if call.answered_at:
                call.wait_ended()
                assert self.recall("MAILBOX") == "100"
                return "voicemail"
            return f"ring {self._who_rings()}"
        finally:
            call.hangup()
            eventually(lambda: not self.server.ari("GET", "channels").json(), "no channel left")

    def _who_rings(self) -> str:
        phones = {"100": self.callee, "104": self.substitute}
        ringing = [user for user, phone in phones.items() if any(c.incoming and not c.ended_at for c in phone.calls)]
        return " ".join(ringing)


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def site_of(
    request: pytest.FixtureRequest,
    tree_of: Callable[[int], Tree],
    clients: Tree,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Start server and daemon; the log may hold no warning of the dialplan at the end."""
    config = {path.name: path.read_text() for path in DIALPLAN.glob("*.conf")}
    sample = (CONTRIB / "extensions.conf").read_text()
    sample = sample.replace("VoiceMail(${ARG1}@default,u)", "Goto(mailbox,${ARG1},1)").replace("@provider", "@trunk")
    sample = sample.replace("PRESENCE_STATE=*55", "\nPRESENCE_ID_7=travel\nPRESENCE_ID_8=left")
    config["extensions.conf"] = sample + SITE
    phones = ("100", "100-mobile", "101", "104", "105", "103")
    with PrivateAsterisk(request.param, config=config, phones=phones, tree=tree_of(request.param)) as server:
        shorten_prompts(server)
        site = Site(server, tmp_path_factory.mktemp("treatment"), clients)
        with site.daemon:
            yield site
        for phone in (site.callee, site.substitute):
            phone.close()
        complaints = [
            line for line in server.log().splitlines() if "pbx" in line or "func_" in line or "ast_expr" in line
        ]
        assert [line for line in complaints if "WARNING" in line or "ERROR" in line] == []


@pytest.fixture
def site(site_of: Site) -> Site:
    """Begin each test with the daemon up and nothing set."""
    site_of.reset()
    return site_of


# -- sipp


def message(start: str, from_user: str, cseq: str, *lines: str, after: int = 0, to: str = "") -> str:
    """Write a request of a sipp scenario; CANCEL and ACK belong to the transaction that began so many steps before."""
    head = [f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch{-after or ''}]", "Max-Forwards: 70"]
    head += [f"From: <sip:{from_user}@[remote_ip]>;tag=[call_number]", to or "To: <sip:[service]@[remote_ip]>"]
    head += ["Call-ID: [call_id]", f"CSeq: {cseq}", f"Contact: <sip:{from_user}@[local_ip]:[local_port]>"]
    return f"<send><![CDATA[\n{start} SIP/2.0\n" + "\n".join([*head, *lines]) + "\n\n]]></send>"


SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000"""
EMPTY = "Content-Length: 0"
ANSWERED = "[last_To:]"
OK = """<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>"""


def scenario(way: str, from_user: str, account: str) -> str:
    """Make the scenario of a call that meets a treatment: another answer than the right one is unexpected and fails."""
    uri = "sip:[service]@[remote_ip]:[remote_port]"
    login = f"[authentication username={account} password={phone_password(account)}]"
    steps = [message(f"INVITE {uri}", from_user, "1 INVITE", SDP), '<recv response="401" auth="true"/>']
    steps += [message(f"ACK {uri}", from_user, "1 ACK", EMPTY, after=2, to=ANSWERED)]
    steps += [message(f"INVITE {uri}", from_user, "2 INVITE", login, SDP), '<recv response="100" optional="true"/>']

    def ack(after: int) -> str:
        return message(f"ACK {uri}", from_user, "2 ACK", EMPTY, after=after, to=ANSWERED)

    match way:
        case "ring":
            cancel = message(f"CANCEL {uri}", from_user, "2 CANCEL", EMPTY, after=3)
            steps += ['<recv response="180"/>', cancel, '<recv response="200"/>', '<recv response="487"/>', ack(6)]
        case "refuse":
            steps += ['<recv response="486"/>', ack(3)]
        case "voicemail":
            steps += ['<recv response="200" rrs="true"/>', ack(0), '<recv request="BYE"/>', OK]
    head = '<?xml version="1.0"?><!DOCTYPE scenario SYSTEM "sipp.dtd"><scenario name="call">'
    return head + "\n".join(steps) + "</scenario>"


@pytest.mark.parametrize("up", [True, False], ids=["daemon-up", "daemon-down"])
@pytest.mark.parametrize("account", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("state", ["available", "dnd", "lunch", "out"])
def test_call_by_sipp_meets_what_the_state_says(site: Site, tmp_path: Path, state: str, account: str, up: bool) -> None:
    """Ringing, 486, a mailbox that answers, and another phone that rings: each by a strict scenario."""
    site.set(state, up=up)
    way = TREATMENTS[state]
    site.sipp("ring" if way == "forward" else way, account, tmp_path)
    rung = (bool(site.callee.calls), bool(site.substitute.calls))
    assert rung == (way == "ring", way == "forward")
    assert site.recall("MAILBOX") == ("100" if way == "voicemail" else "nobody")


def test_sipp_fails_when_the_treatment_is_another(site: Site, tmp_path: Path) -> None:
    """The scenarios above can fail."""
    site.set("dnd")
    with pytest.raises(SipError):
        site.sipp("voicemail", INSIDE, tmp_path)


# -- states and ends


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_treated_as_configured(site: Site, phone: Callable[..., Listener], state: str) -> None:
    """All built-in ones, the daemon up and then down."""
    caller = phone("105", site.server)
    wanted = {"ring": "ring 100", "forward": "ring 104"}.get(TREATMENTS[state], TREATMENTS[state])
    site.set(state)
    found = [site.call(caller)]
    site.server.cli("database deltree presence-tried")
    site.daemon.kill()
    assert [*found, site.call(caller)] == [wanted, wanted]


def test_refused_call_carries_the_reason(site: Site, phone: Callable[..., Listener]) -> None:
    """Do not disturb, for whoever reads the redirecting data of the channel."""
    site.set("dnd")
    site.remember("REASON", "none")
    assert site.call(phone("105", site.server)) == "refuse"
    eventually(lambda: site.recall("REASON") == "dnd", "the redirecting reason")


def test_end_counts_while_the_daemon_is_down(site: Site, phone: Callable[..., Listener]) -> None:
    """Refused until the end, rung after it, although nobody has changed a lamp."""
    caller = phone("105", site.server)
    began = time.monotonic()
    site.set("dnd", up=False, **{"for": "6s"})
    assert site.call(caller) == "refuse"
    assert time.monotonic() - began < 5, "too slow to tell"

    def asked() -> str:
        caller.dial("7200").wait_ended()
        return site.recall("ASKED")

    site.server.cli("database deltree presence-tried")
    eventually(lambda: asked() == "ring", "the end", 8)
    assert time.monotonic() - began > 4
    assert site.server.device_state("Custom:dnd-100") == "INUSE"


def test_codes_dialled_while_the_daemon_is_down_count(site: Site, phone: Callable[..., Listener]) -> None:
    """What the fallback has set goes before what the daemon had kept, and is adopted when it is back."""
    caller = phone("105", site.server)
    site.set("lunch", up=False)
    for code, outcome in (("*78", "refuse"), ("*844", "voicemail"), ("*841", "ring 100"), ("*840", "ring 100")):
        site.server.cli("database deltree presence-tried")
        site.callee.dial(code).wait_ended(10)
        assert site.call(caller) == outcome, code
    site.callee.dial("*78").wait_ended(10)
    site.daemon.start().wait_ready()
    site.server.cli("database deltree presence-tried")
    eventually(lambda: site.daemon.state("100") == "dnd", "adoption")
    eventually(lambda: site.server.device_state("Custom:dnd-100") == "INUSE", "correction")
    assert site.call(caller) == "refuse"


def test_reset_and_clear_let_calls_ring(site: Site, phone: Callable[..., Listener]) -> None:
    """Nothing is left behind that refuses calls."""
    caller = phone("105", site.server)
    site.set("dnd")
    assert site.call(caller) == "refuse"
    assert site.daemon.cli("reset", "100").returncode == 0
    site.server.cli("database deltree presence-tried")
    assert site.call(caller) == "ring 100"


# -- who gets through


@pytest.mark.parametrize("up", [True, False], ids=["daemon-up", "daemon-down"])
@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        ("0170555", "ring 100"),
        ("01705551", "ring 100"),
        ("112", "ring 100"),
        ("0170556", "refuse"),
        ("1705551", "refuse"),
    ],
)
def test_vip_and_emergency_callers_get_through(
    site: Site, phone: Callable[..., Listener], number: str, outcome: str, up: bool
) -> None:
    """By the number that the trunk says; a convenience, since it can be forged."""
    site.set("dnd", up=up)
    assert site.call(phone("trunk", site.server), from_user=number) == outcome


@pytest.mark.parametrize("up", [True, False], ids=["daemon-up", "daemon-down"])
def test_second_try_gets_through(site: Site, phone: Callable[..., Listener], up: bool) -> None:
    """The same caller again; another one has a first try of its own."""
    trunk = phone("trunk", site.server)
    site.set("lunch", up=up)
    numbers = ["0301", "0302", "0301", "0302", "0303"]
    found = [site.call(trunk, from_user=number) for number in numbers]
    assert found == ["voicemail", "voicemail", "ring 100", "ring 100", "voicemail"]


def test_callers_who_hide_their_number_are_not_one_caller(site: Site, phone: Callable[..., Listener]) -> None:
    """A second try cannot be told from another's first."""
    trunk = phone("trunk", site.server)
    site.set("dnd")
    assert [site.call(trunk, from_user="anonymous") for _ in range(3)] == ["refuse"] * 3


@pytest.mark.parametrize("up", [True, False], ids=["daemon-up", "daemon-down"])
def test_call_back_after_an_emergency_call_gets_through(site: Site, phone: Callable[..., Listener], up: bool) -> None:
    """Whoever calls, whatever the number, for an hour; other numbers that were dialled open nothing."""
    trunk = phone("trunk", site.server)
    site.set("dnd", up=up)
    for dialled, outcome in (("00301234", "refuse"), ("112", "ring 100")):
        call = site.callee.dial(dialled)
        trunk.wait_ringing().reject()
        call.wait_ended()
        assert site.call(trunk, from_user="0309999") == outcome
        site.server.cli("database deltree presence-tried")
    hour_ago = int(time.time()) - 3601
    site.server.cli(f"database put presence-emergency 100 {hour_ago}")
    assert site.call(trunk, from_user="0309999") == "refuse"


def test_override_code_gets_through_from_inside_alone(site: Site, phone: Callable[..., Listener]) -> None:
    """`*86100`; a trunk that dials it reaches nothing."""
    inside, trunk = phone("105", site.server), phone("trunk", site.server)
    site.set("dnd")
    assert site.call(inside, "*86100") == "ring 100"
    assert site.call(trunk, "*86100") == "404"
    site.daemon.kill()
    assert site.call(inside, "*86100") == "ring 100"


def test_override_code_works_only_where_the_configuration_has_it(site: Site, phone: Callable[..., Listener]) -> None:
    """`override_code = ""` turns it off without touching the dialplan; a reload is enough."""
    inside = phone("105", site.server)
    site.set("dnd")
    try:
        site.daemon.write(CONFIG + 'override_code = ""\n')
        assert site.daemon.cli("reload").returncode == 0
        eventually(lambda: site.call(inside, "*86100") == "refuse", "the code is off")
    finally:
        site.daemon.write(CONFIG)
        assert site.daemon.cli("reload").returncode == 0


# -- forwarding


def test_call_is_forwarded_outside(site: Site, phone: Callable[..., Listener]) -> None:
    """A number of the dialplan is dialled as the user would."""
    trunk, caller = phone("trunk", site.server), phone("105", site.server)
    site.set("travel")
    call = caller.dial("100")
    outgoing = trunk.wait_ringing()
    assert outgoing.invite is not None
    assert "sip:301234@" in outgoing.invite.start
    assert outgoing.invite.get("diversion") == "<sip:100@127.0.0.1>;reason=unconditional"
    outgoing.reject()
    call.wait_ended()


def test_forwards_in_a_circle_end(site: Site, phone: Callable[..., Listener]) -> None:
    """100 to 101 and so on to itself: refused in the end, and no channel is left."""
    caller = phone("105", site.server)
    for user in ("100", "101"):
        site.set("left", user)
    assert site.call(caller) == "refuse"


def test_forward_through_local_channels_is_counted_too(site: Site, phone: Callable[..., Listener]) -> None:
    """What is inherited holds across Local channels."""
    caller = phone("105", site.server)
    for user in ("100", "101"):
        site.set("left", user)
    assert site.call(caller, "7300") == "refuse"


# -- what the caller hears


def test_caller_hears_the_state_and_its_end(site: Site, phone: Callable[..., Listener]) -> None:
    """Prompt and clock, in the user's zone, the daemon up and down; nothing while the state rings."""
    caller = Listener("105", site.server)
    with caller:
        assert caller.say("7100") == ["beeperr"]
        site.set("lunch", until="13:05")
        heard = ["digits/3", "digits/13", "digits/0", "digits/5", "beeperr"]
        assert caller.say("7100") == heard
        site.set("dnd", up=False, until="07:30")
        assert caller.say("7100") == ["do-not-disturb", "digits/7", "digits/30", "beeperr"]
