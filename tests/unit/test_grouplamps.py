"""Lamps of groups, through the engine: they follow their members on every server, and whoever changes them is corrected."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ari_presence.ari.wire import Response
from ari_presence.core.events import ChangeAsked, ConfigChanged, ResetAsked
from ari_presence.core.features import Action
from ari_presence.core.model import Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.grouplamps import is_group_key
from ari_presence.store.base import LampsConfirmed
from tests.unit.engine_rig import Rig, make_settings, running

SALES = "Stasis:group-sales"
NIGHT = "Stasis:group-night"


def settings(**groups: str) -> Settings:
    """Make settings of people in groups."""
    listed = {UserId(user[1:]): UserSettings(groups=tuple(names.split())) for user, names in groups.items()}
    return replace(make_settings(), listed=listed)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine with one live link; 100 and 101 are in a group, 101 in another one too."""
    with running(settings=settings(u100="sales", u101="sales night")) as made:
        yield made


def wish(rig: Rig, user: str, state: str | None) -> None:
    """Set or clear a state by hand, and wait for all that follows."""
    action = Action.SET if state else Action.CLEAR
    rig.engine.ask(lambda n, at: ChangeAsked(at, n, user, action, "cli", state))
    rig.sync()


def confirmed(rig: Rig) -> list[tuple[str, str]]:
    """Give what was stored of lamps of groups, in order."""
    changes = [change for change, _ in rig.saves if isinstance(change, LampsConfirmed)]
    return [(change.user, change.text) for change in changes if is_group_key(change.user)]


def test_lamp_follows_the_members(rig: Rig) -> None:
    """INUSE when nobody is free, UNAVAILABLE when all are out."""
    wish(rig, "100", "dnd")
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("-", "-")
    wish(rig, "101", "away")
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("INUSE", "INUSE")
    wish(rig, "101", "out")
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("INUSE", "UNAVAILABLE")
    wish(rig, "100", "out")
    assert rig.lamp(SALES) == "UNAVAILABLE"
    wish(rig, "101", None)
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("NOT_INUSE", "NOT_INUSE")
    assert not any("sales" in name for name in rig.asterisk.presences)
    assert confirmed(rig)[-2:] == [("group:night", ""), ("group:sales", "")]


def test_every_server_shows_the_group() -> None:
    """And one that was away shows it once it is back."""
    config = replace(settings(u100="sales"), pbxs=("hq", "branch"))
    with running("hq", "branch", settings=config) as rig:
        wish(rig, "100", "dnd")
        assert (rig.lamp(SALES), rig.lamp(SALES, "branch")) == ("INUSE", "INUSE")
        rig.disconnect("branch")
        rig.engine.post(ChangeAsked(rig.clock.wall, 9, "100", Action.CLEAR, "cli"))
        rig.sync()
        assert (rig.lamp(SALES), rig.lamp(SALES, "branch")) == ("NOT_INUSE", "INUSE")
        rig.connect("branch")
        rig.advance(0.3)
        assert rig.lamp(SALES, "branch") == "NOT_INUSE"


def test_change_by_somebody_else_is_corrected(rig: Rig) -> None:
    """It becomes nobody's state."""
    assert SALES in rig.link.watched
    rig.asterisk.set_lamp(SALES, "BUSY")
    rig.sync()
    rig.advance(0.3)
    assert rig.lamp(SALES) == "NOT_INUSE"
    assert (rig.manual("100"), rig.manual("101")) == (None, None)


@pytest.mark.parametrize("found", ["INUSE", "UNAVAILABLE", "INVALID", "RINGING"])
def test_lamp_that_is_wrong_at_a_connect_is_corrected(found: str) -> None:
    """Whatever it shows."""
    rig = Rig(settings=settings(u100="sales"))
    rig.asterisk.lamps[SALES] = found
    rig.start()
    try:
        rig.connect()
        rig.advance(0.3)
        assert rig.lamp(SALES) == "NOT_INUSE"
    finally:
        rig.stop()


def test_group_that_left_the_configuration_has_its_lamp_off(rig: Rig) -> None:
    """As with users who leave it; one that comes gets its lamp right."""
    wish(rig, "101", "dnd")
    assert rig.lamp(NIGHT) == "INUSE"
    after = replace(settings(u100="sales", u101="late"), states=rig.settings.states, layout=rig.settings.layout)
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, after)))
    rig.sync()
    assert (rig.lamp(NIGHT), rig.lamp(SALES), rig.lamp("Stasis:group-late")) == ("NOT_INUSE", "-", "INUSE")


def test_group_that_left_while_the_daemon_was_down_has_its_lamp_off() -> None:
    """The store knows what was lit, apart from the lamps of users."""
    rig = Rig(settings=settings(u100="sales"))
    rig.asterisk.lamps |= {NIGHT: "INUSE", "Custom:presence-100": "BUSY"}
    stored = {UserId("group:night"): "group=INUSE", UserId("100"): "main-joined=BUSY"}
    rig.engine.add_server("hq", "ari-presence", "http://127.0.0.1:1", rig.link, stored, "")
    rig.start()
    try:
        rig.connect()
        rig.advance(0.3)
        assert (rig.lamp(NIGHT), rig.lamp("Custom:presence-100")) == ("NOT_INUSE", "INVALID")
        assert confirmed(rig) == [("group:night", "")]
        assert not any("group:" in device for device in rig.asterisk.lamps if ":presence" in device)
    finally:
        rig.stop()


def test_reset_of_all_turns_the_lamp_off_until_a_member_changes(rig: Rig) -> None:
    """Before uninstalling every lamp is off, and the operator is told when it is so."""
    rig.asterisk.endpoints.clear()
    rig.disconnect()
    rig.connect()
    rig.advance(0.3)
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("UNAVAILABLE", "UNAVAILABLE")
    rig.engine.ask(lambda n, at: ResetAsked(at, n, None, "cli"))
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("NOT_INUSE", "NOT_INUSE")
    wish(rig, "100", "dnd")
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("UNAVAILABLE", "NOT_INUSE")


def test_reset_of_one_leaves_the_group(rig: Rig) -> None:
    """The others are still what they are."""
    wish(rig, "100", "dnd")
    wish(rig, "101", "dnd")
    rig.engine.ask(lambda n, at: ResetAsked(at, n, "100", "cli"))
    rig.sync()
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("NOT_INUSE", "INUSE")
    rig.asterisk.endpoints.remove("PJSIP/100")
    rig.disconnect()
    rig.connect()
    rig.advance(0.3)
    assert (rig.lamp(SALES), rig.lamp(NIGHT)) == ("INUSE", "INUSE")


def test_many_groups_need_no_channel_to_be_read() -> None:
    """Two publishers of one server would take it away from each other."""
    config = settings(u100=" ".join(f"g{number}" for number in range(60)))
    with running(settings=config) as rig:
        assert rig.asterisk.seen("POST", "channels/create") == []
        wish(rig, "100", "dnd")
        assert {rig.lamp(f"Stasis:group-g{number}") for number in range(60)} == {"INUSE"}


def test_lamp_that_cannot_be_written_is_tried_again(rig: Rig) -> None:
    """Ever less often, as those of users."""
    rig.asterisk.override("PUT", f"deviceStates/{SALES}", Response(500))
    wish(rig, "100", "dnd")
    wish(rig, "101", "dnd")
    assert not rig.engine.call(lambda engine: engine.servers["hq"].groups.idle)
    rig.asterisk.normal()
    rig.advance(0.6)
    assert rig.lamp(SALES) == "INUSE"
    assert rig.engine.call(lambda engine: engine.servers["hq"].groups.idle)


def test_lamp_written_while_the_link_ends_is_right_at_the_next(rig: Rig) -> None:
    """Whether Asterisk has carried it out or not."""
    rig.link.held = True
    ask: Callable[[int, float], ChangeAsked] = lambda n, at: ChangeAsked(at, n, "101", Action.SET, "cli", "dnd")  # noqa: E731
    rig.engine.post(ask(7, rig.clock.wall))
    rig.sync()
    rig.disconnect(executed=True)
    rig.link.held = False
    rig.connect()
    rig.advance(0.3)
    assert rig.lamp(NIGHT) == "INUSE"
    assert ("group:night", "group=INUSE") in confirmed(rig)
