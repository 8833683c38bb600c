"""The C library's memory, in a process of its own each time."""

import subprocess
import sys

SHOW = """
import threading
from ari_presence.memory import give_back, use_one_heap

def resident_mib():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
"""


def run(code: str) -> list[float]:
    """Run some lines in a fresh interpreter, and give the numbers that it prints."""
    done = subprocess.run([sys.executable, "-c", SHOW + code], capture_output=True, text=True, timeout=60, check=True)
    return [float(word) for word in done.stdout.split()]


def test_free_memory_below_something_kept_is_given_back() -> None:
    """By itself the C library gives back only what is free at the end of a heap."""
    before, after = run(
        """
kept = [bytes(1000) for _ in range(200_000)]
del kept[:-1]
print(resident_mib())
give_back()
print(resident_mib())
"""
    )
    assert before - after > 100


def test_threads_share_one_heap() -> None:
    """What threads allocate side by side comes from the heap that is there (malloc_info(3))."""
    code = """
import ctypes
{call}
there = threading.Barrier(4)
def work():
    there.wait()
    kept.append([bytes(2000) for _ in range(20_000)])
kept = []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""
    assert (heaps(code.format(call="use_one_heap()")), heaps(code.format(call="")) > 1) == (1, True)


def heaps(code: str) -> int:
    """Count the heaps of which `malloc_info` tells."""
    done = subprocess.run([sys.executable, "-c", SHOW + code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.count("<heap nr=")
