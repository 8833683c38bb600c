"""The reader's work: last good copies, what has changed, and what is wrong."""

import io
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ari_presence.calendars import reader as module
from ari_presence.calendars.reader import Reader, serve
from ari_presence.calendars.rules import DEFAULT_RULES, Rule
from ari_presence.calendars.source import Answer, Job
from tests.unit.calendars import server as web
from tests.unit.calendars.samples import END, START, at, event, meeting, text
from tests.unit.calendars.server import CalendarServer, serving

MONDAY = text(meeting("20260309T100000", "20260309T110000"))
TUESDAY = text(meeting("20260310T100000", "20260310T110000", title="Review"))
ROW = (at("03-09 10:00"), at("03-09 11:00"), "meeting", "Budget", 1)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Give a job for a file that holds a calendar."""
    (tmp_path / "a.ics").write_bytes(MONDAY)
    (tmp_path / "kept").mkdir()
    return Job(str(tmp_path / "a.ics"), str(tmp_path / "kept/work"), START, END, ("Europe/Berlin",), DEFAULT_RULES)


@pytest.fixture
def server() -> Iterator[CalendarServer]:
    """Run a server."""
    with serving() as running:
        running.answers["/a.ics"] = MONDAY
        yield running


def titles(answer: Answer) -> list[Any] | None:
    """Give the messages in an answer; None where nothing has changed."""
    return None if answer.rows is None else [row[3] for row in answer.rows["Europe/Berlin"]]


def test_file_is_read_and_kept(job: Job) -> None:
    """Its occurrences, how many entries it has, and when it was good; the copy is for nobody else."""
    answer = Reader().do(job)
    assert answer.failure == "" and answer.rows == {"Europe/Berlin": [ROW]}
    assert answer.entries == 1 and answer.read_at is not None and abs(answer.read_at - time.time()) < 60
    files = sorted(Path(job.kept).parent.iterdir())
    assert [file.name for file in files] == ["work.ics", "work.json"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


def test_file_that_has_not_changed_is_not_read_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its time, size and number; when it was last found good moves on."""
    Reader().do(job)
    os.utime(job.kept + ".json", (1000, 1000))
    monkeypatch.setattr(module, "scan", None)
    answer = Reader().do(replace(job, anyway=False))
    assert answer.rows is None and answer.failure == "" and answer.read_at is not None and answer.read_at > 1000


def test_file_that_was_only_touched_is_read_but_not_worked_out(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it holds."""
    Reader().do(job)
    os.utime(job.place, (1000, 1000))
    monkeypatch.setattr(module, "scan", None)
    assert Reader().do(replace(job, anyway=False)).rows is None


def test_file_that_has_changed_is_worked_out(job: Job) -> None:
    """Without being asked."""
    Reader().do(job)
    Path(job.place).write_bytes(TUESDAY)
    assert titles(Reader().do(replace(job, anyway=False))) == ["Review"]


def test_occurrences_are_worked_out_anew_when_asked(job: Job) -> None:
    """Other days, rules and zones of what has not changed: from the copy."""
    Reader().do(job)
    rules = (Rule("lunch", words=("budget",)), *DEFAULT_RULES)
    answer = Reader().do(replace(job, rules=rules, zones=("UTC", "Europe/Berlin")))
    assert answer.rows is not None and {row[2] for rows in answer.rows.values() for row in rows} == {"lunch"}
    assert sorted(answer.rows) == ["Europe/Berlin", "UTC"]
    assert titles(Reader().do(replace(job, start=END, end=END + 86400))) == []


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "not an iCalendar text"), (MONDAY[:-20], "cut off"), (b"<html>", "it begins with '<html>'")],
    ids=["empty", "cut", "html"],
)
def test_broken_file_leaves_the_last_good_copy(job: Job, data: bytes, says: str) -> None:
    """The file is named; what was known before is given, by another process, too."""
    first = Reader().do(job)
    Path(job.place).write_bytes(data)
    os.utime(job.kept + ".json", (1000, 1000))
    for _ in range(2):
        answer = Reader().do(job)
        assert answer.failure.startswith(f"{job.place}: ") and says in answer.failure
        assert answer.rows == first.rows and answer.read_at == 1000.0
    assert Reader().do(replace(job, anyway=False)).rows is None
    Path(job.place).write_bytes(TUESDAY)
    assert titles(Reader().do(job)) == ["Review"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a file"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "is not a file"),
        (lambda path: path.write_bytes(b"x" * (11 * 2**20)), "more than 10 MiB"),
    ],
    ids=["gone", "folder", "pipe", "device", "huge"],
)
def test_file_that_cannot_be_read_is_named(job: Job, make: Any, says: str) -> None:
    """Without waiting for a pipe or reading a device for ever."""
    make(Path(job.place))
    answer = Reader().do(job)
    assert job.place in answer.failure and says in answer.failure and answer.rows is None
    assert answer.read_at is None


def test_calendar_of_a_server_is_kept_over_its_failures(job: Job, server: CalendarServer) -> None:
    """304 costs nothing; 500, nonsense and silence leave the copy, which another process gives without asking."""
    job = replace(job, place=server.url())
    assert titles(Reader().do(job)) == ["Budget"]
    quiet = Reader().do(replace(job, anyway=False))
    assert (quiet.failure, quiet.rows) == ("", None)
    assert "If-None-Match" in server.seen[-1][1]
    for answer in (web.status(500), b"<html>", web.cut):
        server.answers["/a.ics"] = answer
        found = Reader().do(job)
        assert found.failure and titles(found) == ["Budget"]
    asked = len(server.seen)
    assert titles(Reader().do(replace(job, look=False))) == ["Budget"] and len(server.seen) == asked
    server.answers["/a.ics"] = TUESDAY
    assert titles(Reader().do(replace(job, anyway=False))) == ["Review"]


def test_copy_of_another_place_is_not_taken(job: Job, server: CalendarServer) -> None:
    """Another address: neither its mark nor its entries belong here."""
    Reader().do(replace(job, place=server.url()))
    server.answers["/b.ics"] = web.status(500)
    answer = Reader().do(replace(job, place=server.url("/b.ics")))
    assert answer.rows is None and answer.read_at is None
    assert "If-None-Match" not in server.seen[-1][1]


def test_damaged_copy_counts_as_none(job: Job, server: CalendarServer) -> None:
    """A full disk, a crash of the machine: it is fetched again."""
    job = replace(job, place=server.url())
    for damage in (b"", b"BEGIN:VCAL", b"\xff\xfe", b"[]"):
        Reader().do(job)
        Path(job.kept + ".ics").write_bytes(damage)
        assert Reader().do(replace(job, look=False)).failure
        Path(job.kept + ".json").write_bytes(damage)
        assert titles(Reader().do(job)) == ["Budget"]


def test_copy_that_cannot_be_written_is_named(job: Job) -> None:
    """The occurrences count all the same."""
    answer = Reader().do(replace(job, kept="/proc/none/work"))
    assert "no copy can be kept" in answer.failure and titles(answer) == ["Budget"]


def test_slow_host_is_not_asked_again_by_the_same_process(
    job: Job, server: CalendarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand calendars there do not cost a thousand times the limit."""
    monkeypatch.setattr("ari_presence.calendars.fetch.TOTAL_S", 0.3)
    server.answers["/a.ics"] = web.silent
    reader = Reader()
    first = reader.do(replace(job, place=server.url()))
    second = reader.do(replace(job, place=server.url("/b.ics"), kept=job.kept + "2"))
    assert first.slow and second.slow and "tried again later" in second.failure
    assert [path for path, _ in server.seen] == ["/a.ics"]


def test_broken_entries_are_told_beside_the_good_ones(job: Job) -> None:
    """By an answer that is no failure."""
    Path(job.place).write_bytes(text(meeting("20260309T100000", "20260309T110000", uid="good"), event(uid="bad")))
    answer = Reader().do(job)
    assert answer.failure == "" and titles(answer) == ["Budget"] and "entry bad" in answer.problems[0]


def test_jobs_are_done_line_by_line(job: Job) -> None:
    """One that breaks the reader does not end it."""
    bad = {**job.to_json(), "zones": ["No/Where"]}
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (job.to_json(), bad, job.to_json()))
    out = io.BytesIO()
    serve(io.BytesIO(lines), out)
    answers = [Answer.from_json(json.loads(line)) for line in out.getvalue().splitlines()]
    assert [bool(answer.failure) for answer in answers] == [False, True, False]
    assert job.place in answers[1].failure
