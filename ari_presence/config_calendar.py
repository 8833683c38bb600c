"""`[[calendar]]`: where the calendars of users are, and which state an entry stands for."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ari_presence import config_values as values
from ari_presence.calendars.rules import BUSY_TYPES, DEFAULT_RULES, Rule
from ari_presence.config_errors import ProblemsError
from ari_presence.config_secret import read_secret
from ari_presence.config_section import ForUsers, Id, Login, memberless
from ari_presence.config_values import matching
from ari_presence.core.userstate import StateTable

REFRESH_S = (1, 86_400)
_USER = "{user}"
_EXAMPLE = '{ words = ["lunch"], state = "lunch" }'
_WORDS_AT_MOST = 100

File = Annotated[Path | None, BeforeValidator(values.absolute_path)]
Address = Annotated[str, AfterValidator(matching(r"[^\s@]{1,100}@[^\s@]{1,100}", "an e-mail address"))]


def _url(text: str) -> str:
    """Check an address; its text is never repeated, since it may hold a secret."""
    found = re.match(r"webcals?://", text)
    text = f"https://{text[found.end() :]}" if found else text
    values.check_url(text, ("http", "https"), "https://cloud.example.org/{user}.ics")
    if "{" in urlsplit(text).netloc or re.search(r"[{}]", text.replace(_USER, "")) or not text.isascii():
        raise ValueError("in braces only {user} may stand, behind the host: write https://cloud.example.org/{user}.ics")
    return text


def _rules(value: object) -> object:
    """Read the list of rules."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of rules: write rules = [{_EXAMPLE}]")
    return tuple(each if isinstance(each, Rule) else _rule(each, number) for number, each in enumerate(value, 1))


def _rule(given: object, number: int) -> Rule:
    if not isinstance(given, Mapping):
        raise ValueError(f"rule {number} is not a table: write {_EXAMPLE}")
    unknown = sorted(given.keys() - {"words", "categories", "busy", "state"})
    if unknown:
        raise ValueError(f"rule {number}: unknown key {unknown[0]!r}: known are words, categories, busy and state")
    state = given.get("state")
    if not isinstance(state, str):
        raise ValueError(f'rule {number}: state is missing: name one, or "" for an entry that counts as nothing')
    words, categories, busy = (_texts(given, key, number) for key in ("words", "categories", "busy"))
    strange = [each for each in busy if each not in BUSY_TYPES]
    if strange:
        raise ValueError(f"rule {number}: {strange[0]!r} is not a busy type: one of {', '.join(BUSY_TYPES)}")
    return Rule(state, words, categories, busy)


def _texts(given: Mapping[str, object], key: str, number: int) -> tuple[str, ...]:
    value = given.get(key)
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or (value is not None and not texts) or len(texts) > _WORDS_AT_MOST:
        raise ValueError(f"rule {number}: {key} must be a list of 1 to {_WORDS_AT_MOST} texts")
    if not all(isinstance(text, str) and text.strip() and text.isprintable() for text in texts):
        raise ValueError(f"rule {number}: {key} must hold texts in quotes, none of them empty")
    return tuple(texts)


class CalendarSection(ForUsers):
    """`[[calendar]]`: one file, folder or address, and whose it is.

    Attributes:
        name: For the source of states, logs and the store.
        file: One iCalendar file.
        folder: Folder with one `<user>.ics` for each user.
        url: Of an http(s) server; may hold `{user}`.
        password: For the server, wherever it came from.
        address: E-mail addresses of the owner; may hold `{user}`.
    """

    name: Id
    file: File = None
    folder: File = None
    url: Annotated[str, AfterValidator(_url)] | None = None
    username: Login | None = None
    password_file: str | None = None
    password: SecretStr | None = Field(default=None, validate_default=True)
    ca_file: Annotated[Path | None, BeforeValidator(values.optional(values.authorities))] = None
    refresh_s: Annotated[int, BeforeValidator(values.duration)] = Field(default=300, alias="refresh")
    timezone: Annotated[tzinfo | None, BeforeValidator(values.zone)] = None
    titles: StrictBool = True
    address: Annotated[tuple[Address, ...], BeforeValidator(values.one_or_more)] = ()
    rules: Annotated[tuple[Rule, ...], BeforeValidator(_rules)] = Field(default=(), max_length=200)

    @field_validator("password", mode="before")
    @classmethod
    def _read_secret(cls, given: object, info: ValidationInfo) -> object:
        return read_secret(given, info)

    @model_validator(mode="after")
    def _complete(self) -> "CalendarSection":
        places = [key for key in ("file", "folder", "url") if getattr(self, key) is not None]
        if not places:
            raise ProblemsError(("file", "is missing, and so are folder and url: give one of them"))
        if len(places) > 1:
            raise ProblemsError((places[1], f"is given beside {places[0]}: keep one of them"))
        if not REFRESH_S[0] <= self.refresh_s <= REFRESH_S[1]:
            raise ProblemsError(("refresh", 'must be from "1s" to "1d"'))
        self._check_login()
        return self

    def _check_login(self) -> None:
        for key in ("username", "password", "ca_file") if self.url is None else ():
            if getattr(self, key) is not None:
                raise ProblemsError((key, "has no use without url: leave it out"))
        if self.username is not None and self.password is None:
            raise ProblemsError(("password_file", "is missing: name the file that holds the password"))
        if self.password is not None and self.username is None:
            raise ProblemsError(("username", "is missing: the password needs one"))
        if self.ca_file and not str(self.url).startswith("https:"):
            raise ProblemsError(("ca_file", "has no use without TLS: write https:// in url, or leave it out"))

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules as they are followed: the default ones come last."""
        return (*self.rules, *DEFAULT_RULES)


def calendar_problems(
    calendars: Sequence[CalendarSection], states: StateTable, groups: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Complain about states and groups that do not exist."""
    settable = {state.id for state in states.settable}
    for number, calendar in enumerate(calendars, 1):
        for place, rule in enumerate(calendar.rules, 1):
            if rule.state and rule.state not in settable:
                text = f"rule {place}: there is no state {rule.state!r} to set: one of {', '.join(sorted(settable))}"
                yield f"[[calendar]] {number}, rules", text
    yield from memberless("calendar", calendars, groups)
