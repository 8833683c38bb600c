"""How long to wait before the next attempt."""

from itertools import islice

from ari_presence.ari.backoff import FIRST_S, MOST_S, delays


def test_first_delay_is_never_shorter_than_half_a_second() -> None:
    """The old socket's teardown needs that long (asterisk#2170)."""
    assert [next(delays()) for _ in range(50)] == [0.5] * 50 == [FIRST_S] * 50


def test_delays_double_up_to_the_most_with_jitter() -> None:
    """Each delay is 70 to 100 % of its step, and steps stop growing."""
    steps = [1.0, MOST_S, MOST_S, MOST_S, MOST_S, MOST_S]
    found = list(islice(delays(), 1, 7))
    assert all(0.7 * step <= delay <= step for step, delay in zip(steps, found, strict=True))


def test_many_links_do_not_come_back_together() -> None:
    """Jitter spreads those that lost the same server."""
    assert len({list(islice(delays(), 3))[2] for _ in range(20)}) > 10
