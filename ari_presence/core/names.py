"""Names: which are legal, and how devices, endpoints and channels are spelled.

Everything that reaches Asterisk as a name was made or checked here. Asterisk's own limits are in `main/devicestate.c`
(79 characters of device name) and `main/db.c`; ours are stricter.
"""

import re
from typing import NewType

UserId = NewType("UserId", str)
StateId = NewType("StateId", str)

_USER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}\Z")
_STATE = re.compile(r"[a-z][a-z0-9]{0,15}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LOCAL = re.compile(r"(Local/.*-[0-9a-f]+);[12]\Z", re.DOTALL)
# Channels that are nobody's phone: made by Asterisk itself for a room, a recording, a listener or a transfer.
_NO_PHONE = frozenset(
    {"Local", "Surrogate", "Message", "Snoop", "CBAnn", "CBRec", "Announcer", "Recorder", "UnicastRTP"}
)
_RESERVED_STATES = frozenset({"presence", "group", "parked"})
MESSAGE_BYTES = 120


def is_user_id(text: str) -> bool:
    """Tell whether `text` may be a user or group id: `[a-z0-9][a-z0-9_.-]{0,39}`."""
    return _USER.match(text) is not None


def is_state_id(text: str) -> bool:
    """Tell whether `text` may be a state id: `[a-z][a-z0-9]{0,15}` and no reserved word."""
    return _STATE.match(text) is not None and text not in _RESERVED_STATES


def message_problem(text: str) -> str | None:
    """Say what is wrong with a message, or None: at most 120 UTF-8 bytes, no control characters."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "the message is not valid text"
    if size > MESSAGE_BYTES:
        return f"the message has {size} bytes; at most {MESSAGE_BYTES} fit"
    return "the message has control characters" if _CONTROL.search(text) else None


def printable(text: str) -> str:
    """Make a name or number from the network fit to be shown: no control characters, at most 60 characters."""
    return _CONTROL.sub("", text)[:60].strip()


def joined_device(user: UserId) -> str:
    """Name the main lamp that a hint adds to the phone's own device."""
    return f"Custom:presence-{user}"


def whole_device(user: UserId) -> str:
    """Name the main lamp of which the daemon is the only provider."""
    return f"Stasis:presence-{user}"


def parked_device(user: UserId) -> str:
    """Name the lamp that tells of calls that `user` parked."""
    return f"Stasis:parked-{user}"


def state_device(state: StateId, user: UserId) -> str:
    """Name the lamp that is lit while `state` is the manual state of `user`."""
    return f"Custom:{state}-{user}"


def presence_provider(user: UserId) -> str:
    """Name the presence state of `user`."""
    return f"CustomPresence:{user}"


def kept_provider(name: str) -> str:
    """Name the presence state in which the dialplan keeps a text; no user's, since no id begins with `_`."""
    return f"CustomPresence:_ap-{name}"


def kept_of_user(user: UserId) -> str:
    """Name the presence state that keeps what becomes of calls to `user`."""
    return kept_provider(f"user-{user}")


def endpoint_of_channel(channel: str) -> str | None:
    """Tell which endpoint owns a channel: `PJSIP/a-b-0000001f` is `PJSIP/a-b`.

    The endpoint is the one that Asterisk authenticated (`chan_pjsip.c`, `chan_pjsip_new`), so it can be trusted where
    a caller ID cannot. Local channels and names without a serial have no endpoint.
    """
    name, dash, serial = channel.rpartition("-")
    tech, slash, resource = name.partition("/")
    if not (dash and slash and serial and tech and resource) or tech in _NO_PHONE:
        return None
    return name


def local_pair(channel: str) -> str | None:
    """Tell which two Local channels are the ends of one: `Local/1@a-0000001f;2` is `Local/1@a-0000001f` (`core_local.c`)."""
    match = _LOCAL.match(channel)
    return match[1] if match else None


def fold_endpoint(endpoint: str) -> str:
    """Give the spelling under which an endpoint is compared: technology as it is, resource in lower case."""
    tech, _, resource = endpoint.partition("/")
    return f"{tech}/{resource.lower()}"
