"""Records calls anew: what a private Asterisk tells of real phones that call, hold, transfer, park and confer.

Run by hand, `PYTHONPATH=contrib:. python tests/scenarios/record_calls.py 22 16 [-k CASE]`; the tests only read what it
writes: `data/ari/<version>/<case>.jsonl`. First comes the listing at the connect, then each event as it arrived, and
after everything somebody did, when all is quiet, a line `step` with what Asterisk itself then says: the state of every
device, its channels and its bridges.
"""

import argparse
import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from private_asterisk import PrivateAsterisk
from tests.scenarios.call_cases import CASES
from tests.scenarios.scene import Scene

DATA = Path(__file__).parent / "data" / "ari"


def record(scene: Scene, case: Callable[[Scene], None], folder: Path) -> str:
    """Record one case and write it down; gives what went wrong."""
    scene.begin()
    try:
        case(scene)
        trouble = ""
    except Exception as error:  # the others are recorded all the same
        trouble = f"{case.__name__}: {type(error).__name__}: {error}"
    lines = scene.lines
    scene.hang_up()
    scene.step("end")
    name = case.__name__.replace("_", "-")
    (folder / f"call-{name}.jsonl").write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    )
    return trouble


def main() -> None:
    """Record the cases asked for on each release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+", type=int)
    parser.add_argument("-k", dest="pattern", default="", help="only cases whose name contains this")
    given = parser.parse_args()
    for version in given.versions:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(PrivateAsterisk(version, phones=("100", "100-mobile", "101", "102", "103")))
            scene = stack.enter_context(Scene(server))
            stack.enter_context(scene.listening())
            said = server.ari("GET", "asterisk/info").json()["system"]["version"]
            folder = DATA / re.split("[^0-9.]", said)[0]
            folder.mkdir(parents=True, exist_ok=True)
            for case in CASES:
                if given.pattern in case.__name__:
                    print(record(scene, case, folder) or f"{version} {case.__name__}: recorded")


if __name__ == "__main__":
    main()
