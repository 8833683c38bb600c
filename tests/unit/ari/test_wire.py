"""Requests and responses as they stand on the wire."""

import json
from pathlib import Path

import pytest

from ari_presence.ari.wire import Request, Response, parse_response
from ari_presence.errors import AriDecodeError

DATA = Path(__file__).parent / "data"


def _sample(name: str) -> dict[str, object]:
    found = json.loads((DATA / f"{name}.json").read_text())
    assert isinstance(found, dict)
    return found


def test_request_frame_has_what_asterisk_wants() -> None:
    """A frame carries type, id, method and uri, and values as a list of pairs; nothing that is not asked for."""
    request = Request("POST", "asterisk/variable", (("variable", "DEVICE_STATE(Custom:a)"), ("value", "BUSY")))
    assert json.loads(request.frame("7")) == {
        "type": "RESTRequest",
        "request_id": "7",
        "method": "POST",
        "uri": "asterisk/variable",
        "query_strings": [
            {"name": "variable", "value": "DEVICE_STATE(Custom:a)"},
            {"name": "value", "value": "BUSY"},
        ],
    }


def test_odd_characters_survive_in_a_frame() -> None:
    """Quotes, backslashes, control characters and letters of any alphabet arrive as they were meant."""
    odd = 'say "no" \\ \n\x01 ü \U0001f6d1'
    frame = json.loads(Request("PUT", f"x/{odd}", ((odd, odd),), odd).frame("7"))
    assert (frame["request_id"], frame["uri"], frame["message_body"]) == ("7", f"x/{odd}", odd)
    assert frame["query_strings"] == [{"name": odd, "value": odd}]


def test_request_with_body_says_that_it_is_json() -> None:
    """A body goes as a string with its content type, without which Asterisk answers 400."""
    frame = json.loads(Request("POST", "x", body='{"a": 1}').frame("1"))
    assert (frame["content_type"], frame["message_body"]) == ("application/json", '{"a": 1}')


@pytest.mark.parametrize(
    ("sample", "status", "body_starts"),
    [
        pytest.param("RESTResponse-ping", 200, '{"ping":"pong"', id="ping"),
        pytest.param("RESTResponse-set-device-state", 204, "", id="without-body"),
        pytest.param("RESTResponse-not-found", 404, '{"message"', id="not-found"),
        pytest.param("RESTResponse-bad-method", 400, '{"message"', id="bad-method"),
        pytest.param("RESTResponse-subscribe", 200, '{"name"', id="subscribe"),
        pytest.param("RESTResponse-set-presence-json-body", 204, "", id="presence"),
        pytest.param("RESTResponse-unparseable", 400, "", id="unparseable"),
    ],
)
def test_recorded_response_is_read(sample: str, status: int, body_starts: str) -> None:
    """Every response that was recorded is read, with its id and status."""
    message = _sample(sample)
    request_id, response = parse_response(message)
    assert request_id == message["request_id"]
    assert response.status == status
    assert response.body.startswith(body_starts)
    assert response.ok is (status < 300)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"status_code": 200}, id="no-id"),
        pytest.param({"request_id": 1, "status_code": 200}, id="number-as-id"),
        pytest.param({"request_id": "1"}, id="no-status"),
        pytest.param({"request_id": "1", "status_code": "200"}, id="text-as-status"),
        pytest.param({"request_id": "1", "status_code": 200, "message_body": {"a": 1}}, id="object-as-body"),
    ],
)
def test_malformed_response_raises_decode_error(message: dict[str, object]) -> None:
    """What lacks a field or has one of the wrong type is no response."""
    with pytest.raises(AriDecodeError):
        parse_response(message)


@pytest.mark.parametrize("body", ["", "<html>", "{"], ids=["empty", "html", "cut-off"])
def test_body_that_is_no_json_raises_decode_error(body: str) -> None:
    """Reading such a body says so in the project's own words."""
    with pytest.raises(AriDecodeError, match="no JSON"):
        Response(200, body).json()
