"""`make demo` plays to its end, with the samples of contrib/ as they are, and every step shows what it should."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from private_asterisk import Tree

ROOT = Path(__file__).resolve().parents[2]


def test_demo_goes_through_all_its_steps(tree_of: Callable[[int], Tree]) -> None:
    """The scripted caller dials, calls and parks; a step that shows anything else fails the demo."""
    tree_of(22)
    words = [sys.executable, "-m", "private_asterisk.demo", "--once"]
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'contrib'}:{ROOT}"}
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, check=False, timeout=240, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for step in ("by the dialplan alone", "the hours end", "Asterisk restarted", "refused, 486", "over AGI"):
        assert step in done.stdout
