"""The daemon and others change the same lamps at once: in the end all agree, and nobody goes round in circles."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ari_presence.core.devstate import DeviceState
from tests.unit.publish.fakes import World

USERS = ("100", "101")
STATES = ("away", "dnd", "lunch", "meeting", None)
DEVICES = [f"Custom:{kind}-{user}" for kind in ("presence", "dnd", "lunch", "away") for user in USERS]
VALUES = [state for state in DeviceState if state is not DeviceState.UNKNOWN]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), st.sampled_from(USERS), st.sampled_from(STATES), st.booleans()),
        st.tuples(st.just("set"), st.sampled_from(DEVICES), st.sampled_from(VALUES)),
        st.tuples(st.just("execute")),
        st.tuples(st.just("deliver")),
        st.tuples(st.just("tell")),
        st.tuples(st.just("wait"), st.sampled_from([0.05, 0.2, 0.6])),
        st.tuples(st.just("cut"), st.integers(0, 8)),
        st.tuples(st.just("connect"), st.booleans()),
        st.tuples(st.just("refuse"), st.sampled_from(DEVICES)),
        st.tuples(st.just("hang up")),
        st.tuples(st.just("reread"), st.sampled_from(USERS)),
    ),
    max_size=30,
)


def play(world: World, step: tuple[object, ...]) -> None:
    """Do one step."""
    match step:
        case ("wish", str(user), state, bool(urgent)):
            world.wish(user, state, urgent=urgent)  # type: ignore[arg-type]
        case ("set", str(device), DeviceState() as value):
            world.server.set(device, value)
        case ("execute",) if world.server.executable:
            world.server.execute()
        case ("deliver",) if world.server.answered:
            world.server.deliver()
        case ("tell",):
            world.tell()
        case ("wait", float(seconds)):
            world.clock.now += seconds
            world.publisher.pump()
        case ("cut", int(after)):
            world.disconnect(after=after)
        case ("connect", bool(restarted)):
            world.disconnect()
            world.connect(restarted=restarted, settle=False)
        case ("refuse", str(device)):
            world.server.refused ^= {device}
        case ("hang up",):
            world.server.channels.clear()
        case ("reread", str(user)):
            world.publisher.reread([user])  # type: ignore[list-item]
            world.publisher.pump()


@settings(max_examples=max(250, settings().max_examples))
@given(steps, st.booleans())
def test_all_ends_in_one_agreed_state(script: list[tuple[object, ...]], many: bool) -> None:
    """Whatever happens in whatever order: once left alone, lamps, model and publisher agree and are at rest."""
    world = World((*USERS, *(str(i) for i in range(200, 230))) if many else USERS)
    world.connect()
    for step in script:
        play(world, step)
    world.server.refused.clear()
    if not world.publisher._up:
        world.connect(settle=False)
    world.run()
    assert world.is_right()
    before = len(world.server.requests), len(world.adopted)
    world.run(60)
    assert (len(world.server.requests), len(world.adopted)) == before
    assert world.server.channels == set()


@given(st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(STATES)), max_size=20), st.data())
def test_own_writes_alone_adopt_nothing(wishes: list[tuple[str, str | None]], data: st.DataObject) -> None:
    """Echoes late or early, answers late or early, links cut anywhere: what is ours is never taken for somebody's."""
    world = World(USERS)
    world.connect()
    world.hold_events = True
    for user, state in wishes:
        world.wish(user, state, urgent=data.draw(st.booleans()))
        for step in data.draw(st.lists(st.sampled_from(["execute", "deliver", "tell", "cut", "wait"]), max_size=4)):
            play(world, {"cut": ("cut", 3), "wait": ("wait", 0.2)}.get(step, (step,)))
        if not world.publisher._up:
            world.connect(settle=False)
    world.hold_events = False
    world.run()
    assert world.adopted == []
    assert [world.state(user) for user in USERS] == [dict(wishes).get(user) for user in USERS]
    assert world.is_right()
