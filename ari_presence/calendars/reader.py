"""The reader process: takes jobs on standard input, answers on standard output, and ends with its input.

A process of its own, so that neither a large nor a hostile calendar costs the daemon memory or time: it has less priority
and limited memory, and whoever started it ends it when an answer is late. Secrets come in with the jobs, never on the
command line.
"""

import errno
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ari_presence.calendars.fetch import MOST_BYTES, Fetcher, FetchError
from ari_presence.calendars.limits import TooCostly, cpu_limit, limit_memory
from ari_presence.calendars.scan import NotACalendar, Scan, scan
from ari_presence.calendars.source import Answer, Job

SCAN_CPU_S = 10.0
CALENDAR_CPU_S = 20.0
NICE = 10
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ReadError(Exception):
    """A calendar cannot be read; the text says why, where and what to do."""


class Reader:
    """Does jobs, one after the other, in one thread."""

    def __init__(self) -> None:
        """Start without connections."""
        self._fetcher = Fetcher()
        self._slow: set[str] = set()  # hosts that did not answer in time
        self._zones: dict[str, ZoneInfo] = {}

    def do(self, job: Job) -> Answer:
        """Do one job; whatever is wrong with the calendar is in the answer."""
        answer = Answer()
        copy = _Copy(Path(job.kept), job.place)
        data: bytes | None = None
        try:
            if job.look:
                data = self._look(job, copy)
                if data is not None:
                    self._take(job, data, copy, answer, fresh=True)
                copy.is_good(time.time())
        except (ReadError, FetchError) as error:
            answer.failure = str(error)
            answer.slow = isinstance(error, FetchError) and error.slow
        if answer.rows is None and job.anyway:
            self._from_copy(job, copy, answer)
        answer.read_at, answer.entries = copy.read_at, copy.entries
        return answer

    def _from_copy(self, job: Job, copy: "_Copy", answer: Answer) -> None:
        kept = copy.text()
        if kept is None:
            return
        try:
            self._take(job, kept, copy, answer, fresh=False)
        except ReadError as error:
            answer.failure = answer.failure or str(error)

    def _look(self, job: Job, copy: "_Copy") -> bytes | None:
        """Get what is at the place; None if it has not changed."""
        if not job.is_web:
            return _file(Path(job.place), copy)
        host = urlsplit(job.place).netloc
        if host in self._slow:
            raise FetchError(f"{host}: did not answer in time, tried again later", slow=True)
        login = (job.username, job.password) if job.username else None
        try:
            marks = {"etag": copy.etag, "modified": copy.modified} if copy.exists else {}
            got = self._fetcher.fetch(job.place, login=login, ca_file=job.ca_file, **marks)
        except FetchError as error:
            if error.slow:
                self._slow.add(host)
            raise
        if got.body is not None:
            copy.etag, copy.modified = got.etag, got.modified
        return got.body

    def _take(self, job: Job, data: bytes, copy: "_Copy", answer: Answer, *, fresh: bool) -> None:
        """Read a text and give the occurrences in every zone; a fresh one that is good becomes the copy."""
        digest = hashlib.sha256(data).hexdigest()
        if fresh and not job.anyway and digest == copy.digest and copy.exists:
            copy.save(None, digest, copy.entries or 0)  # the marks may be new
            return
        try:
            with cpu_limit(SCAN_CPU_S):
                days = [datetime.fromtimestamp(moment, UTC).date() for moment in (job.start, job.end)]
                found = scan(data, *days)
            rows, problems = self._occurrences(job, found)
        except NotACalendar as error:
            raise ReadError(f"{_where(job)}: {error}: check it there") from None
        except TooCostly:
            raise ReadError(f"{_where(job)}: takes too long to read: make it smaller") from None
        except MemoryError:
            raise ReadError(f"{_where(job)}: takes too much memory to read: make it smaller") from None
        answer.rows, answer.problems = rows, problems
        if fresh:
            copy.save(found, digest, found.total)

    def _occurrences(self, job: Job, found: Scan) -> tuple[dict[str, list[Any]], list[str]]:
        from ari_presence.calendars import entries  # the libraries are loaded when something has changed

        wanted = entries.Wanted(job.start, job.end, job.rules, job.titles, frozenset(job.addresses))
        reading = entries.read(found, wanted, CALENDAR_CPU_S)
        return {name: list(entries.in_zone(reading, self._zone(name), wanted)) for name in job.zones}, reading.problems

    def _zone(self, name: str) -> ZoneInfo:
        if name not in self._zones:
            try:
                self._zones[name] = ZoneInfo(name)
            except ValueError:  # the system's zone has no name: its file
                with Path(name).open("rb") as file:
                    self._zones[name] = ZoneInfo.from_file(file, key=name)
        return self._zones[name]


class _Copy:
    """The last good copy of a calendar: the entries that are not over, and beside them what is known of the place."""

    def __init__(self, path: Path, place: str) -> None:
        """Look at the files; those of another place count as none."""
        self._ics, self._json = (path.with_name(path.name + ending) for ending in (".ics", ".json"))
        self._place = hashlib.sha256(place.encode()).hexdigest()  # it may hold a secret
        self.read_at: float | None = None
        known: Mapping[str, Any] = {}
        with suppress(OSError, ValueError):
            read = json.loads(self._json.read_bytes())
            known = read if isinstance(read, dict) else {}
            self.read_at = self._json.stat().st_mtime
        self.exists = known.get("place") == self._place and self._ics.exists()
        if not self.exists:
            known, self.read_at = {}, None
        self.etag, self.modified = str(known.get("etag", "")), str(known.get("modified", ""))
        self.digest, self.stamp = str(known.get("digest", "")), known.get("stamp")
        self.entries: int | None = known.get("entries")

    def text(self) -> bytes | None:
        """Give the copy, if there is one."""
        with suppress(OSError):
            return self._ics.read_bytes() if self.exists else None
        return None

    def is_good(self, at: float) -> None:
        """Note that the place was found good: the time of the file says when."""
        if self.exists:
            with suppress(OSError):
                os.utime(self._json, (at, at))
            self.read_at = at

    def save(self, found: Scan | None, digest: str, entries: int) -> None:
        """Put a new copy in place of the old one (None: only what is known of it)."""
        known: dict[str, object] = {
            "place": self._place,
            "etag": self.etag,
            "modified": self.modified,
            "digest": digest,
        }
        known |= {"stamp": self.stamp, "entries": entries}
        try:
            if found is not None:
                _replace(self._ics, found.text())
            _replace(self._json, json.dumps(known).encode())
        except OSError as error:
            remedy = "make room there" if error.errno in _FULL else "make it a folder that the daemon may write to"
            raise ReadError(f"{self._ics.parent}: no copy can be kept ({error.strerror}): {remedy}") from None
        self.digest, self.entries, self.exists = digest, entries, True


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is the old one or the new one, whatever happens."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)


def _file(path: Path, copy: _Copy) -> bytes | None:
    """Read a file, if it has changed."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ReadError(f"{path}: is not a file: name the .ics file")
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            stamp = [about.st_mtime_ns, about.st_size, about.st_ino]
            if copy.exists and copy.stamp == stamp:
                return None
            if about.st_size > MOST_BYTES:
                raise ReadError(f"{path}: more than {MOST_BYTES // 2**20} MiB: leave out what is over")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror}): mend its path or its permissions") from None
    copy.stamp = stamp
    return data


def _where(job: Job) -> str:
    return urlsplit(job.place).netloc if job.is_web else job.place


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Do jobs until the input ends."""
    reader = Reader()
    for line in jobs:
        job = Job.from_json(json.loads(line))
        try:
            answer = reader.do(job)
        except Exception as error:  # a bug, or no memory: this calendar alone must not count
            answer = Answer(f"{_where(job)}: cannot be read ({type(error).__name__}): make it smaller, or report this")
        answers.write(json.dumps(answer.to_json()).encode() + b"\n")
        answers.flush()


def main() -> None:
    """Run the process."""
    with suppress(OSError):
        os.nice(NICE)
    limit_memory()
    with suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
