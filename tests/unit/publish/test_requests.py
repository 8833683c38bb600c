"""The ARI calls that write and read lamps: their text, their limits, and answers that make no sense."""

import json
from base64 import b64decode, b64encode
from urllib.parse import quote_plus

import pytest

from ari_presence.ari.wire import Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId
from ari_presence.publish import requests as lamps

LONGEST = [UserId(f"{i:03}" + "u" * 37) for i in range(400)]
HTTP_LINE = 4095  # MAX_HTTP_LINE_LENGTH of main/http.c, less the closing zero
WEBSOCKET_FRAME = 65_535
VAR_BUF_SIZE = 4096


def value_of(text: str) -> Response:
    """Answer a question for a variable."""
    return Response(200, json.dumps({"value": text}))


def test_custom_lamp_is_written_as_dialplan_function() -> None:
    """`PUT deviceStates` refuses Custom: names, so DEVICE_STATE() is set."""
    request = lamps.write_lamp("Custom:dnd-100", DeviceState.INUSE)
    assert (request.method, request.path) == ("POST", "asterisk/variable")
    assert request.query == (("variable", "DEVICE_STATE(Custom:dnd-100)"), ("value", "INUSE"))


def test_stasis_lamp_is_written_as_a_resource() -> None:
    """DEVICE_STATE() refuses Stasis: names, so their own resource is set."""
    request = lamps.write_lamp("Stasis:presence-a.b_c-d", DeviceState.ONHOLD)
    assert (request.method, request.path) == ("PUT", "deviceStates/Stasis:presence-a.b_c-d")
    assert request.query == (("deviceState", "ONHOLD"),)


@pytest.mark.parametrize(
    "message",
    ["", "back at 2, or 3", "a|b;c=d&e\"f'${x}", "\u00e9\u20ac\U0001f600"],
    ids=["none", "comma", "odd", "utf8"],
)
def test_presence_goes_as_base64_in_four_fields(message: str) -> None:
    """A comma in a plain message would cut it: type, subtype and message in base64, option e."""
    query = dict(lamps.write_presence(UserId("100"), Presence("away", "lunch", message)).query)
    assert query["variable"] == "PRESENCE_STATE(CustomPresence:100)"
    kind, subtype, text, option = query["value"].split(",")
    assert (kind, b64decode(subtype), b64decode(text), option) == ("away", b"lunch", message.encode(), "e")


@pytest.mark.parametrize(
    ("response", "value"),
    [
        pytest.param(Response(200, '{"name":"x","state":"BUSY"}'), DeviceState.BUSY, id="busy"),
        pytest.param(Response(200, '{"name":"x","state":"onhold"}'), DeviceState.ONHOLD, id="any-case"),
        pytest.param(Response(200, '{"name":"x","state":"NEWS"}'), DeviceState.UNKNOWN, id="new-value"),
        pytest.param(Response(404, '{"message":"no"}'), None, id="error"),
        pytest.param(Response(200, "<html>"), None, id="no-json"),
        pytest.param(Response(200, "[]"), None, id="list"),
        pytest.param(Response(200, '{"state":5}'), None, id="number"),
        pytest.param(Response(200, "{}"), None, id="nothing"),
    ],
)
def test_answer_about_one_lamp_is_read(response: Response, value: DeviceState | None) -> None:
    """What is no device state of an answer is an error, never off."""
    assert lamps.lamp_value(response) is value


@pytest.mark.parametrize("over_websocket", [True, False], ids=["websocket", "http"])
def test_questions_for_many_lamps_keep_every_limit(over_websocket: bool) -> None:
    """Neither a request nor its longest answer exceeds what Asterisk takes, even for the longest names."""
    devices = [f"Custom:abcdefghijklmnop-{user}" for user in LONGEST for _ in range(2)]
    calls = list(lamps.read_lamps("a" * 72 + "-reader", devices, over_websocket=over_websocket))
    assert sum(count for _, count in calls) == len(devices)
    for request, count in calls:
        ((name, expression),) = request.query
        assert len("UNAVAILABLE,") * count - 1 < VAR_BUF_SIZE
        assert expression.count("DEVICE_STATE(") == count
        line = f"GET /ari/{request.path}?{name}={quote_plus(expression)} HTTP/1.1"
        assert len(request.frame("123456789")) <= WEBSOCKET_FRAME if over_websocket else len(line) <= HTTP_LINE


@pytest.mark.parametrize("over_websocket", [True, False], ids=["websocket", "http"])
def test_questions_for_many_lamps_keep_the_order(over_websocket: bool) -> None:
    """Answers are told apart by their place alone."""
    devices = [f"Custom:dnd-{i}" for i in range(1000)]
    text = "".join(dict(r.query)["variable"] for r, _ in lamps.read_lamps("r", devices, over_websocket=over_websocket))
    places = [text.index(f"({device})") for device in devices]
    assert places == sorted(places)


def test_question_for_presences_keeps_the_limits() -> None:
    """A whole block of the longest names and messages of ours fits request line and answer."""
    block = LONGEST[: lamps.PRESENCES_PER_CALL]
    request = lamps.read_presences("a" * 72 + "-reader", block)
    assert len(f"GET /ari/{request.path}?variable={quote_plus(dict(request.query)['variable'])} HTTP/1.1") <= HTTP_LINE
    kept = b"forward:0123456789012^1800000000^1300^custom/out-of-the-office|voicemail^1800000000^1700^digits/6"
    longest = len("unavailable,") + sum(len(b64encode(text)) + 1 for text in (b"x" * 40, b"x" * 180, kept))
    assert longest * len(block) < VAR_BUF_SIZE


@pytest.mark.parametrize(
    ("text", "count", "values"),
    [
        pytest.param("BUSY,UNKNOWN,INVALID", 3, ["BUSY", "UNKNOWN", "INVALID"], id="whole"),
        pytest.param("BUSY,INVA", 3, None, id="cut"),
        pytest.param("", 2, None, id="empty"),
    ],
)
def test_answer_about_many_lamps_is_whole_or_nothing(text: str, count: int, values: list[str] | None) -> None:
    """An answer that is cut is an error, never dark lamps."""
    assert lamps.lamp_values(value_of(text), count) == values


def test_presences_come_back_as_they_were_written() -> None:
    """Type, subtype, message and what is kept about calls survive the way there and back."""
    answer = value_of("away,bHVuY2g=,YmFjaywgYXQgMg==,cmVmdXNlXjBeXng=,not_set,,,")
    first = Presence("away", "lunch", "back, at 2", "refuse^0^^x")
    assert lamps.presence_values(answer, 2) == [first, Presence("not_set")]


@pytest.mark.parametrize(
    "text", ["away,bHVu", "away,!!,", "away,/w==,", ""], ids=["cut", "no-base64", "no-utf8", "empty"]
)
def test_presences_that_make_no_sense_are_nothing(text: str) -> None:
    """A presence that cannot be read is written again, blindly."""
    assert lamps.presence_values(value_of(text), 1) is None


def test_reader_channel_is_made_in_a_context_that_is_always_there() -> None:
    """The one that Asterisk makes for the application."""
    drop, make = lamps.drop_reader("app-reader"), lamps.make_reader("app-reader", "app")
    assert (drop.method, drop.path) == ("DELETE", "channels/app-reader")
    assert dict(make.query) == {"endpoint": "Local/reader@stasis-app", "app": "app", "channelId": "app-reader"}
