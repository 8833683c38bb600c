"""FastAGI: 500 requests a second, 50 at once, from a peer that replies to every command as Asterisk does.

Fifty connect at the same moment, ten times a second. A request is the time from connecting to the answer, the command that
sets the variables: by then a change is stored and confirmed by Asterisk. The prompt follows. Client, daemon and Asterisk
share the machine.
"""

import asyncio
import socket
import statistics
from collections.abc import Iterator

from table import Row, limited

from private_asterisk import PrivateAsterisk
from private_asterisk.presence import Daemon

AT_ONCE = 50
A_SECOND = 500
LIMIT_MS = 50.0
SILENT = 1000
ENVIRONMENT = (
    "agi_network: yes\nagi_network_script: {path}\nagi_request: agi://127.0.0.1/{path}\nagi_channel: PJSIP/{user}-{n:08x}\n"
    "agi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1700000000.{n}\nagi_version: 22.10.1\nagi_callerid: {user}\n"
    "agi_calleridname: unknown\nagi_callingpres: 0\nagi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\n"
    "agi_dnid: 77\nagi_rdnis: unknown\nagi_context: internal\nagi_extension: 77\nagi_priority: 2\nagi_enhanced: 0.0\n"
    "agi_accountcode: \nagi_threadid: 140453220181696\n\n"
)


async def _request(port: int, path: str, user: int, number: int) -> float:
    """Make one request and give its seconds; raises where the answer is not `ok`."""
    loop = asyncio.get_running_loop()
    begin, answered = loop.time(), 0.0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ENVIRONMENT.format(path=path, user=user, n=number).encode())
    while command := await reader.readline():
        if b"PRESENCE_RESULT=ok" in command:
            answered = loop.time()
        writer.write(b"200 result=0\n")
    writer.close()
    if not answered:
        raise RuntimeError(f"{path} for {user}: not ok")
    return answered - begin


async def _load(port: int, seconds: float, path: str, users: int) -> tuple[list[float], float]:
    """Make `AT_ONCE` requests together, again and again; give the seconds of each and how many a second it were."""
    loop = asyncio.get_running_loop()
    bursts, every_s = int(seconds * A_SECOND / AT_ONCE), AT_ONCE / A_SECOND
    tasks: list[asyncio.Task[float]] = []
    begin = loop.time()
    for burst in range(bursts):
        await asyncio.sleep(max(begin + burst * every_s - loop.time(), 0))
        numbers = range(burst * AT_ONCE, (burst + 1) * AT_ONCE)
        tasks += [asyncio.create_task(_request(port, path, 1000 + n % users, n)) for n in numbers]
    times = await asyncio.gather(*tasks)
    return times, len(times) / (loop.time() - begin)


async def _beside_silent(port: int, seconds: float, users: int) -> tuple[list[float], float]:
    """The same while so many connections are held open that never say anything."""
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SILENT)]
    found = await _load(port, seconds, "treat/1000", users)
    for _, writer in held:
        writer.close()
    return found


def measure(seconds: float, users: int = 500) -> Iterator[Row]:
    """Measure questions, changes, and questions beside silent connections.

    Args:
        seconds: How long each kind is asked.
        users: How many there are.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    phones = [str(number) for number in range(1000, 1000 + users)]
    with PrivateAsterisk(22, phones=phones) as server, Daemon(server, agi_port=port) as daemon:
        daemon.wait_ready()
        asyncio.run(_load(port, 1, "treat/1000", users))  # warms up
        kinds = {
            "treat": _load(port, seconds, "treat/1000", users),
            "toggle/lunch/45, stored and confirmed": _load(port, seconds, "toggle/lunch/45", users),
            f"treat beside {SILENT:,} silent connections": _beside_silent(port, seconds, users),
        }
        for kind, load in kinds.items():
            yield from _rows(kind, *asyncio.run(load))


def _rows(kind: str, times: list[float], a_second: float) -> Iterator[Row]:
    name = f"AGI, {AT_ONCE} at once, {kind}"
    enough = a_second >= A_SECOND * 0.99  # the last burst ends behind its time
    yield Row(f"{name}: requests", f"{a_second:,.0f} /s", target=f">= {A_SECOND} /s", ok=enough)
    yield Row(f"{name}: median", f"{statistics.median(times) * 1000:.1f} ms")
    yield limited(f"{name}: p99", statistics.quantiles(times, n=100)[98] * 1000, LIMIT_MS, unit="ms")
