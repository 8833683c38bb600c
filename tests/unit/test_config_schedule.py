"""`[[schedule]]` and the keys of forgotten states: what is read, every complaint, and what is surely not meant."""

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ari_presence.config import Config
from ari_presence.config_schedule import schedule_remarks, table_of
from ari_presence.core.names import UserId
from ari_presence.core.schedule import Days
from ari_presence.errors import ConfigError
from tests.unit.test_config import PBX, complaint, parse

HEAD = '[[schedule]]\nname = "office"\nall = true\n'
HOURS = 'hours = { mon-fri = "09:00-17:00" }\n'
H = 3600
AT = datetime(2026, 11, 26, 8, 0, tzinfo=UTC).timestamp()


def read(text: str) -> Any:
    """Read one schedule."""
    return parse(PBX + HEAD + text).schedule_list[0].schedule


def test_everything_about_a_schedule_is_read() -> None:
    """Each key ends up in the schedule of the core."""
    found = read(
        'timezone = "Asia/Tokyo"\ninside = "available"\noutside = "out"\nholiday = "away"\n'
        'holidays = ["12-25", "2026-12-24..2026-12-31", "12-30..01-02"]\n'
        'exceptions = [{ date = "2026-12-23", hours = "09:00-12:00" }, { date = "2026-12-22", hours = "" }]\n'
        '[schedule.hours]\nmon-tue = "08:30-12:00, 13:00-24:00"\n"thu, sat-sun" = "22:00-06:00"\nfri = ""\n'
    )
    day, night = ((8.5 * H, 12 * H), (13 * H, 24 * H)), ((22 * H, 30 * H),)
    assert found.hours == (day, day, (), night, (), night, night)
    assert (found.name, found.source, str(found.zone)) == ("office", "schedule:office", "Asia/Tokyo")
    assert (found.inside, found.outside, found.holiday) == ("available", "out", "away")
    assert found.holidays == (
        Days((12, 25), (12, 25)),
        Days((2026, 12, 24), (2026, 12, 31)),
        Days((12, 30), (1, 2)),
    )
    assert found.exceptions == {date(2026, 12, 23): ((9 * H, 12 * H),), date(2026, 12, 22): ()}


def test_defaults_of_a_schedule_and_of_forgotten_states() -> None:
    """A holiday is like the rest outside the hours unless it has a state; "" is none. Nothing is ever forgotten."""
    assert read(HOURS + 'outside = "out"\nholidays = ["12-25"]').holiday == "out"
    assert read(HOURS + 'outside = "out"\nholidays = ["12-25"]\nholiday = ""').holiday is None
    assert read('hours = { fri-mon = "09:00:30-17:00" }\noutside = "out"').hours[0] == ((9 * H + 30, 17 * H),)
    users = parse(PBX).users
    assert (users.remind_after_s, users.reset_at, users.reset_on_register) == (None, None, False)


def test_forgotten_states_are_read_with_their_units() -> None:
    """A duration, a time of day, yes or no; "" turns off."""
    users = parse(PBX + '[users]\nremind_after = "12h"\nreset_at = "04:00"\nreset_on_register = true').users
    assert (users.remind_after_s, users.reset_at, users.reset_on_register) == (43200, time(4), True)
    off = parse(PBX + '[users]\nremind_after = ""\nreset_at = ""').users
    assert (off.remind_after_s, off.reset_at) == (None, None)


OUT = 'outside = "out"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('hours = "09:00-17:00"\n', "hours: must be a table"),
        ('hours = { monday = "09:00-17:00" }\n', "hours: 'monday' is not a day"),
        ('hours = { mon-xyz = "09:00-17:00" }\n', "hours: 'mon-xyz' is not a day"),
        ('hours = { mon = 9 }\n', "hours: 9 is not hours"),
        ('hours = { mon = "9-17" }\n', "hours: '9-17' is not a span of hours"),
        ('hours = { mon = "09:00-25:00" }\n', "hours: '25:00' is not a time of day"),
        ('hours = { mon = "24:00-25:00" }\n', "hours: '24:00' is not a time of day"),
        ('hours = { mon = "09:60-17:00" }\n', "hours: '09:60' is not a time of day"),
        ('hours = { mon = "09:00-17:00," }\n', "hours: '' is not a span of hours"),
        ('hours = { mon = "09:00-09:00" }\n', "'09:00-09:00' is no time at all: write 00:00-24:00"),
        ('hours = { mon = "09:00-12:00, 11:00-13:00" }\n', "09:00-12:00 and 11:00-13:00 overlap"),
        ('hours = { mon = "09:00-12:00", mon-fri = "13:00-14:00" }\n', "mon is given twice"),
        (
            'hours = { sun = "22:00-06:00", mon = "05:00-09:00" }\n',
            "22:00-06:00 of sun and 05:00-09:00 of mon overlap",
        ),
        (HOURS + 'holidays = "12-25"\n', "holidays: must be a list"),
        (HOURS + "holidays = [2026-12-25]\n", "holidays: '2026-12-25' is not a date in quotes"),
        (HOURS + 'holidays = ["2026-02-30"]\n', "holidays: '2026-02-30' is a date that does not exist"),
        (HOURS + 'holidays = ["02-30"]\n', "holidays: '02-30' is a date that does not exist"),
        (HOURS + 'holidays = ["christmas"]\n', "holidays: 'christmas' is not a date"),
        (HOURS + 'holidays = ["2026-12-31..2026-12-24"]\n', "ends before it begins"),
        (HOURS + 'holidays = ["12-24..2026-12-31"]\n', "give the year with both days or with neither"),
        (HOURS + "exceptions = 1\n", "exceptions: must be a list of tables"),
        (HOURS + 'exceptions = ["2026-12-23"]\n', "exceptions: each needs date and hours"),
        (HOURS + 'exceptions = [{ date = "12-23", hours = "" }]\n', "exceptions: '12-23' is not one day"),
        (HOURS + 'exceptions = [{ date = "2026-12-23", hours = "x" }]\n', "exceptions: 'x' is not a span"),
        (HOURS + 'exceptions = [{ date = "2026-12-23", hours = "", x = 1 }]\n', "each needs date and hours, and nothing"),
        (
            HOURS + 'exceptions = [{ date = "2026-12-23", hours = "" }, { date = "2026-12-23", hours = "" }]\n',
            "exceptions: 2026-12-23 is given twice",
        ),
        (HOURS + 'inside = "gym"\n', "inside: there is no state 'gym' to set: one of available"),
        (HOURS + 'inside = "on-call"\n', "inside: there is no state 'on-call' to set"),
        (HOURS + 'timezone = "Mars"\n', "timezone: 'Mars' is not a time zone"),
        (HOURS + 'holiday = "away"\n', "holiday: no day is given"),
        ('users = ["100"]\n' + HOURS, "all: is given beside users or groups"),
        ("", "hours: is missing, so nothing ever changes"),
        ('hour = { mon = "09:00-17:00" }\n', "hour: unknown key: did you mean hours?"),
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_one_line_with_place_and_remedy(text: str, expected: str) -> None:
    """Times that do not exist, spans that overlap, dates that are none, states that nobody can set."""
    found = complaint(PBX + HEAD + OUT + text)
    assert found.startswith("[[schedule]] 1, ")
    assert expected in found
    assert len(found.splitlines()) == 1


def schedule(name: str, rest: str) -> str:
    """Write one schedule."""
    return f'[[schedule]]\nname = "{name}"\n{OUT}{HOURS}{rest}\n'


SALES_AND_SUPPORT = '[[user]]\nid = "100"\ngroups = ["sales", "support"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(schedule("a", ""), "[[schedule]] 1, users: is missing", id="for-nobody"),
        pytest.param(f'[[schedule]]\nname = "a"\nall = true\n{HOURS}', "outside: no state is given", id="no-state"),
        pytest.param(
            schedule("a", "all = true") * 2, "[[schedule]] 2, name: 'a' is that of [[schedule]] 1 already", id="name"
        ),
        pytest.param(
            schedule("a", "all = true") + schedule("b", "all = true"),
            "[[schedule]] 2, all: everybody has a schedule in [[schedule]] 1 already",
            id="two-for-all",
        ),
        pytest.param(
            schedule("a", 'users = ["100"]') + schedule("b", 'users = ["101", "100"]'),
            "[[schedule]] 2, users: user 100 has a schedule in [[schedule]] 1 already",
            id="two-for-a-user",
        ),
        pytest.param(
            schedule("a", 'groups = ["sales"]') + schedule("b", 'groups = ["sales"]'),
            "[[schedule]] 2, groups: group sales has a schedule in [[schedule]] 1 already",
            id="two-for-a-group",
        ),
        pytest.param(
            SALES_AND_SUPPORT + schedule("a", 'groups = ["sales"]') + schedule("b", 'groups = ["support"]'),
            "[[user]] 1, groups: 100 is in sales and support, which have different schedules",
            id="two-groups-of-a-user",
        ),
        pytest.param(
            schedule("a", 'groups = ["sale"]'),
            "[[schedule]] 1, groups: nobody is in 'sale': write it into",
            id="no-group",
        ),
        pytest.param('[users]\nreset_at = "25:00"', "[users] reset_at: '25:00' is not a time of day", id="reset"),
        pytest.param("[users]\nremind_after = 12", "[users] remind_after: a duration is text", id="remind"),
    ],
)
def test_schedules_that_overlap_or_never_apply_are_named(text: str, expected: str) -> None:
    """Two of the same rank for one user are an error that says which and what to do."""
    found = complaint(PBX + text)
    assert expected in found.replace("; ", "\n")
    if "is that of" not in expected:
        assert len(found.splitlines()) == 1


def test_own_schedule_decides_between_two_groups() -> None:
    """The remedy works."""
    text = (
        schedule("a", 'groups = ["sales"]') + schedule("b", 'groups = ["support"]') + schedule("c", 'users = ["100"]')
    )
    table = table_of(parse(PBX + SALES_AND_SUPPORT + text))
    found = table.of(UserId("100"), ("sales", "support"))
    assert found is not None and found.name == "c"


def test_state_of_the_file_can_be_used() -> None:
    """Own states are known."""
    own = '[[state]]\nid = "home"\n'
    assert parse(PBX + own + HEAD + HOURS + 'inside = "home"').schedule_list[0].inside == "home"


def remarks(config: Config) -> list[str]:
    """Give the remarks for people in Berlin and New York."""
    return schedule_remarks(config.schedule_list, [ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")], AT)


def test_time_that_daylight_saving_skips_is_remarked_with_day_and_zone() -> None:
    """Once for each zone, with what counts instead; a schedule that works by day is not mentioned."""
    quiet = parse(PBX + HEAD + OUT + HOURS)
    assert remarks(quiet) == []
    early = remarks(parse(PBX + HEAD + OUT + 'hours = { sun = "02:30-06:00" }'))
    assert early == [
        "[[schedule]] 1 (office): 02:30 does not exist on 2027-03-28 in Europe/Berlin (daylight saving begins): "
        "03:00 counts; choose another time if that is not meant",
        "[[schedule]] 1 (office): 02:30 does not exist on 2027-03-14 in America/New_York (daylight saving begins): "
        "03:00 counts; choose another time if that is not meant",
    ]
    own = remarks(parse(PBX + HEAD + OUT + 'timezone = "UTC"\nhours = { sun = "02:30-06:00" }'))
    assert own == []


def test_exception_at_a_time_that_does_not_exist_is_remarked() -> None:
    """As for the hours of every week."""
    text = HOURS + 'exceptions = [{ date = "2027-03-28", hours = "02:10-03:30" }]'
    (found,) = remarks(parse(PBX + HEAD + OUT + 'timezone = "Europe/Berlin"\n' + text))
    assert "02:10 does not exist on 2027-03-28" in found


def test_holidays_that_are_all_over_are_remarked() -> None:
    """A list that nobody has looked after; yearly ones never end."""
    old = 'holidays = ["2025-12-24..2025-12-26", "2025-05-01"]\n'
    (found,) = remarks(parse(PBX + HEAD + OUT + HOURS + old))
    assert "the last of its holidays with a year was 2025-12-26: add those to come" in found
    assert remarks(parse(PBX + HEAD + OUT + HOURS + 'holidays = ["2025-12-24", "2026-12-24", "05-01"]')) == []


def test_broken_schedule_breaks_nothing_else() -> None:
    """All complaints of a file come at once."""
    with pytest.raises(ConfigError) as caught:
        parse(PBX + HEAD + 'hours = { mon = "x" }\n[lamps]\nwhole = 1')
    assert len(str(caught.value).splitlines()) == 2
