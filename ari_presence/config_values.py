"""Values of the configuration file: text in, checked Python values out.

Every function raises `ValueError` whose text says what is wrong and what to write instead; the place is added by
`ari_presence.config`. No function repeats a secret in its text.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.names import is_state_id, is_user_id, message_problem
from ari_presence.core.timers import parse_duration
from ari_presence.core.userstate import BUILTIN
from ari_presence.errors import Refused

_BUILTIN_IDS = frozenset(state.id for state in BUILTIN)
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.%a-z]{2,60}\]")
_ENDPOINT = re.compile(r"[A-Z][A-Z0-9]{1,15}/[!-%'*+\-.0-:<-Z^-~]{1,78}")
_SOUND = re.compile(r"/?[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_SOUND_ENDING = re.compile(r"\.(?:wav|wav16|wav49|gsm|ulaw|alaw|ul|al|sln\d*|g722|g729|mp3|ogg|opus)", re.IGNORECASE)
_TREATMENT = re.compile(r"ring|refuse|voicemail|forward:[0-9*#+]{1,40}")
_SPACES = re.compile(r"([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?@([A-Za-z0-9_.-]{1,60})")
_SPACES_AT_MOST = 1000  # each is a subscription that costs Asterisk memory
_SECRET_LENGTH = 1024
_SECRET_FORM = f"a password is one line of UTF-8 text, at most {_SECRET_LENGTH} characters: write it anew"


class HostPort(NamedTuple):
    """An address to listen on or to connect to; the host of an IPv6 address has no brackets."""

    host: str
    port: int


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Make a check that the whole text matches `pattern`; `expected` says in words what should be there."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"{text!r} is not {expected}")
        return text

    return check


def duration(value: object) -> int:
    """Read a duration such as "45m" as seconds."""
    if not isinstance(value, str):
        raise ValueError('a duration is text with its unit: write "90s", "45m", "2h" or "1d"')
    try:
        return parse_duration(value)
    except Refused as error:
        raise ValueError(str(error)) from None


def optional(read: Callable[[object], object]) -> Callable[[object], object]:
    """Make a reader for which "" means None: turned off."""
    return lambda value: None if value == "" else read(value)


def host_port(value: object) -> HostPort:
    """Read `host:port`, or `[address]:port` for IPv6."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f'{value!r} is not an address: write host:port, such as "127.0.0.1:8090" or "[::1]:8090"')
    return HostPort(host.strip("[]"), int(port))


def server_url(text: str) -> str:
    """Check the address of an Asterisk HTTP server; a slash at the end is dropped."""
    check_url(text, ("http", "https"), "http://127.0.0.1:8088")
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise ValueError('nothing may follow the path: write it as "http://127.0.0.1:8088"')
    path = parts.path.rstrip("/")
    if path.endswith("/ari"):
        raise ValueError('"/ari" is added by the program: leave it out')
    return f"{parts.scheme}://{parts.netloc}{path}"


def cluster_url(text: str) -> str:
    """Check the address of the Redis server that several daemons share; "" is no cluster."""
    if text:
        check_url(text, ("redis", "rediss"), "redis://127.0.0.1:6379/0")
    return text


def check_url(text: str, schemes: tuple[str, ...], example: str) -> None:
    """Check an address of one of these schemes."""
    # The text itself is never repeated: it may hold a password.
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(f'not a valid address: write it as "{example}"') from None
    if "@" in text:
        raise ValueError(
            "an address holds no user or password, it would end up in logs: leave out what is before the @"
        )
    if parts.scheme not in schemes or not host or port == 0 or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(f'must begin with {" or ".join(f"{each}://" for each in schemes)}: write it as "{example}"')


def user_id(text: str) -> str:
    """Check a user or group id."""
    if is_user_id(text):
        return text
    if is_user_id(text.lower()):
        raise ValueError(f"{text!r} is not a legal id: write it in lower case, {text.lower()!r}")
    raise ValueError(
        f"{text!r} is not a legal id: up to 40 of a-z 0-9 _ . - are allowed, the first a letter or a digit"
    )


def state_id(text: str) -> str:
    """Check the id of a built-in state or of one to add."""
    if text in _BUILTIN_IDS or is_state_id(text):
        return text
    raise ValueError(
        f"{text!r} is not a legal state id: up to 16 of a-z 0-9 are allowed, the first a letter, "
        "and not presence, group or parked"
    )


def endpoint(text: str) -> str:
    """Check the name of an endpoint, technology and resource."""
    if _ENDPOINT.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not an endpoint: write it as Asterisk does, such as PJSIP/100")
    return text


def label(text: str) -> str:
    """Check a name for people: like a message, and not empty."""
    problem = "the text is empty" if not text.strip() else message_problem(text)
    if problem:
        raise ValueError(problem.replace("message", "text"))
    return text


def digit(value: object) -> object:
    """Read the digit that is dialled for a state: 1 to 8 as a number or as text, "" for none."""
    text = str(value) if type(value) is int else value
    if text == "" or (isinstance(text, str) and re.fullmatch("[1-8]", text)):
        return text
    raise ValueError(f'{value!r} is not a digit for a state: write 1 to 8, or "" for none')


def lamp(value: object) -> DeviceState:
    """Read the value of a main lamp; UNKNOWN can be read from Asterisk but not written."""
    state = parse_state(value) if isinstance(value, str) else DeviceState.UNKNOWN
    if state is DeviceState.UNKNOWN:
        names = ", ".join(each for each in DeviceState if each is not DeviceState.UNKNOWN)
        raise ValueError(f"{value!r} is not a lamp value: write one of {names}")
    return state


def treatment(text: str) -> str:
    """Check what happens to calls."""
    if _TREATMENT.fullmatch(text) is None:
        raise ValueError(f'{text!r} is not a treatment: write "ring", "refuse", "voicemail" or "forward:<number>"')
    return text


def sound(text: str) -> str:
    """Check the name of a sound file: as `Playback()` takes it, without its ending."""
    if _SOUND.fullmatch(text) is None or len(text) > 200:
        raise ValueError(f"{text!r} is not the name of a sound: write it as for Playback(), such as custom/at-lunch")
    ending = _SOUND_ENDING.search(text)
    if ending and ending.end() == len(text):
        raise ValueError(f"{text!r}: leave out the ending, Asterisk chooses the format: {text[: ending.start()]!r}")
    return text


def one_or_more(value: object) -> object:
    """Let one text stand for a list of one."""
    return [value] if isinstance(value, str) else value


def regex(value: object) -> re.Pattern[str] | None:
    r"""Compile a regular expression; "" is None. `\d` means ASCII digits, as in the names that it is used on."""
    if not isinstance(value, str):
        raise ValueError("must be a regular expression in single quotes")
    try:
        return re.compile(value, re.ASCII) if value else None
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None


def parking_spaces(value: object) -> tuple[str, ...]:
    """Read a list of parking spaces such as "701-720@parkedcalls" as the names of their devices; [] is none."""
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list: write ["701-720@parkedcalls"], or [] to watch none')
    devices: dict[str, None] = {}
    for text in value:
        first, last, context = _spaces(text)
        if last - first >= _SPACES_AT_MOST or len(devices) + last - first >= _SPACES_AT_MOST:
            raise ValueError(f"{text!r}: more than {_SPACES_AT_MOST} spaces: name only those of your parking lots")
        devices |= dict.fromkeys(f"park:{number}@{context}" for number in range(first, last + 1))
    return tuple(devices)


def _spaces(text: object) -> tuple[int, int, str]:
    found = _SPACES.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise ValueError(
            f'{text!r} is not a range of parking spaces: write parkpos and context of the lot, as "701-720@parkedcalls"'
        )
    return int(found[1]), int(found[2] or found[1]), found[3]


def zone(value: object) -> tzinfo:
    """Find a time zone by its name."""
    try:
        if isinstance(value, str):
            return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError(f'{value!r} is not a time zone of this system (package tzdata): write it as "Europe/Berlin"')


def system_zone(environ: Mapping[str, str], localtime: Path = Path("/etc/localtime")) -> tzinfo:
    """Find the system's time zone: TZ, else what the localtime file is a link to, else UTC.

    Raises:
        ValueError: TZ is set to something that has no name, such as a POSIX rule.
    """
    name = environ.get("TZ", "").removeprefix(":")
    if name and not name.startswith("/"):
        return zone(name)
    path = Path(name) if name else localtime
    try:
        target = os.path.realpath(path, strict=True)
        key = target.partition("/zoneinfo/")[2].removeprefix("posix/")
        if key:
            return zone(key)
        with Path(target).open("rb") as file:
            return ZoneInfo.from_file(file, key=str(path))
    except (OSError, ValueError):
        return UTC


def secret_file(name: str, environ: Mapping[str, str]) -> str:
    """Read a secret from a file; one newline at its end is dropped.

    Args:
        name: A whole path, or a bare name in `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential=).
        environ: The environment.
    """
    path = _secret_path(name, environ)
    try:
        with path.open("rb") as file:
            data = file.read(_SECRET_LENGTH * 4)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(
            f"cannot read {str(path)!r} ({reason}): create it, readable by the user that runs the daemon"
        ) from None
    try:
        return secret(data.decode().removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r}: {_SECRET_FORM}") from None
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from None


def _secret_path(name: str, environ: Mapping[str, str]) -> Path:
    if name.startswith("/"):
        return Path(name)
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r}: write the whole path, or a bare name in $CREDENTIALS_DIRECTORY")
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ValueError(
            f"{name!r} is a bare name, but CREDENTIALS_DIRECTORY is not set: write the whole path, "
            f"or start with systemd and LoadCredential={name}:FILE"
        )
    return Path(folder, name)


def secret(text: str) -> str:
    """Check a secret without ever repeating it: one line of text, not empty."""
    if not text:
        raise ValueError("the password is empty: write one")
    if len(text) > _SECRET_LENGTH or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(_SECRET_FORM)
    return text


def absolute_path(value: object) -> Path:
    """Read a path that does not depend on where the program was started."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{value!r} is not a whole path: it must begin with /")
    return Path(value)


def authorities(value: object) -> Path:
    """Check a file of certificate authorities (PEM)."""
    path = absolute_path(value)
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        raise ValueError(f"{str(path)!r} holds no certificate: name a PEM file") from None
    except OSError as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({error.strerror}): create it, readable by the user that runs the daemon"
        ) from None
    return path
