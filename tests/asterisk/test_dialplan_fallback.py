"""The feature codes on a real Asterisk while the daemon is down or frozen, dialled by real phones.

What the dialplan does is read from AMI (every application that a channel runs, in order), what came of it from ARI.
"""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import websocket

from private_asterisk.config import DIALPLAN, phone_password
from private_asterisk.packages import Tree
from private_asterisk.phone import SipPhone
from private_asterisk.ports import free_port
from private_asterisk.server import PrivateAsterisk, wait_until

STATES = {"away": 1, "dnd": 2, "lunch": 3, "meeting": 4, "brb": 5, "out": 6}
MAIN = {"away": "ONHOLD", "dnd": "BUSY", "lunch": "ONHOLD", "meeting": "BUSY", "brb": "ONHOLD", "out": "ONHOLD"}
PRESENCE = {
    "away": "away,,",
    "dnd": "dnd,,",
    "lunch": "away,lunch,",
    "meeting": "dnd,meeting,",
    "brb": "away,brb,",
    "out": "xa,,",
    None: "available,,",
}
CLAIM_S = 3
WRITE = re.compile(r"^Set\((?:DEVICE|PRESENCE)_STATE\((.+?)\)=([^)]*)", re.M)
PROMPT = re.compile(r"^(?:Playback|PlayTones)\(([^)]*)", re.M)
EXTENSIONS = f"""
[globals]
#include "{DIALPLAN}/presence-globals.conf"
#include "{DIALPLAN}/presence-codes.conf"
#include "{DIALPLAN}/presence-codes-agi.conf"
[internal]
include => presence-codes
exten => 500,1,Goto(no-such-extension,1)
exten => 501,1,Set(TIMEOUT(absolute)=1)
 same => n,Answer()
 same => n,Wait(20)
exten => i,1,Hangup()
exten => T,1,Hangup()
exten => h,1,NoOp(site)
[bare]
include => presence-codes
exten => 500,1,Goto(no-such-extension,1)
[out]
exten => s,1,Set(__PRESENCE_USER=100)
 same => n,Dial(Local/*78@internal)
exten => wait,1,Wait(1)
"""
OTHERS = {
    "100": "",
    "Carol": "",
    "100-mobile": "set_var=PRESENCE_USER=100\n",
    "door": "set_var=PRESENCE_USER=-\n",
    "odd": 'set_var=PRESENCE_USER=100" | "1" = "1\n',
    "upper": "set_var=PRESENCE_USER=Dave\n",
    "anonymous": "",
    "bare": "context=bare\n",
}


@dataclass(frozen=True)
class Event:
    """One AMI event: its fields, first value of each."""

    fields: dict[str, str]

    def __getitem__(self, name: str) -> str:
        """Give a field, or an empty string."""
        return self.fields.get(name, "")


class Ami:
    """A connection to AMI that reads events when it is asked to."""

    def __init__(self, server: PrivateAsterisk) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.ami_port), timeout=10)
        self._lines = self._socket.makefile("r", encoding="utf-8", errors="replace", newline="\r\n")
        self._lines.readline()
        login = f"Action: Login\r\nUsername: {server.ari_user}\r\nSecret: {server.ari_password}\r\n\r\n"
        self._socket.sendall(login.encode())
        self.until(lambda event: event["Response"] == "Success")

    def until(self, last: Callable[[Event], bool]) -> list[Event]:
        """Read events up to the one that is asked for; TimeoutError when none comes for ten seconds."""
        events = []
        while True:
            fields: dict[str, str] = {}
            while line := self._lines.readline().strip():
                name, _, value = line.partition(": ")
                fields.setdefault(name, value)
            events.append(Event(fields))
            if last(events[-1]):
                return events

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()


@dataclass(frozen=True)
class Outcome:
    """What one dialled code did: applications as `(context, extension, application)`, writes and prompts in order."""

    steps: list[tuple[str, str, str]]
    writes: list[str]
    prompts: list[str]
    heard: int
    seconds: float


class Site:
    """A server with the feature codes, and how to dial them and look at the lamps."""

    def __init__(self, server: PrivateAsterisk, agi_port: int) -> None:
        self.server = server
        self.agi_port = agi_port
        self.ami = Ami(server)

    def set_lamp(self, device: str, value: str) -> None:
        """Write a lamp as the daemon would."""
        self.server.ari("POST", "asterisk/variable", variable=f"DEVICE_STATE(Custom:{device})", value=value)

    def reset(self, user: str, state: str | None = None) -> None:
        """Set the lamps of a user to what the daemon writes for a manual state."""
        for each in STATES:
            self.set_lamp(f"{each}-{user}", "INUSE" if each == state else "NOT_INUSE")
        self.set_lamp(f"presence-{user}", MAIN[state] if state else "INVALID")
        variable = f"PRESENCE_STATE(CustomPresence:{user})"
        self.server.ari("POST", "asterisk/variable", variable=variable, value=PRESENCE[state])

    def lamps(self, user: str) -> dict[str, str]:
        """Read the state lamps and the main lamp (`presence`) of a user."""
        names = (*STATES, "presence")
        return {name: self.server.device_state(f"Custom:{name}-{user}") for name in names}

    def presence(self, user: str) -> str:
        """Read what is stored for CustomPresence."""
        return self.server.cli(f"database get CustomPresence {user}").removeprefix("Value: ")

    def dial(self, phone: SipPhone, number: str, *, from_user: str = "") -> Outcome:
        """Dial a code, listen to the end and tell what happened."""
        phone.heard()
        call = phone.dial(number, from_user=from_user)
        call.wait_ended(15)
        assert call.ended_at is not None
        seconds = (call.answered_at or call.ended_at) - call.sent_at
        return self.follow(phone.user, phone.heard(), seconds)

    def follow(self, endpoint: str, heard: int = 0, seconds: float = 0) -> Outcome:
        """Read what the call of an endpoint did; each call must be read before the next."""
        events = self.ami.until(lambda event: event["Event"] == "Hangup" and f"PJSIP/{endpoint}-" in event["Channel"])
        ran = [each for each in events if each["Event"] == "Newexten" and f"PJSIP/{endpoint}-" in each["Channel"]]
        text = "\n".join(f"{each['Application']}({each['AppData']})".replace("ExecIf(1?", "") for each in ran)
        return Outcome(
            steps=[(each["Context"], each["Extension"], each["Application"]) for each in ran],
            writes=["=".join(pair) for pair in WRITE.findall(text)],
            prompts=PROMPT.findall(text),
            heard=heard,
            seconds=seconds,
        )


def others() -> str:
    """Write the endpoints whose users are not simply their names."""
    text = ""
    for name, lines in OTHERS.items():
        text += f"[{name}](auth)\nusername={name}\npassword={phone_password(name)}\n[{name}](aor)\n"
        text += f"[{name}](phone)\nauth={name}\naors={name}\nlanguage=short\n{lines}"
    return text


def make_short_prompts(folder: Path) -> None:
    """Make recordings of a tenth of a second in a language of their own, so that a hundred calls take no minutes."""
    digits = [f"digits/{digit}" for digit in STATES.values()]
    for name in ("do-not-disturb", "activated", "de-activated", "beeperr", *digits):
        path = folder / "data" / "sounds" / "short" / f"{name}.ulaw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x55" * 800)


def extensions(form: str, agi_port: int) -> str:
    """Write the dialplan in which `presence-codes` or `presence-codes-agi` is dialled."""
    address = f'presence-globals.conf"\nPRESENCE_AGI_PORT={agi_port}'
    return EXTENSIONS.replace('presence-globals.conf"', address).replace(
        "include => presence-codes", f"include => {form}"
    )


STASIS = [(22, "presence-codes"), (16, "presence-codes")]
AGI = [(22, "presence-codes-agi"), (16, "presence-codes-agi")]
over_stasis = pytest.mark.parametrize("site", STASIS, ids=["22", "16"], indirect=True)
over_agi = pytest.mark.parametrize("site", AGI, ids=["22", "16"], indirect=True)


@pytest.fixture(scope="module", params=[*STASIS, *AGI], ids=["22-stasis", "16-stasis", "22-agi", "16-agi"])
def site(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[Site]:
    """Start a server of each release with each form of the project's dialplan, and no daemon."""
    version, form = request.param
    agi_port = free_port()
    config = {"extensions.conf": extensions(form, agi_port)}
    server = PrivateAsterisk(version, phones=["101"], config=config, tree=tree_of(version))
    server.write("pjsip.conf", server.read("pjsip.conf") + others())
    make_short_prompts(server.folder)
    with server:
        made = Site(server, agi_port)
        yield made
        made.ami.close()


@pytest.fixture
def alice(site: Site) -> Iterator[SipPhone]:
    """Register the phone of user 100, whose lamps are all off."""
    site.reset("100")
    with SipPhone("100", site.server) as phone:
        yield phone


@contextlib.contextmanager
def daemon(site: Site) -> Iterator[websocket.WebSocket]:
    """Register the Stasis application and do nothing more, like a daemon that is frozen."""
    key = f"{site.server.ari_user}:{site.server.ari_password}"
    url = f"ws://127.0.0.1:{site.server.http_port}/ari/events?app=ari-presence&api_key={key}"
    link = websocket.create_connection(url, timeout=10)
    try:
        yield link
    finally:
        link.close()
        assert wait_until(lambda: site.server.ari("GET", "applications/ari-presence").status_code == 404, 10)


def stasis_start(link: websocket.WebSocket) -> dict[str, object]:
    """Wait for the next StasisStart."""
    while (event := json.loads(link.recv()))["type"] != "StasisStart":
        pass
    return dict(event)


def prompt(state: str | None) -> list[str]:
    """Give the prompt of a state."""
    return [] if state is None else ["do-not-disturb" if state == "dnd" else f"digits/{STATES[state]}"]


ON = [
    ("*78", None, "dnd"),
    ("*78", "lunch", "dnd"),
    ("*78", "dnd", "dnd"),
    ("*76", None, "dnd"),
    ("*76", "meeting", "dnd"),
    ("*76100", None, "dnd"),
    *((f"*84{digit}", None, state) for state, digit in STATES.items()),
    ("*843", "dnd", "lunch"),
    ("*84-3", None, "lunch"),
    ("*843100", None, "lunch"),
    ("*843*45", None, "lunch"),
    ("*843*45", "lunch", "lunch"),
    ("*841*1440", None, "away"),
    ("*841*1", None, "away"),
    ("*843**1330", None, "lunch"),
    ("*843**0000", "lunch", "lunch"),
    ("*843**2359", None, "lunch"),
]
OFF = [("*79", "dnd"), ("*76", "dnd"), ("*76100", "dnd"), ("*843", "lunch"), ("*843100", "lunch"), ("*840", "out")]


@pytest.mark.parametrize(("number", "before", "after"), ON, ids=[f"{number}-{before}" for number, before, _ in ON])
def test_code_that_sets_a_state_writes_busy_and_the_main_lamp_last(
    site: Site, alice: SipPhone, number: str, before: str | None, after: str
) -> None:
    """The state lamp becomes BUSY, another that was on INVALID, then CustomPresence, then the main lamp."""
    site.reset("100", before)
    outcome = site.dial(alice, number)
    expected = dict.fromkeys(STATES, "NOT_INUSE") | ({before: "INVALID"} if before else {}) | {after: "BUSY"}
    assert site.lamps("100") == expected | {"presence": MAIN[after]}
    assert site.presence("100") == PRESENCE[after]
    first = {f"Custom:{state}-100={value}" for state, value in expected.items() if value != "NOT_INUSE"}
    last = [f"CustomPresence:100={PRESENCE[after]}", f"Custom:presence-100={MAIN[after]}"]
    assert set(outcome.writes[:-2]) == first
    assert outcome.writes[-2:] == last
    assert outcome.prompts == [*prompt(after), "activated"]
    assert outcome.heard > 0


@pytest.mark.parametrize(("number", "before"), OFF, ids=[number for number, _ in OFF])
@pytest.mark.parametrize("value", ["INUSE", "BUSY"], ids=["set-by-daemon", "set-by-fallback"])
def test_code_that_clears_a_state_writes_invalid_where_the_lamp_was_on(
    site: Site, alice: SipPhone, number: str, before: str, value: str
) -> None:
    """Only the state lamp that was on is written, whoever had set it; the main lamp goes out last."""
    site.reset("100", before)
    site.set_lamp(f"{before}-100", value)
    outcome = site.dial(alice, number)
    last = ["CustomPresence:100=available,,", "Custom:presence-100=INVALID"]
    assert outcome.writes == [f"Custom:{before}-100=INVALID", *last]
    assert site.lamps("100") == dict.fromkeys(STATES, "NOT_INUSE") | {before: "INVALID", "presence": "INVALID"}
    assert site.presence("100") == "available,,"
    assert outcome.prompts == [*prompt(before), "de-activated"]


def test_dnd_off_with_another_state_changes_nothing_and_confirms(site: Site, alice: SipPhone) -> None:
    """*79 ends only do not disturb."""
    site.reset("100", "lunch")
    outcome = site.dial(alice, "*79")
    assert (outcome.writes, outcome.prompts) == ([], ["do-not-disturb", "de-activated"])
    assert site.lamps("100")["lunch"] == "INUSE"


def test_clear_without_a_state_confirms(site: Site, alice: SipPhone) -> None:
    """*840 is not refused when there is nothing to clear, and touches no state lamp."""
    outcome = site.dial(alice, "*840")
    assert outcome.writes == ["CustomPresence:100=available,,", "Custom:presence-100=INVALID"]
    assert outcome.prompts == ["de-activated"]


@pytest.mark.parametrize("number", ["*849", "*849100"], ids=["own", "key"])
@pytest.mark.parametrize("state", ["meeting", None], ids=["meeting", "none"])
def test_asking_for_the_own_state_says_it(site: Site, alice: SipPhone, number: str, state: str | None) -> None:
    """*849 says the state that is on and writes nothing."""
    site.reset("100", state)
    outcome = site.dial(alice, number)
    assert (outcome.writes, outcome.prompts) == ([], [*prompt(state), "activated" if state else "de-activated"])


def test_code_dialled_twice_is_back_to_available(site: Site, alice: SipPhone) -> None:
    """The toggle works on the fallback's own values too."""
    site.dial(alice, "*845")
    assert site.lamps("100")["brb"] == "BUSY"
    site.dial(alice, "*845")
    assert site.lamps("100") == dict.fromkeys(STATES, "NOT_INUSE") | {"brb": "INVALID", "presence": "INVALID"}
    site.dial(alice, "*845")
    assert site.lamps("100")["brb"] == "BUSY"


REFUSED = [
    "*843*0",
    "*843*1441",
    "*843*99999",
    "*843**2460",
    "*843**2400",
    "*843**133",
    "*843**13300",
    "*843*4*5",
    "*843*",
    "*843**",
    "*847",
    "*848",
    "*847*5",
    "*844*",
    "*843101",
    "*8430100",
    "*76101",
    "*849101",
    "*840100",
    "*840*5",
]


@pytest.mark.parametrize("number", REFUSED, ids=str)
def test_refused_code_changes_nothing_and_plays_the_error_prompt(site: Site, alice: SipPhone, number: str) -> None:
    """Nonsense, a state that does not exist and another's number are refused."""
    site.reset("100", "away")
    outcome = site.dial(alice, number)
    assert (outcome.writes, outcome.prompts) == ([], ["beeperr"])
    assert outcome.heard > 0
    assert site.lamps("100")["away"] == "INUSE"


NO_CODE = ["*84", "*84*", "*843abc", "*843&PJSIP/103", "*843,1)", "*84310012345678901", "*76*1"]


@pytest.mark.parametrize("number", NO_CODE, ids=str)
def test_number_that_is_no_code_is_not_found(site: Site, alice: SipPhone, number: str) -> None:
    """What has other characters or lengths never reaches the dialplan."""
    assert alice.dial(number).wait_ended().status in (404, 484)


def test_forged_caller_id_sets_the_state_of_the_endpoint(site: Site, alice: SipPhone) -> None:
    """Who dialled is the endpoint that authenticated, whatever its From says."""
    site.reset("101")
    with SipPhone("101", site.server) as bob:
        outcome = site.dial(bob, "*78", from_user="100")
    assert outcome.writes[-1] == "Custom:presence-101=BUSY"
    assert outcome.heard > 75, "do-not-disturb, activated: two and a half seconds"
    assert site.lamps("100")["presence"] == "INVALID"


@pytest.mark.parametrize(("endpoint", "user"), [("Carol", "carol"), ("100-mobile", "100")], ids=["folded", "set_var"])
def test_endpoint_with_another_name_sets_the_state_of_its_user(site: Site, endpoint: str, user: str) -> None:
    """PRESENCE_USER goes before the endpoint's name, which is folded to lower case."""
    site.reset(user)
    with SipPhone(endpoint, site.server) as phone:
        site.dial(phone, "*841")
    assert site.lamps(user) == dict.fromkeys(STATES, "NOT_INUSE") | {"away": "BUSY", "presence": "ONHOLD"}


@pytest.mark.parametrize("endpoint", ["door", "odd", "upper", "anonymous"], ids=str)
def test_endpoint_that_is_nobody_is_refused(site: Site, endpoint: str) -> None:
    """PRESENCE_USER=-, an illegal id and the anonymous endpoint have no user."""
    with SipPhone(endpoint, site.server) as phone:
        outcome = site.dial(phone, "*78")
    assert (outcome.writes, outcome.prompts) == ([], ["beeperr"])


def test_local_channel_is_refused(site: Site) -> None:
    """A channel that is no PJSIP channel has no user, even with PRESENCE_USER set."""
    site.server.ari("POST", "channels", endpoint="Local/s@out", context="out", extension="wait", priority="1")
    events = site.ami.until(lambda event: event["Event"] == "Hangup" and "*78@internal" in event["Channel"])
    ran = [each["AppData"] for each in events if each["Event"] == "Newexten" and each["Context"] == "presence-run"]
    assert "1?Playback(beeperr)" in ran
    assert not [each for each in ran if "_STATE(" in each]


def test_every_prompt_is_in_the_core_sounds(site: Site) -> None:
    """The default prompts need no recordings of the site's."""
    prompts = re.findall(r"^PRESENCE_PROMPT_\w+=(\S+)", (DIALPLAN / "presence-globals.conf").read_text(), re.M)
    found = {name: site.server.ari("GET", f"sounds/{name.replace('/', '%2F')}").status_code for name in prompts}
    assert found
    assert set(found.values()) == {200}, found


def test_missing_sound_file_becomes_a_tone(site: Site, alice: SipPhone) -> None:
    """A prompt that does not exist is heard as a tone, and the next prompt follows."""
    site.server.cli("dialplan set global PRESENCE_PROMPT_2 no-such-file")
    site.server.cli("dialplan set global PRESENCE_PROMPT_ON neither")
    try:
        outcome = site.dial(alice, "*78")
    finally:
        site.server.cli("dialplan reload")
    assert outcome.prompts == ["no-such-file", "!1000/400", "neither", "!1000/400"]
    assert outcome.heard > 20


ARGUMENTS = {
    "*78": ["dnd", "on"],
    "*79": ["dnd", "off"],
    "*76": ["dnd", "toggle"],
    "*76101": ["dnd-key", "101"],
    "*843": ["state", "3"],
    "*84-3": ["state", "3"],
    "*843*45": ["state", "3*45"],
    "*843**1330": ["state", "3**1330"],
    "*843101": ["state", "3101"],
    "*840": ["state", "0"],
    "*849": ["state", "9"],
    "*849101": ["state", "9101"],
    "*843*99999": ["state", "3*99999"],
    "*843**2460": ["state", "3**2460"],
}


@over_stasis
def test_daemon_that_is_up_gets_the_arguments_of_every_code(site: Site, alice: SipPhone) -> None:
    """The application is entered unanswered, with what was dialled; once it lets go the call ends, without fallback."""
    with daemon(site) as link:
        for number, arguments in ARGUMENTS.items():
            call = alice.dial(number)
            start = stasis_start(link)
            channel = start["channel"]
            assert isinstance(channel, dict)
            assert (start["args"], channel["state"]) == (arguments, "Ring"), number
            site.server.ari("POST", f"channels/{channel['id']}/continue")
            call.wait_ended()
            assert call.answered_at is None
            assert site.follow("100").writes == []
    assert set(site.lamps("100").values()) == {"NOT_INUSE", "INVALID"}


@over_stasis
def test_frozen_daemon_is_followed_by_the_fallback(site: Site, alice: SipPhone) -> None:
    """A daemon that holds the application and never claims the call costs no more than its time limit."""
    with daemon(site):
        outcome = site.dial(alice, "*844")
    assert site.lamps("100")["meeting"] == "BUSY"
    assert outcome.prompts == ["digits/4", "activated"]
    assert CLAIM_S - 0.5 < outcome.seconds < CLAIM_S + 1


@over_stasis
def test_daemon_that_freezes_after_its_claim_is_not_repeated(site: Site, alice: SipPhone) -> None:
    """A claimed call that times out gets the error prompt: what the daemon wrote must not be toggled back."""
    with daemon(site) as link:
        call = alice.dial("*76")
        channel = stasis_start(link)["channel"]
        assert isinstance(channel, dict)
        site.server.ari("POST", f"channels/{channel['id']}/answer")
        call.wait_ended(10)
    outcome = site.follow("100")
    assert (outcome.writes, outcome.prompts) == ([], ["beeperr"])


@over_stasis
def test_daemon_that_takes_the_limit_off_keeps_the_call(site: Site, alice: SipPhone) -> None:
    """TIMEOUT(absolute)=0 after the claim is what keeps a long prompt from being cut."""
    with daemon(site) as link:
        call = alice.dial("*849")
        channel = stasis_start(link)["channel"]
        assert isinstance(channel, dict)
        begin = time.monotonic()
        site.server.ari("POST", f"channels/{channel['id']}/answer")
        site.server.ari("POST", f"channels/{channel['id']}/variable", variable="TIMEOUT(absolute)", value="0")
        assert not wait_until(lambda: call.ended_at is not None, CLAIM_S + 1)
        site.server.ari("DELETE", f"channels/{channel['id']}")
        call.wait_ended()
        assert time.monotonic() - begin > CLAIM_S
    assert site.follow("100").prompts == []


@contextlib.contextmanager
def agi_daemon(site: Site, *commands: str) -> Iterator[list[str]]:
    """Serve one call of AGI with these commands, then close; gives the environment and what came back, line by line."""
    heard: list[str] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", newline="\n") as lines:
            while line := lines.readline().strip():
                heard.append(line)
            for command in commands:
                lines.write(f"{command}\n")
                lines.flush()
                heard.append(lines.readline().strip())

    with socket.create_server(("127.0.0.1", site.agi_port)) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield heard
        thread.join(10)


CLAIMED = "SET VARIABLE PRESENCE_RESULT unconfirmed"
ENDINGS = {
    "answered": ([CLAIMED, 'EXEC MSet "PRESENCE_RESULT=ok,PRESENCE_REASON=ok"', "ANSWER"], None, []),
    "refused": (['EXEC MSet "PRESENCE_RESULT=refused,PRESENCE_REASON=no-user"', "ANSWER"], None, []),
    "ended behind its claim": ([CLAIMED], None, ["beeperr"]),
    "ended at once": ([], "dnd", ["do-not-disturb", "activated"]),
    "crowded": (
        ['EXEC MSet "PRESENCE_RESULT=refused,PRESENCE_REASON=crowded"'],
        "dnd",
        ["do-not-disturb", "activated"],
    ),
}


@over_agi
@pytest.mark.parametrize(("commands", "state", "prompts"), ENDINGS.values(), ids=ENDINGS)
def test_agi_daemon_is_followed_by_the_fallback_only_where_nothing_was_done(
    site: Site, alice: SipPhone, commands: list[str], state: str | None, prompts: list[str]
) -> None:
    """What was answered is answered, and what may have been written is not written again."""
    with agi_daemon(site, *commands) as heard:
        outcome = site.dial(alice, "*78")
    assert "agi_network_script: code" in heard
    assert [reply for reply in heard if reply.startswith("200 result=")] == heard[len(heard) - len(commands) :]
    assert (bool(outcome.writes), outcome.prompts) == (state is not None, prompts)
    assert site.lamps("100")["dnd"] == ("BUSY" if state else "NOT_INUSE")


@over_agi
def test_agi_daemon_that_is_up_gets_the_arguments_of_every_code(site: Site, alice: SipPhone) -> None:
    """What Stasis() is given is given to AGI() as well, and the call is not answered before."""
    for number, arguments in ARGUMENTS.items():
        with agi_daemon(site, 'EXEC MSet "PRESENCE_RESULT=ok,PRESENCE_REASON=ok"') as heard:
            call = alice.dial(number).wait_ended()
        assert [line.partition(": ")[2] for line in heard if line.startswith("agi_arg_")] == arguments, number
        assert [line for line in heard if line.startswith("agi_channel: PJSIP/100-")]
        assert call.answered_at is None
        assert site.follow("100").writes == []


@over_agi
def test_agi_daemon_that_is_frozen_holds_its_caller_until_it_goes_on(site: Site, alice: SipPhone) -> None:
    """This is the limit of AGI: no time limit of the dialplan ends it, so Stasis is the better form."""
    with socket.create_server(("127.0.0.1", site.agi_port)) as listening:
        listening.settimeout(10)
        call = alice.dial("*78")
        connection, _ = listening.accept()
        assert not wait_until(lambda: call.ended_at is not None, CLAIM_S + 1)
        connection.close()
        call.wait_ended(10)
    assert site.follow("100").prompts == ["do-not-disturb", "activated"]
    assert site.lamps("100")["dnd"] == "BUSY"


def test_site_that_includes_the_codes_keeps_its_own_i_t_and_h(site: Site, alice: SipPhone) -> None:
    """An invalid extension, a time limit and a hangup in the site's context meet the site's extensions."""
    wrong, late = site.dial(alice, "500"), site.dial(alice, "501")
    assert ("internal", "i", "Hangup") in wrong.steps
    assert ("internal", "T", "Hangup") in late.steps
    for outcome in (wrong, late):
        assert outcome.steps[-1] == ("internal", "h", "NoOp")
        assert not [step for step in outcome.steps if step[0].startswith("presence")]


def test_site_without_i_t_and_h_inherits_none(site: Site) -> None:
    """A context that only includes the codes runs nothing of theirs when a call goes wrong."""
    with SipPhone("bare", site.server) as phone:
        outcome = site.dial(phone, "500")
    assert outcome.steps == [("bare", "500", "Goto")]


@pytest.mark.parametrize("version", [22, 16], ids=["22", "16"])
def test_forgotten_globals_leave_the_codes_dead(tree_of: Callable[[int], Tree], version: int) -> None:
    """Without presence-globals.conf the patterns match no number of the site."""
    without = EXTENSIONS.replace(f'#include "{DIALPLAN}/presence-globals.conf"', "")
    server = PrivateAsterisk(version, config={"extensions.conf": without}, tree=tree_of(version))
    with server, SipPhone("100", server) as phone:
        found = {number: phone.dial(number).wait_ended().status for number in ("5", "43", "76100", "*843")}
    assert set(found.values()) <= {404, 484}, found
