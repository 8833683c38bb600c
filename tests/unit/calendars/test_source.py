"""Jobs and answers as they go over a pipe."""

import json
from dataclasses import replace

from ari_presence.calendars.rules import Rule
from ari_presence.calendars.source import Answer, Job

JOB = Job("/a.ics", "/kept/a", 1.0, 2.0, ("UTC",), (Rule("x", ("a",), ("b",), ("oof",)), Rule("")), False, ("a@b.c",))


def test_job_and_answer_come_out_as_they_went_in() -> None:
    """All fields, also those that are not given."""
    assert Job.from_json(json.loads(json.dumps(JOB.to_json()))) == JOB
    answer = Answer("broken", {"UTC": [(1.0, 2.0, "meeting", "Budget", 3)]}, ["a"], 7, 5.0, True)
    again = Answer.from_json(json.loads(json.dumps(answer.to_json())))
    assert replace(again, rows={"UTC": [tuple(row) for row in again.rows["UTC"]]}) == answer  # type: ignore[index, misc]


def test_password_is_not_shown() -> None:
    """A job in a traceback or a log."""
    assert "very-secret" not in repr(replace(JOB, username="joe", password="very-secret"))


def test_place_on_a_server_is_told_from_a_path() -> None:
    """By its scheme."""
    assert replace(JOB, place="https://a/b").is_web and not JOB.is_web
