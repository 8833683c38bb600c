"""Complaints in the log: a few of each kind, the rest counted."""

from structlog.testing import capture_logs

from ari_presence.agi.complaints import LINES, PERIOD_S, Complaints


def test_flood_of_one_kind_is_a_few_lines_and_a_count() -> None:
    """The first are told at once, the others with the first of the next period."""
    now = 100.0
    complaints = Complaints(lambda: now)
    with capture_logs() as lines:
        for number in range(1000):
            complaints.say("no-environment", reason="late", peer=f"127.0.0.1:{number}")
        assert len(lines) == LINES
        assert lines[0] == {
            "event": "agi refused",
            "log_level": "warning",
            "code": "no-environment",
            "reason": "late",
            "peer": "127.0.0.1:0",
        }
        now += PERIOD_S
        complaints.say("no-environment", reason="late")
        complaints.say("no-environment", reason="late")
    assert [line.get("unlogged") for line in lines[LINES:]] == [1000 - LINES, None]


def test_flood_of_one_kind_hides_no_other() -> None:
    """Each kind is counted by itself."""
    complaints = Complaints(lambda: 0.0)
    with capture_logs() as lines:
        for _ in range(100):
            complaints.say("too-long")
        complaints.say("bad-path", path="nonsense")
    assert lines[-1]["path"] == "nonsense"


def test_kind_that_was_never_hidden_has_no_count() -> None:
    """A complaint a minute is a line a minute, and no more."""
    now = 0.0
    complaints = Complaints(lambda: now)
    with capture_logs() as lines:
        for _ in range(10):
            now += 60
            complaints.say("bad-path")
    assert len(lines) == 10
    assert not any("unlogged" in line for line in lines)
