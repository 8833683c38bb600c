"""Presence states that others wrote become the user's state, with message; what is so already changes nothing."""

import pytest

from ari_presence.core import events as ev
from ari_presence.core.commands import Save
from ari_presence.core.lamps import Presence
from ari_presence.core.model import Model
from ari_presence.core.names import StateId, UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import Entry
from tests.unit.engine_rig import make_settings

ALICE = UserId("100")
AT = 1_800_000_000.0  # 08:00 UTC


def adopt(manual: Entry | None, presence: Presence) -> tuple[Entry | None, bool]:
    """Let somebody write a presence state; give the manual state then, and whether it was stored anew."""
    model = Model(make_settings())
    reduce(model, ev.Started(AT, {ALICE: manual} if manual else {}))
    out = reduce(model, ev.PresenceChanged(AT + 1, ALICE, presence, "pbx:hq"))
    assert out.touched == {ALICE}
    return model.users[ALICE].manual, any(isinstance(command, Save) for command in out.commands)


def state(name: str, message: str | None = None, until: float | None = None) -> Entry:
    """Make a manual state."""
    return Entry(StateId(name), "cli", AT, until, message)


@pytest.mark.parametrize(
    ("manual", "presence", "expected"),
    [
        pytest.param(None, Presence("away", "lunch", "Pizza"), ("lunch", "Pizza"), id="set"),
        pytest.param(state("dnd"), Presence("away"), ("away", None), id="replaced"),
        pytest.param(state("lunch"), Presence("away", "lunch", "Pizza"), ("lunch", "Pizza"), id="message-added"),
        pytest.param(state("lunch", "Pizza"), Presence("away", "lunch"), ("lunch", None), id="message-removed"),
        pytest.param(state("meeting"), Presence("dnd"), ("dnd", None), id="dialled-over-a-meeting"),
        pytest.param(state("away"), Presence("available"), None, id="cleared"),
        pytest.param(state("away"), Presence("chat", "", "talk to me"), None, id="chat-clears"),
        pytest.param(None, Presence("away", "", "x" * 200), ("away", "x" * 120), id="long-message-cut"),
        pytest.param(None, Presence("away", "", "ä" * 100), ("away", "ä" * 60), id="cut-between-characters"),
        pytest.param(None, Presence("away", "", "a\x85b"), ("away", None), id="message-with-control-character"),
    ],
)
def test_presence_becomes_the_state(
    manual: Entry | None, presence: Presence, expected: tuple[str, str | None] | None
) -> None:
    """Set by the server, stored."""
    found, stored = adopt(manual, presence)
    assert (found and (found.state, found.message)) == expected
    assert stored
    assert found is None or found.source == "pbx:hq"


@pytest.mark.parametrize(
    ("manual", "presence"),
    [
        pytest.param(None, Presence("available"), id="nothing-set"),
        pytest.param(state("lunch", "Pizza"), Presence("away", "lunch", "Pizza"), id="same"),
        pytest.param(
            state("lunch", "Pizza", AT + 3600), Presence("away", "lunch", "Pizza (until 09:00)"), id="same-with-end"
        ),
        pytest.param(state("lunch", None, AT + 3600), Presence("away", "lunch", "until 09:00"), id="only-the-end"),
    ],
)
def test_presence_that_is_so_already_changes_nothing(manual: Entry | None, presence: Presence) -> None:
    """No store, no history, no loop."""
    assert adopt(manual, presence) == (manual, False)


def test_new_message_keeps_the_end() -> None:
    """Who edits the text does not mean to stay for ever."""
    found, _ = adopt(state("lunch", None, AT + 3600), Presence("away", "lunch", "Pizza"))
    assert found is not None and (found.message, found.until) == ("Pizza", AT + 3600)


def test_presence_of_nobody_is_left_alone() -> None:
    """There are more presence states than users."""
    model = Model(make_settings())
    out = reduce(model, ev.PresenceChanged(AT, UserId("999"), Presence("dnd"), "pbx:hq"))
    assert out.commands == []
