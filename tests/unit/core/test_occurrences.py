"""Which occurrence counts at a moment, and when that changes."""

import pytest

from ari_presence.core.names import StateId
from ari_presence.core.occurrences import Occurrence, at_moment, next_change

MEETING, OUT = StateId("meeting"), StateId("out")


def entry(start: float, end: float, message: str = "", rank: int = 1) -> Occurrence:
    """Make an occurrence."""
    return Occurrence(start, end, MEETING, message or None, rank)


@pytest.mark.parametrize(
    ("at", "message"),
    [(9, None), (10, "a"), (19, "a"), (20, "b"), (29, "b"), (30, None)],
    ids=["before", "begin", "within", "adjoining", "last", "end"],
)
def test_occurrence_counts_from_its_begin_to_before_its_end(at: float, message: str | None) -> None:
    """Adjoining ones follow each other without a gap or an overlap."""
    found = at_moment([entry(10, 20, "a"), entry(20, 30, "b")], at)
    assert (found.message if found else None) == message


@pytest.mark.parametrize(
    ("others", "winner"),
    [
        ([entry(10, 30, "weak", 1), entry(5, 40, "strong", 0)], "strong"),
        ([entry(10, 30, "early"), entry(15, 40, "late")], "late"),
        ([entry(10, 30, "short"), entry(10, 40, "long")], "short"),
        ([entry(10, 30, "b"), entry(10, 30, "a")], "a"),
    ],
    ids=["rule", "started-last", "ends-first", "title"],
)
def test_of_overlapping_ones_one_counts_whatever_their_order(others: list[Occurrence], winner: str) -> None:
    """First the rule that stands first, then the one that started last, then the one that ends first."""
    for given in (others, others[::-1]):
        found = at_moment(given, 20)
        assert found is not None and found.message == winner


@pytest.mark.parametrize(("at", "due"), [(0, 10), (10, 20), (15, 20), (20, 30), (30, None)], ids=str)
def test_next_change_is_the_next_begin_or_end(at: float, due: float | None) -> None:
    """The moment itself is over."""
    assert next_change([entry(10, 20), entry(20, 30)], at) == due
