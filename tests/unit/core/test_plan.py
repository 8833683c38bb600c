"""Desired minus published, and how shown lamps are written down for the store."""

import pytest

from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import LampLayout
from ari_presence.core.names import StateId, UserId
from ari_presence.core.plan import Change, apply, gone_lamps, lamps_text, parse_lamps, plan
from ari_presence.core.userstate import BUILTIN, Entry, Layer, StateTable
from ari_presence.errors import PublishError

LAYOUT = LampLayout(StateTable())
DND = LAYOUT.desired({Layer.MANUAL: Entry(StateId("dnd"), "cli", 0.0)})
OUT = LAYOUT.desired({Layer.MANUAL: Entry(StateId("out"), "cli", 0.0)})


def test_equal_vectors_need_nothing() -> None:
    """Nothing differs, nothing is written."""
    assert plan(DND, DND) == ()
    assert plan(DND, tuple(DND)) == ()


def test_difference_is_sorted_with_the_main_lamp_first() -> None:
    """Logs and tests repeat."""
    changes = plan(OUT, DND)
    assert [LAYOUT.kinds[change.place] for change in changes] == ["main-joined", "main-whole", "dnd", "out"]
    assert changes[0] == Change(0, DeviceState.BUSY, DeviceState.ONHOLD)


def test_applied_plan_gives_what_was_desired() -> None:
    """Published plus plan is desired."""
    assert apply(plan(OUT, DND), DND) == OUT


def test_unknown_is_never_planned() -> None:
    """Asterisk refuses UNKNOWN, so wanting it is a bug that must be loud."""
    wrong = (DeviceState.UNKNOWN, *LAYOUT.off[1:])
    with pytest.raises(PublishError):
        plan(wrong, LAYOUT.off)


def test_lamps_are_written_down_and_read_again() -> None:
    """The store's text gives the same vector, as the same object."""
    assert parse_lamps(LAYOUT, lamps_text(LAYOUT, OUT)) is OUT
    assert lamps_text(LAYOUT, LAYOUT.off) == ""
    assert parse_lamps(LAYOUT, "") is LAYOUT.off


@pytest.mark.parametrize("text", ["nosuch=BUSY", "dnd=NEWS", "dnd", "=", "dnd==", "  "], ids=repr)
def test_text_that_makes_no_sense_counts_as_off(text: str) -> None:
    """Kinds that are gone and values that are none are left out."""
    assert parse_lamps(LAYOUT, text) is LAYOUT.off


def test_text_of_another_layout_keeps_what_both_have() -> None:
    """A reload with other states finds the lamps that are still there."""
    small = LampLayout(StateTable([state for state in BUILTIN if state.id != "out"]), whole=False)
    assert lamps_text(small, parse_lamps(small, lamps_text(LAYOUT, OUT))) == "main-joined=ONHOLD"


def test_lamps_of_another_layout_are_named_to_be_turned_off() -> None:
    """A state that was removed and the whole lamp that was turned off leave a device each; those that stay do not."""
    layout = LampLayout(StateTable(s for s in BUILTIN if s.id != "lunch"), whole=False)
    text = "main-joined=ONHOLD main-whole=ONHOLD lunch=INUSE dnd=INUSE ../x=INUSE"
    found = list(gone_lamps(layout, UserId("100"), text))
    assert found == ["Stasis:presence-100", "Custom:lunch-100"]
