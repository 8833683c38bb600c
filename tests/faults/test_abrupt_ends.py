"""No way to wedge ARI: a hundred links end abruptly in a flood of events, and ARI answers after each."""

from collections.abc import Callable
from pathlib import Path

import pytest
from abrupt import ENDS, torment
from daemon import Daemon, expected, lamps

from private_asterisk import PrivateAsterisk, Tree


@pytest.mark.parametrize(("version", "rounds"), [(22, 100), (16, 20)], ids=["22-100", "16-20"])
def test_abrupt_ends_in_a_flood_leave_ari_well(
    tree_of: Callable[[int], Tree], tmp_path: Path, version: int, rounds: int
) -> None:
    """RST, FIN, CLOSE and kill -9 of four applications beside a daemon that keeps its lamps right throughout."""
    with PrivateAsterisk(version, tree=tree_of(version)) as server, Daemon(tmp_path, server) as daemon:
        found = torment(server, rounds)
        assert sum(found[kind] for kind in ENDS) == rounds
        assert found["writes"] > 10 * rounds, "it was a flood"
        assert daemon.set("100", "dnd")["confirmed"]
        assert lamps(server, "100") == expected("dnd")
        assert len(daemon.logged("connected")) == 1
