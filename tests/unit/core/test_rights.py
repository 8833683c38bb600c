"""Who may set whose state, which states, and from which endpoints."""

import re
from dataclasses import replace

import pytest

from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Settings, User, UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.rights import RIGHTS, may
from ari_presence.core.userstate import StateTable
from ari_presence.errors import Refused

TABLE = StateTable()
SETTINGS = Settings(TABLE, LampLayout(TABLE), no_set=re.compile("^PJSIP/door"))
PHONE = "PJSIP/100"
DND = StateId("dnd")


def user(name: str = "100", *rights: str, groups: str = "sales", settable: frozenset[str] | None = None) -> User:
    """Make a user with rights and groups."""
    return User(UserId(name), UserSettings(None, tuple(groups.split()), frozenset(rights), settable=settable), 0.0)


SELF, MATE, STRANGER = user("100"), user("101", groups="support sales"), user("102", groups="")
ALLOWED = {
    (): [],
    ("set_self",): [SELF],
    ("set_group",): [SELF, MATE],
    ("set_others",): [SELF, MATE, STRANGER],
    ("set_group", "set_others"): [SELF, MATE, STRANGER],
}


@pytest.mark.parametrize("rights", ALLOWED, ids=lambda rights: "+".join(rights) or "none")
@pytest.mark.parametrize("whom", [SELF, MATE, STRANGER], ids=["self", "group", "others"])
def test_right_reaches_as_far_as_it_says(rights: tuple[str, ...], whom: User) -> None:
    """Each right includes the smaller ones, and none is none."""
    who = user("100", *rights)
    if whom in ALLOWED[rights]:
        may(SETTINGS, who, whom, DND, PHONE)
        return
    with pytest.raises(Refused, match=rf"100 has no right to set {whom.id} \(rights = ") as caught:
        may(SETTINGS, who, whom, DND, PHONE)
    assert caught.value.code == "not-allowed"


def test_nobody_shares_a_group_with_who_has_none() -> None:
    """Two users without any group are no group."""
    with pytest.raises(Refused):
        may(SETTINGS, user("100", "set_group", groups=""), STRANGER, DND, PHONE)


def test_user_who_has_no_settings_may_set_the_own_state() -> None:
    """The default is what everybody could do before there were rights."""
    plain = User(UserId("7"), UserSettings(), 0.0)
    may(SETTINGS, plain, plain, DND, "PJSIP/7")


@pytest.mark.parametrize(
    ("settable", "state", "allowed"),
    [
        (None, "dnd", True),
        (frozenset({"dnd", "lunch"}), "dnd", True),
        (frozenset({"dnd", "lunch"}), "out", False),
        (frozenset(), "dnd", False),
        (frozenset(), None, True),
    ],
    ids=["all", "one of them", "another", "none of them", "clearing"],
)
def test_state_must_be_one_that_may_be_set(settable: frozenset[str] | None, state: str | None, allowed: bool) -> None:
    """`settable` names states; back to no state goes always."""
    who = user("100", "set_others", settable=settable)
    wanted = StateId(state) if state else None
    if allowed:
        may(SETTINGS, who, MATE, wanted, PHONE)
        return
    with pytest.raises(Refused, match=f"100 may not set or end '{state}'"):
        may(SETTINGS, who, MATE, wanted, PHONE)


@pytest.mark.parametrize(
    ("endpoint", "allowed"), [("PJSIP/door-2", False), (PHONE, True), ("", True)], ids=["barred", "phone", "none"]
)
def test_endpoint_must_not_be_barred(endpoint: str, allowed: bool) -> None:
    """From a door phone nothing is set, whoever it belongs to and whatever the rights."""
    who = user("100", *RIGHTS)
    if allowed:
        may(SETTINGS, who, who, DND, endpoint)
        return
    with pytest.raises(Refused, match=r"nothing may be set from PJSIP/door-2 \(\[users\] no_set\)"):
        may(SETTINGS, who, who, None, endpoint)


def test_without_barred_endpoints_every_one_is_good() -> None:
    """`no_set` is off by default."""
    who = user("100", "set_self")
    may(replace(SETTINGS, no_set=None), who, who, DND, "PJSIP/door-2")
