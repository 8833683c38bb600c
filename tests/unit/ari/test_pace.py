"""How often a link reads."""

import pytest

from ari_presence.ari.pace import BUSY_PER_S, FEW_IN_FLIGHT, LOOK_S, REST_S, Pace


def after(messages: int, *, seconds: float = 1.0) -> Pace:
    """Give a pace that has seen so many messages come evenly, every ms some."""
    pace, reads = Pace(), int(seconds * 1000)
    for number in range(reads):
        pace.rest_s(100.0 + number / 1000, 0)
        pace.came(messages * (number + 1) // reads - messages * number // reads)
    return pace


@pytest.mark.parametrize(
    ("messages", "rest_s"), [(0, 0.0), (int(BUSY_PER_S * 0.8), 0.0), (int(BUSY_PER_S * 1.3), REST_S)]
)
def test_link_rests_in_a_flood_alone(messages: int, rest_s: float) -> None:
    """While little comes, what comes is read at once."""
    assert after(messages).rest_s(101.0, 0) == rest_s


def test_one_call_is_no_flood() -> None:
    """All its events and answers come within a moment, but are few."""
    pace = after(45, seconds=LOOK_S)
    assert pace.rest_s(100.0 + LOOK_S, 0) == 0.0


def test_whoever_writes_much_is_not_held_up() -> None:
    """Answers make room for more requests."""
    pace = after(10_000)
    assert pace.rest_s(101.0, FEW_IN_FLIGHT + 1) == 0.0
    assert pace.rest_s(101.0, FEW_IN_FLIGHT) == REST_S


def test_flood_that_is_over_is_forgotten() -> None:
    """The first event after it is read at once."""
    pace = after(10_000)
    assert pace.rest_s(101.0 + LOOK_S, 0) == REST_S
    assert pace.rest_s(101.0 + 2 * LOOK_S, 0) == 0.0


def test_long_silence_before_the_first_messages_counts_as_silence() -> None:
    """A read that waited for half a second is followed by a look at all of that time."""
    pace = Pace()
    pace.rest_s(100.0, 0)
    pace.came(100)
    assert pace.rest_s(100.5, 0) == 0.0
