"""The floors: clients that only write lamps, as fast as Asterisk takes them, and check nothing but the status.

Devices are named beside those of the daemon (`Custom:presence-x10000` for `Custom:presence-10000`), so that both can be
measured on one server without meeting.
"""

import json
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing

import requests
import websocket

from private_asterisk import PrivateAsterisk

WINDOW = 16
APP = "raw"
Write = tuple[str, str, dict[str, str]]
"""Method, path below `/ari/`, query."""


def state_writes(users: Sequence[str], *, on: bool) -> list[Write]:
    """Make what the daemon writes for each user when do not disturb begins or ends: four lamps and a text, in its order."""
    return [write for user in users for write in _user_writes(f"x{user}", on=on)]


def _user_writes(user: str, *, on: bool) -> Iterator[Write]:
    value = ("BUSY", "BUSY", "INUSE", "dnd") if on else ("INVALID", "NOT_INUSE", "NOT_INUSE", "available")
    empty = b64encode(b"").decode()
    yield variable(f"DEVICE_STATE(Custom:presence-{user})", value[0])
    yield "PUT", f"deviceStates/Stasis:presence-{user}", {"deviceState": value[1]}
    yield variable(f"DEVICE_STATE(Custom:dnd-{user})", value[2])
    yield variable(f"PRESENCE_STATE(CustomPresence:{user})", f"{value[3]},{empty},{empty},e")
    kept = b64encode(b"refuse^0^^do-not-disturb").decode() if on else empty
    yield variable(f"PRESENCE_STATE(CustomPresence:_ap-user-{user})", f"not_set,,{kept},e")


def variable(function: str, value: str) -> Write:
    """Make the write of a dialplan function."""
    return "POST", "asterisk/variable", {"variable": function, "value": value}


def pipelined(server: PrivateAsterisk, writes: Sequence[Write]) -> float:
    """Write everything over one websocket, 16 requests in flight; gives the seconds from the first to the last answer.

    Raises:
        RuntimeError: A write was not accepted.
    """
    frames = [_frame(str(number), write) for number, write in enumerate(writes)]
    url = f"ws://127.0.0.1:{server.http_port}/ari/events?app={APP}"
    login = f"{server.ari_user}:{server.ari_password}".encode()
    header = [f"Authorization: Basic {b64encode(login).decode()}"]
    with closing(websocket.create_connection(url, header=header, timeout=30, skip_utf8_validation=True)) as link:
        began = time.monotonic()
        for frame in frames[:WINDOW]:
            link.send(frame)
        sent, answered = min(WINDOW, len(frames)), 0
        while answered < len(frames):
            data = link.recv_data()[1]
            if b'"RESTResponse"' not in data:
                continue
            if b'"status_code":204' not in data:
                raise RuntimeError(f"a write of the raw client was refused: {data[:300]!r}")
            answered += 1
            if sent < len(frames):
                link.send(frames[sent])
                sent += 1
        return time.monotonic() - began


def _frame(number: str, write: Write) -> str:
    method, path, query = write
    message = {"type": "RESTRequest", "request_id": number, "method": method, "uri": path}
    return json.dumps({**message, "query_strings": [{"name": name, "value": value} for name, value in query.items()]})


def over_http(server: PrivateAsterisk, writes: Sequence[Write]) -> float:
    """Write everything with one `requests.Session`, one request after another; gives the seconds."""
    with requests.Session() as session:
        session.auth = (server.ari_user, server.ari_password)
        session.trust_env = False
        session.get(f"{server.url}/ari/asterisk/ping", timeout=10).raise_for_status()
        began = time.monotonic()
        for method, path, query in writes:
            session.request(method, f"{server.url}/ari/{path}", params=query, timeout=10).raise_for_status()
        return time.monotonic() - began
