"""The servers of `tests/asterisk` for tests of faults."""

import importlib.util
import sys
from pathlib import Path

ASTERISK = Path(__file__).parents[1] / "asterisk"
sys.path += [str(Path(__file__).parent), str(ASTERISK)]

_spec = importlib.util.spec_from_file_location("asterisk_fixtures", ASTERISK / "conftest.py")
assert _spec is not None and _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

tree_of = _fixtures.tree_of
quick = _fixtures.quick
phone = _fixtures.phone
