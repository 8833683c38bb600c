"""FreePBX and the daemon change do not disturb at once, with links that end anywhere: all places agree, and rest."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ari_presence.core.devstate import DeviceState
from ari_presence.core.freepbx import FreepbxLamps
from ari_presence.core.names import UserId
from tests.properties.test_two_changers import play
from tests.unit.engine_rig import make_settings
from tests.unit.publish.fakes import World

LAMPS = FreepbxLamps({UserId("100"): ("100", "9100")}, make_settings().owner)
DEVICES = ("Custom:DND100", "Custom:DEVDND100", "Custom:DEVDND9100", "Custom:DND101", "Custom:DEVDND101")
OURS = ("Custom:presence-100", "Custom:dnd-100", "Custom:lunch-100")
VALUES = [state for state in DeviceState if state is not DeviceState.UNKNOWN]
LIT = {DeviceState.BUSY, DeviceState.INUSE}

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("wish"),
            st.sampled_from(("100", "101")),
            st.sampled_from(("away", "dnd", "meeting", None)),
            st.booleans(),
        ),
        st.tuples(st.just("set"), st.sampled_from(DEVICES + OURS), st.sampled_from(VALUES)),
        st.tuples(st.just("toggle"), st.booleans()),
        st.tuples(st.just("execute")),
        st.tuples(st.just("deliver")),
        st.tuples(st.just("tell")),
        st.tuples(st.just("wait"), st.sampled_from([0.05, 0.2, 0.6])),
        st.tuples(st.just("cut"), st.integers(0, 8)),
        st.tuples(st.just("connect"), st.booleans()),
        st.tuples(st.just("refuse"), st.sampled_from(DEVICES)),
    ),
    max_size=25,
)


@settings(max_examples=max(250, settings().max_examples))
@given(steps)
def test_all_lamps_of_do_not_disturb_agree(script: list[tuple[object, ...]]) -> None:
    """Whatever happens in whatever order: once left alone all say the same, as the state does, and nothing goes on."""
    world = World(("100", "101"), freepbx=LAMPS)
    world.connect()
    for step in script:
        if step[0] == "toggle":
            for device in DEVICES[:3]:
                world.server.set(device, DeviceState.BUSY if step[1] else DeviceState.NOT_INUSE)
        else:
            play(world, step)
    world.server.refused.clear()
    if not world.publisher._up:
        world.connect(settle=False)
    world.run()
    assert world.is_right()
    for user, devices in (("100", DEVICES[:3]), ("101", DEVICES[3:])):
        on = world.state(user) in ("dnd", "meeting")
        assert {DeviceState(world.server.value(device)) in LIT for device in devices} == {on}
    before = len(world.server.requests), len(world.adopted)
    world.run(60)
    assert (len(world.server.requests), len(world.adopted)) == before
