"""`make bench`: how fast, how big; one table from one run, the floor measured beside each figure.

    make bench                     about twenty minutes, most of it with 10,000 users
    make bench ARGS=--quick        smaller counts, about two minutes
    make bench ARGS="--only dial"  some parts only: dial, treat, write, reconnect, agi, calls, schedule,
                                   calendars, scale

The exit code says whether everything could be measured, never whether it was fast enough.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import agi
import bytime
import calendars
import calls
import dialling
import scale
import treating
import writing
from table import Row, show

from ari_presence.log import configure_logging
from private_asterisk import PackagesError, SuiteMissingError, find_asterisk

SWITCH_S = 0.0005  # the threads that measure must not wait 5 ms, the default, for each other


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    dials22: int
    dials16: int
    writers: int
    users: int
    idle_s: float
    reconnect22: int
    reconnect16: int
    callers: int
    calls_s: float
    calendars: int
    agi_s: float
    treated: int
    kept: int


FULL = Counts(200, 100, 1500, 10_000, 30, 1000, 200, 1000, 60, 1000, 20, 200, 5000)
QUICK = Counts(40, 20, 300, 1000, 5, 300, 100, 200, 10, 100, 5, 40, 1000)


def parts(counts: Counts) -> dict[str, list[Callable[[], Iterator[Row]]]]:
    """Give what can be measured, by name."""
    return {
        "dial": [lambda: dialling.measure(22, counts.dials22), lambda: dialling.measure(16, counts.dials16)],
        "treat": [
            lambda: treating.measure(22, counts.treated, counts.kept),
            lambda: treating.measure(16, counts.treated, counts.kept),
        ],
        "write": [lambda: writing.measure(counts.writers)],
        "reconnect": [
            lambda: scale.reconnect(22, counts.reconnect22),
            lambda: scale.reconnect(16, counts.reconnect16),
        ],
        "agi": [lambda: agi.measure(counts.agi_s)],
        "calls": [lambda: calls.measure(counts.callers, counts.calls_s)],
        "schedule": [lambda: bytime.measure(counts.users)],
        "calendars": [lambda: calendars.measure(counts.calendars)],
        "scale": [lambda: scale.measure(counts.users, counts.idle_s)],
    }


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="How fast, how big: one table, the floor beside each figure.")
    parser.add_argument("--quick", action="store_true", help="smaller counts")
    parser.add_argument("--only", nargs="+", choices=sorted(parts(QUICK)), help="some parts only")
    given = parser.parse_args()
    configure_logging(sys.stderr, "warning")  # parts of the daemon run here; standard output is for the table
    sys.setswitchinterval(SWITCH_S)
    rows: list[Row] = []
    failed = False
    for name, measurements in parts(QUICK if given.quick else FULL).items():
        for measurement in measurements if not given.only or name in given.only else []:
            print(f"measuring: {name} ...", file=sys.stderr, flush=True)
            try:
                for row in measurement():
                    rows.append(row)
                    print(f"  {row.what}: {row.measured} {row.ratio}", file=sys.stderr, flush=True)
            except SuiteMissingError as error:
                rows.append(Row(f"{name}: not measured, {error}"))
            except Exception as error:  # the other parts are measured all the same
                print(f"error: {name}: {type(error).__name__}: {error}", file=sys.stderr)
                failed = True
    print(show(_title(), rows))
    return int(failed)


def _title() -> str:
    versions = [_version(number) for number in (22, 16)]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"ari-presence benchmark, {datetime.now(UTC):%Y-%m-%d}, {machine}, {' and '.join(filter(None, versions))}"


def _version(number: int) -> str:
    try:
        command = find_asterisk(number).command("usr/sbin/asterisk")
    except PackagesError:
        return ""
    said = subprocess.run([*command, "-V"], capture_output=True, text=True, check=False).stdout.split()
    return " ".join(said[:2]).partition("~")[0].partition("+")[0]


if __name__ == "__main__":
    sys.exit(main())
