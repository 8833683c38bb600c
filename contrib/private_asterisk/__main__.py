"""Fetches all trees (`python -m private_asterisk`), so that no test's time limit counts it."""

import sys

from private_asterisk.packages import ASTERISK_SUITES, PackagesError, SuiteMissingError, find_asterisk, find_clients


def main() -> int:
    """Fetch what is not installed; 16 may be missing from the mirror, the rest not."""
    code = 0
    for version in ASTERISK_SUITES:
        try:
            find_asterisk(version)
        except SuiteMissingError as error:
            print(f"Asterisk {version}: {error}", file=sys.stderr)
            code = max(code, int(version == max(ASTERISK_SUITES)))
        except PackagesError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
    try:
        find_clients()
    except PackagesError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
