"""The daemon's HTTP interface over its Unix socket, with the standard library alone: the command line starts fast.

Every call has a time limit. The daemon's refusals are raised as the errors that the daemon itself raised.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

from ari_presence.core.names import is_user_id
from ari_presence.errors import ConfigError, ControlError, Refused

Json = dict[str, Any]
READ_S = 10.0
CHANGE_S = 8.0
"""The daemon answers a change after 3 s at the latest; the rest is margin for a busy machine."""
LONG_S = 300.0
"""Reset of all users, reload, backup: as long as they need, but not for ever."""
STREAM_S = 45.0
"""Three comments missed: the stream is dead."""
_JSON_TYPES = ("application/json", "application/problem+json")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ControlClient:
    """Speaks to the daemon behind one control socket; each call is a connection of its own."""

    def __init__(self, path: Path) -> None:
        """Talk to the socket at `path`; nothing is opened yet."""
        self._path = path

    def get(self, resource: str, **query: object) -> Any:
        """Read a resource below `/api/v1`; None values are left out of the query.

        Raises:
            Refused: The daemon refused.
            ControlError: The daemon cannot be reached or does not answer in time.
        """
        given = {key: value for key, value in query.items() if value is not None}
        return self.call("GET", resource + ("?" + urlencode(given) if given else ""))

    def call(self, method: str, resource: str, body: Json | None = None, timeout_s: float = READ_S) -> Any:
        """Make one request; raises like `get`, and `ConfigError` where the daemon found the configuration broken."""
        connection = _UnixConnection(self._path, timeout_s)
        try:
            response = self._send(connection, method, resource, body, {})
            return self._read(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, timeout_s) from None
        finally:
            connection.close()

    def events(self, last_id: int | None = None) -> Iterator[Json | None]:
        """Stream changed users: None once the stream is open, then each change; ends when the daemon stops."""
        connection = _UnixConnection(self._path, STREAM_S)
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        try:
            response = self._send(connection, "GET", "/events", None, headers)
            if response.status != 200:
                self._read(response)
            yield None
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error, STREAM_S) from None
        finally:
            connection.close()

    @staticmethod
    def _send(
        connection: _UnixConnection, method: str, resource: str, body: Json | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode("ascii")
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        connection.request(method, "/api/v1" + resource, data, headers)
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> Any:
        content = response.read()
        kind = response.headers.get_content_type()
        try:
            document = json.loads(content) if kind in _JSON_TYPES else None
        except ValueError:
            document = None
        if response.status < 300 and document is not None:
            return document
        if isinstance(document, dict) and isinstance(document.get("code"), str):
            raise _refusal(response.status, document)
        raise ControlError(
            f"what answers at {self._path} is not ari-presence (HTTP {response.status}): check state_dir"
        )

    def _unreachable(self, error: Exception, timeout_s: float) -> ControlError:
        if isinstance(error, TimeoutError):
            remedy = "see its log (journalctl -u ari-presence)"
            return ControlError(f"daemon at {self._path} did not answer within {timeout_s:g} s: {remedy}")
        if isinstance(error, PermissionError):
            return ControlError(f"no permission for {self._path}: use sudo, or join the group of the service")
        if "path too long" in str(error):  # CPython's own check: there is no errno
            return ControlError(f"{self._path} is too long for a socket: choose a shorter state_dir")
        return ControlError(f"daemon not reachable at {self._path}: is it running? (systemctl status ari-presence)")


def _refusal(status: int, document: Json) -> Exception:
    code, detail = cast(str, document["code"]), str(document.get("detail", ""))
    if code == "config-error":
        return ConfigError(detail)
    if code == "not-stored-yet":
        return ControlError(detail)
    if code in ("internal-error", "no-stream"):
        return ControlError(f"the daemon failed (HTTP {status}): {detail}")
    return Refused(detail, code=code)


def user_path(user: str, rest: str = "") -> str:
    """Give the resource of a user; raises `Refused` for what cannot be a user id."""
    if not is_user_id(user):
        raise Refused(f"{user[:60]!r} is not a user", code="unknown-user")
    return f"/users/{quote(user, safe='')}{rest}"
