"""AMI on the wire."""

import pytest

from ari_presence.ami.wire import MESSAGE_AT_MOST, VALUE_AT_MOST, Messages, action, one
from ari_presence.errors import AriConnectionError


def test_action_is_lines_and_an_empty_line() -> None:
    """As the manager reads it."""
    assert action("Login", Username="a", Secret="ö") == "Action: Login\r\nUsername: a\r\nSecret: ö\r\n\r\n".encode()


@pytest.mark.parametrize("value", ["a\r\nAction: Originate", "a\n", "\0", "\x85"], ids=["crlf", "lf", "nul", "c1"])
def test_action_refuses_what_would_become_another_action(value: str) -> None:
    """And does not repeat the value, which may be a secret."""
    with pytest.raises(ValueError, match="holds a control character") as refused:
        action("Login", Secret=value)
    assert "Originate" not in str(refused.value)


def test_messages_cut_anywhere_are_the_same() -> None:
    """Byte by byte or at once, letters of several bytes included; what nobody reads is skipped."""
    data = (
        "Event: Newchannel\r\nA: b\r\n\r\nEvent: ParkedCall\r\nName: Jürgen\r\nEmpty:\r\n\r\nResponse: Success\r\n\r\n"
    )
    whole = list(Messages().feed(data.encode()))
    reader = Messages()
    parts = [found for byte in data.encode() for found in reader.feed(bytes([byte]))]
    assert whole == parts
    assert [one(found, "event") or one(found, "response") for found in whole] == ["ParkedCall", "Success"]
    assert (one(whole[0], "name"), one(whole[0], "empty"), one(whole[0], "other")) == ("Jürgen", "", None)


def test_value_that_stands_twice_is_not_believed() -> None:
    """A caller's name with a line end in it could bring its own space along."""
    (found,) = Messages().feed(b"Event: ParkedCall\r\nParkingSpace: 1\r\nParkingSpace: 2\r\n\r\n")
    assert one(found, "parkingspace") is None


def test_value_is_cut_and_cleaned() -> None:
    """Bytes that are no text and control characters go; length is limited."""
    (found,) = Messages().feed(b"Event: ParkedCall\r\nName: a\x1b[31m\xff\r\nLong: " + b"x" * 5000 + b"\r\n\r\n")
    assert one(found, "name") == "a[31m\N{REPLACEMENT CHARACTER}"
    assert len(one(found, "long") or "") == VALUE_AT_MOST


def test_message_without_end_is_an_error() -> None:
    """Memory has a limit whatever a peer sends."""
    reader = Messages()
    with pytest.raises(AriConnectionError, match="does not end"):
        for _ in range(MESSAGE_AT_MOST // 1000 + 2):
            list(reader.feed(b"x" * 1000))
