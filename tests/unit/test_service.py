"""What HTTP and CLI are served with, on a running engine and a real store."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ari_presence import service as module
from ari_presence.ari.wire import Response
from ari_presence.core.events import ConfigChanged
from ari_presence.core.model import UserSettings
from ari_presence.core.names import StateId, UserId
from ari_presence.core.parked import Parker
from ari_presence.core.parking import Parking
from ari_presence.core.schedule import Schedule, ScheduleTable
from ari_presence.core.timers import parse_instant
from ari_presence.core.userstate import ON_CALL, Entry, Layer
from ari_presence.engine import Engine
from ari_presence.errors import ConfigError, Refused, StoreError
from ari_presence.http.service import Service, StateChange
from ari_presence.service import DaemonService
from ari_presence.store.sqlite import SqliteStore
from tests.unit.engine_rig import START, Rig, make_settings, running


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a running engine with one live link, and 101 in New York."""
    listed = {
        UserId("100"): UserSettings("Alice", ("sales",)),
        UserId("101"): UserSettings("Bob", (), frozenset(), ZoneInfo("America/New_York")),
    }
    with running(settings=make_settings(listed=listed)) as made:
        yield made


@pytest.fixture
def service(rig: Rig) -> DaemonService:
    """Give the service on it."""
    return DaemonService(rig.engine, rig.store, lambda: "nothing changed")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_service_is_what_http_needs(service: DaemonService) -> None:
    """Every method of the protocol is there with its parameters."""
    served: Service = service
    assert served is service


def test_user_has_every_field_of_the_contract(service: DaemonService) -> None:
    """Absent values are null, times are RFC 3339 UTC."""
    service.set_state("100", StateChange("lunch", "back at 2", for_s=600), "api:desk")
    assert service.user("100") == {
        "user": "100",
        "name": "Alice",
        "state": "lunch",
        "label": "At lunch",
        "layer": "manual",
        "source": "api:desk",
        "since": _iso(START),
        "until": _iso(START + 600),
        "message": "back at 2",
        "groups": ["sales"],
    }


def test_why_shows_every_layer_the_winner_first(service: DaemonService) -> None:
    """Layers that do not apply are there too."""
    service.set_state("100", StateChange("away"), "cli")
    why = service.why("100")
    assert why["state"] == "away"
    assert [layer["layer"] for layer in why["layers"] if layer["applies"]] == ["manual", "default"]
    assert {layer["layer"] for layer in why["layers"]} >= {"calls", "schedule", "calendar", "registration"}


def test_change_gives_the_user_as_it_is_now(service: DaemonService) -> None:
    """The result is what a following question would give."""
    result = service.set_state("100", StateChange("dnd"), "cli")
    assert result.user == service.user("100")
    assert (result.confirmed, result.waiting) == (True, ())
    cleared = service.clear_state("100", "cli")
    assert cleared.user["state"] == "available"


@pytest.mark.parametrize(
    ("user", "until", "instant"),
    [
        pytest.param("100", "08:00:30", None, id="with-seconds"),
        pytest.param("100", "24:00", None, id="no-such-hour"),
        pytest.param("100", "tomorrow", None, id="word"),
        pytest.param("100", "2027-01-15T10:00:00", None, id="no-offset"),
        pytest.param("100", "", None, id="empty"),
        pytest.param("100", "9999-12-31T23:59:59Z", None, id="end-of-the-calendar"),
        pytest.param("100", "2027-01-15T09:30:00Z", "2027-01-15T09:30:00Z", id="instant"),
        pytest.param("100", "2027-01-15T09:30:00+01:00", "2027-01-15T08:30:00Z", id="instant-with-offset"),
        pytest.param("100", "09:30", "2027-01-15T09:30:00Z", id="today"),
        pytest.param("100", "0930", "2027-01-15T09:30:00Z", id="without-colon"),
        pytest.param("100", "07:00", "2027-01-16T07:00:00Z", id="tomorrow"),
        pytest.param("100", "08:00", "2027-01-16T08:00:00Z", id="now-is-tomorrow"),
        pytest.param("101", "07:00", "2027-01-15T12:00:00Z", id="in-the-users-zone"),
    ],
)
def test_until_is_read_in_the_users_zone(service: DaemonService, user: str, until: str, instant: str | None) -> None:
    """A time of day is the next such time of the user; what is no time is refused (it is 08:00 UTC now)."""
    assert _iso(START) == "2027-01-15T08:00:00.000Z"
    change = StateChange("away", until=until)
    if instant is None:
        with pytest.raises(Refused) as caught:
            service.set_state(user, change, "cli")
        assert caught.value.code == "bad-time"
        assert service.user(user)["state"] == "available"
    else:
        assert service.set_state(user, change, "cli").user["until"] == _iso(parse_instant(instant))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(StateChange("away", for_s=0), id="no-time-at-all"),
        pytest.param(StateChange("away", for_s=-5), id="negative"),
        pytest.param(StateChange("away", until="2020-01-01T00:00:00Z"), id="past"),
    ],
)
def test_end_in_the_past_is_refused(service: DaemonService, change: StateChange) -> None:
    """An end that is over sets nothing."""
    with pytest.raises(Refused) as caught:
        service.set_state("100", change, "cli")
    assert caught.value.code == "bad-time"


@pytest.mark.parametrize("user", ["999", "", "../etc", "100\n", "Custom:x", "ä", "x" * 500])
def test_unknown_user_is_refused_everywhere(service: DaemonService, user: str) -> None:
    """Nobody is made up by asking; the sentence says where to look."""
    for ask in (
        lambda: service.user(user),
        lambda: service.why(user),
        lambda: service.set_state(user, StateChange("away"), "cli"),
        lambda: service.clear_state(user, "cli"),
        lambda: service.reset(user),
        lambda: service.history(user, None, 10),
    ):
        with pytest.raises(Refused, match="there is no user") as caught:
            ask()
        assert caught.value.code == "unknown-user"


def test_users_come_sorted_and_in_slices(service: DaemonService, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, each turn of the engine is short; all come, in the order of their ids."""
    monkeypatch.setattr(module, "USERS_PER_CALL", 4)
    rig.asterisk.endpoints = [f"PJSIP/{number}" for number in range(120, 99, -1)]
    rig.disconnect()
    rig.connect()
    calls: list[int] = []
    original = rig.engine.call

    def counted(function: object, timeout_s: float = 10.0) -> object:
        calls.append(1)
        return original(function, timeout_s)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.engine, "call", counted)
    rows = service.users()
    assert [row["user"] for row in rows] == [str(number) for number in range(100, 121)]
    assert len(calls) == 1 + 6


def test_user_who_leaves_between_two_slices_is_left_out(
    service: DaemonService, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing while users come and go is no error."""
    monkeypatch.setattr(module, "USERS_PER_CALL", 1)
    original = rig.engine.call
    turns: list[int] = []

    def interrupted(function: object, timeout_s: float = 10.0) -> object:
        turns.append(1)
        if len(turns) == 2:
            settings = make_settings(discover=None)
            original(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, settings)))
        return original(function, timeout_s)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.engine, "call", interrupted)
    assert [row["user"] for row in service.users()] == ["100"]


def test_history_is_of_one_or_all_the_newest_last(service: DaemonService, rig: Rig) -> None:
    """Each line says who was what, and who set it."""
    service.set_state("100", StateChange("away"), "cli")
    rig.clock.advance(10)
    service.set_state("101", StateChange("dnd", "quiet"), "api:x")
    rig.clock.advance(10)
    service.clear_state("100", "cli")
    assert [(row["user"], row["state"]) for row in service.history(None, None, 10)] == [
        ("100", "away"),
        ("101", "dnd"),
        ("100", "available"),
    ]
    assert [row["state"] for row in service.history("100", None, 1)] == ["available"]
    assert [row["user"] for row in service.history(None, START + 5, 10)] == ["101", "100"]
    assert service.history("101", None, 10) == [
        {
            "at": _iso(START + 10),
            "user": "101",
            "state": "dnd",
            "label": "Do not disturb",
            "layer": "manual",
            "source": "api:x",
            "until": None,
            "message": "quiet",
        }
    ]


def test_history_of_a_user_without_any_is_empty(service: DaemonService) -> None:
    """A known user who never changed has no history, and that is no error."""
    assert service.history("101", None, 10) == []


def test_history_of_somebody_who_left_is_still_there(service: DaemonService, rig: Rig) -> None:
    """What was, was: people who are no users any more are found by their id."""
    service.set_state("101", StateChange("away"), "cli")
    settings = make_settings(discover=None)
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, settings)))
    with pytest.raises(Refused):
        service.user("101")
    assert [row["state"] for row in service.history("101", None, 10)] == ["away"]


def test_history_of_a_state_that_was_removed_shows_its_id(service: DaemonService, rig: Rig) -> None:
    """A label that nobody knows any more is the id."""
    service.set_state("100", StateChange("brb"), "cli")
    rows = rig.store.history(None, None, 10)
    assert rows[0].state == "brb"
    rig.engine.call(lambda engine: engine.model.settings.states.by_id.pop("brb"))  # type: ignore[attr-defined]
    assert service.history("100", None, 10)[0]["label"] == "brb"


def test_pbxs_tell_how_each_server_is(service: DaemonService, rig: Rig) -> None:
    """Connected or not, since when, over what, and how many users wait."""
    (row,) = service.pbxs()
    assert (row["name"], row["connected"], row["version"], row["transport"]) == ("hq", True, "22.10.1", "websocket")
    assert (row["since"], row["users_waiting"]) == (_iso(START), 0)
    rig.clock.advance(5)
    rig.disconnect()
    (row,) = service.pbxs()
    assert (row["connected"], row["transport"], row["since"]) == (False, None, _iso(START + 5))
    assert row["users_waiting"] >= 0


def test_groups_tell_who_is_free_and_what_the_lamp_shows(service: DaemonService) -> None:
    """Only listed people are in groups, and they have their names."""
    service.set_state("100", StateChange("brb"), "cli")
    alice = {"user": "100", "name": "Alice", "availability": "busy", "state": "brb", "label": "Be right back"}
    sales = {"group": "sales", "state": "busy", "lamp": "INUSE", "free": [], "busy": ["100"], "out": []}
    assert service.groups() == [{**sales, "members": [alice]}]


def test_hints_are_made_of_groups_users_and_their_endpoints(service: DaemonService, rig: Rig) -> None:
    """Endpoints as the servers spell them; those of nobody are left out."""
    rig.asterisk.endpoints += ["PJSIP/trunk", "PJSIP/102"]
    rig.disconnect()
    rig.connect()
    users = [{"user": user, "endpoints": [f"PJSIP/{user}"]} for user in ("100", "101", "102")]
    assert service.hints() == {"whole": True, "groups": ["sales"], "users": users}


def test_parking_tells_whose_endpoint_parked_a_call(service: DaemonService, rig: Rig) -> None:
    """A user where the endpoint is somebody's, else the endpoint; sorted by server."""

    def park(engine: Engine) -> None:
        for pbx, parker in (("hq", "PJSIP/trunk"), ("branch", "PJSIP/100")):
            parking = engine.model.parking.setdefault(pbx, Parking())
            parking.entered("1.1", "default", ("0301234", ""), Parker("1.2", parker), START)

    rig.engine.call(park)
    found = [(row["pbx"], row["parked_by"], row["caller"]["number"], row["source"]) for row in service.parking()]
    assert found == [("branch", "100", "0301234", "unknown"), ("hq", "PJSIP/trunk", "0301234", "unknown")]


def test_forgotten_states_are_listed_even_where_something_covers_them(rig: Rig) -> None:
    """The state set by hand, with its age; in the metrics too, beside the users by state and the servers."""
    service = DaemonService(rig.engine, rig.store, str, rig.clock.time)
    rules = make_settings(remind_after_s=60.0)
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, rules)))
    service.set_state("100", StateChange("lunch", "soup"), "cli")
    rig.clock.advance(50)
    service.set_state("101", StateChange("dnd"), "cli")
    rig.clock.advance(11)
    rig.engine.call(
        lambda engine: engine.model.users[UserId("100")].put(
            Layer.CALLS, Entry(ON_CALL, "phone:PJSIP/100", START + 60), START + 60
        )
    )
    assert service.user("100")["state"] == "on-call"
    (row,) = service.forgotten()
    assert (row["user"], row["state"], row["layer"], row["message"]) == ("100", "lunch", "manual", "soup")
    found = service.metrics()
    assert found.forgotten == [("100", "lunch", 61.0)]
    assert {state: count for state, count in found.users.items() if count} == {"on-call": 1, "dnd": 1}
    assert set(found.users) == {state.id for state in rules.states.all}
    assert [(row["name"], row["users_waiting"]) for row in found.pbxs] == [("hq", 0)]


def test_schedule_is_that_of_all_or_of_one_user(rig: Rig) -> None:
    """What it will do, for a day or a week; a user without one has none, and nobody is made up."""
    service = DaemonService(rig.engine, rig.store, str, rig.clock.time)
    office = Schedule("office", (((9 * 3600, 17 * 3600),),) * 7, None, StateId("out"))
    new = make_settings(schedules=ScheduleTable({UserId("100"): office}))
    rig.engine.call(lambda engine: engine.reconfigure(ConfigChanged(rig.clock.wall, new)))
    (day,), (week,) = service.schedule(None, week=False), service.schedule("100", week=True)
    assert (day["schedule"], day["timezone"], day["users"]) == ("office", "UTC", 1)
    assert [row["state"] for row in day["coming"]] == ["out", None, "out"]
    assert len(week["coming"]) == 15
    assert service.schedule("101", week=False) == []
    with pytest.raises(Refused, match="there is no user"):
        service.schedule("999", week=False)


def test_ready_waits_for_the_lamps_of_groups(service: DaemonService, rig: Rig) -> None:
    """A lamp that Asterisk does not take is a reason."""
    rig.asterisk.override("PUT", "deviceStates/Stasis:group-sales", Response(500))
    service.set_state("100", StateChange("dnd"), "cli")
    rig.sync()
    assert service.ready() == (False, ["hq: the lamps of groups are not confirmed yet"])


def test_ready_means_connected_and_compared(service: DaemonService, rig: Rig) -> None:
    """What is missing is said, for each server."""
    assert service.ready() == (True, [])
    rig.disconnect(reason="127.0.0.1:8088: connection refused")
    assert service.ready() == (False, ["hq is not connected: 127.0.0.1:8088: connection refused"])
    rig.link.held = True
    rig.connect()
    ready, reasons = service.ready()
    assert not ready
    assert "not confirmed" in reasons[0]
    rig.link.held = False
    rig.link.release()
    rig.sync()
    assert service.ready() == (True, [])


def test_ready_before_any_attempt_says_so() -> None:
    """A daemon that has just started is not ready."""
    rig = Rig()
    rig.start()
    assert DaemonService(rig.engine, rig.store, str).ready() == (False, ["hq is not connected"])
    rig.stop()


def test_reset_is_for_one_or_all(service: DaemonService) -> None:
    """Lamps off for one user leave the others alone."""
    for user in ("100", "101"):
        service.set_state(user, StateChange("dnd"), "cli")
    assert service.reset("100").user["state"] == "available"
    assert service.user("101")["state"] == "dnd"
    everybody = service.reset(None)
    assert (everybody.user, everybody.confirmed) == ({}, True)
    assert service.user("101")["state"] == "available"


def test_reload_says_what_changed_or_why_not(rig: Rig) -> None:
    """The daemon's own words reach the asker."""

    def broken() -> str:
        raise ConfigError("file: key: wrong: mend it")

    assert DaemonService(rig.engine, rig.store, lambda: "12 users").reload() == "12 users"
    with pytest.raises(ConfigError, match="mend it"):
        DaemonService(rig.engine, rig.store, broken).reload()


def test_backup_gives_the_size_of_a_file_that_opens(rig: Rig, tmp_path: Path) -> None:
    """The copy is a whole store."""
    store = SqliteStore(tmp_path / "store.sqlite")
    service = DaemonService(rig.engine, store, str)
    size = service.backup(str(tmp_path / "copy.sqlite"))
    assert size == (tmp_path / "copy.sqlite").stat().st_size > 0
    with pytest.raises(StoreError):
        service.backup(str(tmp_path / "copy.sqlite"))
    SqliteStore(tmp_path / "copy.sqlite").close()
    store.close()


def test_watch_streams_changes(service: DaemonService) -> None:
    """A watch that was opened before a change gets it."""
    watch = service.watch(None)
    thread = threading.Thread(target=service.set_state, args=("101", StateChange("away"), "cli"))
    thread.start()
    item = watch.get(5)
    thread.join(5)
    assert item is not None
    assert (item[1]["user"], item[1]["state"]) == ("101", "away")
    watch.close()
