"""What every store does, shown on both."""

from collections.abc import Callable, Iterator

import pytest

from ari_presence.core.userstate import Entry
from ari_presence.store.base import HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen, Store, Stored
from ari_presence.store.memory import MemoryStore
from ari_presence.store.sqlite import SqliteStore

from .conftest import ALICE, BOB, changed, entry, row


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, open_store: Callable[[], SqliteStore]) -> Iterator[Store]:
    """Give an empty store of each kind."""
    store: Store = MemoryStore() if request.param == "memory" else open_store()
    yield store
    store.close()


def test_new_store_is_empty(store: Store) -> None:
    """Nothing is known at first."""
    assert store.load() == Stored()
    assert store.history(None, None, 10) == []


def test_changes_come_back_as_they_were(store: Store) -> None:
    """Every field survives, text of any script and fractions of seconds included."""
    full = Entry(
        entry("dnd").state, "phone:PJSIP/100", 1700000000.125, 1700003600.5, "bis 2, \u00e9\u20ac\U0001f600 'x'"
    )
    store.commit([ManualChanged(ALICE, full), LampsConfirmed("hq", ALICE, "joined=BUSY"), ServerSeen("hq", "2026")])
    assert store.load() == Stored({ALICE: full}, {"hq": {ALICE: "joined=BUSY"}}, {"hq": "2026"})


def test_newest_change_of_a_batch_wins(store: Store) -> None:
    """Changes of one key apply in their order; removing leaves nothing behind."""
    store.commit(
        [
            ManualChanged(ALICE, entry("dnd")),
            ManualChanged(ALICE, entry("away")),
            ManualChanged(BOB, entry("away")),
            ManualChanged(BOB, None),
            LampsConfirmed("hq", ALICE, "a"),
            LampsConfirmed("hq", ALICE, ""),
            LampsConfirmed("hq", BOB, "a"),
            LampsConfirmed("hq", BOB, "b"),
            LampsConfirmed("branch", BOB, "c"),
            ServerSeen("hq", "1"),
            ServerSeen("hq", "2"),
        ]
    )
    assert store.load() == Stored({ALICE: entry("away")}, {"hq": {BOB: "b"}, "branch": {BOB: "c"}}, {"hq": "2"})


def test_history_gives_the_newest_oldest_first(store: Store) -> None:
    """User, time and limit narrow the history; rows of one instant stay in the order they came."""
    for user, at in ((ALICE, 1.0), (BOB, 2.0), (ALICE, 3.0), (ALICE, 4.0)):
        store.commit([changed(user, at)])
    store.commit([ManualChanged(BOB, None, row(BOB, 4.0, "available", "later"))])
    assert [each.at for each in store.history(ALICE, None, 10)] == [1.0, 3.0, 4.0]
    assert [each.at for each in store.history(ALICE, None, 2)] == [3.0, 4.0]
    assert [each.user for each in store.history(None, 3.0, 10)] == [ALICE, ALICE, BOB]
    assert store.history(None, None, 1) == [row(BOB, 4.0, "available", "later")]
    assert store.history(BOB, 5.0, 10) == store.history(BOB, None, 0) == []


def test_state_that_set_itself_is_history_alone(store: Store) -> None:
    """A call leaves the manual state as it is."""
    store.commit(
        [changed(ALICE, 1.0), HistoryAdded(row(ALICE, 2.0, "on-call", "with Bob")), HistoryAdded(row(BOB, 3.0))]
    )
    assert [(each.user, each.at) for each in store.history(None, None, 10)] == [(ALICE, 1.0), (ALICE, 2.0), (BOB, 3.0)]
    assert store.history(ALICE, 2.0, 10) == [row(ALICE, 2.0, "on-call", "with Bob")]
    assert store.load().manual == {ALICE: entry("away", 1.0)}


def test_prune_deletes_only_what_is_older(store: Store) -> None:
    """Rows from the given time on stay, and so do manual states."""
    store.commit([changed(ALICE, float(at)) for at in range(2500)])
    assert store.prune(2400.0) == 2400
    assert [each.at for each in store.history(None, None, 1000)] == [float(at) for at in range(2400, 2500)]
    assert store.prune(2400.0) == 0
    assert store.load().manual == {ALICE: entry("away", 2499.0)}
