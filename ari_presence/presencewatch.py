"""Presence states that others wrote, where AMI tells of them: ARI does not.

An event that is not what we wrote last may still be an echo of ours, late on its way. So it is only a reason to ask, once
things have been quiet: what is there then, with no write of ours in between, is somebody's wish.

In the engine's turn alone. Times are monotonic seconds.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog

from ari_presence.ami.asks import Rows, error_of
from ari_presence.ami.wire import Fields, one
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId
from ari_presence.core.timers import Deadlines
from ari_presence.followers import Follower
from ari_presence.servers import Server

QUIET_S = 0.5  # longer than that of lamps, which say more: a state, not only a kind
_PROVIDER = "CustomPresence:"

log = structlog.get_logger(__name__)


class AmiPort(Protocol):
    """What is needed of a link to AMI."""

    def ask(self, name: str, fields: dict[str, str], done: Callable[[Rows], None], *, ends: str = "") -> None:
        """Have an action carried out; `done` is called in the engine's turn."""


class Engine(Protocol):
    """What is needed of the engine."""

    @property
    def servers(self) -> Mapping[str, Server]:
        """The servers by name."""

    def adopt_presence(self, user: UserId, presence: Presence, pbx: str) -> None:
        """Take somebody else's change as the user's wish."""


class PresenceWatch(Follower):
    """Watches the presence states of all servers that have AMI (`followers.Follower`, `ami.link.Listener`)."""

    def __init__(self, engine: Engine, amis: Mapping[str, AmiPort], clock: Callable[[], float]) -> None:
        """Start; `amis` may still be filled."""
        self._engine = engine
        self._amis = amis
        self._clock = clock
        self._restless: Deadlines[tuple[str, UserId]] = Deadlines()
        self._asked: set[tuple[str, UserId]] = set()

    # --- AMI ----------------------------------------------------------------------------------------------------

    def ami_up(self, pbx: str) -> None:
        """Have all presence states listed: some may have changed before."""

        def listed(rows: Rows) -> None:
            if rows and (reason := error_of(rows)):
                remedy = (
                    "give the user in manager.conf read = call and write = call, and load res_manager_presencestate"
                )
                log.warning("presence states that others write are not seen", pbx=pbx, reason=reason, remedy=remedy)
            for row in rows or ():
                self.ami_event(pbx, row)

        self._amis[pbx].ask("PresenceStateList", {}, listed, ends="PresenceStateListComplete")

    def ami_event(self, pbx: str, fields: Fields) -> None:
        """Take a presence state that was reported or listed."""
        presentity = one(fields, "presentity") or ""
        if one(fields, "event") != "PresenceStateChange" or not presentity.startswith(_PROVIDER):
            return
        user = UserId(presentity.removeprefix(_PROVIDER))
        known = self._known(pbx, user)
        if known is not None and known != _presence(fields, "status", "message"):
            self._restless.put((pbx, user), self._clock() + QUIET_S)

    def _known(self, pbx: str, user: UserId) -> Presence | None:
        """Give what we know to be there; None while that is in doubt, or the user is nobody."""
        publisher = self._engine.servers[pbx].publisher
        known = publisher.presences.get(user) if publisher.is_settled(user) else None
        return known and _tidy(known)

    def _ask(self, pbx: str, user: UserId) -> None:
        before = self._known(pbx, user)
        if before is None:  # it is being written just now, or the link is down and all will be written
            return
        self._asked.add((pbx, user))
        fields = {"Provider": f"{_PROVIDER}{user}"}
        self._amis[pbx].ask("PresenceState", fields, partial(self._answered, pbx, user, before))

    def _answered(self, pbx: str, user: UserId, before: Presence, rows: Rows) -> None:
        self._asked.discard((pbx, user))
        self._restless.drop((pbx, user))  # told before the answer
        known = self._known(pbx, user)
        if not rows or one(rows[0], "response") != "Success" or known is None:
            return
        if known != before:  # written in between
            self._restless.put((pbx, user), self._clock() + QUIET_S)
            return
        found = _presence(rows[0], "state", "presencemessage")
        if found != known:
            publisher = self._engine.servers[pbx].publisher
            publisher.presences[user] = found._replace(kept=publisher.presences[user].kept)  # AMI tells nothing of that
            publisher.touch([user])
            self._engine.adopt_presence(user, found, pbx)
            publisher.pump()

    # --- the engine ---------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Tell when somebody has been quiet for long enough."""
        return self._restless.next()

    def pump(self) -> None:
        """Ask for those who have been quiet."""
        for pbx, user in self._restless.pop_due(self._clock()):
            if (pbx, user) not in self._asked:
                self._ask(pbx, user)


def _presence(fields: Fields, kind: str, message: str) -> Presence:
    return Presence(one(fields, kind) or "not_set", one(fields, "subtype") or "", one(fields, message) or "")


def _tidy(presence: Presence) -> Presence:
    """Give a presence state as AMI spells it: it cannot tell spaces at the ends."""
    return Presence(presence.type, presence.subtype.strip(), presence.message.strip())
