"""What schedules will do, as JSON."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ari_presence.core.agenda import agenda_json, followed, followed_by
from ari_presence.core.names import StateId, UserId
from ari_presence.core.schedule import Schedule, ScheduleTable
from tests.unit.core.test_schedulestate import ALICE, AT, BOB, TABLE, office, started

ALWAYS = Schedule("always", (((0, 86400),),) * 7, StateId("away"))


def test_agenda_shows_now_and_what_comes_in_utc_and_on_the_wall() -> None:
    """A state of None has no label; the week has a row for each change."""
    model = started(ScheduleTable(everybody=office()))
    bob = next(each for each in followed(model) if str(each.zone) == "America/New_York")
    shown = agenda_json(bob, TABLE, AT, week=False)
    assert (shown["schedule"], shown["timezone"], shown["users"]) == ("office", "America/New_York", 1)
    assert shown["coming"][:2] == [
        {
            "state": "out",
            "label": "Out of office",
            "reason": "outside hours",
            "since": "2026-11-25T22:00:00.000Z",
            "until": "2026-11-26T14:00:00.000Z",
            "local_since": "2026-11-25T17:00:00-05:00",
            "local_until": "2026-11-26T09:00:00-05:00",
        },
        {
            "state": None,
            "label": None,
            "reason": "hours",
            "since": "2026-11-26T14:00:00.000Z",
            "until": "2026-11-26T22:00:00.000Z",
            "local_since": "2026-11-26T09:00:00-05:00",
            "local_until": "2026-11-26T17:00:00-05:00",
        },
    ]
    assert (len(shown["coming"]), len(agenda_json(bob, TABLE, AT, week=True)["coming"])) == (3, 15)


def test_agenda_without_an_end_says_none() -> None:
    """What never changes is one row."""
    (each,) = followed(started(ScheduleTable(users={ALICE: ALWAYS})))
    (row,) = agenda_json(each, TABLE, AT, week=True)["coming"]
    assert (row["state"], row["until"], row["local_until"]) == ("away", None, None)


def test_schedules_of_nobody_are_listed_too() -> None:
    """With the zone they would have; each zone of the others is a row, by name."""
    table = ScheduleTable({UserId("999"): Schedule("zz", zone=ZoneInfo("Asia/Tokyo"))}, {}, office())
    rows = [(each.schedule.name, str(each.zone), each.users) for each in followed(started(table))]
    assert rows == [("office", "America/New_York", 1), ("office", "UTC", 1), ("zz", "Asia/Tokyo", 0)]


def test_user_follows_one_schedule_or_none() -> None:
    """In the zone that counts for the user."""
    model = started(ScheduleTable(users={BOB: office()}))
    assert [str(each.zone) for each in followed_by(model, model.users[BOB])] == ["America/New_York"]
    assert followed_by(model, model.users[ALICE]) == []


def test_agenda_of_a_distant_holiday_shows_it() -> None:
    """What comes once a year is found, although the layer itself does not look so far."""
    from ari_presence.core.schedule import Days

    table = ScheduleTable(users={ALICE: Schedule("x", holiday=StateId("out"), holidays=(Days((10, 3), (10, 3)),))})
    (each,) = followed(started(table))
    coming = agenda_json(each, TABLE, datetime(2026, 11, 1, tzinfo=UTC).timestamp(), week=False)["coming"]
    assert [(row["state"], row["local_since"][:10]) for row in coming[1:2]] == [("out", "2027-10-03")]
