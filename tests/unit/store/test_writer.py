"""The writing thread: groups, tickets, what is kept after a failure, and the end."""

import queue
import threading
from collections.abc import Callable, Sequence

import pytest

from ari_presence.errors import StoreError
from ari_presence.store import writer as module
from ari_presence.store.base import Change, HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen
from ari_presence.store.memory import MemoryStore
from ari_presence.store.sqlite import SqliteStore
from ari_presence.store.writer import StoreWriter

from .conftest import ALICE, BOB, changed, entry, row

WAIT_S = 10.0


class GatedStore(MemoryStore):
    """A store whose commits wait at a gate and can be made to fail."""

    def __init__(self) -> None:
        """Start with an open gate."""
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failing: Exception | None = None
        self.batches: list[list[Change]] = []

    def commit(self, batch: Sequence[Change]) -> None:
        """Wait, then fail or store."""
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.batches.append(list(batch))
        if self.failing is not None:
            raise self.failing
        super().commit(batch)


class Reports:
    """Collects what `on_done` says."""

    def __init__(self) -> None:
        """Start empty."""
        self.queue: queue.Queue[tuple[list[int], StoreError | None]] = queue.Queue()

    def __call__(self, tickets: list[int], error: StoreError | None) -> None:
        """Note a report."""
        self.queue.put((tickets, error))

    def next(self) -> tuple[list[int], StoreError | None]:
        """Give the next report, or fail."""
        return self.queue.get(timeout=WAIT_S)


def test_ticket_is_reported_when_the_change_is_on_disk(open_store: Callable[[], SqliteStore]) -> None:
    """A report means that another connection reads the change."""
    store, reports = open_store(), Reports()
    writer = StoreWriter(store, reports)
    writer.submit(changed(ALICE, 1.0), 7)
    assert reports.next() == ([7], None)
    assert open_store().load().manual == {ALICE: entry("away", 1.0)}
    writer.close()


def test_changes_that_wait_are_committed_together() -> None:
    """All that comes in during one commit is one group, in order, with all its tickets."""
    store, reports = GatedStore(), Reports()
    store.gate.clear()
    writer = StoreWriter(store, reports)
    writer.submit(changed(ALICE, 0.0), 0)
    assert store.entered.wait(WAIT_S)
    for number in range(1, 200):
        writer.submit(changed(ALICE, float(number)), number if number % 2 else None)
    store.gate.set()
    assert reports.next() == ([0], None)
    assert reports.next() == (list(range(1, 200, 2)), None)
    assert len(store.batches) == 2
    assert store.load().manual[ALICE].since == 199.0
    writer.close()


def test_failure_is_reported_and_changes_without_ticket_are_kept() -> None:
    """Who waits is told and nothing more; the rest goes with the next group, ahead of it."""
    store, reports = GatedStore(), Reports()
    store.failing = StoreError("full")
    store.gate.clear()
    writer = StoreWriter(store, reports)
    writer.submit(ServerSeen("hq", "1"), None)
    assert store.entered.wait(WAIT_S)
    writer.submit(LampsConfirmed("hq", ALICE, "old"), None)
    writer.submit(LampsConfirmed("hq", ALICE, "new"), None)
    writer.submit(changed(ALICE, 1.0), 1)
    writer.submit(changed(BOB, 2.0), None)
    store.gate.set()
    assert reports.next() == ([], store.failing)
    assert reports.next() == ([1], store.failing)
    store.failing = None
    writer.submit(changed(BOB, 3.0), 2)
    assert reports.next() == ([2], None)
    stored = store.load()
    assert stored.manual == {BOB: entry("away", 3.0)}
    assert (stored.lamps, stored.servers) == ({"hq": {ALICE: "new"}}, {"hq": "1"})
    assert [each.at for each in store.history(None, None, 9)] == [2.0, 3.0]
    assert LampsConfirmed("hq", ALICE, "old") not in store.batches[-1]
    writer.close()


def test_kept_changes_are_tried_again_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that works again is noticed although nobody changes anything."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    store, reports = GatedStore(), Reports()
    store.failing = StoreError("full")
    writer = StoreWriter(store, reports)
    writer.submit(ServerSeen("hq", "1"), None)
    assert reports.next()[1] is not None
    assert reports.next()[1] is not None
    store.failing = None
    while reports.next()[1] is not None:
        pass
    assert store.load().servers == {"hq": "1"}
    writer.close()


def test_history_of_calls_is_not_kept_while_the_disk_is_full() -> None:
    """A busy hour of calls must not push out what people set by hand."""
    manual = changed(ALICE, 1.0)
    assert module._worth_keeping([HistoryAdded(row(BOB, 1.0)), manual, HistoryAdded(row(BOB, 2.0))]) == [(manual, None)]


def test_kept_changes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stays full does not fill the memory: the newest are kept."""
    monkeypatch.setattr(module, "KEPT_MANUAL", 5)
    kept = module._worth_keeping([changed(ALICE, float(at)) for at in range(20)] + [ServerSeen("hq", "1")] * 9)
    manual = [each for each, _ in kept if isinstance(each, ManualChanged)]
    assert [each.entry.since for each in manual if each.entry] == [15.0, 16.0, 17.0, 18.0, 19.0]
    assert len(kept) == 6


def test_bug_in_a_change_does_not_stop_the_thread(open_store: Callable[[], SqliteStore]) -> None:
    """A change that no store can take is reported once, and the next one is stored."""
    store, reports = open_store(), Reports()
    writer = StoreWriter(store, reports)
    writer.submit(ManualChanged(ALICE, entry("away", message="\ud800")), 1)
    tickets, error = reports.next()
    assert tickets == [1] and "report this as a bug" in str(error)
    writer.submit(changed(ALICE, 2.0), 2)
    assert reports.next() == ([2], None)
    writer.close()


def test_report_that_fails_does_not_stop_the_thread() -> None:
    """A mistake of the listener costs one report only."""
    seen: queue.Queue[list[int]] = queue.Queue()

    def listen(tickets: list[int], error: StoreError | None) -> None:
        seen.put(tickets)
        raise RuntimeError("listener")

    writer = StoreWriter(MemoryStore(), listen)
    for ticket in (1, 2):
        writer.submit(changed(ALICE, 1.0), ticket)
        assert seen.get(timeout=WAIT_S) == [ticket]
    writer.close()


def test_close_writes_what_is_waiting() -> None:
    """Nothing that was handed over is lost at the end; afterwards nothing is taken."""
    store, reports = GatedStore(), Reports()
    store.gate.clear()
    writer = StoreWriter(store, reports)
    writer.submit(changed(ALICE, 0.0), 0)
    assert store.entered.wait(WAIT_S)
    for number in range(1, 12_001):
        writer.submit(changed(ALICE, float(number)), number)
    threading.Timer(0.05, store.gate.set).start()
    writer.close()
    writer.close()
    assert len(store.history(None, None, 100_000)) == 12_001
    assert [ticket for tickets, _ in iter_reports(reports) for ticket in tickets] == list(range(12_001))
    with pytest.raises(StoreError, match="closed"):
        writer.submit(changed(ALICE, 1.0), None)


def iter_reports(reports: Reports) -> list[tuple[list[int], StoreError | None]]:
    """Give all reports so far."""
    found = []
    while not reports.queue.empty():
        found.append(reports.next())
    return found


def test_close_tries_kept_changes_once_more() -> None:
    """What could not be stored before gets a last chance at the end, and the end comes in any case."""
    store, reports = GatedStore(), Reports()
    store.failing = StoreError("full")
    writer = StoreWriter(store, reports)
    writer.submit(ServerSeen("hq", "1"), None)
    assert reports.next()[1] is not None
    writer.close()
    assert len(store.batches) == 2
