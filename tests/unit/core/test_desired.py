"""What lamps should show, where there is more to it than the layers."""

from ari_presence.core import events as ev
from ari_presence.core.desired import DESIRED_REMEMBERED, desired
from ari_presence.core.devstate import DeviceState
from ari_presence.core.features import Action
from ari_presence.core.lamps import NOT_SET, PARKED
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from tests.unit.engine_rig import make_settings

ALICE, BOB = UserId("100"), UserId("101")


def model_of(lit: frozenset[UserId] = frozenset()) -> Model:
    """Make a model that has heard of no server yet."""
    model = Model(make_settings())
    reduce(model, ev.Started(0.0, {}, lit))
    return model


def test_lamps_of_nobody_are_off() -> None:
    """Neither listed nor stored."""
    model = model_of()
    assert desired(model, BOB) == (model.settings.layout.off, NOT_SET)


def test_lamps_of_somebody_who_may_still_appear_are_not_known() -> None:
    """They were lit when the daemon ended, and no server has listed its endpoints yet."""
    model = model_of(frozenset({BOB}))
    assert desired(model, BOB) is None
    reduce(model, ev.EndpointsSeen(1.0, "hq", ("PJSIP/101",)))
    assert desired(model, BOB) is not None


def test_lamps_are_off_after_a_reset_until_the_next_change() -> None:
    """The state below is not shown either."""
    model = model_of()
    reduce(model, ev.ResetAsked(1.0, 1, ALICE, "cli"))
    assert desired(model, ALICE) == (model.settings.layout.off, NOT_SET)
    reduce(model, ev.ChangeAsked(2.0, 2, ALICE, Action.SET, "cli", "dnd", None, None))
    found = desired(model, ALICE)
    assert found is not None and (found[0][0], found[1].type) == (DeviceState.BUSY, "dnd")


def test_parked_call_lights_its_lamp() -> None:
    """It is no layer."""
    model = model_of()
    model.parked[ALICE] = DeviceState.RINGING
    found = desired(model, ALICE)
    assert found is not None
    assert found[0][model.settings.layout.kinds.index(PARKED)] is DeviceState.RINGING


def test_what_is_remembered_follows_every_change() -> None:
    """Layers, parked calls, the layout and the zone each make it anew; asked again, it is the same object."""
    model = model_of()
    before = desired(model, ALICE)
    assert desired(model, ALICE) is before
    reduce(model, ev.ChangeAsked(2.0, 2, ALICE, Action.SET, "cli", "dnd", None, None))
    lit = desired(model, ALICE)
    model.parked[ALICE] = DeviceState.RINGING
    parked = desired(model, ALICE)
    assert len({before, lit, parked}) == 3
    reduce(model, ev.ConfigChanged(3.0, make_settings()))
    again = desired(model, ALICE)  # nobody is known to have parked anything any more
    assert again == lit and again is not lit


def test_few_users_are_remembered() -> None:
    """Memory does not grow with their number."""
    model = model_of()
    users = [UserId(str(1000 + number)) for number in range(3 * DESIRED_REMEMBERED)]
    reduce(model, ev.EndpointsSeen(1.0, "hq", tuple(f"PJSIP/{user}" for user in users)))
    found = [desired(model, user) for user in users]
    assert len(model.desired) <= DESIRED_REMEMBERED
    assert found == [desired(model, user) for user in users]
