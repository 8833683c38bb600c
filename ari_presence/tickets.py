"""Who waits for what: requests that are settled when the change is stored and the lamps are confirmed.

In the engine's thread alone. Somebody waits with a future (HTTP, CLI), or is a caller whom the reducer is told of.
"""

import heapq
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ari_presence.core import commands as cmd
from ari_presence.core.names import UserId
from ari_presence.errors import Refused, StoreError, StoreSlow

CONFIRM_S = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stored change: confirmed by every server, or the names of those that have not.

    `said` is what a caller hears, where it was asked for by phone.
    """

    confirmed: bool
    waiting: tuple[str, ...] = ()
    said: cmd.Said | None = None


@dataclass(slots=True)
class Ticket:
    """One request; not settled before it is `tracked`, that is before all that it changed is known."""

    request: int
    future: "Future[Outcome] | None" = None
    user: UserId | None = None
    pbx: str | None = None
    saves: list[cmd.Save] = field(default_factory=list)
    stored: int = 0
    error: StoreError | None = None
    tracked: bool = False
    said: cmd.Said | None = None


class Tickets:
    """All requests that are not settled."""

    def __init__(self, unconfirmed: Callable[[Ticket], tuple[str, ...]], told: Callable[[int, bool], None]) -> None:
        """Begin without any.

        Args:
            unconfirmed: Names the servers that do not show yet what a ticket waits for.
            told: Takes the outcome of a request without a future: its number, and whether all is well.
        """
        self._unconfirmed = unconfirmed
        self._told = told
        self._open: dict[int, Ticket] = {}
        self._alarms: list[tuple[float, int]] = []
        self._late: dict[int, Ticket] = {}  # settled as failed before the store had answered

    def __len__(self) -> int:
        return len(self._open)

    def open(self, request: int, future: "Future[Outcome]") -> None:
        """Begin a request of somebody who waits with a future."""
        self._open[request] = Ticket(request, future)

    def saving(self, save: cmd.Save) -> None:
        """Note a change that must be durable first."""
        if save.request is not None:
            self._ticket(save.request).saves.append(save)

    def track(self, command: cmd.Track, now: float) -> None:
        """Begin to look for the confirmation; `now` is monotonic."""
        ticket = self._ticket(command.request)
        ticket.user, ticket.pbx, ticket.tracked = command.user, command.pbx, True
        heapq.heappush(self._alarms, (now + CONFIRM_S, command.request))
        self._check(ticket)

    def answer(self, command: cmd.Refuse | cmd.Tell) -> None:
        """End a request that was refused or changed nothing; else keep what is said until the outcome is known."""
        if isinstance(command, cmd.Tell) and command.said.waits:
            self._ticket(command.request).said = command.said
            return
        ticket = self._open.pop(command.request, None)
        if ticket is None or ticket.future is None:
            return
        if isinstance(command, cmd.Tell):
            ticket.future.set_result(Outcome(confirmed=True, said=command.said))
        else:
            ticket.future.set_exception(Refused(command.reason, code=command.code))

    def stored(self, requests: Iterable[int], error: StoreError | None) -> list[cmd.Save]:
        """Take the store's word on one change each of these requests.

        Returns:
            Changes that were not stored and are to be taken back.
        """
        lost: list[cmd.Save] = []
        for request in requests:
            ticket = self._open.get(request) or self._late.get(request)
            if ticket is None:
                continue
            if error is not None:
                lost.append(ticket.saves[ticket.stored])
            ticket.stored += 1
            ticket.error = ticket.error or error
            if ticket.stored >= len(ticket.saves):
                self._late.pop(request, None)
        return lost

    def check(self, requests: Iterable[int]) -> None:
        """Settle those of these requests that can be."""
        for request in requests:
            if (ticket := self._open.get(request)) is not None:
                self._check(ticket)

    def look(self, user: UserId) -> None:
        """Settle what waits for this user, if it can be: a server has answered."""
        if self._open:
            for ticket in [t for t in self._open.values() if t.user == user or t.user is None]:
                self._check(ticket)

    def next_deadline(self) -> float | None:
        """Tell when `expire` has something to do, monotonic."""
        return self._alarms[0][0] if self._alarms else None

    def expire(self, now: float) -> None:
        """Settle what has waited long enough."""
        while self._alarms and self._alarms[0][0] <= now:
            ticket = self._open.get(heapq.heappop(self._alarms)[1])
            if ticket is not None:
                self._settle(ticket)

    def _ticket(self, request: int) -> Ticket:
        return self._open.setdefault(request, Ticket(request))

    def _check(self, ticket: Ticket) -> None:
        durable = ticket.stored >= len(ticket.saves)
        if ticket.tracked and durable and (ticket.error is not None or not self._unconfirmed(ticket)):
            self._settle(ticket)

    def _settle(self, ticket: Ticket) -> None:
        """Tell whoever waits what became of the change, good or bad."""
        self._open.pop(ticket.request, None)
        error = ticket.error
        if error is None and ticket.stored < len(ticket.saves):
            error = StoreSlow("not stored yet, and taken back if it cannot be: look at the disk of state_dir")
            self._late[ticket.request] = ticket
        missing = self._unconfirmed(ticket)
        if ticket.future is None:
            self._told(ticket.request, error is None and not missing)
        elif error is not None:
            ticket.future.set_exception(error)
        else:
            ticket.future.set_result(Outcome(not missing, missing, ticket.said))
