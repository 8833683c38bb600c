"""The reader process as seen by the daemon: started when there is work, ended when an answer is late."""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

from ari_presence.calendars.source import Answer, Job

ANSWER_S = 120.0
"""Longer than all limits within the process together, on a busy machine."""
_LOOK_S = 0.2
_PIECE = 65_536
_MOST_BYTES = 16 * 2**20
_MODULE = "ari_presence.calendars.reader"


class LateError(Exception):
    """The process did not answer, or died; it is ended, and another one is started for the next job."""


class ReaderProcess:
    """One process at most; used by one thread, `end` from any."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        """Start nothing yet."""
        self._answer_s = answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._over = False

    @property
    def pid(self) -> int | None:
        """Id of the process, if there is one."""
        return self._process.pid if self._process is not None else None

    def ask(self, job: Job) -> Answer:
        """Have a job done.

        Raises:
            LateError: No answer.
        """
        process = self._process or self._start()
        try:
            _pipe(process.stdin).write(json.dumps(job.to_json()).encode() + b"\n")
            _pipe(process.stdin).flush()
            return Answer.from_json(json.loads(self._line(process)))
        except (OSError, ValueError, KeyError, LateError):
            self.close()
            raise LateError(f"no answer within {self._answer_s:.0f} s, or too much memory was needed") from None

    def _start(self) -> "subprocess.Popen[bytes]":
        environ = {key: value for key, value in os.environ.items() if key != "CREDENTIALS_DIRECTORY"}
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,  # an interrupt typed in a terminal is for the daemon
        )
        return self._process

    def _line(self, process: "subprocess.Popen[bytes]") -> bytes:
        output = _pipe(process.stdout)
        deadline = time.monotonic() + self._answer_s
        pieces = [self._rest]
        size = 0
        while b"\n" not in pieces[-1]:
            if self._over or time.monotonic() > deadline or size > _MOST_BYTES:
                raise LateError
            if not select.select([output], [], [], _LOOK_S)[0]:
                continue
            piece = os.read(output.fileno(), _PIECE)
            if not piece:
                raise LateError
            pieces.append(piece)
            size += len(piece)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line

    def close(self) -> None:
        """End the process; by the thread that uses it. The next job starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()

    def end(self) -> None:
        """Let whoever waits for an answer wait no longer."""
        self._over = True


def _pipe(end: "IO[bytes] | None") -> "IO[bytes]":
    if end is None:
        raise LateError
    return end
