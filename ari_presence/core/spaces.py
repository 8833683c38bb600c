"""Which parked call is in which space, from times alone: what can be told for certain, and nothing else.

ARI tells that a channel entered a lot and that a space is taken, but not that the two belong together. Both stem from one
moment, so they are matched by time. Every taken space has its call, while a call may be in a space that nobody watches;
what follows from that without choice is certain, the rest stays open.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Call = TypeVar("Call", bound=Hashable)
Place = TypeVar("Place", bound=Hashable)

WINDOW_S = 0.3
"""How far apart both reports of one moment come at most: within 0.035 s on busy servers (22.10.1 and 16.28.0)."""
EDGES_AT_MOST = 2500
"""Pairs that are looked at in one knot; a bigger one stays open, for the work would grow with its square."""


@dataclass(slots=True)
class Stay(Generic[Key]):
    """A call in a lot, or the use of a space.

    Attributes:
        key: Whose stay it is.
        low: It began then at the earliest, seconds since the epoch.
        high: It began then at the latest.
        moved: When something was learnt about it last.
        number: Of the space, or None for a call whose space nobody has told.
    """

    key: Key
    low: float
    high: float
    moved: float
    number: str | None = None

    def near(self, other: "Stay[Any]") -> bool:
        """Tell whether both may have begun at one moment, in one space."""
        if self.number != other.number and self.number is not None and other.number is not None:
            return False
        return self.low - WINDOW_S <= other.high and other.low - WINDOW_S <= self.high


class _Knot(Generic[Call, Place]):
    """Stays that cannot be looked at apart from each other."""

    def __init__(self) -> None:
        self.calls: list[Stay[Call]] = []
        self.places: list[Stay[Place]] = []
        self.has_ended = False
        self.moved = self.reach = float("-inf")


def match(
    calls: Iterable[Stay[Call]], places: Iterable[Stay[Place]], ended: Iterable[Stay[Any]], at: float
) -> dict[Call, Place]:
    """Give the space of each call for which it is certain.

    Args:
        calls: Calls in lots.
        places: Spaces in use.
        ended: Stays that ended less than `WINDOW_S` ago: the report of their other half may still be on its way.
        at: Now.
    """
    found: dict[Call, Place] = {}
    for knot in _knots(calls, places, ended):
        if not knot.has_ended and knot.moved <= at - WINDOW_S:
            found |= _certain(knot.calls, knot.places)
    return found


def _knots(
    calls: Iterable[Stay[Call]], places: Iterable[Stay[Place]], ended: Iterable[Stay[Any]]
) -> Iterator[_Knot[Call, Place]]:
    """Part the stays so that no two of different knots are near each other."""
    stays: list[tuple[Stay[Any], str]] = [(stay, "call") for stay in calls]
    stays += [(stay, "place") for stay in places]
    stays += [(stay, "ended") for stay in ended]
    knot: _Knot[Call, Place] = _Knot()
    for stay, kind in sorted(stays, key=lambda each: each[0].low):
        if stay.low - WINDOW_S > knot.reach:
            yield knot
            knot = _Knot()
        knot.reach, knot.moved = max(knot.reach, stay.high), max(knot.moved, stay.moved)
        if kind == "ended":
            knot.has_ended = True
        else:
            (knot.calls if kind == "call" else knot.places).append(stay)
    yield knot


def _certain(calls: Sequence[Stay[Call]], places: Sequence[Stay[Place]]) -> dict[Call, Place]:
    """Pair off what has one partner only, until nothing has; a contradiction makes all of it uncertain."""
    if len(calls) < len(places) or len(calls) * len(places) > EDGES_AT_MOST:
        return {}
    options = {place.key: {call.key for call in calls if call.near(place)} for place in places}
    # With as many spaces as calls, every call has a space too.
    left = {call.key for call in calls} if len(calls) == len(places) else set()
    found: dict[Call, Place] = {}
    while options:
        if not all(options.values()) or not left <= set().union(*options.values()):
            return {}
        pairs = _only(options, left)
        if not pairs:
            break
        for call, place in pairs:
            if call in found or place not in options:
                return {}
            found[call] = place
            del options[place]
        left -= found.keys()
        for able in options.values():
            able.difference_update(found)
    return {} if left and not options else found


def _only(options: dict[Place, set[Call]], calls: set[Call]) -> list[tuple[Call, Place]]:
    """Find the spaces with one call left for them; if there is none, those of `calls` with one space left for them."""
    if single := [(next(iter(able)), place) for place, able in options.items() if len(able) == 1]:
        return single
    counts = Counter(call for able in options.values() for call in able)
    return [(call, place) for place, able in options.items() for call in able & calls if counts[call] == 1]
