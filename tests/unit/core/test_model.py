"""Whose endpoint is which, and the layers of one person."""

import re

import pytest

from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Model, Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.userstate import Entry, Layer, StateTable
from ari_presence.errors import Refused

TABLE = StateTable()
DISCOVER = re.compile(r"^PJSIP/(?P<user>\d{2,6})$", re.ASCII)
EXCLUDE = re.compile("^PJSIP/trunk", re.ASCII)


def settings(
    endpoints: dict[str, str] | None = None,
    discover: re.Pattern[str] | None = DISCOVER,
    exclude: re.Pattern[str] | None = EXCLUDE,
) -> Settings:
    """Make settings with some listed endpoints."""
    listed = {UserId(user): UserSettings() for user in (endpoints or {}).values()}
    owners = {endpoint: UserId(user) for endpoint, user in (endpoints or {}).items()}
    return Settings(TABLE, LampLayout(TABLE), listed, owners, discover, exclude)


@pytest.mark.parametrize(
    ("endpoint", "owner"),
    [
        pytest.param("PJSIP/100", "alice", id="listed-before-discovered"),
        pytest.param("PJSIP/Alice-Mobile", "alice", id="listed-folded"),
        pytest.param("PJSIP/trunk-bob", "bob", id="listed-before-excluded"),
        pytest.param("PJSIP/101", "101", id="discovered"),
        pytest.param("PJSIP/1", None, id="too-short"),
        pytest.param("PJSIP/1234567", None, id="too-long"),
        pytest.param("PJSIP/101-mobile", None, id="whole-name-only"),
        pytest.param("XPJSIP/101", None, id="whole-name-only-front"),
        pytest.param("PJSIP/101\n", None, id="newline"),
        pytest.param("PJSIP/\u0661\u0662\u0663", None, id="foreign-digits"),
        pytest.param("pjsip/100", None, id="technology-as-it-is"),
        pytest.param("PJSIP/trunk1", None, id="excluded"),
        pytest.param("PJSIP/anonymous", None, id="anonymous"),
        pytest.param("", None, id="empty"),
    ],
)
def test_endpoint_has_its_owner(endpoint: str, owner: str | None) -> None:
    """Listed first, then discovered unless excluded; the whole name counts."""
    listed = {"PJSIP/100": "alice", "PJSIP/alice-mobile": "alice", "PJSIP/trunk-bob": "bob"}
    assert settings(listed).owner(endpoint) == owner


@pytest.mark.parametrize(
    ("pattern", "endpoint", "owner"),
    [
        pytest.param(r"PJSIP/(?P<user>\w+)", "PJSIP/Bob", "bob", id="folded"),
        pytest.param(r"PJSIP/(?P<user>\w+)", "PJSIP/bob/x", None, id="without-anchors"),
        pytest.param(r"PJSIP/(?P<user>.*)", "PJSIP/a b", None, id="illegal-id"),
        pytest.param(r"PJSIP/(?P<user>.*)", "PJSIP/a,b", None, id="comma"),
        pytest.param(r"PJSIP/(?P<user>.*)", "PJSIP/", None, id="empty-id"),
        pytest.param(r"PJSIP/(?P<user>a)?.*", "PJSIP/b", None, id="group-that-took-no-part"),
    ],
)
def test_discovered_id_is_folded_and_legal(pattern: str, endpoint: str, owner: str | None) -> None:
    """A name that is no legal id is nobody: it would become part of a device name."""
    assert settings(discover=re.compile(pattern, re.ASCII)).owner(endpoint) == owner


def test_discovery_turned_off_finds_nobody() -> None:
    """`discover = ""`."""
    assert settings({"PJSIP/100": "100"}, discover=None).owner("PJSIP/101") is None


def test_nothing_excluded_lets_discovery_decide() -> None:
    """`exclude = ""`."""
    found = settings(discover=re.compile(r"PJSIP/(?P<user>\w+)"), exclude=None)
    assert found.owner("PJSIP/trunk1") == "trunk1"


def test_person_without_layers_is_available_since_then() -> None:
    """The default layer is not stored but always there."""
    user = User(UserId("100"), UserSettings(), 5.0)
    layer, entry, state = user.effective(TABLE)
    assert (layer, entry.source, entry.since, state.id) == (Layer.DEFAULT, "default", 5.0, "available")


def test_person_is_available_since_the_last_layer_went() -> None:
    """`since` is when the person became what they are."""
    user = User(UserId("100"), UserSettings(), 5.0)
    user.put(Layer.MANUAL, Entry(StateId("dnd"), "cli", 6.0), 6.0)
    assert user.effective(TABLE)[1].since == 6.0
    user.put(Layer.MANUAL, None, 9.0)
    assert user.effective(TABLE)[1].since == 9.0
    assert user.manual is None


def test_layers_end_with_the_default() -> None:
    """`why` shows what would be there if all else went."""
    user = User(UserId("100"), UserSettings(), 5.0)
    user.put(Layer.CALLS, Entry(StateId("on-call"), "calls", 6.0), 6.0)
    user.put(Layer.MANUAL, Entry(StateId("away"), "cli", 7.0), 7.0)
    assert [row[0] for row in user.layers(TABLE)] == [Layer.CALLS, Layer.MANUAL, Layer.DEFAULT]


def test_people_share_no_layers() -> None:
    """Ten thousand start with one empty mapping, and changing one changes one."""
    one, two = (User(UserId(name), UserSettings(), 0.0) for name in ("1", "2"))
    one.put(Layer.MANUAL, Entry(StateId("dnd"), "cli", 6.0), 6.0)
    assert two.manual is None


def test_deadline_is_the_earliest_of_ends_and_lost_servers() -> None:
    """The engine sleeps until then."""
    model = Model(settings())
    assert model.next_deadline() is None
    model.ends.add(30.0, UserId("100"))
    model.unheard["hq"] = 20.0
    assert model.next_deadline() == 20.0


def test_requests_of_callers_never_meet_others() -> None:
    """They are numbered downwards from minus one."""
    model = Model(settings())
    assert [model.new_request() for _ in range(3)] == [-1, -2, -3]


def test_user_is_given_by_id_and_nobody_is_refused() -> None:
    """Whatever was typed stays one line."""
    model = Model(settings())
    model.users[UserId("100")] = User(UserId("100"), UserSettings(), 0.0)
    assert model.user("100").id == "100"
    with pytest.raises(Refused, match=r"there is no user '99\\nx'") as caught:
        model.user("99\nx")
    assert caught.value.code == "unknown-user"
