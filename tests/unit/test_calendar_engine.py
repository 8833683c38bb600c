"""Calendars through the engine: lamps and texts at Asterisk, for one and for many at once."""

import base64

from ari_presence.core.names import StateId, UserId
from ari_presence.core.occurrences import CalendarRead, Occurrence
from ari_presence.core.userstate import Layer
from tests.unit.engine_rig import START, make_settings, running

ALICE = UserId("100")


def test_entry_is_written_to_asterisk_when_it_begins_and_when_it_ends() -> None:
    """Joined and whole lamp, presence with title and end; the lamp of the state is for what is set by hand."""
    with running() as rig:
        meeting = Occurrence(START + 60, START + 120, StateId("meeting"), "Budget")
        rig.engine.post(CalendarRead(START, "work", (meeting,), (ALICE,)))
        rig.sync()
        assert rig.lamp("Custom:presence-100") in ("-", "INVALID")
        rig.advance(60)
        assert [rig.lamp(device) for device in ("Custom:presence-100", "Stasis:presence-100")] == ["BUSY", "BUSY"]
        assert rig.lamp("Custom:meeting-100") in ("-", "NOT_INUSE")
        message = base64.b64encode(b"Budget (until").decode()[:16]
        assert any(message in str(request) for group in rig.link.groups for request in group)
        rig.advance(60)
        assert rig.lamp("Custom:presence-100") == "INVALID"


def test_many_who_change_at_the_same_second_all_change() -> None:
    """The engine goes on with the next slice by itself."""
    users = {UserId(str(number)): make_settings().default for number in range(1000, 1200)}
    with running(settings=make_settings(listed=users)) as rig:
        holiday = Occurrence(START + 60, START + 120, StateId("out"))
        rig.engine.post(CalendarRead(START, "holidays", (holiday,), tuple(users), everyone=True))
        rig.advance(60)
        shown = rig.engine.call(
            lambda engine: [engine.model.users[user].entries.get(Layer.CALENDAR) is not None for user in users]
        )
        assert all(shown)
        rig.sync()
        assert {rig.lamp(f"Custom:presence-{user}") for user in users} == {"ONHOLD"}
