"""The configuration: one frozen model for each section of the TOML file, and how the file is found and read.

Keys of the file are those of the documentation; fields that hold a time carry its unit (`wrap_up` is `wrap_up_s`).
Values are read by `config_values`, complaints are worded by `config_errors`. Secrets are read here and kept as
`SecretStr`, so that no log or traceback shows them. Nothing here knows who uses the values.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import time, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ari_presence import config_values as values
from ari_presence.config_calendar import CalendarSection, calendar_problems
from ari_presence.config_errors import ProblemsError, lines
from ari_presence.config_rights import Rights, Settable, unsettable
from ari_presence.config_schedule import ScheduleSection, schedule_problems, time_of_day
from ari_presence.config_secret import read_secret
from ari_presence.config_section import Id, Login, Section
from ari_presence.config_values import HostPort, matching
from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import StateId, UserId, fold_endpoint
from ari_presence.core.userstate import BUILTIN, CALL_STATES, DND, StateDef, StateTable
from ari_presence.errors import ConfigError

DEFAULT_PATH = Path("/etc/ari-presence/ari-presence.toml")
PATH_VARIABLE = "ARI_PRESENCE_CONFIG"

Seconds = Annotated[int, BeforeValidator(values.duration)]
SecondsOrOff = Annotated[int | None, BeforeValidator(values.optional(values.duration))]
Address = Annotated[HostPort, BeforeValidator(values.host_port)]
AddressOrOff = Annotated[HostPort | None, BeforeValidator(values.optional(values.host_port))]
Label = Annotated[str, AfterValidator(values.label)]
Lamp = Annotated[DeviceState, BeforeValidator(values.lamp)]
Sounds = Annotated[
    tuple[Annotated[str, AfterValidator(values.sound)], ...], Field(min_length=1), BeforeValidator(values.one_or_more)
]
Regex = Annotated[re.Pattern[str] | None, BeforeValidator(values.regex)]
Zone = Annotated[tzinfo, BeforeValidator(values.zone)]
Dialled = Annotated[str, AfterValidator(matching(r"[0-9*#+]{1,40}", "a number: digits, *, # and + only"))]


class Pbx(Section):
    """`[[pbx]]`: one Asterisk server.

    Attributes:
        name: For people, logs and the store.
        url: Of Asterisk's HTTP server, without `/ari` and without a slash at the end.
        password: Of the ARI user, wherever it came from.
        app: Name of the Stasis application; 72 characters at most (`res/ari/ari_websockets.h`).
        ami: Address of the manager interface, or None.
        parking_spaces: Devices of the parking spaces to watch, `park:701@parkedcalls`.
        ca_file: Certificate authorities for https; None means the system's. Certificates are always verified.
    """

    name: Id
    url: Annotated[str, AfterValidator(values.server_url)]
    username: Login = "ari-presence"
    password_file: str | None = None
    password: SecretStr = Field(default=SecretStr(""), validate_default=True)
    app: Annotated[
        str, AfterValidator(matching(r"[A-Za-z0-9_.-]{1,72}", "an application name: up to 72 of A-Z a-z 0-9 _ . -"))
    ] = "ari-presence"
    ca_file: Annotated[Path | None, BeforeValidator(values.optional(values.authorities))] = None
    ami: AddressOrOff = None
    ami_username: Login | None = None
    ami_password_file: str | None = None
    ami_password: SecretStr | None = Field(default=None, validate_default=True)
    parking_spaces: Annotated[tuple[str, ...], BeforeValidator(values.parking_spaces)] = Field(
        default=["701-720@parkedcalls"],  # the lot of Asterisk's sample configuration
        validate_default=True,
    )

    @field_validator("password", "ami_password", mode="before")
    @classmethod
    def _read_secret(cls, given: object, info: ValidationInfo) -> object:
        return read_secret(given, info)

    @model_validator(mode="after")
    def _complete(self) -> "Pbx":
        if not self.password.get_secret_value():
            raise ProblemsError(("password_file", "is missing: name the file that holds the password of the ARI user"))
        if self.ami and not (self.ami_username and self.ami_password):
            raise ProblemsError(("ami", "needs ami_username and ami_password_file as well"))
        if self.ca_file and not self.url.startswith("https:"):
            raise ProblemsError(("ca_file", "has no use without TLS: write https:// in url, or leave it out"))
        return self


class Users(Section):
    """`[users]`: which endpoints are users, in which time zone they live, and what they may set if `[[user]]` says nothing."""

    discover: Regex = Field(default=r"^PJSIP/(?P<user>\d{2,6})$", validate_default=True)
    exclude: Regex = Field(default="^PJSIP/trunk", validate_default=True)
    timezone: Annotated[tzinfo | None, BeforeValidator(values.zone)] = None
    remind_after_s: SecondsOrOff = Field(default=None, alias="remind_after")
    reset_at: Annotated[time | None, BeforeValidator(values.optional(time_of_day))] = None
    reset_on_register: StrictBool = False
    rights: Rights = ("set_self",)
    settable: Settable = None
    no_set: Regex = None

    @field_validator("discover")
    @classmethod
    def _has_user(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        if pattern and "user" not in pattern.groupindex:
            raise ValueError("has no group named user: write (?P<user>...) around what is the user's id")
        return pattern


class User(Section):
    """`[[user]]`: what discovery cannot know about one user; `endpoints` as written, compare them folded."""

    id: Id
    name: Label | None = None
    endpoints: tuple[Annotated[str, AfterValidator(values.endpoint)], ...] = ()
    groups: tuple[Id, ...] = ()
    rights: Rights | None = None
    settable: Settable = None
    timezone: Zone | None = None


class State(Section):
    """`[[state]]`: changes to a built-in state, or a state to add; None leaves the built-in or default value."""

    id: Annotated[str, AfterValidator(values.state_id)]
    label: Label | None = None
    digit: Annotated[str | None, BeforeValidator(values.digit)] = None
    joined: Lamp | None = None
    whole: Lamp | None = None
    # As Asterisk spells them (`main/presencestate.c`).
    presence: Literal["not_set", "unavailable", "available", "away", "xa", "chat", "dnd"] | None = None
    subtype: (
        Annotated[str, AfterValidator(matching(r"[A-Za-z0-9 _.-]{0,40}", "a subtype: letters, digits, space _ . -"))]
        | None
    ) = None
    treatment: Annotated[str, AfterValidator(values.treatment)] | None = None
    overrides_calls: StrictBool | None = None
    expires_s: SecondsOrOff = Field(default=None, alias="expires")
    prompt: Sounds | None = None
    pauses_queues: StrictBool | None = Field(default=None, alias="pause_queues")

    @model_validator(mode="after")
    def _only_what_works(self) -> "State":
        nobody_sets = self.id in CALL_STATES or self.id == "offline"
        for key in ("digit", "overrides_calls", "expires_s", "prompt"):
            if nobody_sets and getattr(self, key):
                raise ProblemsError((key.removesuffix("_s"), f"{self.id!r} is never set by a person: leave this out"))
        if self.id in CALL_STATES and self.pauses_queues:
            raise ProblemsError(
                ("pause_queues", f"{self.id!r} comes with calls, which a queue minds itself: leave this out")
            )
        if self.id in CALL_STATES and self.subtype and not self.presence:
            raise ProblemsError(("subtype", "needs presence as well"))
        return self

    def applied_to(self, state: StateDef) -> StateDef:
        """Give `state` with the changes that are configured."""
        simple = ("label", "digit", "joined", "whole", "treatment", "overrides_calls", "prompt", "pauses_queues")
        changes: dict[str, Any] = {key: getattr(self, key) for key in simple if getattr(self, key) is not None}
        if "expires_s" in self.model_fields_set:
            changes["expires_s"] = self.expires_s or None
        if self.presence is not None or self.subtype is not None:
            kind, subtype = state.presence or ("", "")
            changes["presence"] = (self.presence or kind, subtype if self.subtype is None else self.subtype)
        if self.digit is not None and self.prompt is None and self.id != DND:
            changes["prompt"] = (f"digits/{self.digit}",) if self.digit else ()
        return replace(state, **changes)

    def added(self) -> StateDef:
        """Give a state that is not built in; what is not configured looks like "away"."""
        lamp = self.joined or DeviceState.ONHOLD
        return self.applied_to(StateDef(StateId(self.id), self.id.capitalize(), "", lamp, lamp, ("away", self.id)))


class Calls(Section):
    """`[calls]`: the states that come from calls."""

    wrap_up_s: Seconds = Field(default=0, alias="wrap_up")
    history: StrictBool = False


class Lamps(Section):
    """`[lamps]`: which lamps are written."""

    whole: StrictBool = True
    freepbx: StrictBool = False
    parked_alert_s: Seconds = Field(default=120, alias="parked_alert")


class Treatment(Section):
    """`[treatment]`: callers who get through; `vip` may end in or hold `*`, "" turns a way off (None)."""

    vip: tuple[
        Annotated[str, AfterValidator(matching(r"[A-Za-z0-9+*#?._-]{1,40}", "a caller's number, which may end in *"))],
        ...,
    ] = ()
    emergency: tuple[Dialled, ...] = ("112", "911")
    override_code: Annotated[
        str, AfterValidator(matching(r"|[0-9*#]{2,10}", 'a feature code such as *86, or "" for none'))
    ] = "*86"
    repeat_within_s: SecondsOrOff = Field(default=180, alias="repeat_within")


class Agi(Section):
    """`[agi]`: where the FastAGI server listens; "" turns it off (None)."""

    listen: AddressOrOff = HostPort("127.0.0.1", 4573)


class Http(Section):
    """`[http]`: where the HTTP interface listens; "" turns it off (None)."""

    listen: AddressOrOff = HostPort("127.0.0.1", 8090)


class Cluster(Section):
    """`[cluster]`: what several daemons share; "" is a daemon of its own."""

    url: Annotated[str, AfterValidator(values.cluster_url)] = ""


class Prompts(Section):
    """`[prompts]`: sounds that are played in place of the standard ones."""

    activated: Sounds = ("activated",)
    deactivated: Sounds = ("de-activated",)
    error: Sounds = ("beeperr",)


class Config(Section):
    """The whole configuration; immutable, so any thread may read it.

    Attributes:
        state_dir: Folder of store, lock and control socket.
        history_days: How long history is kept; 0 keeps none.
        system_timezone: The zone of users for whom none is configured.
    """

    state_dir: Annotated[Path, BeforeValidator(values.absolute_path)] = Path("/var/lib/ari-presence")
    history_days: Annotated[StrictInt, Field(ge=0, le=36500)] = 365
    pbxs: tuple[Pbx, ...] = Field(alias="pbx", min_length=1)
    users: Users = Field(default_factory=Users)
    user_list: tuple[User, ...] = Field(default=(), alias="user")
    state_list: tuple[State, ...] = Field(default=(), alias="state")
    schedule_list: tuple[ScheduleSection, ...] = Field(default=(), alias="schedule")
    calendar_list: tuple[CalendarSection, ...] = Field(default=(), alias="calendar")
    calls: Calls = Field(default_factory=Calls)
    lamps: Lamps = Field(default_factory=Lamps)
    treatment: Treatment = Field(default_factory=Treatment)
    agi: Agi = Field(default_factory=Agi)
    http: Http = Field(default_factory=Http)
    cluster: Cluster = Field(default_factory=Cluster)
    prompts: Prompts = Field(default_factory=Prompts)
    # Not a key of the file: `parse_config` puts it in.
    system_timezone: tzinfo = Field(exclude=True, repr=False)

    @cached_property
    def states(self) -> StateTable:
        """The built-in states as changed, then the added ones in the order of the file."""
        changed = {state.id: state for state in self.state_list}
        builtin = [changed.pop(each.id).applied_to(each) if each.id in changed else each for each in BUILTIN]
        return StateTable([*builtin, *(state.added() for state in changed.values())])

    @cached_property
    def user_by_id(self) -> Mapping[UserId, User]:
        """The listed users."""
        return {UserId(user.id): user for user in self.user_list}

    @cached_property
    def user_by_endpoint(self) -> Mapping[str, UserId]:
        """Whose endpoint is which, by folded name (`fold_endpoint`): listed ones only."""
        return {fold_endpoint(each): UserId(user.id) for user in self.user_list for each in user.endpoints}

    def zone_of(self, user: UserId) -> tzinfo:
        """Give the time zone in which times of day of `user` are meant."""
        listed = self.user_by_id.get(user)
        return (listed and listed.timezone) or self.users.timezone or self.system_timezone

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        problems = [
            *_repeated("pbx", "name", [pbx.name for pbx in self.pbxs]),
            *_repeated("user", "id", [user.id for user in self.user_list]),
            *_repeated("state", "id", [state.id for state in self.state_list]),
            *_repeated("calendar", "name", [calendar.name for calendar in self.calendar_list]),
            *self._overlapping(),
        ]
        problems = problems or self._shared_digits() or schedule_problems(self)
        groups = {group for user in self.user_list for group in user.groups}
        problems = problems or list(calendar_problems(self.calendar_list, self.states, groups))
        lists = [("[users]", self.users.settable)]
        lists += [(f"[[user]] {number},", user.settable) for number, user in enumerate(self.user_list, 1)]
        problems = problems or list(unsettable(lists, [state.id for state in self.state_list]))
        if problems:
            raise ProblemsError(*problems)
        return self

    def _overlapping(self) -> list[tuple[str, str]]:
        owner: dict[str, int] = {}
        problems = []
        for number, user in enumerate(self.user_list, 1):
            for endpoint in user.endpoints:
                first = owner.setdefault(fold_endpoint(endpoint), number)
                if first != number or Counter(map(fold_endpoint, user.endpoints))[fold_endpoint(endpoint)] > 1:
                    whose = f"[[user]] {first} ({self.user_list[first - 1].id})"
                    text = f"{endpoint!r} belongs to {whose} already (upper and lower case are the same): keep one"
                    problems.append((f"[[user]] {number}, endpoints", text))
        return list(dict.fromkeys(problems))

    def _shared_digits(self) -> list[tuple[str, str]]:
        problems = []
        digits = {each.id: each.digit for each in BUILTIN if each.digit}
        digits |= {StateId(each.id): each.digit for each in self.state_list if each.digit is not None}
        for number, state in enumerate(self.state_list, 1):
            others = [each for each, digit in digits.items() if digit == state.digit and each != state.id]
            if state.digit and others:
                text = f'digit {state.digit} is that of {others[0]!r} already: take another, or digit = "" there'
                problems.append((f"[[state]] {number}, digit", text))
        return problems


def _repeated(table: str, key: str, names: list[str]) -> list[tuple[str, str]]:
    return [
        (f"[[{table}]] {number}, {key}", f"{name!r} is that of [[{table}]] {names.index(name) + 1} already: keep one")
        for number, name in enumerate(names, 1)
        if names.index(name) + 1 < number
    ]


def find_config(option: str | None, environ: Mapping[str, str]) -> Path:
    """Tell which file to read: the option's, else that of `$ARI_PRESENCE_CONFIG`, else the standard one."""
    return Path(option or environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check the file, and the files of secrets that it names.

    Args:
        path: The TOML file.
        environ: The environment, for `CREDENTIALS_DIRECTORY` and `TZ`.

    Raises:
        ConfigError: One line for each thing that is wrong: file, key, what is wrong, what to do.
    """
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file: write one with 'ari-presence init', or name it with --config"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): mend its path or its permissions") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:  # also a number with thousands of digits
        raise ConfigError(f"{path}: not TOML: {error}: mend that line (text needs quotes)") from None
    return parse_config(data, environ, where=str(path))


def parse_config(data: Mapping[str, Any], environ: Mapping[str, str], *, where: str = "configuration") -> Config:
    """Check a configuration that has been read already; see `load_config`."""
    try:
        if "system_timezone" in data:
            raise ConfigError(f"{where}: system_timezone: unknown key: did you mean [users] timezone?")
        zone = _system_zone(data, environ, where)
        return Config.model_validate({**data, "system_timezone": zone}, context={"environ": environ})
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines(error, Config))) from None


def _system_zone(data: Mapping[str, Any], environ: Mapping[str, str], where: str) -> tzinfo:
    users = data.get("users")
    try:
        return values.system_zone({} if isinstance(users, dict) and "timezone" in users else environ)
    except ValueError as error:
        raise ConfigError(f"{where}: [users] timezone: is not given, and the environment variable TZ {error}") from None
