"""The C library's memory: one heap for all threads, and what is free is given back. Does nothing where it is not glibc's.

By default glibc gives each thread a heap of its own (mallopt(3), M_ARENA_MAX) and keeps what is free (malloc_trim(3)): after
two connects with ten thousand users that was 5 MiB of 85. Python lets one thread run at a time, so one heap costs no speed.
"""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def use_one_heap() -> None:
    """Let all threads share one heap; to be called before there are others."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give free memory back to the system; takes some ms with ten thousand users, without Python's lock."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
