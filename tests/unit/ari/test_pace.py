"""How often a link reads."""

import pytest

from ari_presence.ari.pace import FLOOD_PER_S, LOOK_S, Pace


def after(messages: int, *, seconds: float = 1.0) -> Pace:
    """Give a pace that has seen so many messages come evenly, every ms some."""
    pace, reads = Pace(), int(seconds * 1000)
    for number in range(reads):
        pace.is_flood(100.0 + number / 1000)
        pace.came(messages * (number + 1) // reads - messages * number // reads)
    return pace


@pytest.mark.parametrize(("share", "flood"), [(0.0, False), (0.8, False), (1.3, True)])
def test_flood_is_more_than_so_many_messages_a_second(share: float, flood: bool) -> None:
    """While little comes, what comes is read at once."""
    assert after(int(FLOOD_PER_S * share)).is_flood(101.0) is flood


def test_one_call_is_no_flood() -> None:
    """All its events and answers come within a moment, but are few."""
    pace = after(45, seconds=LOOK_S)
    assert not pace.is_flood(100.0 + LOOK_S)


def test_flood_that_is_over_is_forgotten() -> None:
    """The first event after it is read at once."""
    pace = after(10_000)
    assert pace.is_flood(101.0 + LOOK_S)
    assert not pace.is_flood(101.0 + 2 * LOOK_S)


def test_long_silence_before_the_first_messages_counts_as_silence() -> None:
    """A read that waited for half a second is followed by a look at all of that time."""
    pace = Pace()
    pace.is_flood(100.0)
    pace.came(100)
    assert not pace.is_flood(100.5)
