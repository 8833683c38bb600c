"""`make soak`: a thousand links end abruptly in a flood of events, on 22 and on 16; ends with 1 if ARI is wedged once."""

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "faults"), str(TESTS / "asterisk"), str(TESTS.parent / "contrib"), str(TESTS.parent)]

from abrupt import main_soak  # noqa: E402

from private_asterisk import PackagesError, PrivateAsterisk, SuiteMissingError  # noqa: E402

BATCH = 100


def main() -> int:
    """Run it for each release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="abrupt ends for each release")
    parser.add_argument("--version", type=int, action="append", help="22 or 16; both by default")
    options = parser.parse_args()
    for version in options.version or [22, 16]:
        print(f"Asterisk {version}")
        try:
            with PrivateAsterisk(version) as server:
                main_soak(server, options.rounds, BATCH)
        except SuiteMissingError as error:
            print(f"skipped: {error}")
        except (AssertionError, PackagesError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
