"""Logging: the two forms, masking, and that libraries use the same chain."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ari_presence.log import configure_logging


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, object]]:
    """Read back what was logged as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_stream_that_is_no_terminal_gets_json_lines_in_utc() -> None:
    """One object a line, with the time in UTC, whatever is in the values."""
    stream = io.StringIO()
    configure_logging(stream, "info")
    structlog.get_logger().info("state set", user="100", message="a\nb")
    (line,) = logged(stream)
    assert (line["event"], line["level"], line["user"], line["message"]) == ("state set", "info", "100", "a\nb")
    assert str(line["timestamp"]).endswith("Z")


def test_terminal_gets_key_value_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """People get a line to read."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging(stream, "info")
    structlog.get_logger().info("state set", user="100")
    assert "state set" in stream.getvalue() and "user=100" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_secrets_are_masked_at_any_depth(stream: io.StringIO) -> None:
    """Neither keys, nor nested headers, nor addresses, nor tracebacks give a secret away."""
    configure_logging(stream, "debug")
    log = structlog.get_logger()
    log.info("x", password="geheim", Authorization="geheim", ami_password="geheim", headers={"X-Api-Key": "geheim"})
    log.info("y", token="geheim", items=[{"client_secret": "geheim"}], url="http://joe:geheim@h/", user="joe")
    log.info("GET /ari/events?app=a&api_key=joe:geheim&x=1")
    logging.getLogger("urllib3").warning("retrying %s", "/ari?api_key=joe:geheim")
    try:
        local_secret = "geheim-local"
        raise ValueError("http://joe:geheim@h/" + local_secret[:0])
    except ValueError:
        log.exception("z")
    assert "geheim" not in stream.getvalue()
    assert "joe" in stream.getvalue() and "x=1" in stream.getvalue() and "ValueError" in stream.getvalue()


def test_libraries_are_heard_from_warning_on_in_the_same_form() -> None:
    """What uvicorn and urllib3 say goes through the same chain, without their chatter."""
    stream = io.StringIO()
    configure_logging(stream, "debug")
    for name in ("uvicorn.error", "urllib3.connectionpool"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble at %s", "h")
    found = logged(stream)
    assert [(line["logger"], line["event"], line["level"]) for line in found] == [
        ("uvicorn.error", "trouble at h", "warning"),
        ("urllib3.connectionpool", "trouble at h", "warning"),
    ]


def test_level_leaves_out_what_is_below() -> None:
    """Events below the level are not written."""
    stream = io.StringIO()
    configure_logging(stream, "warning")
    structlog.get_logger().info("a")
    structlog.get_logger().warning("b")
    assert [line["event"] for line in logged(stream)] == ["b"]


def test_configured_twice_writes_once() -> None:
    """A second call replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging(first, "info")
    configure_logging(second, "info")
    structlog.get_logger().info("a")
    assert (first.getvalue(), len(logged(second))) == ("", 1)


def test_stream_that_fails_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk or a closed pipe behind the log is no reason to fail, nor to print elsewhere."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configure_logging(Broken(), "info")
    structlog.get_logger().info("a")
    assert capsys.readouterr() == ("", "")
