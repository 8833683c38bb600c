"""`DND/<user>` in Asterisk's database, as FreePBX keeps it: `YES`, or no such key.

ARI writes no key of AstDB. So a Local channel runs through `dialplan/presence-freepbx.conf`, with the users of a whole batch
in its variables; that it is answered there says that all is written. One batch at a time for each server, so nothing
overtakes. The key follows what the user's lamp of FreePBX should show: it is written when that changes, when somebody
else has changed the lamp (FreePBX changes both), and for everybody at each connect and every few minutes, since nothing tells
of a change of the key alone.

In the engine's turn alone. Times are monotonic seconds.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import structlog

from ari_presence.ari.wire import Request, Response
from ari_presence.core.events import ChannelGone, ChannelSeen, ConfigChanged, Event, LinkLost
from ari_presence.core.freepbx import OF_USER, ON
from ari_presence.core.lamps import Presence, Vector
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.followers import Follower
from ari_presence.publish.host import Answer

CONTEXT = "presence-freepbx"
BATCH_CHARS = 3000  # of one variable: an expression gives 4,095 at most (VAR_BUF_SIZE in main/pbx_variables.c)
BATCH_USERS = 400
LATE_S = 10.0
RETRY_S = 60.0
HEAL_S = 300.0
_LIT = f"{OF_USER}={ON}"

log = structlog.get_logger(__name__)


class Engine(Protocol):
    """What the keys need from the engine."""

    def desired(self, user: UserId) -> tuple[Vector, Presence] | None:
        """Say what a user's lamps should show; None while it is not known who that is."""

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Send a group of requests."""


@dataclass(slots=True)
class _Server:
    """One server.

    Attributes:
        lit: Users whose key was written last, the rest having none; those who are `due` are in doubt.
        due: Users whose key is to be written or removed, in order.
        channel: The channel of the batch under way, or "".
        batch: Whom it writes.
        deadline: When it is given up, or, without one, when the next may begin.
        heal: When all are looked at again.
    """

    app: str
    up: bool = False
    lit: set[UserId] = field(default_factory=set)
    due: dict[UserId, None] = field(default_factory=dict)
    channel: str = ""
    batch: tuple[UserId, ...] = ()
    deadline: float = 0.0
    heal: float = 0.0
    failed: bool = False


class FreepbxKeys(Follower):
    """Keeps the keys of all servers (`followers.Follower`)."""

    def __init__(self, engine: Engine, model: Model, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """Start without servers; `clock` gives monotonic seconds, `wall` those since the epoch."""
        self._engine = engine
        self._model = model
        self._clock = clock
        self._servers: dict[str, _Server] = {}
        self._number = int(wall() * 1000)  # a channel of an earlier run may still be there

    def add_server(self, pbx: str, app: str) -> None:
        """Take a server, before the engine runs."""
        self._servers[pbx] = _Server(app)

    @property
    def _wanted(self) -> bool:
        return self._model.settings.layout.freepbx is not None

    # --- what happens -------------------------------------------------------------------------------------------

    def follow(self, model: Model, events: Sequence[Event], touched: Iterable[UserId]) -> None:
        """Take events: the end of a batch, or users whose state may be another."""
        anew = False
        for event in events:
            if isinstance(event, (ChannelSeen, ChannelGone)):
                self._channel_seen(event)
            elif isinstance(event, LinkLost):
                self._servers[event.pbx].up = False
            elif isinstance(event, ConfigChanged):
                anew = True
        if not self._wanted:
            return
        for name, server in self._servers.items():
            if anew:
                server.due.update(dict.fromkeys(model.users))
            for user in touched:
                if (user in server.lit) is (not self._is_on(user)):
                    server.due[user] = None
            self._send(name, server)

    def shown(self, pbx: str, user: UserId, text: str) -> None:
        """Take confirmed lamps: where that of FreePBX is not as the key was, somebody may have changed the key, too."""
        server = self._servers[pbx]
        if self._wanted and (_LIT in text.split()) is not (user in server.lit):
            server.due[user] = None
            self._send(pbx, server)

    def link_up(self, pbx: str) -> None:
        """Begin a session: every key is in doubt."""
        server = self._servers[pbx]
        server.up, server.channel, server.batch, server.deadline, server.heal = True, "", (), 0.0, self._clock()
        self.pump()

    def next_deadline(self) -> float | None:
        """Tell when a batch is late, or tried again."""
        if not self._wanted:
            return None
        up = [server for server in self._servers.values() if server.up]
        waiting = [server.deadline for server in up if server.channel or (server.due and server.deadline)]
        return min((*waiting, *(server.heal for server in up)), default=None)

    def pump(self) -> None:
        """Give up what is late, and try again."""
        for name, server in self._servers.items():
            if server.up and self._wanted and self._clock() >= server.heal:
                server.heal = self._clock() + HEAL_S
                server.due.update(dict.fromkeys(self._model.users))
            if server.up and server.channel and self._clock() >= server.deadline:
                self._ended(name, server, done=False)
            self._send(name, server)

    # --- batches ------------------------------------------------------------------------------------------------

    def _is_on(self, user: UserId) -> bool | None:
        """Tell whether somebody is to have the key; None while it is not known whether there is such a user."""
        wanted = self._engine.desired(user)
        return None if wanted is None else self._model.settings.layout.is_dnd(wanted[0])

    def _send(self, pbx: str, server: _Server) -> None:
        """Begin the next batch, unless one is under way."""
        if not (server.up and server.due) or server.channel or self._clock() < server.deadline:
            return
        server.batch = _fitting(server.due)
        for user in server.batch:
            del server.due[user]
        wanted = {user: on for user in server.batch if (on := self._is_on(user)) is not None}
        server.lit.difference_update(user for user, on in wanted.items() if not on)
        server.lit.update(user for user, on in wanted.items() if on)
        if not wanted:
            self._send(pbx, server)
            return
        self._number += 1
        server.channel = channel = f"{server.app}-freepbx-{self._number}"
        server.deadline = self._clock() + LATE_S
        request = write_keys(channel, *([user for user, on in wanted.items() if on is one] for one in (True, False)))

        def answered(responses: list[Response] | None) -> None:
            if responses is not None and not responses[0].ok and server.channel == channel:
                self._ended(pbx, server, done=False)

        self._engine.submit(pbx, [request], answered, urgent=False)

    def _channel_seen(self, event: ChannelSeen | ChannelGone) -> None:
        server = self._servers.get(event.pbx)
        if server is None or not server.channel:
            return
        if isinstance(event, ChannelGone):
            if event.channel == server.channel:
                self._ended(event.pbx, server, done=False)
        elif event.channel.id == server.channel and event.channel.state == "Up":
            self._ended(event.pbx, server, done=True)

    def _ended(self, pbx: str, server: _Server, *, done: bool) -> None:
        """Take the end of a batch; one that failed is in doubt and tried again later."""
        server.channel, server.deadline = "", 0.0
        if not done:
            server.due = dict.fromkeys((*server.batch, *server.due))
            server.deadline = self._clock() + RETRY_S
            if not server.failed:
                remedy = (
                    f"#include presence-freepbx.conf ([{CONTEXT}]) in the dialplan, and load func_db and func_strings"
                )
                log.error("FreePBX's keys DND/<user> not written", pbx=pbx, remedy=remedy)
        server.failed, server.batch = not done, ()
        self._send(pbx, server)


def _fitting(due: Iterable[UserId]) -> tuple[UserId, ...]:
    """Take as many users as one batch holds."""
    found: list[UserId] = []
    size = 0
    for user in islice(due, BATCH_USERS):
        size += len(user) + 1
        if found and size > BATCH_CHARS:
            break
        found.append(user)
    return tuple(found)


def write_keys(channel: str, on: Iterable[UserId], off: Iterable[UserId]) -> Request:
    """Ask for a channel that writes the keys of some users and removes those of others."""
    where = (("context", CONTEXT), ("extension", "done"), ("priority", "1"), ("channelId", channel))
    variables = {"PRESENCE_ON": "&".join(sorted(on)), "PRESENCE_OFF": "&".join(sorted(off))}
    return Request(
        "POST", "channels", (("endpoint", f"Local/dnd@{CONTEXT}"), *where), json.dumps({"variables": variables})
    )
