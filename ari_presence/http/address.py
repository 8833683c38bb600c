"""Where the control socket lies; shared by the daemon and the command line, so it imports next to nothing."""

from pathlib import Path


def control_socket(state_dir: Path) -> Path:
    """Give the path of the Unix socket over which the command line reaches the daemon of `state_dir`."""
    return state_dir / "control.sock"
