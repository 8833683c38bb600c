"""From the configuration to the keeper's setup."""

import tomllib
from zoneinfo import ZoneInfo

from ari_presence.calendars.rules import DEFAULT_RULES
from ari_presence.calendarsetup import setup_of
from ari_presence.config import parse_config
from ari_presence.core.names import UserId
from ari_presence.settings import settings_of

TEXT = """
[[pbx]]
name = "hq"
url = "http://127.0.0.1:8088"
password = "word"
[users]
timezone = "Europe/Berlin"
[[user]]
id = "100"
groups = ["sales"]
[[user]]
id = "101"
groups = ["sales", "support"]
timezone = "Europe/London"
[[calendar]]
name = "holidays"
file = "/srv/holidays.ics"
all = true
[[calendar]]
name = "team"
url = "https://a.example/{user}"
users = ["105"]
groups = ["sales"]
username = "joe"
password = "secret"
timezone = "UTC"
[[calendar]]
name = "own"
folder = "/srv/calendars"
groups = ["support"]
"""


def test_setup_says_whose_calendars_are_where() -> None:
    """Members of groups, everybody, places, zones; the order is that of the file."""
    config = parse_config(tomllib.loads(TEXT), {"TZ": "UTC"})
    setup = setup_of(config.calendar_list, settings_of(config))
    holidays, team, own = setup.calendars
    assert (holidays.order, holidays.users, holidays.place, holidays.rules) == (
        0,
        None,
        "/srv/holidays.ics",
        DEFAULT_RULES,
    )
    assert team.users == {UserId("100"), UserId("101"), UserId("105")} and team.is_for_each and not team.is_folder
    assert (team.username, team.password, team.zone) == ("joe", "secret", ZoneInfo("UTC"))
    assert own.is_folder and own.users == {UserId("101")} and own.order == 2
    assert [str(setup.zone_of(UserId(user))) for user in ("100", "101", "105")] == [
        "Europe/Berlin",
        "Europe/London",
        "Europe/Berlin",
    ]
