"""The thread that writes: collects what is waiting and commits it together, so that many changes cost one disk flush.

Fed by the engine; tells it through `on_done`. Knows nothing of what the changes mean.
"""

import threading
from collections.abc import Callable, Iterable

import structlog

from ari_presence.errors import StoreError
from ari_presence.store.base import Change, HistoryAdded, LampsConfirmed, ManualChanged, ServerSeen, Store

RETRY_S = 5.0
"""Seconds after which changes that could not be stored are tried again, if nothing new comes first."""
KEPT_MANUAL = 10_000
"""How many changes of manual states without a ticket are kept while the disk is full; the oldest go first."""
_BATCH = 5_000

_log = structlog.get_logger()
_Item = tuple[Change, int | None]


class StoreWriter:
    """Writes changes in the order of `submit`, in groups.

    A change with a ticket is somebody waiting: if it cannot be stored he is told, and it is forgotten. A change
    without one is kept and tried again with the next group.
    """

    def __init__(self, store: Store, on_done: Callable[[list[int], StoreError | None], None]) -> None:
        """Start the thread.

        Args:
            store: Where to write; stays open when the writer is closed.
            on_done: Called in the writer's thread after every attempt, with the tickets of the group (empty if it had
                none) and the error, or None when all is durable.
        """
        self._store = store
        self._on_done = on_done
        self._changed = threading.Condition()  # guards the next two
        self._waiting: list[_Item] = []
        self._closing = False
        self._kept: list[_Item] = []  # the thread's own
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, change: Change, ticket: int | None) -> None:
        """Hand over a change, from any thread, without waiting.

        Raises:
            StoreError: The writer was closed.
        """
        with self._changed:
            if self._closing:
                raise StoreError("the store is closed: the daemon is stopping")
            self._waiting.append((change, ticket))
            self._changed.notify()

    def close(self) -> None:
        """Write what is waiting, then end the thread; may be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if group:
                self._write(group)
        if self._kept:
            _log.error("changes lost: the store could not be written before the end", count=len(self._kept))

    def _next_group(self) -> tuple[list[_Item], bool]:
        """Wait for work; give it, what was kept first, and whether it is the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, RETRY_S if self._kept else None)
            group = self._kept + self._waiting[:_BATCH]
            del self._waiting[:_BATCH]
            self._kept = []
            return group, self._closing and not self._waiting

    def _write(self, group: list[_Item]) -> None:
        error: StoreError | None = None
        try:
            self._store.commit([change for change, _ in group])
        except StoreError as caught:
            error = caught
            self._kept = _worth_keeping(change for change, ticket in group if ticket is None)
        except Exception as caught:  # the thread must go on; trying the same again would not help
            _log.exception("bug: a change could not be stored")
            error = StoreError(f"the store did not take a change ({type(caught).__name__}): report this as a bug")
        try:
            self._on_done([ticket for _, ticket in group if ticket is not None], error)
        except Exception:
            _log.exception("bug: nobody was told what became of a change")


def _worth_keeping(changes: Iterable[Change]) -> list[_Item]:
    """Thin out: of lamps and servers the newest of each, of manual states the newest `KEPT_MANUAL`."""
    newest: dict[tuple[str, ...], Change] = {}
    manual: list[Change] = []
    for change in changes:
        match change:
            case ManualChanged():
                manual.append(change)
            case HistoryAdded():  # not worth a place among them
                pass
            case LampsConfirmed(pbx, user):
                newest[("lamps", pbx, user)] = change
            case ServerSeen(pbx):
                newest[("server", pbx)] = change
    if len(manual) > KEPT_MANUAL:
        _log.error("changes lost: too many wait for the store", count=len(manual) - KEPT_MANUAL)
    return [(change, None) for change in (*manual[-KEPT_MANUAL:], *newest.values())]
