"""Requests and responses as they stand on the wire, for both ways to send them.

Source: `res/ari/ari_websocket_requests.c` (REST over WebSocket, Asterisk 20.14, 21.9, 22.4, 23.0 and later).
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from ari_presence.errors import AriDecodeError

_json = json.encoder.encode_basestring_ascii  # in pieces it takes half the time of a whole dictionary


class Request(NamedTuple):
    """One ARI call.

    Attributes:
        method: `GET`, `POST`, `PUT` or `DELETE`.
        path: Without leading slash and without `ari/`; names in it are percent-encoded where they need it.
        query: Names and values, not encoded.
        body: JSON text, or None.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: str | None = None

    def frame(self, request_id: str) -> str:
        """Write the request, its id in digits, as a websocket frame's text (at most 65,535 bytes, or Asterisk hangs up)."""
        text = f'{{"type":"RESTRequest","request_id":"{request_id}","method":"{self.method}","uri":{_json(self.path)}'
        if self.query:
            pairs = ",".join([f'{{"name":{_json(name)},"value":{_json(value)}}}' for name, value in self.query])
            text += f',"query_strings":[{pairs}]'
        if self.body is not None:
            text += f',"content_type":"application/json","message_body":{_json(self.body)}'
        return text + "}"


class Response(NamedTuple):
    """What Asterisk answered: HTTP status and body text."""

    status: int
    body: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the status is a success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Read the body.

        Raises:
            AriDecodeError: It is no JSON.
        """
        try:
            return from_json(self.body, cache_strings="keys")
        except ValueError:
            raise AriDecodeError(f"answer {self.status} is no JSON") from None


def parse_response(message: Mapping[str, Any]) -> tuple[str, Response]:
    """Read a `RESTResponse`.

    Returns:
        (request id, response).

    Raises:
        AriDecodeError: A field is missing or of the wrong type.
    """
    request_id, status = message.get("request_id"), message.get("status_code")
    body = message.get("message_body") or ""
    if not isinstance(request_id, str) or not isinstance(status, int) or not isinstance(body, str):
        raise AriDecodeError("RESTResponse without request_id or status_code")
    return request_id, Response(status, body)
