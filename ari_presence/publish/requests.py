"""The ARI calls that write and read lamps.

`Custom:` devices are written as the dialplan function `DEVICE_STATE()` (`func_devstate.c`), presence as `PRESENCE_STATE()`
(`func_presencestate.c`), `Stasis:` devices through their own resource (`res_stasis_device_state.c`). A write is answered
with 204 even when the function refuses, so only a read tells.

Many lamps are read at once by one expression on a channel of our own: Asterisk evaluates functions for a channel's variable
(not for global ones), 250 of them in the time of five single calls.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId, kept_of_user, kept_provider, presence_provider
from ari_presence.errors import AriDecodeError

OUTPUT_BYTES = 4096  # of one expression (VAR_BUF_SIZE in main/pbx_variables.c)
LAMP_BYTES = 12  # the longest state, UNAVAILABLE, and a comma
HTTP_LINE_BYTES = 3800  # an HTTP header line holds 4095
FRAME_BYTES = 30_000  # a websocket frame holds 65,535


def write_lamp(device: str, value: DeviceState) -> Request:
    """Set one lamp."""
    if device.startswith("Stasis:"):
        return Request("PUT", f"deviceStates/{quote(device, safe=':')}", (("deviceState", value),))
    return _set(f"DEVICE_STATE({device})", value)


def write_presence(user: UserId, presence: Presence) -> Request:
    """Set a user's presence state; the texts go as base64, since a comma would cut them."""
    coded = (b64encode(text.encode()).decode() for text in (presence.subtype, presence.message))
    return _set(f"PRESENCE_STATE({presence_provider(user)})", ",".join((presence.type, *coded, "e")))


def write_kept(user: UserId, text: str) -> Request:
    """Keep what becomes of calls to a user, where the dialplan reads it: AstDB itself cannot be written over ARI."""
    return _keep(kept_of_user(user), text)


def write_kept_of_site(name: str, text: str) -> Request:
    """Keep a text of the whole site there."""
    return _keep(kept_provider(name), text)


def _keep(provider: str, text: str) -> Request:
    return _set(f"PRESENCE_STATE({provider})", f"not_set,,{b64encode(text.encode()).decode()},e")


def _set(function: str, value: str) -> Request:
    return Request("POST", "asterisk/variable", (("variable", function), ("value", value)))


def read_lamp(device: str) -> Request:
    """Ask for one lamp."""
    return Request("GET", f"deviceStates/{quote(device, safe=':')}")


def lamp_value(response: Response) -> DeviceState | None:
    """Read the answer to `read_lamp`; None if it is an error."""
    try:
        body = response.json() if response.ok else {}
    except AriDecodeError:
        return None
    state = body.get("state") if isinstance(body, dict) else None
    return parse_state(state) if isinstance(state, str) else None


def make_reader(channel: str, app: str) -> Request:
    """Make the channel on which many lamps are read at once.

    It is created but never dialled; the context `stasis-<app>` is Asterisk's own (`res/stasis/app.c`, since 16.2).
    """
    query = (("endpoint", f"Local/reader@stasis-{app}"), ("app", app), ("channelId", channel))
    return Request("POST", "channels/create", query)


def drop_reader(channel: str) -> Request:
    """Remove that channel."""
    return Request("DELETE", f"channels/{quote(channel, safe='')}")


def read_lamps(channel: str, devices: Sequence[str], *, over_websocket: bool) -> Iterator[tuple[Request, int]]:
    """Ask for many lamps at once.

    Yields:
        Requests, each with the number of devices that it asks for, in order.
    """
    room = FRAME_BYTES if over_websocket else HTTP_LINE_BYTES
    pieces: list[str] = []
    size = 0
    for device in devices:
        piece = f"${{DEVICE_STATE({device})}}"
        cost = len(piece if over_websocket else quote(piece)) + 3
        if pieces and (size + cost > room or (len(pieces) + 1) * LAMP_BYTES >= OUTPUT_BYTES):
            yield _evaluate(channel, pieces), len(pieces)
            pieces, size = [], 0
        pieces.append(piece)
        size += cost
    if pieces:
        yield _evaluate(channel, pieces), len(pieces)


def lamp_values(response: Response, count: int) -> list[DeviceState] | None:
    """Read the answer to one request of `read_lamps`; None if it is an error or incomplete."""
    fields = _fields(response)
    return [parse_state(field) for field in fields] if len(fields) == count else None


PRESENCES_PER_CALL = 8  # a message of 180 bytes is 240 of base64; 8 of the longest fit one expression
PRESENCE_FIELDS = 4


def read_presences(channel: str, users: Sequence[UserId]) -> Request:
    """Ask for up to `PRESENCES_PER_CALL` presence states at once, each with what is kept about calls to the user."""
    return _evaluate(channel, list(_presence_pieces(users)))


def _presence_pieces(users: Iterable[UserId]) -> Iterator[str]:
    for user in users:
        provider = presence_provider(user)
        yield f"${{PRESENCE_STATE({provider},value)}}"
        yield f"${{PRESENCE_STATE({provider},subtype,e)}}"
        yield f"${{PRESENCE_STATE({provider},message,e)}}"
        yield f"${{PRESENCE_STATE({kept_of_user(user)},message,e)}}"


def presence_values(response: Response, count: int) -> list[Presence] | None:
    """Read the answer to `read_presences`; None if it is an error or incomplete."""
    fields = _fields(response)
    size = PRESENCE_FIELDS
    if len(fields) != size * count:
        return None
    try:
        texts = [b64decode(field, validate=True).decode() if i % size else field for i, field in enumerate(fields)]
    except ValueError:
        return None
    return [Presence(*texts[i : i + size]) for i in range(0, len(texts), size)]


def _evaluate(channel: str, pieces: list[str]) -> Request:
    expression = f"EVAL({','.join(pieces)})"
    return Request("GET", f"channels/{quote(channel, safe='')}/variable", (("variable", expression),))


def _fields(response: Response) -> list[str]:
    try:
        body = response.json() if response.ok else {}
    except AriDecodeError:
        return []
    value = body.get("value") if isinstance(body, dict) else None
    return value.split(",") if isinstance(value, str) else []
