"""Limits of time and memory."""

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from ari_presence.calendars.limits import TooCostly, cpu_limit, time_limit


def test_work_beyond_its_processor_time_is_stopped() -> None:
    """Even where something swallows ordinary errors; afterwards nothing is left of the limit."""
    with pytest.raises(TooCostly), cpu_limit(0.05):
        while True:
            with suppress(Exception):
                sum(range(1000))
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_waiting_beyond_its_time_is_stopped() -> None:
    """Waiting costs no processor time."""
    with pytest.raises(TooCostly), time_limit(0.05):
        threading.Event().wait(20)


def test_work_within_its_limits_is_not_disturbed() -> None:
    """And the timer of somebody else goes on."""
    before = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with cpu_limit(5), time_limit(5):
            assert sum(range(1000)) == 499500
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_memory_beyond_its_limit_is_refused() -> None:
    """In a process of its own, since the limit stays."""
    code = (
        "from ari_presence.calendars import limits\nlimits.limit_memory()\ntry:\n    bytearray(limits.MEMORY_BYTES)\n"
        "except MemoryError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "refused\n"
