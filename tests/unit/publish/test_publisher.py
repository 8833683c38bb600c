"""One server's lamps: level-triggered, confirmed, and foreign changes told from echoes."""

from collections.abc import Callable

import pytest

from ari_presence.core import events as ev
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action
from ari_presence.core.lamps import NOT_SET, LampLayout, Presence
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import BUILTIN, StateTable
from tests.unit.publish.fakes import World

JOINED, WHOLE, DND, LUNCH = "Custom:presence-100", "Stasis:presence-100", "Custom:dnd-100", "Custom:lunch-100"
QUIET_S = 0.2


def writes(world: World, device: str) -> list[str]:
    """Give the values that were written to a device, in order."""
    return [
        dict(request.query).get("value") or dict(request.query)["deviceState"]
        for request in world.server.requests
        if request.method in ("POST", "PUT") and (device in request.path or device in str(request.query))
    ]


@pytest.fixture
def world() -> World:
    """Give a world with one user whose lamps are right."""
    world = World()
    world.connect()
    assert world.is_right()
    return world


# -- convergence


@pytest.mark.parametrize("rest", [True, False], ids=["websocket", "http"])
@pytest.mark.parametrize("count", [1, 3, 4, 250], ids=str)
def test_any_number_of_users_converges(count: int, rest: bool) -> None:
    """Read one by one or through the reader channel, every lamp ends as the model wants."""
    world = World([str(1000 + i) for i in range(count)], rest=rest)
    for i in range(0, count, 2):
        world.wish(str(1000 + i), ("dnd", "lunch", "out")[i % 3])
    world.connect()
    assert world.is_right()
    assert world.server.channels == set()


def test_fresh_asterisk_with_everybody_available_gets_only_presence(world: World) -> None:
    """A lamp that Asterisk does not know yet counts as off and is not written."""
    assert world.server.values == {}
    assert world.server.presences == {"CustomPresence:100": Presence("available")}


def test_set_state_shows_on_every_lamp(world: World) -> None:
    """The joined, the whole, the state lamp and the presence follow."""
    world.wish("100", "out")
    world.run()
    lit = {kind: value for kind, value in world.shown("100").items() if value != "NOT_INUSE"}
    assert lit == {"joined": "ONHOLD", "whole": "UNAVAILABLE", "out": "INUSE"}
    assert world.server.presences["CustomPresence:100"] == Presence("xa")
    assert world.is_right()


def test_change_of_nothing_sends_nothing(world: World) -> None:
    """Lamps are the difference of desired and shown: the same state again is no request."""
    world.wish("100", "dnd")
    world.run()
    before = len(world.server.requests)
    world.wish("100", "dnd")
    world.run()
    assert len(world.server.requests) == before


def test_newest_state_wins_while_a_write_is_under_way(world: World) -> None:
    """What is desired is looked up when a group is made, so states in between are never written."""
    world.wish("100", "dnd")
    for state in ("lunch", "away", "meeting"):
        world.wish("100", state)
    world.run()
    assert writes(world, "Custom:presence-100") == ["BUSY"]  # dnd and meeting look the same there
    assert writes(world, "Custom:away-100") == []
    assert world.is_right()


def test_user_is_in_sync_only_after_the_read_back(world: World) -> None:
    """A write counts when Asterisk shows it, never because it answered 204."""
    world.wish("100", "dnd")
    assert not world.publisher.in_sync(UserId("100"))
    world.server.execute()
    assert not world.publisher.in_sync(UserId("100"))
    world.server.deliver()
    assert world.publisher.in_sync(UserId("100"))


def test_confirmed_lamps_are_stored_as_text(world: World) -> None:
    """The store keeps what the server was last confirmed to show, nothing when all is off."""
    world.wish("100", "dnd")
    world.run()
    assert "dnd=INUSE" in world.stored[UserId("100")]
    world.wish("100", None)
    world.run()
    assert world.stored[UserId("100")] == ""


def test_user_of_the_store_who_is_nobody_gets_lamps_off() -> None:
    """Somebody who left while the daemon was down must not stay lit."""
    world = World(["100", "200"])
    world.connect()
    world.wish("200", "dnd")
    world.run()
    del world.model.users[UserId("200")]
    world.restart_daemon()
    world.connect()
    assert set(world.shown("200").values()) == {"INVALID", "NOT_INUSE"}
    assert world.server.presences["CustomPresence:200"] == NOT_SET


def test_user_who_appears_later_is_read_before_written(world: World) -> None:
    """A lamp that somebody lit meanwhile is that person's wish."""
    world.server.set("Custom:lunch-300", "BUSY")
    world.model.settings.listed[UserId("300")] = world.model.settings.default  # type: ignore[index]
    world.feed(ev.Started(world.clock.time(), {}))
    world.run()
    assert world.state("300") == "lunch"
    assert world.is_right()


# -- order


def test_urgent_change_goes_before_bulk() -> None:
    """A caller does not wait for a thousand others."""
    world = World([str(1000 + i) for i in range(400)])
    world.connect()
    everybody = list(world.model.users)
    for user in everybody:
        world.feed(ev.ChangeAsked(world.clock.time(), 1, user, Action.SET, "cli", "away"))
    del world.server.requests[:]
    world.wish("1399", "dnd", urgent=True)
    world.server.execute()
    world.server.deliver()
    assert world.server.value("Custom:presence-1399") == "BUSY"
    world.run()
    assert world.is_right()


def test_urgent_changes_of_one_moment_go_out_together_but_in_small_groups() -> None:
    """Fifty who dial at once cost few groups, and the first of them does not wait for the fiftieth."""
    users = [str(1000 + i) for i in range(20)]
    world = World(users)
    world.connect()
    for number, user in enumerate(users):
        change = ev.ChangeAsked(world.clock.time(), number, user, Action.SET, "cli", "away")
        world.publisher.touch(reduce(world.model, change).touched, urgent=True)
    world.publisher.pump()
    told = [" ".join(map(str, requests)) for requests, _ in world.server._urgent]
    assert [sum(f"CustomPresence:{user})" in text for user in users) for text in told] == [6, 6, 6, 2]
    world.run()
    assert world.is_right()


def test_urgent_change_of_an_unread_user_is_read_first() -> None:
    """Nothing is written before it is known what is there."""
    world = World([str(1000 + i) for i in range(400)])
    world.connect(settle=False)
    world.wish("1399", "dnd", urgent=True)
    world.run()
    seen = [(r.method, r.path) for r in world.server.requests if "1399" in r.path + str(r.query)]
    assert seen[0][0] == "GET"
    assert world.state("1399") == "dnd"
    assert world.is_right()


def test_link_down_takes_no_changes_and_is_not_in_sync(world: World) -> None:
    """Without a link nothing is confirmed and nothing is sent."""
    world.disconnect()
    before = len(world.server.requests)
    world.wish("100", "dnd")
    world.server.set(DND, "BUSY")
    world.tell()
    assert not world.publisher.in_sync(UserId("100"))
    assert not world.publisher.idle
    assert not world.server.busy
    assert len(world.server.requests) == before


# -- echoes and foreign changes


def test_own_echo_is_not_adopted(world: World) -> None:
    """What comes back of our own writes is nobody's wish."""
    for state in ("dnd", "lunch", None, "meeting", "away", None):
        world.wish("100", state)
        world.run()
    assert world.adopted == []


def test_echo_that_overtakes_the_answer_costs_nothing(world: World) -> None:
    """The usual order on one socket is no reason to look again."""
    del world.server.requests[:]
    world.wish("100", "dnd")
    world.server.execute()
    world.tell()
    world.server.deliver()
    world.run()
    assert sum(request.method == "GET" and DND in request.path for request in world.server.requests) == 1
    assert world.adopted == []


def test_late_echoes_change_nothing(world: World) -> None:
    """Echoes of long ago, in any order, are looked into and found void."""
    world.hold_events = True
    for state in ("dnd", "lunch", "meeting", None):
        world.wish("100", state)
        world.run(0)
    world.hold_events = False
    assert len(world.events) > 8
    world.run()
    assert world.adopted == []
    assert world.state() is None
    assert world.is_right()


def test_foreign_change_is_adopted_after_quiet_only(world: World) -> None:
    """The fallback writes several lamps one after the other: its wish is read when they are at rest."""
    world.server.set(DND, "BUSY")
    world.tell()
    world.run(QUIET_S - 0.01)
    assert world.adopted == []
    world.server.set(DND, "INVALID")
    world.server.set(LUNCH, "BUSY")
    world.tell()
    world.run(QUIET_S - 0.01)
    assert world.adopted == []
    world.run(0.1)
    assert [(wish.states, wish.source) for _, wish in world.adopted] == [({"dnd": False, "lunch": True}, "dialplan")]
    assert world.state() == "lunch"
    world.run()
    assert world.is_right()


def test_foreign_change_that_goes_back_is_no_wish(world: World) -> None:
    """Two keys pressed within the quiet time end where they began."""
    world.server.set(DND, "INUSE")
    world.server.set(DND, "NOT_INUSE")
    world.run()
    assert world.adopted == []
    assert world.is_right()


@pytest.mark.parametrize(
    ("device", "value", "state"),
    [
        pytest.param(DND, "INUSE", "dnd", id="state-lamp"),
        pytest.param(JOINED, "BUSY", "dnd", id="main-busy"),
        pytest.param(JOINED, "ONHOLD", "away", id="main-onhold"),
    ],
)
def test_lamp_lit_by_devstate_change_becomes_the_manual_state(
    world: World, device: str, value: str, state: str
) -> None:
    """`devstate change` is a person's wish; all other lamps follow."""
    world.server.set(device, value)
    world.run()
    assert world.state() == state
    manual = world.model.users[UserId("100")].manual
    assert manual is not None
    assert manual.source == "pbx:hq"
    assert world.is_right()


@pytest.mark.parametrize("value", ["INVALID", "UNAVAILABLE", "NOT_INUSE"])
def test_dark_main_lamp_clears(world: World, value: str) -> None:
    """Any dark value on the main lamp clears the manual state."""
    world.wish("100", "lunch")
    world.run()
    world.server.set(JOINED, value)
    world.run()
    assert world.state() is None
    assert world.is_right()


@pytest.mark.parametrize("value", ["INUSE", "RINGING", "RINGINUSE"])
def test_value_without_meaning_is_corrected(world: World, value: str) -> None:
    """A value that means nothing on the main lamp is put right."""
    world.wish("100", "lunch")
    world.run()
    world.server.set(JOINED, value)
    world.run()
    assert world.state() == "lunch"
    assert world.server.value(JOINED) == "ONHOLD"
    assert world.is_right()


def test_whole_lamp_changed_by_somebody_is_corrected_at_connect(world: World) -> None:
    """The daemon is its only provider: nobody's change of it is a wish."""
    world.server.set(WHOLE, "BUSY")
    world.disconnect()
    world.connect()
    assert world.adopted == []
    assert world.shown("100")["whole"] == "NOT_INUSE"


@pytest.mark.parametrize("stage", ["first-read", "read-again"])
def test_foreign_change_during_a_read_is_not_lost(stage: str) -> None:
    """The answer of a read may be older than the report that overtook it."""
    world = World()
    world.connect()
    if stage == "first-read":
        world.disconnect()
        world.connect(settle=False)
    else:
        world.publisher.reread([UserId("100")])
        world.publisher.pump()
    world.server.execute()
    world.server.set(DND, "BUSY")
    world.tell()
    world.run()
    assert world.state() == "dnd"
    assert world.is_right()


def test_foreign_change_before_the_first_presence_write_is_not_lost() -> None:
    """Somebody who was read and is about to be written for the first time is not nobody."""
    world = World()
    world.connect()
    world.disconnect()
    world.connect(settle=False)
    world.server.execute()
    world.server.deliver()
    world.publisher.pump()
    assert world.server.executable  # the presence
    world.server.set(DND, "BUSY")
    world.tell()
    world.run()
    assert world.state() == "dnd"


def test_reread_during_a_read_reads_once_more(world: World) -> None:
    """What changed before the subscription was made is found by one more read, also when one is under way."""
    world.server.watched.clear()
    world.publisher.reread([UserId("100")])
    world.publisher.pump()
    world.server.execute()
    world.server.set(DND, "BUSY")
    world.publisher.reread([UserId("100")])
    world.run()
    assert world.state() == "dnd"


def test_foreign_change_between_write_and_read_back_is_adopted(world: World) -> None:
    """Our write went through, and somebody was quicker than its confirmation."""
    world.wish("100", "dnd")
    execute = world.server.answer

    def meddle(request: object) -> object:
        response = execute(request)  # type: ignore[arg-type]
        if world.server.value(LUNCH) == "UNKNOWN" and world.server.value(DND) == "INUSE":
            world.server.set(LUNCH, "BUSY")
            world.server.set(DND, "INVALID")
            world.server.set(JOINED, "ONHOLD")
        return response

    world.server.answer = meddle  # type: ignore[method-assign, assignment]
    world.run()
    assert world.state() == "lunch"
    assert world.is_right()


def test_lamp_of_a_stranger_is_left_alone(world: World) -> None:
    """Devices of nobody we know are none of our business."""
    before = len(world.server.requests)
    for device in (
        "Custom:dnd-999",
        "Custom:lamp",
        "park:presence-100",
        "PJSIP/100",
        "Stasis:group-sales",
        "Custom:x-100",
    ):
        world.server.watched.add(device.lower())
        world.server.set(device, "BUSY")
    world.run()
    assert len(world.server.requests) == before


# -- connect: stale, foreign, restarted


def test_stale_lamp_is_corrected(world: World) -> None:
    """A lamp that equals what was last confirmed is stale when the wish changed meanwhile."""
    world.wish("100", "dnd")
    world.run()
    world.disconnect()
    world.wish("100", "lunch")
    world.connect()
    assert world.adopted == []
    assert world.state() == "lunch"
    assert world.is_right()


def test_fallback_under_way_during_the_connect_is_adopted_when_it_is_done(world: World) -> None:
    """Lamps that differ at the connect must be the same at two reads: half a wish is none."""
    world.wish("100", "dnd")
    world.run()
    world.disconnect()
    world.hold_events = True  # no subscription tells of it
    world.server.set(DND, "INVALID")
    world.connect(settle=False)
    world.run(QUIET_S - 0.01)
    world.server.set(LUNCH, "BUSY")
    world.run(0.02)
    world.server.set(JOINED, "ONHOLD")
    world.run()
    assert [(wish.states, wish.main) for _, wish in world.adopted] == [({"dnd": False, "lunch": True}, ("away",))]
    assert world.state() == "lunch"


@pytest.mark.parametrize("daemon", [True, False], ids=["new-daemon", "new-link"])
def test_fallback_dialled_while_away_is_adopted(world: World, daemon: bool) -> None:
    """Its caller heard a confirmation, so it wins over what the store says."""
    world.wish("100", "dnd")
    world.run()
    world.restart_daemon() if daemon else world.disconnect()
    for device, value in ((DND, "INVALID"), (LUNCH, "BUSY"), (JOINED, "ONHOLD")):
        world.server.set(device, value)
    world.wish("100", "meeting")
    world.connect()
    assert world.state() == "lunch"
    assert world.adopted[0][1].source == "dialplan"
    assert world.is_right()


def test_older_values_of_ours_after_a_crash_are_corrected(world: World) -> None:
    """AstDB is flushed about once a second: a crash brings back what we wrote before."""
    world.wish("100", "dnd")
    world.run()
    world.wish("100", None)
    world.run()
    world.restart_asterisk(**{JOINED: "BUSY", DND: "INUSE", WHOLE: "BUSY"})
    world.connect(restarted=True)
    assert world.adopted == []
    assert world.state() is None
    assert world.is_right()


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        pytest.param(None, {LUNCH: "BUSY", JOINED: "ONHOLD"}, "lunch", id="on"),
        pytest.param("dnd", {DND: "INVALID", JOINED: "INVALID"}, None, id="off"),
    ],
)
def test_fallback_values_after_a_restart_are_adopted(
    world: World, before: str | None, values: dict[str, str], after: str | None
) -> None:
    """BUSY and INVALID on a state lamp are never ours, so a restart does not make them stale."""
    world.wish("100", before)
    world.run()
    world.restart_asterisk(**values)
    world.connect(restarted=True)
    assert world.state() == after
    assert world.is_right()


def test_empty_database_after_a_restart_is_filled_again(world: World) -> None:
    """A new server that knows nothing is no wish to clear everything."""
    world.wish("100", "dnd")
    world.run()
    world.restart_asterisk()
    world.server.values.clear()
    world.server.presences.clear()
    world.connect(restarted=True)
    assert world.state() == "dnd"
    assert world.is_right()


@pytest.mark.parametrize("after", range(12))
def test_link_lost_at_any_point_of_a_write_heals(world: World, after: int) -> None:
    """However much of a write was carried out, its own half is never taken for somebody's wish."""
    world.wish("100", "dnd")
    world.disconnect(after=after)
    world.wish("100", "lunch")
    world.connect()
    assert world.adopted == []
    assert world.state() == "lunch"
    assert world.is_right()


def test_link_lost_with_the_answer_on_its_way_heals(world: World) -> None:
    """What was executed and never learnt is read again."""
    world.wish("100", "dnd")
    world.server.execute()
    world.disconnect()
    world.wish("100", None)
    world.connect()
    assert (world.adopted, world.state()) == ([], None)
    assert world.is_right()


def test_answers_of_an_old_session_are_void(world: World) -> None:
    """An answer that arrives after the link was made anew belongs to nobody."""
    world.wish("100", "dnd")
    world.server.execute()
    world.publisher.link_down()
    world.publisher.link_up(world.model.users, restarted=False, over_websocket=True)
    world.publisher.pump()
    world.run()
    assert world.state() == "dnd"
    assert world.is_right()


# -- refusals


@pytest.mark.parametrize("known", [True, False], ids=["known-lamp", "unknown-lamp"])
def test_refused_write_is_retried_with_backoff_and_not_adopted(world: World, known: bool) -> None:
    """`POST asterisk/variable` answers 204 even when the function refuses: the read-back tells."""
    if known:
        world.wish("100", "dnd")
        world.run()
        world.wish("100", None)
        world.run()
    world.server.refused.add(DND)
    before = len(writes(world, DND))
    world.wish("100", "dnd")
    world.run(0)
    assert not world.publisher.in_sync(UserId("100"))
    assert not world.publisher.idle
    attempts = []
    for seconds in (0.4, 0.2, 1.8, 0.3, 9.6, 0.5):
        world.run(seconds)
        attempts.append(len(writes(world, DND)) - before)
    assert attempts == [1, 2, 2, 3, 3, 4]
    assert (world.adopted, world.state()) == ([], "dnd")
    world.server.refused.clear()
    world.run()
    assert world.is_right()


@pytest.mark.parametrize("what", ["POST asterisk/variable", "PUT deviceStates"])
def test_write_answered_with_an_error_is_retried_and_not_adopted(world: World, what: str) -> None:
    """A user who may only read, or a module that is gone, is an error and nobody's wish."""
    world.server.statuses[what] = 403
    world.wish("100", "dnd")
    world.run(5)
    assert (world.adopted, world.state()) == ([], "dnd")
    assert not world.publisher.in_sync(UserId("100"))
    world.server.statuses.clear()
    world.run()
    assert world.is_right()


def test_change_during_backoff_is_tried_at_once(world: World) -> None:
    """A new wish does not wait for the end of an old refusal."""
    world.server.refused.add(DND)
    world.wish("100", "dnd")
    world.run(5)
    world.server.refused.clear()
    world.wish("100", "lunch")
    world.run(0)
    assert world.server.value(LUNCH) == "INUSE"


@pytest.mark.parametrize("status", [404, 500])
def test_read_that_fails_is_repeated_at_leisure(status: int) -> None:
    """A server that cannot be read is not hammered, and is right as soon as it can."""
    world = World()
    world.server.statuses["GET deviceStates"] = status
    world.connect(settle=False)
    world.run(10)
    reads = sum(request.method == "GET" for request in world.server.requests)
    assert reads <= 4 * len(world.layout.kinds)
    assert not world.publisher.idle
    world.server.statuses.clear()
    world.server.set(LUNCH, "BUSY")
    world.run()
    assert world.state() == "lunch"
    assert world.is_right()


# -- the reader channel

MANY = [str(1000 + i) for i in range(20)]


def test_reader_channel_is_made_for_many_reads_and_removed() -> None:
    """Two requests read what would take a hundred and sixty, and nothing stays behind."""
    world = World(MANY)
    world.connect()
    assert sum(r.path.endswith("/variable") and r.method == "GET" for r in world.server.requests) < 20
    assert not any(r.method == "GET" and r.path.startswith("deviceStates") for r in world.server.requests)
    assert world.server.channels == set()


def test_few_reads_make_no_reader_channel(world: World) -> None:
    """One user's lamps are read one by one."""
    assert not any(request.path.startswith("channels") for request in world.server.requests)


def test_presences_that_are_right_already_are_not_written_again() -> None:
    """Where they can be read, equal presence states cost nothing."""
    world = World(MANY)
    world.connect()
    world.disconnect()
    del world.server.requests[:]
    world.connect()
    assert not any("PRESENCE_STATE" in str(r.query) for r in world.server.requests if r.method == "POST")
    assert world.is_right()


def test_reader_channel_that_cannot_be_made_is_done_without() -> None:
    """An old or restricted server is read one by one."""
    world = World(MANY)
    world.server.statuses["POST channels/create"] = 500
    world.server.set("Custom:lunch-1003", "BUSY")
    world.connect()
    assert world.state("1003") == "lunch"
    assert world.is_right()


def test_reader_channel_still_being_hung_up_is_made_later() -> None:
    """The one before takes a moment to end: one group of lamps is read without it, the rest with it again."""
    world = World([str(1000 + i) for i in range(350)])
    world.server.statuses["POST channels/create"] = 409
    world.connect(settle=False)
    world.server.execute()
    world.server.deliver()
    world.server.execute()  # what was there is removed; now the channel is made
    world.server.deliver()
    world.publisher.pump()
    world.server.statuses.clear()
    world.run()
    single = sum(r.method == "GET" and r.path.startswith("deviceStates") for r in world.server.requests)
    assert single == 100 * len(world.layout.kinds)
    assert world.is_right()


def test_reader_channel_takes_an_id_that_is_free() -> None:
    """That of a daemon that was killed is still being hung up: Asterisk would log an error."""
    world = World(MANY)
    world.server.channels.add("ari-presence-reader")
    world.connect()
    made = [dict(r.query)["channelId"] for r in world.server.requests if r.path == "channels/create"]
    assert made[0] == "ari-presence-reader-2"
    assert world.server.channels == set()


def test_reader_channel_that_is_hung_up_is_made_again() -> None:
    """`channel request hangup all` in the middle of reading costs a moment."""
    world = World([str(1000 + i) for i in range(250)])
    world.connect(settle=False)
    world.server.execute()
    world.server.deliver()
    world.server.execute()  # what was there is removed; now the channel is made
    world.server.deliver()
    world.publisher.pump()
    assert world.server.channels
    world.server.channels.clear()
    world.run()
    assert world.is_right()
    assert world.adopted == []


def test_reader_channel_that_answers_nonsense_is_done_without() -> None:
    """Without func_strings an expression gives nothing: the lamps are read one by one."""
    world = World(MANY)
    world.server.without.add("EVAL")
    world.wish("1003", "dnd")
    world.connect()
    assert world.is_right()


def test_long_foreign_presence_is_overwritten() -> None:
    """A presence that does not fit the answer is written without having been read."""
    world = World(MANY)
    for user in MANY:
        world.server.presences[f"CustomPresence:{user}"] = Presence("away", "x" * 255, "y" * 255)
    world.connect()
    assert world.is_right()


# -- layout


def test_new_layout_turns_off_lamps_of_kinds_that_are_gone(world: World) -> None:
    """A state that leaves the configuration leaves no lamp behind."""
    world.wish("100", "lunch")
    world.run()
    table = StateTable([state for state in BUILTIN if state.id != "lunch"])
    layout = LampLayout(table, whole=False)
    world.publisher.relayout(layout)
    world.layout = layout
    settings = type(world.model.settings)(table, layout, world.model.settings.listed)
    world.feed(ev.ConfigChanged(world.clock.time(), settings))
    world.run()
    assert (world.server.value(LUNCH), world.server.value(WHOLE)) == ("NOT_INUSE", "NOT_INUSE")
    assert (world.adopted, world.state()) == ([], None)
    assert world.is_right()


def test_new_layout_while_a_write_is_under_way_adopts_nothing(world: World) -> None:
    """The half of a write that the reload interrupts is still ours."""
    world.wish("100", "dnd")
    layout = LampLayout(world.model.settings.states, whole=False)
    world.publisher.relayout(layout)
    world.layout = layout
    settings = type(world.model.settings)(world.model.settings.states, layout, world.model.settings.listed)
    world.feed(ev.ConfigChanged(world.clock.time(), settings))
    world.wish("100", "lunch")
    world.run()
    assert (world.adopted, world.state()) == ([], "lunch")
    assert world.is_right()


# -- bookkeeping


def test_waiting_counts_those_whose_lamps_are_not_known() -> None:
    """Readiness and the board show how many users are not compared yet."""
    world = World(MANY)
    world.connect(settle=False)
    assert world.publisher.waiting == len(MANY)
    world.run()
    assert world.publisher.waiting == 0


def test_deadline_is_none_at_rest(world: World) -> None:
    """An idle publisher never wakes the engine."""
    assert world.publisher.next_deadline() is None


@pytest.mark.parametrize("under_way", ["reading", "writing"])
def test_deadline_leaves_out_users_under_way(world: World, under_way: str) -> None:
    """A restless user whose answer is awaited must not make the engine spin."""
    start: dict[str, Callable[[], None]] = {
        "reading": lambda: world.publisher.reread([UserId("100")]),
        "writing": lambda: world.wish("100", "dnd"),
    }
    world.server.set(LUNCH, "BUSY")
    world.tell()
    start[under_way]()
    world.publisher.pump()
    world.clock.now += 1
    world.publisher.pump()
    due = world.publisher.next_deadline()
    assert due is None or due > world.clock.now


def test_foreign_change_behind_our_read_back_is_seen(world: World) -> None:
    """Executed after our read-back, reported before its answer is delivered: looked at once more, and adopted."""
    world.wish("100", "dnd")
    while world.server.executable:
        world.server.execute()
    world.tell()
    world.server.set(DND, "NOT_INUSE")
    world.tell()
    world.run()
    assert world.state() is None
    assert world.is_right()


def test_many_writes_are_read_back_at_once() -> None:
    """A hundred users who change together are confirmed by a few expressions, not by hundreds of single reads."""
    world = World([str(1000 + i) for i in range(100)])
    world.connect()
    world.run()
    before = len(world.server.requests)
    for i in range(100):
        world.wish(str(1000 + i), "dnd", urgent=False)
    world.run()
    assert world.is_right()
    reads = [request for request in world.server.requests[before:] if request.method == "GET"]
    assert len(reads) < 60


# -- what the dialplan keeps about calls


def test_treatment_is_kept_behind_the_lamps(world: World) -> None:
    """Phones see a state first; what becomes of calls is no later than its confirmation."""
    world.wish("100", "dnd")
    requests, _ = world.server._urgent[0]
    order = [dict(request.query).get("variable", request.path) for request in requests if request.method != "GET"]
    assert order[0] == "DEVICE_STATE(Custom:presence-100)"
    assert order[-1] == "PRESENCE_STATE(CustomPresence:_ap-user-100)"
    world.run()
    assert world.server.kept["user-100"] == "refuse^0^^do-not-disturb"
    assert world.is_right()


def test_treatment_that_stays_is_not_written_again(world: World) -> None:
    """Away and brb ring, like available."""
    for state in ("away", "brb", None):
        world.wish("100", state)
        world.run()
    assert writes(world, "_ap-user-100") == ["not_set,,,e"]  # at the first connect, when nothing is known
    assert world.is_right()


def test_message_alone_writes_no_treatment(world: World) -> None:
    """Each text is written where it differs."""
    world.wish("100", "dnd")
    world.run()
    before = len(writes(world, "_ap-user-100"))
    event = ev.ChangeAsked(world.clock.time(), 1, "100", Action.SET, "cli", "dnd", "back soon")
    world.feed(event, urgent=True)
    world.run()
    assert world.presence("100") == Presence("dnd", "", "back soon", "refuse^0^^do-not-disturb")
    assert len(writes(world, "_ap-user-100")) == before


@pytest.mark.parametrize("count", [1, 60], ids=["blind", "through-the-reader"])
def test_treatment_that_a_crash_brought_back_is_healed(count: int) -> None:
    """AstDB may come back a second older than what was confirmed."""
    users = [str(100 + i) for i in range(count)]
    world = World(users)
    world.connect()
    world.wish("100", "dnd")
    world.run()
    world.restart_asterisk()
    world.server.kept.update({"user-100": "", f"user-{users[-1]}": "voicemail^0^^digits/3"})
    world.connect(restarted=True)
    assert world.is_right()


def test_many_users_with_right_treatments_are_not_written_again() -> None:
    """They are read at connect, all in the same calls as the presence states."""
    users = [str(100 + i) for i in range(60)]
    world = World(users)
    for user in users[:30]:
        world.wish(user, "dnd")
    world.connect()
    world.disconnect()
    world.server.requests.clear()
    world.connect()
    assert writes(world, "_ap-user") == []
    assert world.is_right()


def test_user_who_left_keeps_no_treatment(world: World) -> None:
    """Nobody's calls are refused."""
    world.wish("100", "dnd")
    world.run()
    del world.model.users[UserId("100")]
    world.restart_daemon()
    world.connect()
    assert world.server.kept["user-100"] == ""


def test_reset_lets_calls_ring(world: World) -> None:
    """`reset` before uninstalling leaves nothing that refuses calls."""
    world.wish("100", "dnd")
    world.run()
    world.feed(ev.ResetAsked(world.clock.time(), 1, "100", "cli"), urgent=True)
    world.run()
    assert world.server.kept["user-100"] == ""


def test_thousands_changed_at_once_are_not_searched_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for quiet is looked at when the first of them is due, however often the publisher is asked meanwhile."""
    users = [str(1000 + i) for i in range(2000)]
    world = World(users)
    world.connect()
    looks = 0
    under_way = world.publisher._is_under_way

    def counting(user: UserId) -> bool:
        nonlocal looks
        looks += 1
        return under_way(user)

    monkeypatch.setattr(world.publisher, "_is_under_way", counting)
    for user in users:
        world.publisher.lamp_seen(f"Custom:dnd-{user}", DeviceState.BUSY)
        world.publisher.pump()
        assert world.publisher.next_deadline() is not None
    assert looks <= 2 * len(users)
