"""Which call is in which space, from times: what is certain, and what stays open."""

import pytest

from ari_presence.core.spaces import EDGES_AT_MOST, WINDOW_S, Stay, match

LONG_AFTER = 1000.0


def stays(text: str) -> list[Stay[str]]:
    """Make stays of `a0 b0.1-5 c0=701`: name, when it began (or between when), and the number of its space."""
    found = []
    for word in text.split():
        name, times = word[0], word[1:]
        times, _, number = times.partition("=")
        low, _, high = times.partition("-")
        found.append(Stay(name, float(low), float(high or low), float(low), number or None))
    return found


@pytest.mark.parametrize(
    ("calls", "places", "found"),
    [
        pytest.param("", "", {}, id="nothing"),
        pytest.param("a0", "", {}, id="a space that nobody watches"),
        pytest.param("", "x0", {}, id="a space whose call is not told of"),
        pytest.param("a0", "x0.1", {"a": "x"}, id="call first"),
        pytest.param("a0.1", "x0", {"a": "x"}, id="space first"),
        pytest.param("a0", "x1", {}, id="too far apart"),
        pytest.param("a0 b1", "x0 y1", {"a": "x", "b": "y"}, id="one after the other"),
        pytest.param("a0 b0", "x0 y0", {}, id="two at once"),
        pytest.param("a0 b0", "x0", {}, id="two at once and one of them in a space that nobody watches"),
        pytest.param("a0", "x0 y0", {}, id="more spaces than calls: something is still to come"),
        pytest.param("a0 b0.4", "x0 y0.4", {"a": "x", "b": "y"}, id="near, but not near enough to be mistaken"),
        pytest.param("a0 b0.2", "x0.4 y0.4", {}, id="contradiction: one of two has to be later than it can be"),
        pytest.param("a0-10 b5", "x5", {}, id="a call whose space may still come, and another at its time"),
        pytest.param("a0-10 b5", "x5 y10", {"a": "y", "b": "x"}, id="what is left over belongs to what is left over"),
        pytest.param("a0-10 b5 c5", "x5 y10", {"a": "y"}, id="a later space can be of one call only"),
        pytest.param("a0=7 b0=8", "x0=7 y0=8", {"a": "x", "b": "y"}, id="told apart by number"),
        pytest.param("a0=7 b0", "x0=7 y0=8", {"a": "x", "b": "y"}, id="one is told, the other is what is left"),
        pytest.param("a0=7", "x0=8", {}, id="told another number"),
        pytest.param("a0 b0 c9", "x0 y0 z9", {"c": "z"}, id="what is open does not touch what is certain"),
    ],
)
def test_match_gives_what_is_certain(calls: str, places: str, found: dict[str, str]) -> None:
    """And nothing else, in any order."""
    assert match(stays(calls), stays(places), [], LONG_AFTER) == found
    assert match(stays(calls)[::-1], stays(places)[::-1], [], LONG_AFTER) == found


def test_match_waits_until_the_other_half_must_have_come() -> None:
    """Right after an event another one of the same moment may be on its way, so nothing is certain yet."""
    calls, places = stays("a0"), stays("x0.1")
    assert match(calls, places, [], 0.1 + WINDOW_S - 0.01) == {}
    assert match(calls, places, [], 0.1 + WINDOW_S + 0.01) == {"a": "x"}


def test_match_says_nothing_near_something_that_just_ended() -> None:
    """A call has left, its space is not free yet: whoever is left could be taken for its owner."""
    assert match(stays("a0"), stays("x0"), stays("b0"), LONG_AFTER) == {}
    assert match(stays("a0"), stays("x0"), stays("b9"), LONG_AFTER) == {"a": "x"}


def test_match_of_a_huge_knot_is_left_open() -> None:
    """Hundreds of calls at one moment cost no more than looking at them."""
    many = EDGES_AT_MOST + 1
    calls = [Stay(number, 0.0, 0.0, 0.0, str(number)) for number in range(many)]
    assert match(calls, calls[:1], [], LONG_AFTER) == {}
    assert match(calls[:1], calls[:1], [], LONG_AFTER) == {0: 0}
