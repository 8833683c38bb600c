"""The reader process as the daemon sees it: it answers, or it is ended."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ari_presence.calendars import process as module
from ari_presence.calendars.process import LateError, ReaderProcess
from ari_presence.calendars.rules import DEFAULT_RULES
from ari_presence.calendars.source import Job
from tests.unit.calendars.samples import END, START, meeting, text


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Give a job for a file."""
    (tmp_path / "a.ics").write_bytes(text(meeting("20260309T100000", "20260309T110000")))
    return Job(str(tmp_path / "a.ics"), str(tmp_path / "work"), START, END, ("UTC",), DEFAULT_RULES)


@pytest.fixture
def reader() -> Iterator[ReaderProcess]:
    """Give a reader that is ended in any case."""
    made = ReaderProcess()
    yield made
    made.close()


def test_jobs_are_answered_by_one_process(reader: ReaderProcess, job: Job) -> None:
    """Of lower priority and with limited memory, until it is closed."""
    assert reader.pid is None
    for _ in range(3):
        answer = reader.ask(job)
        assert answer.rows is not None and len(answer.rows["UTC"]) == 1
    pid = reader.pid
    assert pid is not None and os.getpriority(os.PRIO_PROCESS, pid) >= 10
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"{400 * 2**20}" in next(line for line in limits.splitlines() if line.startswith("Max address space"))
    reader.close()
    assert reader.pid is None and not Path(f"/proc/{pid}").exists()


def test_secret_is_not_in_the_process_list(reader: ReaderProcess, job: Job) -> None:
    """It goes in by the pipe."""
    reader.ask(replace(job, username="joe", password="very-secret-word"))
    for name in ("cmdline", "environ"):
        assert b"very-secret-word" not in Path(f"/proc/{reader.pid}/{name}").read_bytes()


def test_process_that_dies_is_replaced(reader: ReaderProcess, job: Job) -> None:
    """The next job finds another one."""
    reader.ask(job)
    pid = reader.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LateError):
        reader.ask(job)
    assert reader.ask(job).failure == "" and reader.pid != pid


def test_process_that_hangs_is_ended(job: Job) -> None:
    """After a fixed time, whatever it does."""
    reader = ReaderProcess(answer_s=30)
    reader.ask(job)
    pid = reader.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    reader._answer_s = 0.3
    with pytest.raises(LateError):
        reader.ask(job)
    assert not Path(f"/proc/{pid}").exists()


def test_end_lets_nobody_wait(reader: ReaderProcess, job: Job) -> None:
    """The daemon stops at once, although a calendar is being read."""
    reader.ask(job)
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGSTOP)
    timer = threading.Timer(0.3, reader.end)
    timer.start()
    began = time.monotonic()
    with pytest.raises(LateError):
        reader.ask(job)
    assert time.monotonic() - began < 10


def test_process_ends_with_its_input(reader: ReaderProcess, job: Job) -> None:
    """A daemon that was killed leaves no process behind."""
    reader.ask(job)
    assert reader._process is not None and reader._process.stdin is not None
    reader._process.stdin.close()
    assert reader._process.wait(20) == 0


def test_answer_without_end_is_refused(reader: ReaderProcess, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process gone mad does not fill the daemon's memory."""
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    monkeypatch.setattr(module, "_PIECE", 64)
    with pytest.raises(LateError):
        reader.ask(job)
