"""Calendars: a thousand of a thousand entries, fetched and read; processor time, memory, and pauses of the engine.

Processor time and memory are those of a real daemon beside a real Asterisk, with its reader process. Pauses are measured
where they happen: an engine and a keeper in this process, and a thread that asks the engine something all the time. Where
the system allows it these threads go before everything else on the machine, so that only their own pauses count.
"""

import contextlib
import gc
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from table import Row, amount, limited

from ari_presence.calendars.keeper import Keeper, Setup
from ari_presence.calendars.plan import Calendar
from ari_presence.calendars.rules import DEFAULT_RULES
from ari_presence.core.events import Started
from ari_presence.core.model import UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.occurrences import CalendarRead
from ari_presence.daemon import SWITCH_S
from ari_presence.engine import Engine
from private_asterisk import PrivateAsterisk, wait_until
from private_asterisk.presence import Daemon
from tests.unit.calendars.server import CalendarServer, Handler, serving
from tests.unit.engine_rig import make_settings

ENTRIES = 1000
RECURRING = 50  # of them; the others are spread over three years
KINDS = 10  # of calendars, which differ from user to user by their titles
CPU_S = 60.0
MEMORY_MIB = 150.0
PAUSE_MS = 10.0
TIMEOUT_S = 600.0
PROBE_S = 0.002


def body(seed: int) -> bytes:
    """Make a calendar as a server gives it: guests, descriptions, alarms, series with exceptions."""
    draw = random.Random(seed)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN"]
    for number in range(ENTRIES):
        begin = today + timedelta(days=draw.randint(-540, 540), minutes=draw.randrange(480, 1080, 30))
        times = [f";TZID=Europe/Berlin:{begin + timedelta(minutes=more):%Y%m%dT%H%M%S}" for more in (0, 30, 7 * 1440)]
        lines += ["BEGIN:VEVENT", f"UID:{seed}-{number}@bench", "DTSTAMP:20260101T000000Z", f"DTSTART{times[0]}"]
        lines += [f"DTEND{times[1]}", f"SUMMARY:Entry {number} of TITLE", "STATUS:CONFIRMED", "TRANSP:OPAQUE"]
        lines += ["DESCRIPTION:" + "words that nobody reads\\, " * 5, "LOCATION:Room 1"]
        lines += [f"ATTENDEE;CN=Guest {each};PARTSTAT=ACCEPTED:mailto:guest{each}@bench" for each in range(3)]
        if number < RECURRING:
            lines += ["RRULE:FREQ=WEEKLY", f"EXDATE{times[2]}"]
        lines += ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT15M", "END:VALARM", "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def answer_all(server: CalendarServer, count: int) -> None:
    """Let the server give each user a calendar, which changes with `server.version`."""
    bodies = [body(seed) for seed in range(KINDS)]
    server.version = 1  # type: ignore[attr-defined]

    def answer(handler: Handler) -> None:
        version = server.version  # type: ignore[attr-defined]
        if handler.headers.get("If-None-Match") == f'"{version}"':
            handler.reply(304)
        else:
            user = handler.path[1:]
            found = bodies[hash(user) % KINDS].replace(b"TITLE", f"{user} {version}".encode())
            handler.reply(200, found, ETag=f'"{version}"')

    server.answers = {f"/{user}": answer for user in users(count)}


def users(count: int) -> list[str]:
    """Name users."""
    return [str(10_000 + number) for number in range(count)]


def measure(count: int) -> Iterator[Row]:
    """Measure with so many calendars, on Asterisk 22."""
    who = f"{count:,} calendars of {ENTRIES:,} entries"
    with serving() as server:
        answer_all(server, count)
        yield from _daemon(server, count, who)
    yield from _pauses(count, who)


def _daemon(server: CalendarServer, count: int, who: str) -> Iterator[Row]:
    names = users(count)
    with PrivateAsterisk(22, phones=names) as asterisk:
        daemon = Daemon(asterisk)
        with daemon:
            daemon.wait_ready(60)
            before = daemon.resident_kib() / 1024
            daemon.configure(
                f'[[calendar]]\nname = "work"\nurl = "{server.url("/{user}")}"\nusers = {names}\nrefresh = "1d"\n'.replace(
                    "'", '"'
                )
            )
            for what, version in (("first", 1), ("all changed", 2), ("nothing changed", 2)):
                server.version = version  # type: ignore[attr-defined]
                asked, cpu, began = len(server.seen), _cpu_s(daemon), time.monotonic()
                daemon.command("reload")
                reader_mib = _watch_reader(daemon, lambda asked=asked: len(server.seen) - asked >= count)  # type: ignore[misc]
                took = f"{time.monotonic() - began:.0f} s by the clock"
                yield limited(f"{who}, {what}: processor time", _cpu_s(daemon) - cpu, CPU_S, unit="s")
                yield Row(f"{who}, {what}: daemon and reader process", f"{_memory(daemon, reader_mib)}, {took}")
            found = daemon.ask("GET", "/calendars")
            if len(found) != count or any(each["failure"] or not each["occurrences"] for each in found):
                raise RuntimeError(f"not all calendars were read: {[each for each in found if each['failure']][:3]}")
            after = daemon.resident_kib() / 1024
            yield limited(f"{who}: memory of the daemon and its reader", after + reader_mib, MEMORY_MIB, unit="MiB")
            yield Row(f"{who}: memory of the daemon for them", amount(after - before, "MiB"))


def _memory(daemon: Daemon, reader_mib: float) -> str:
    return f"{daemon.resident_kib() / 1024:.0f} + {reader_mib:.0f} MiB"


def _cpu_s(daemon: Daemon) -> float:
    """Give the processor time of the daemon and of its processes that have ended."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def _watch_reader(daemon: Daemon, all_asked: object) -> float:
    """Wait until a round is over, and give the most memory that its process had, in MiB."""
    most = 0.0
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        threads = Path(f"/proc/{daemon.pid}/task").iterdir()
        children += [child for thread in threads for child in _read(thread / "children").split()]
        for child in children:
            lines = _read(Path(f"/proc/{child}/status")).splitlines()
            most = max([most, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))])
        if not children and all_asked():  # type: ignore[operator]
            return most
        wait_until(lambda: False, 0.1, every_s=0.1)
    raise RuntimeError(f"calendars were not read within {TIMEOUT_S} s")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _pauses(count: int, who: str) -> Iterator[Row]:
    """Ask an engine something all the time, before and while calendars are read."""
    names = [UserId(user) for user in users(count)]
    settings = make_settings((), listed=dict.fromkeys(names, UserSettings()))
    engine = Engine(settings, lambda *_: None, lambda _: None)
    thread = threading.Thread(target=engine.run, daemon=True)
    sys.setswitchinterval(SWITCH_S)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "calendars")
        place.mkdir()
        for seed in range(KINDS):
            Path(folder, str(seed)).write_bytes(body(seed))
        for number, user in enumerate(names):
            (place / f"{user}.ics").symlink_to(f"../{number % KINDS}")
        events: list[float] = []

        def take(event: CalendarRead) -> None:
            began = time.thread_time()
            engine._apply(event)
            events.append(time.thread_time() - began)

        keeper = Keeper(Path(folder, "kept"), lambda event: engine.post(partial(take, event)), lambda: names)
        thread.start()
        engine.post(Started(time.time(), {}))
        engine.call(lambda _: (gc.collect(), gc.freeze()))  # as the daemon does
        began = time.monotonic()
        _go_first(os.SCHED_FIFO)
        idle = _probe(engine, until=lambda: time.monotonic() - began > 5)
        zone = settings.default.zone
        calendar = Calendar("work", 0, str(place), frozenset(names), DEFAULT_RULES, True, refresh_s=86400)
        keeper.start(Setup((calendar,), (), lambda _: zone, zone))
        _go_first(os.SCHED_FIFO)
        busy = _probe(
            engine, until=lambda: len(keeper.status()) == count and all(s["read"] for s in keeper.status()[-1:])
        )
        keeper.stop()
        engine.stop()
        _go_first(os.SCHED_OTHER)
        thread.join(5)
    ordered, floor = sorted(busy), f"{max(idle) * 1000:.1f} ms without them"
    yield Row(
        f"{who}: wait for the engine while they are read, p99.9", amount(ordered[len(busy) * 999 // 1000] * 1000, "ms")
    )
    longest = limited(
        f"{who}: longest wait for the engine while they are read", ordered[-1] * 1000, PAUSE_MS, unit="ms"
    )
    yield replace(longest, floor=floor)
    yield limited(f"{who}: processor time of the longest event for the engine", max(events) * 1000, PAUSE_MS, unit="ms")


def _go_first(policy: int) -> None:
    """Give all threads of this process a policy of the scheduler; processes made by them have the usual one."""
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            priority = os.sched_param(1 if policy else 0)
            os.sched_setscheduler(int(task.name), policy | os.SCHED_RESET_ON_FORK, priority)


def _probe(engine: Engine, until: object) -> list[float]:
    """Ask the engine every 2 ms how it is, and give how long each answer took, in seconds."""
    waits, look = [], time.monotonic()
    while True:
        began = time.monotonic()
        engine.call(lambda _: None)
        waits.append(time.monotonic() - began)
        if began - look > 1.0:
            look = began
            if until():  # type: ignore[operator]
                return waits
        threading.Event().wait(PROBE_S)
