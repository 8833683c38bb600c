"""FreePBX's users and states out of rows, and what they would change in a configuration."""

import tomllib
from typing import Any

import pytest

from ari_presence.config import parse_config
from ari_presence.core.lamps import Presence
from ari_presence.core.userstate import StateTable
from ari_presence.errors import ConfigError, Refused
from ari_presence.takeover.astdb import Row
from ari_presence.takeover.freepbx import Difference, Person, compare, people

BASE = '[[pbx]]\nname = "hq"\nurl = "http://127.0.0.1:1"\npassword = "x"\n'
STATES = StateTable()


def rows(**keys: str) -> list[Row]:
    """Make rows of AMPUSER/100 and 101 with these changes; "" leaves one out, __ stands for /, _ for -."""
    values = {
        "AMPUSER__100__cidname": "Alice Example",
        "AMPUSER__100__device": "100&100_mobile",
        "AMPUSER__101__cidname": "Bob",
        "AMPUSER__101__device": "101",
        "AMPUSER__none__device": "7",
        "AMPUSER__101__followme__ddial": "x",
        "DEVICE__100__dial": "PJSIP/100",
        "DEVICE__100_mobile__dial": "PJSIP/100_mobile",
        **keys,
    }
    named = {f"/{key}".replace("__", "/").replace("100_m", "100-m"): text for key, text in values.items() if text}
    return [
        Row(f"line {number}", key, text.replace("100_m", "100-m"))
        for number, (key, text) in enumerate(named.items(), 1)
    ]


def found(**keys: str) -> dict[str, Person]:
    """Read them."""
    return {person.id: person for person in people(rows(**keys), "db")}


def test_users_have_names_and_endpoints() -> None:
    """Devices in FreePBX's order; nobody's device and other keys are left out."""
    assert list(found().values()) == [
        Person("100", "Alice Example", ("PJSIP/100", "PJSIP/100-mobile"), False, None),
        Person("101", "Bob", ("PJSIP/101",), False, None),
    ]


def test_endpoint_is_what_the_device_dials() -> None:
    """A custom device has none; a device without that key is one of PJSIP."""
    devices = {"AMPUSER__101__device": "101&7&8", "DEVICE__101__dial": "SIP/101", "DEVICE__7__dial": "Local/0170@out"}
    assert found(**devices)["101"].endpoints == ("SIP/101", "PJSIP/8")


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"DND__101": "YES"}, ("dnd", ""), id="dnd"),
        pytest.param({"DND__101": "1"}, ("dnd", ""), id="any-value-is-on"),
        pytest.param({"CustomPresence__101": "away,,Back at two"}, ("away", "Back at two"), id="presence"),
        pytest.param({"CustomPresence__101": "away,bHVuY2g=,TWFobHplaXQ=,e"}, ("lunch", "Mahlzeit"), id="base64"),
        pytest.param({"CustomPresence__101": "away,,x", "DND__101": "YES"}, ("dnd", ""), id="dnd-beats-away"),
        pytest.param(
            {"CustomPresence__101": "dnd,meeting,x", "DND__101": "YES"}, ("meeting", "x"), id="meeting-is-dnd"
        ),
        pytest.param({"CustomPresence__101": "available,,hello"}, None, id="available"),
    ],
)
def test_state_is_taken_from_both_places(keys: dict[str, str], state: tuple[str, str] | None) -> None:
    """DND counts before a presence that says less."""
    assert found(**keys)["101"].state(STATES) == state


def test_presence_is_read_whole() -> None:
    """A message may hold commas only in base64; plain ones end at the third."""
    assert found(CustomPresence__101="XA,sub,a b")["101"].presence == Presence("xa", "sub", "a b")


@pytest.mark.parametrize(
    ("keys", "complaints"),
    [
        pytest.param({"AMPUSER__Eve__device": "1", "AMPUSER__eve__device": "2"}, ["Eve", "same user"], id="one-folded"),
        pytest.param({"AMPUSER__101__device": "101&100"}, ["PJSIP/100 belongs to 101 and to 100"], id="shared-device"),
        pytest.param({"AMPUSER__a b__device": "1"}, ["'a b' cannot be a user"], id="no-legal-id"),
        pytest.param({"AMPUSER__101__cidname": "x" * 200}, ["the name of 101"], id="long-name"),
        pytest.param({"DEVICE__101__dial": "pjsip 101"}, ["device 101 of 101"], id="no-endpoint"),
        pytest.param({"CustomPresence__101": "away,%%,%%,e"}, ["presence state of 101 is no base64"], id="no-base64"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(keys: dict[str, str], complaints: list[str]) -> None:
    """And nobody is taken."""
    with pytest.raises(Refused) as refused:
        found(**keys)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("db: line ")
    assert all(text in line for text in complaints)


def test_all_that_is_wrong_is_named_at_once() -> None:
    """One line each."""
    keys = {"AMPUSER__a b__device": "1", "CustomPresence__101": "away,%%,%%,e", "DEVICE__100__dial": "x"}
    with pytest.raises(Refused) as refused:
        found(**keys)
    assert len(str(refused.value).splitlines()) == 3


def test_database_without_users_is_no_freepbx() -> None:
    """A plain Asterisk has a database, too."""
    with pytest.raises(Refused, match="AMPUSER"):
        people([Row("line 1", "/registrar/contact/x", "y")], "db")


def difference(text: str = BASE, **keys: str) -> Difference:
    """Compare with a configuration."""
    return compare(list(found(**keys).values()), parse_config(tomllib.loads(text), {}), text, {})


def tables(change: Difference) -> list[dict[str, Any]]:
    """Give the tables of users in the new configuration."""
    return list(tomllib.loads(change.text).get("user", []))


def test_new_users_get_tables_behind_the_text_that_is_there() -> None:
    """Nothing else of the file changes, comments included."""
    text = BASE + "# precious\n"
    change = difference(text, AMPUSER__101__cidname='Bob "B" Ö')
    assert change.text.startswith(text)
    assert change.added == ("100", "101")
    assert tables(change) == [
        {"id": "100", "name": "Alice Example", "endpoints": ["PJSIP/100", "PJSIP/100-mobile"]},
        {"id": "101", "name": 'Bob "B" Ö', "endpoints": ["PJSIP/101"]},
    ]
    lines = change.lines(text, "c.toml")
    assert lines[:2] == ["--- c.toml", "+++ c.toml (new)"]
    assert '+id = "100"' in lines
    assert [line for line in lines[3:] if not line.startswith("+")] == []  # what stands around may be secret
    parse_config(tomllib.loads(change.text), {})


def test_user_of_whom_discovery_knows_everything_gets_none() -> None:
    """A name or a second phone is what a table is for."""
    change = difference(AMPUSER__101__cidname="")
    assert [row["id"] for row in tables(change)] == ["100"]
    other = difference(BASE + '[users]\ndiscover = ""\n', AMPUSER__101__cidname="")
    assert [row["id"] for row in tables(other)] == ["100", "101"]


def test_table_that_is_there_stays_and_its_difference_is_told() -> None:
    """What an administrator wrote is never changed."""
    own = '[[user]]\nid = "100"\nname = "Ally"\nendpoints = ["PJSIP/100"]\n'
    change = difference(BASE + own)
    assert change.added == ("101",)
    assert tables(change)[0] == {"id": "100", "name": "Ally", "endpoints": ["PJSIP/100"]}
    assert change.kept == (
        "100: name is 'Ally' here, 'Alice Example' in FreePBX",
        "100: endpoints are PJSIP/100 here, PJSIP/100, PJSIP/100-mobile in FreePBX",
    )


def test_second_take_over_changes_nothing() -> None:
    """What was taken over is there."""
    first = difference()
    again = difference(first.text)
    assert (again.text, again.added, again.kept) == (first.text, (), ())
    assert again.lines(first.text, "c.toml") == []


def test_take_over_that_would_break_the_configuration_is_refused() -> None:
    """An endpoint that another user has here."""
    own = '[[user]]\nid = "200"\nendpoints = ["PJSIP/101"]\n'
    with pytest.raises(ConfigError, match="PJSIP/101"):
        difference(BASE + own)


def test_states_are_listed() -> None:
    """Of everybody who is not available."""
    assert difference(DND__101="YES", CustomPresence__100="xa,,gone").states == (
        ("100", "out", "gone"),
        ("101", "dnd", ""),
    )
