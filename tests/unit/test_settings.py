"""The configuration as the model sees it."""

from typing import Any
from zoneinfo import ZoneInfo

from ari_presence.config import parse_config
from ari_presence.core.kept import Rules
from ari_presence.core.model import UserSettings
from ari_presence.core.names import UserId
from ari_presence.settings import settings_of


def _config(**more: Any) -> Any:
    pbx = {"name": "hq", "url": "http://127.0.0.1:8088", "password": "x"}
    return parse_config({"pbx": [pbx], **more}, {"TZ": "UTC"})


def test_settings_hold_what_the_model_must_know() -> None:
    """Users, their zones, endpoints, prompts and servers come from their sections."""
    settings = settings_of(
        _config(
            users={"timezone": "Europe/Berlin"},
            user=[
                {
                    "id": "100",
                    "name": "Alice",
                    "endpoints": ["PJSIP/Alice"],
                    "groups": ["sales"],
                    "rights": ["set_others"],
                },
                {"id": "101", "timezone": "America/New_York"},
            ],
            state=[{"id": "gym", "digit": "7"}],
            lamps={"whole": False},
            prompts={"activated": "our/done"},
            treatment={"vip": ["0170*"], "emergency": ["112"], "override_code": "*87", "repeat_within": ""},
        )
    )
    berlin = ZoneInfo("Europe/Berlin")
    assert settings.listed == {
        UserId("100"): UserSettings("Alice", ("sales",), frozenset({"set_others"}), berlin),
        UserId("101"): UserSettings(zone=ZoneInfo("America/New_York")),
    }
    assert settings.default == UserSettings(zone=berlin)
    assert settings.endpoints == {"PJSIP/alice": UserId("100")}
    assert settings.prompts.activated == ("our/done",)
    assert settings.pbxs == ("hq",)
    assert settings.rules == Rules(("0170*",), ("112",), "*87", None)
    assert "gym" in settings.states.by_id
    assert "main-whole" not in settings.layout.kinds
    assert settings.owner("PJSIP/205") == "205"


def test_rights_of_users_are_their_own_or_those_of_all() -> None:
    """What [[user]] does not say, [users] says; discovered users have the latter."""
    users = {"rights": ["set_group"], "settable": ["dnd"], "no_set": "^PJSIP/door", "timezone": "UTC"}
    rows = [{"id": "100"}, {"id": "101", "rights": [], "settable": ["dnd", "lunch"]}]
    settings = settings_of(_config(users=users, user=rows))
    assert settings.no_set is not None and settings.no_set.search("PJSIP/door")
    wanted = UserSettings(rights=frozenset({"set_group"}), zone=ZoneInfo("UTC"), settable=frozenset({"dnd"}))
    assert settings.default == wanted
    assert settings.listed[UserId("100")] is settings.default
    mine = settings.listed[UserId("101")]
    assert (mine.rights, mine.settable) == (frozenset(), frozenset({"dnd", "lunch"}))


def test_users_without_anything_of_their_own_share_their_settings() -> None:
    """Thousands of listed users cost little."""
    settings = settings_of(_config(user=[{"id": "100"}, {"id": "101"}]))
    assert settings.listed[UserId("100")] is settings.listed[UserId("101")] is settings.default
