"""`[[calendar]]` in the configuration: what is taken, and complaints that name key, problem and remedy."""

import tomllib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ari_presence.calendars.rules import DEFAULT_RULES, Rule
from ari_presence.config import Config, parse_config
from ari_presence.errors import ConfigError

BASE = '[[pbx]]\nname = "hq"\nurl = "http://127.0.0.1:8088"\npassword = "word"\n'
PEOPLE = '[[user]]\nid = "100"\ngroups = ["sales"]\n'


def load(text: str, **environ: str) -> Config:
    """Read a configuration with these tables."""
    return parse_config(tomllib.loads(BASE + PEOPLE + text), {"TZ": "UTC", **environ})


def complaint(text: str) -> str:
    """Expect a complaint and give it."""
    with pytest.raises(ConfigError) as error:
        load(text)
    return str(error.value)


def test_calendar_with_everything_is_read(tmp_path: Path) -> None:
    """Each key; the password comes from its file."""
    secret = tmp_path / "secret"
    secret.write_text("word\n")
    (calendar,) = load(
        f"""
        [[calendar]]
        name = "work"
        url = "https://cloud.example.org/{{user}}.ics"
        users = ["100", "101"]
        groups = ["sales"]
        username = "presence"
        password_file = "{secret}"
        refresh = "10m"
        timezone = "Europe/Berlin"
        titles = false
        address = "{{user}}@example.org"
        rules = [
            {{ words = "lunch", state = "lunch" }},
            {{ categories = ["Holiday", "Trip"], busy = ["oof", "busy"], state = "out" }},
            {{ words = ["home office"], state = "" }},
        ]
        """
    ).calendar_list
    assert calendar.url == "https://cloud.example.org/{user}.ics" and calendar.refresh_s == 600
    assert calendar.password is not None and calendar.password.get_secret_value() == "word"
    assert (calendar.timezone, calendar.titles, calendar.address) == (
        ZoneInfo("Europe/Berlin"),
        False,
        ("{user}@example.org",),
    )
    assert calendar.all_rules == (
        Rule("lunch", ("lunch",)),
        Rule("out", (), ("Holiday", "Trip"), ("oof", "busy")),
        Rule("", ("home office",)),
        *DEFAULT_RULES,
    )
    assert "word" not in repr(calendar).replace("words", "").replace("password", "")


def test_address_of_a_subscription_is_that_of_a_server() -> None:
    """webcal: is how calendars are handed out."""
    text = '[[calendar]]\nname = "a"\nurl = "webcal://a.example/x.ics"\nall = true'
    assert load(text).calendar_list[0].url == "https://a.example/x.ics"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("all = true", "[[calendar]] 1, file: is missing, and so are folder and url: give one of them"),
        ('file = "/a"\nurl = "https://a/b"\nall = true', "url: is given beside file: keep one of them"),
        ('file = "/a"', 'users: is missing: give users = ["100"], groups = ["sales"] or all = true'),
        ('file = "/a"\nusers = ["100"]\nall = true', "all: is given beside users or groups: keep one"),
        ('file = "a.ics"\nall = true', "is not a whole path"),
        ('url = "ftp://a/b"\nall = true', "must begin with http:// or https://"),
        ('url = "https://joe:word@a/b"\nall = true', "holds no user or password"),
        ('url = "https://a/{name}.ics"\nall = true', "only {user} may stand"),
        ('url = "https://{user}.a/b.ics"\nall = true', "only {user} may stand"),
        ('file = "/a"\nall = true\nusername = "joe"\npassword = "word"', "username: has no use without url"),
        ('url = "https://a/b"\nall = true\nusername = "joe"', "password_file: is missing"),
        ('url = "https://a/b"\nall = true\npassword = "word"', "username: is missing"),
        (
            'url = "https://a/b"\nall = true\nusername = "j"\npassword_file = "/none/x"',
            "create it, readable by the user",
        ),
        ('url = "https://a/b"\nall = true\nrefresh = "0s"', 'refresh: must be from "1s" to "1d"'),
        ('url = "https://a/b"\nall = true\nrefresh = "2d"', 'refresh: must be from "1s" to "1d"'),
        ('url = "https://a/b"\nall = true\nrefresh = 5', "a duration is text with its unit"),
        ('file = "/a"\nall = true\ntimezone = "Middle/Earth"', "is not a time zone of this system"),
        ('file = "/a"\ngroups = ["saels"]', "groups: nobody is in 'saels': write it into groups of a [[user]]"),
        ('file = "/a"\nall = true\naddress = "alice"', "is not an e-mail address"),
        ('file = "/a"\nall = true\nrules = "lunch"', "rules: must be a list of rules: write rules = [{ words"),
        ('file = "/a"\nall = true\nrules = ["lunch"]', "rule 1 is not a table"),
        ('file = "/a"\nall = true\nrules = [{ state = "out" }, { word = "x" }]', "rule 2: unknown key 'word'"),
        ('file = "/a"\nall = true\nrules = [{ words = ["x"] }]', "rule 1: state is missing"),
        ('file = "/a"\nall = true\nrules = [{ words = [], state = "out" }]', "rule 1: words must be a list of 1 to"),
        ('file = "/a"\nall = true\nrules = [{ words = [1], state = "out" }]', "rule 1: words must hold texts"),
        ('file = "/a"\nall = true\nrules = [{ busy = "buzy", state = "out" }]', "rule 1: 'buzy' is not a busy type"),
        ('file = "/a"\nall = true\nrules = [{ state = "nap" }]', "rules: rule 1: there is no state 'nap' to set"),
        ('file = "/a"\nall = true\nrules = [{ state = "on-call" }]', "rule 1: there is no state 'on-call' to set"),
        ('file = "/a"\nall = true\nuser = ["100"]', "unknown key: did you mean users?"),
    ],
    ids=range(29),
)
def test_calendar_that_cannot_work_is_refused(lines: str, says: str) -> None:
    """One line: which calendar, which key, what is wrong, what to write."""
    text = complaint(f'[[calendar]]\nname = "work"\n{lines}')
    assert says in text and "[[calendar]] 1" in text and "\n" not in text
    assert "word" not in text.replace("words", "").replace("password", "").replace("'word'", "")


def test_name_is_used_once() -> None:
    """It is the name of the source and of the copy."""
    one = '[[calendar]]\nname = "work"\nfile = "/a"\nall = true\n'
    assert "'work' is that of [[calendar]] 1 already" in complaint(one + one)
    assert "is not a legal id" in complaint(one.replace('"work"', '"../x"'))


def test_secret_of_the_address_is_not_repeated() -> None:
    """The private addresses of calendars are secrets."""
    for url in ("https://a/private-0123/{nobody}.ics", "gopher://a/private-0123", "https://a/private-0123 x"):
        assert "0123" not in complaint(f'[[calendar]]\nname = "a"\nurl = "{url}"\nall = true')


def test_no_calendar_is_the_default() -> None:
    """Nothing is read, nothing is fetched."""
    found: Any = load("").calendar_list
    assert found == ()
