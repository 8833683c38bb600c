"""The pattern hints of dialplan/presence-hints.conf on a real Asterisk, watched by real phones."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from private_asterisk.config import DIALPLAN
from private_asterisk.packages import Tree
from private_asterisk.phone import Shown, SipPhone
from private_asterisk.server import PrivateAsterisk

CONTRIB = DIALPLAN.parent / "contrib" / "asterisk"
STATES = {"away": 1, "dnd": 2, "lunch": 3, "meeting": 4, "brb": 5, "out": 6}
KEYS = [(f"*84{digit}", state) for state, digit in STATES.items()] + [("*76", "dnd")]
OWN_CODES = f"""
[globals]
#include "{DIALPLAN}/presence-globals.conf"
PRESENCE_STATE=*5
PRESENCE_DND_ON=#21
PRESENCE_DND_OFF=off1
PRESENCE_DND_TOGGLE=**4
PRESENCE_DIGITS=[1-7]
PRESENCE_ID_7=focus
PRESENCE_LAMP_7=BUSY
PRESENCE_TYPE_7=dnd
PRESENCE_SUBTYPE_7=focus
#include "{DIALPLAN}/presence-codes.conf"
#include "{DIALPLAN}/presence-hints.conf"
[internal]
include => presence-codes
[hints]
include => presence-hints
"""
ROOMS = """
[internal](+)
include => presence-hints
include => rooms
[rooms]
exten => _XXX,1,Answer()
 same => n,Hangup()
"""

FREEPBX = '#include "presence-freepbx.conf"\n'

Phones = Callable[..., SipPhone]


def write(server: PrivateAsterisk, device: str, value: str) -> None:
    """Write a lamp as the daemon does."""
    server.ari("POST", "asterisk/variable", variable=f"DEVICE_STATE(Custom:{device})", value=value)


def is_on(shown: Shown) -> bool:
    """Tell whether a BLF lamp is lit."""
    return shown.state == "confirmed"


def is_off(shown: Shown) -> bool:
    """Tell whether a BLF lamp is dark."""
    return shown.state == "terminated"


@pytest.fixture
def bob(asterisk: PrivateAsterisk, phone: Phones) -> SipPhone:
    """Register the phone that watches."""
    return phone("101", asterisk)


@pytest.mark.parametrize("user", ["21", "321", "4321", "54321", "654321"], ids=lambda user: f"{len(user)}-digits")
@pytest.mark.parametrize(("code", "state"), KEYS, ids=[code for code, _ in KEYS])
def test_key_hint_follows_the_lamp_of_its_state(
    asterisk: PrivateAsterisk, bob: SipPhone, code: str, state: str, user: str
) -> None:
    """The digit chooses the state, what follows it the user, at every length."""
    write(asterisk, f"{state}-{user}", "NOT_INUSE")
    lamp = bob.subscribe(f"{code}{user}")
    lamp.wait_for(is_off)
    write(asterisk, f"{state}-{user}", "INUSE")
    lamp.wait_for(is_on)
    write(asterisk, f"{state}-{user}", "NOT_INUSE")
    lamp.wait_for(is_off)


@pytest.mark.parametrize("user", ["22", "322", "4322", "54322", "654322"], ids=lambda user: f"{len(user)}-digits")
def test_user_hint_follows_the_main_lamp(asterisk: PrivateAsterisk, bob: SipPhone, user: str) -> None:
    """BUSY lights the lamp, ONHOLD shows as hold, INVALID leaves it dark."""
    write(asterisk, f"presence-{user}", "INVALID")
    lamp = bob.subscribe(user)
    lamp.wait_for(is_off)
    write(asterisk, f"presence-{user}", "BUSY")
    lamp.wait_for(is_on)
    write(asterisk, f"presence-{user}", "ONHOLD")
    lamp.wait_for(lambda shown: shown.hold)


@pytest.mark.parametrize(
    ("spelling", "device"),
    [("3-24", "presence-324"), ("*843-324", "lunch-324"), ("*8432-45", "lunch-245"), ("*76-326", "dnd-326")],
    ids=str,
)
def test_dashes_name_no_other_device(asterisk: PrivateAsterisk, bob: SipPhone, spelling: str, device: str) -> None:
    """Asterisk ignores dashes when it matches; every spelling is the same user's lamp and invents none."""
    write(asterisk, device, "INVALID")
    lamp = bob.subscribe(spelling)
    lamp.wait_for(is_off)
    write(asterisk, device, "BUSY")
    lamp.wait_for(is_on)


def test_user_hint_carries_presence_with_text(asterisk: PrivateAsterisk, phone: Phones) -> None:
    """A phone that shows text gets type, subtype and message of CustomPresence."""
    write(asterisk, "presence-323", "INVALID")
    lamp = phone("102", asterisk, user_agent="Digium D65").subscribe("323", event="presence")
    variable = "PRESENCE_STATE(CustomPresence:323)"
    asterisk.ari("POST", "asterisk/variable", variable=variable, value="away,bHVuY2g=,YmFjayBhdCAy,e")
    lamp.wait_for(lambda shown: (shown.presence, shown.subtype, shown.message) == ("away", "lunch", "back at 2"))


def test_user_hint_joins_the_phone_and_the_person(asterisk: PrivateAsterisk, bob: SipPhone, phone: Phones) -> None:
    """The line's own call lights the lamp without any write."""
    write(asterisk, "presence-103", "INVALID")
    lamp = bob.subscribe("103")
    lamp.wait_for(is_off)
    call = phone("103", asterisk).dial("9000").wait_answered()
    lamp.wait_for(is_on)
    call.hangup()
    lamp.wait_for(is_off)


NONE = [
    "*8431&PJSIP/103",
    "100&PJSIP/103",
    "100,CustomPresence:103",
    "*84",
    "*843",
    "*843x",
    "*843abc",
    "*8431",
    "*847100",
    "*848100",
    "*840100",
    "*849100",
    "*8431234567",
    "*76",
    "*761",
    "*76*1",
    "*761234567",
    "1",
    "1234567",
    "1**2",
    "presence-100",
    "${EPOCH}",
]


@pytest.mark.parametrize("number", NONE, ids=str)
@pytest.mark.parametrize("event", ["dialog", "presence"], ids=str)
def test_subscription_to_anything_else_is_not_found(bob: SipPhone, number: str, event: str) -> None:
    """Other characters, other lengths and digits without a state have no hint."""
    assert bob.subscribe(number, event=event).status == 404


@pytest.fixture(params=[22, 16], ids=["22", "16"])
def own(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server whose site chose other codes and added a state."""
    with PrivateAsterisk(request.param, config={"extensions.conf": OWN_CODES}, tree=tree_of(request.param)) as server:
        yield server


def test_codes_of_the_site_are_dialled_and_watched(own: PrivateAsterisk, phone: Phones) -> None:
    """Codes of other lengths, with #, and a state of the site work in codes and hints; the defaults are gone."""
    alice, bob = phone("100", own), phone("101", own)
    dnd, focus, lunch = (bob.subscribe(number) for number in ("**4100", "*57100", "*53100"))
    for number, lamp in (("#21", dnd), ("*57", focus), ("*53*45", lunch), ("**4100", dnd), ("*57100", focus)):
        alice.dial(number).wait_ended(10)
        lamp.wait_for(is_on)
    assert own.device_state("Custom:focus-100") == "BUSY"
    assert own.cli("database get CustomPresence 100") == "Value: dnd,focus,"
    assert {alice.dial(number).wait_ended().status for number in ("*78", "*79", "*76", "*843")} <= {404, 484}
    assert [bob.subscribe(number).status for number in ("*76100", "*843100", "*58100")] == [404, 404, 404]


def test_hints_inside_a_dialling_context_hide_no_extension(own: PrivateAsterisk, phone: Phones) -> None:
    """A hint has no priority 1: the same number is found in a context that is included later."""
    own.write("extensions.conf", OWN_CODES + ROOMS)
    own.cli("dialplan reload")
    phone("100", own).dial("555").wait_answered()


@pytest.fixture(params=[22, 16], ids=["22", "16"])
def sample(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree], tmp_path: Path) -> Iterator[PrivateAsterisk]:
    """Start a server with the samples of contrib/asterisk beside the dialplan, as an administrator would copy them."""
    config = {path.name: path.read_text() for path in DIALPLAN.glob("*.conf")}
    whole = (CONTRIB / "extensions.conf").read_text().replace(";#include", "#include")
    config["extensions.conf"] = whole.replace(";include => parkedcalls", "include => parkedcalls") + FREEPBX
    server = PrivateAsterisk(request.param, phones=[], config=config, tree=tree_of(request.param))
    server.write("pjsip.conf", server.read("pjsip.conf") + (CONTRIB / "pjsip.conf").read_text())
    server.write("ari.conf", (CONTRIB / "ari.conf").read_text())
    server.ari_user, server.ari_password = "ari-presence", "CHANGE-ME"
    server.write("http.conf", (CONTRIB / "http.conf").read_text().replace("8088", str(server.http_port)))
    with server:
        yield server


def test_sample_configuration_loads_without_a_warning_and_works(sample: PrivateAsterisk, phone: Phones) -> None:
    """The samples give two phones of user 100 one lamp, set by either; every file of dialplan/ is loaded with them."""
    contexts = sample.cli("dialplan show")
    for path in DIALPLAN.glob("presence-*.conf"):
        for name in re.findall(r"(?m)^\[([\w-]+)\]", path.read_text()):
            assert f"[ Context '{name}' " in contexts, f"{path.name} [{name}]"
    bob = phone("100", sample, password="CHANGE-ME")
    joined, whole = bob.subscribe("100"), bob.subscribe("whole-100")
    phone("100-mobile", sample, password="CHANGE-ME").dial("*78").wait_ended(10)
    joined.wait_for(is_on)
    sample.ari("PUT", "deviceStates/Stasis:presence-100", deviceState="BUSY")
    whole.wait_for(is_on)
    ours = [line for line in sample.log().splitlines() if "WARNING" in line or "ERROR" in line]
    assert not [line for line in ours if "tasis app 'ari-presence'" not in line and "outbound websocket" not in line]
