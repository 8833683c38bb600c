"""Pauses users in the queues of every server that has AMI, while their states say so (`core.queues` decides).

Level-triggered: the members are listed at each connect, whenever one comes, goes or is paused, and once a minute; what
differs from what is wanted is put right. Each pause is noted in the store before it is made, so that after any crash it is
known which are ours. In the engine's turn alone. Times are monotonic seconds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from ari_presence.ami.asks import Rows, error_of
from ari_presence.ami.wire import Fields, one
from ari_presence.core.events import ConfigChanged, Event, Started
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.queues import Do, Key, Member, Queues, note_key, noted, pausing
from ari_presence.followers import Follower, Followers
from ari_presence.presencewatch import AmiPort
from ari_presence.store.base import LampsConfirmed

QUIET_S = 0.3
LIST_EVERY_S = 60.0
RETRY_S = 10.0
_FROM_NEW = frozenset({Started, ConfigChanged})
_EVENTS = frozenset({"QueueMemberAdded", "QueueMemberRemoved", "QueueMemberPause"})
_REMEDIES = {
    "Permission denied": "give the user in manager.conf read = call,agent and write = call,system,agent",
    "Invalid/unknown command": "load app_queue.so, or leave pause_queues out",
}

log = structlog.get_logger(__name__)


class Engine(Protocol):
    """What is needed of the engine."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def followers(self) -> Followers:
        """Who stores for us."""


@dataclass(slots=True)
class _Server:
    """One server.

    Attributes:
        dirty: Queues to be listed (None: all), and when.
        busy: Members of whom something is being stored or done.
        acted: When something was done last about a member whom we paused; by the listing that was asked next it counts.
        blocked: Members about whom nothing could be done, and when it is tried again.
        said: What was complained of last.
    """

    queues: Queues
    up: bool = False
    dirty: dict[str | None, float] = field(default_factory=dict)
    busy: set[Key] = field(default_factory=set)
    acted: dict[Key, float] = field(default_factory=dict)
    blocked: dict[Key, float] = field(default_factory=dict)
    said: str = ""


class QueueKeeper(Follower):
    """Keeps the pauses of all servers (`followers.Follower`, `ami.link.Listener`)."""

    def __init__(self, engine: Engine, amis: Mapping[str, AmiPort], clock: Callable[[], float]) -> None:
        """Start without servers; `amis` may still be filled."""
        self._engine = engine
        self._amis = amis
        self._clock = clock
        self._servers: dict[str, _Server] = {}

    def add_server(self, pbx: str, stored: Mapping[UserId, str]) -> None:
        """Take a server that has AMI, with all that its lamps and members were last confirmed to be."""
        self._servers[pbx] = _Server(Queues(ours=noted(stored)))

    # --- what happens -------------------------------------------------------------------------------------------

    def ami_up(self, pbx: str) -> None:
        """Begin a session: all members are to be listed, and nobody is known to have unpaused anybody."""
        server = self._servers[pbx]
        server.up, server.said = True, ""
        server.busy.clear()
        server.acted.clear()
        server.blocked.clear()
        server.dirty = {None: self._clock()}
        self._list(pbx, server)

    def ami_event(self, pbx: str, fields: Fields) -> None:
        """Take that something has happened to a member."""
        queue, interface, event = one(fields, "queue"), one(fields, "interface"), one(fields, "event")
        if event not in _EVENTS or not queue or not interface:
            return
        server, key = self._servers[pbx], (queue, interface)
        if (
            one(fields, "paused") == "1" and key not in server.busy
        ):  # known at once: a pause of somebody else is left alone
            server.queues.paused(key, True, one(fields, "pausedreason") or "")
        if event == "QueueMemberRemoved":
            server.queues.removed(key)
            server.acted.pop(key, None)
            if key in server.queues.ours:
                self._forget(pbx, server, key)
        server.dirty.setdefault(queue, self._clock() + QUIET_S)

    def follow(self, _model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Take events, and whose states they may have changed."""
        anew = not _FROM_NEW.isdisjoint(map(type, events))
        for pbx, server in self._servers.items():
            if anew and server.up:
                server.dirty = {None: self._clock()}
            for user in touched:
                for key in tuple(server.queues.keys.get(user, ())):
                    self._check(pbx, server, key)

    def next_deadline(self) -> float | None:
        """Tell when something is to be listed or tried again."""
        return min(
            (
                due
                for server in self._servers.values()
                if server.up and self._is_wanted(server)
                for due in (*server.dirty.values(), *server.blocked.values())
            ),
            default=None,
        )

    def pump(self) -> None:
        """List what is due, and try again."""
        now = self._clock()
        for pbx, server in self._servers.items():
            self._list(pbx, server)
            for key in [key for key, due in server.blocked.items() if due <= now]:
                del server.blocked[key]
                self._check(pbx, server, key)

    # --- listing ------------------------------------------------------------------------------------------------

    def _is_wanted(self, server: _Server) -> bool:
        return bool(server.queues.ours) or self._engine.model.settings.states.pauses_queues

    def _list(self, pbx: str, server: _Server) -> None:
        """Ask for what is due; of whole queues, since an event tells less than a listing and may be missed."""
        now = self._clock()
        if not server.up or not self._is_wanted(server):
            return
        due = [queue for queue, at in server.dirty.items() if at <= now]
        for queue in due:
            del server.dirty[queue]
            server.dirty.setdefault(None, now + LIST_EVERY_S)
            fields = {} if queue is None else {"Queue": queue}
            done = partial(self._listed, pbx, server, queue, now)
            self._amis[pbx].ask("QueueStatus", fields, done, ends="QueueStatusComplete")

    def _listed(self, pbx: str, server: _Server, queue: str | None, asked: float, rows: Rows) -> None:
        if rows is None:
            server.up = False
            return
        if reason := error_of(rows):
            self._complain(pbx, server, "members of queues not listed", reason)
            return
        members = [member for row in rows if (member := _member(row)) is not None]
        queues = server.queues
        trusted = [key for key, at in server.acted.items() if at < asked and key not in server.busy]
        queues.listed(self._engine.model, members, queue, trusted=trusted)
        for key in [key for key in queues.members if queue is None or key[0] == queue]:
            self._check(pbx, server, key)

    # --- putting right ------------------------------------------------------------------------------------------

    def _check(self, pbx: str, server: _Server, key: Key) -> None:
        """Do what is due about one member, unless something is under way."""
        if not server.up or key in server.busy or key in server.blocked:
            return
        queues = server.queues
        wanted = pausing(self._engine.model, queues.owners.get(key))
        if wanted is None:
            return
        match queues.due(key, wanted):
            case Do.PAUSE:
                reasons = queues.ours[key] = queues.ours.get(key, frozenset()) | {wanted}
                server.busy.add(key)
                self._note(pbx, key, reasons, partial(self._pause, pbx, server, key, wanted))
            case Do.UNPAUSE:
                server.busy.add(key)
                self._pause(pbx, server, key, "", noted=True)
            case Do.FORGET:
                self._forget(pbx, server, key)
            case Do.NOTHING:
                if queues.is_ours(key):
                    server.acted.setdefault(key, self._clock())

    def _pause(self, pbx: str, server: _Server, key: Key, reason: str, noted: bool) -> None:
        """Pause (with a reason) or unpause, once it is noted."""
        if not server.up or not noted:
            server.busy.discard(key)
            server.blocked[key] = self._clock() + RETRY_S
            return
        fields = {"Queue": key[0], "Interface": key[1], "Paused": "true" if reason else "false"}
        if reason:
            fields["Reason"] = reason
        self._amis[pbx].ask("QueuePause", fields, partial(self._paused, pbx, server, key, reason))

    def _paused(self, pbx: str, server: _Server, key: Key, reason: str, rows: Rows) -> None:
        server.busy.discard(key)
        if rows is None:
            server.up = False
            return
        if said := error_of(rows):
            server.blocked[key] = self._clock() + RETRY_S
            server.dirty[key[0]] = self._clock() + QUIET_S
            if said != "Interface not found":  # has just left
                self._complain(pbx, server, "member of a queue not paused", said)
            return
        server.queues.paused(key, bool(reason), reason)
        server.acted.pop(key, None)
        if reason:
            server.acted[key] = self._clock()
        verb = "paused in queue" if reason else "unpaused in queue"
        log.info(verb, pbx=pbx, queue=key[0], member=key[1], **({"reason": reason} if reason else {}))
        self._check(pbx, server, key)

    def _forget(self, pbx: str, server: _Server, key: Key) -> None:
        del server.queues.ours[key]
        server.acted.pop(key, None)
        self._note(pbx, key, frozenset(), lambda _: None)

    def _note(self, pbx: str, key: Key, reasons: frozenset[str], done: Callable[[bool], None]) -> None:
        text = " ".join(sorted(reasons))
        self._engine.followers.save(LampsConfirmed(pbx, UserId(note_key(key)), text), done)

    def _complain(self, pbx: str, server: _Server, what: str, reason: str) -> None:
        if reason != server.said:
            server.said = reason
            remedy = next((text for start, text in _REMEDIES.items() if reason.startswith(start)), "see Asterisk's log")
            log.error(what, pbx=pbx, reason=reason, remedy=remedy)


def _member(row: Fields) -> Member | None:
    """Read a member as `QueueStatus` lists it; None for anything else, and for what cannot be read."""
    queue, interface = one(row, "queue"), one(row, "location")
    if one(row, "event") != "QueueMember" or not queue or not interface:
        return None
    paused, reason = one(row, "paused") == "1", one(row, "pausedreason") or ""
    return Member(queue, interface, one(row, "stateinterface") or interface, paused, reason)
