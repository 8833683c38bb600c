"""Members of queues: whose they are, and whether a user's state pauses them. Pure: what is to be done, not how.

A pause of ours is one that we have noted before we made it, with one of the reasons that we noted; all others are somebody
else's and are left alone. That somebody takes a pause of ours back is a wish too: it holds until the user's state changes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from ari_presence.core.model import Model
from ari_presence.core.names import UserId, is_user_id
from ari_presence.core.userstate import Layer

_LOCAL = re.compile(r"Local/([^@/]+)(?:@.*)?\Z")
_HINT = re.compile(r"hint:([^@]+)(?:@.*)?\Z", re.IGNORECASE)

Key = tuple[str, str]
"""Queue and interface."""


class Member(NamedTuple):
    """A member of a queue as `app_queue` tells it.

    Attributes:
        queue: Name of the queue.
        interface: What is called, `PJSIP/100` or `Local/100@from-queue/n`.
        state_interface: The device whose state counts, often the same.
        paused: Whether it gets no calls.
        reason: Why, in the words of who paused it.
    """

    queue: str
    interface: str
    state_interface: str
    paused: bool
    reason: str


class Do(Enum):
    """What is to be done about one member."""

    NOTHING = "nothing"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    FORGET = "forget"  # what was noted: there is no pause of ours


@dataclass(slots=True)
class Queues:
    """The members of one server's queues, as far as they are users'.

    Attributes:
        members: All that belong to somebody, as listed last.
        owners: Whose they are.
        keys: The members of each user.
        ours: Reasons with which we paused somebody, noted before.
        released: Members whom somebody else unpaused in spite of a reason, with that reason.
    """

    members: dict[Key, Member] = field(default_factory=dict)
    owners: dict[Key, UserId] = field(default_factory=dict)
    keys: dict[UserId, set[Key]] = field(default_factory=dict)
    ours: dict[Key, frozenset[str]] = field(default_factory=dict)
    released: dict[Key, str] = field(default_factory=dict)

    def listed(self, model: Model, found: Iterable[Member], queue: str | None, *, trusted: Iterable[Key] = ()) -> None:
        """Take the members of one queue, or (None) of all.

        Args:
            model: Knows whose endpoints are whose.
            found: The members, those of nobody among them.
            queue: Which queue was listed.
            trusted: Members whom we had paused, and left alone since: who is not paused now was unpaused by somebody.
        """
        for key in [key for key in self.members if queue is None or key[0] == queue]:
            self._remove(key)
        unpaused = set(trusted)
        for member in found:
            key = (member.queue, member.interface)
            owner = owner_of(model, member)
            if owner is None:
                continue
            self.members[key] = member
            self.owners[key] = owner
            self.keys.setdefault(owner, set()).add(key)
            reason = pausing(model, owner)
            if key in unpaused and not member.paused and reason:
                self.released[key] = reason

    def removed(self, key: Key) -> None:
        """Take that somebody is no member any more."""
        self._remove(key)
        self.released.pop(key, None)

    def _remove(self, key: Key) -> None:
        self.members.pop(key, None)
        owner = self.owners.pop(key, None)
        if owner is not None:
            self.keys[owner].discard(key)
            if not self.keys[owner]:
                del self.keys[owner]

    def paused(self, key: Key, paused: bool, reason: str) -> None:
        """Take that a member was paused or unpaused, as Asterisk has said."""
        if (member := self.members.get(key)) is not None:
            self.members[key] = member._replace(paused=paused, reason=reason)

    def is_ours(self, key: Key) -> bool:
        """Tell whether a member is paused by us."""
        member = self.members.get(key)
        return member is not None and member.paused and member.reason in self.ours.get(key, ())

    def due(self, key: Key, wanted: str) -> Do:
        """Tell what is to be done about a member who is to be paused for this reason ("" for none)."""
        member, noted = self.members.get(key), key in self.ours
        if self.released.get(key, wanted) != wanted:
            del self.released[key]
        if member is None:  # may come back with the pause that it had
            return Do.NOTHING
        if wanted and not member.paused and key not in self.released:
            return Do.PAUSE
        if not noted:
            return Do.NOTHING
        if not self.is_ours(key):
            return Do.FORGET
        if not wanted:
            return Do.UNPAUSE
        return Do.NOTHING if member.reason == wanted else Do.PAUSE


def owner_of(model: Model, member: Member) -> UserId | None:
    """Tell whose member this is: by the endpoint, else by the number that a Local channel or a hint names."""
    for device in (member.state_interface, member.interface):
        if (owner := model.owner(device)) is not None:
            return owner
    for text, form in ((member.interface, _LOCAL), (member.state_interface, _HINT)):
        if (match := form.match(text)) is not None and is_user_id(match[1].lower()):
            return UserId(match[1].lower())
    return None


def pausing(model: Model, owner: UserId | None) -> str | None:
    """Tell for which reason a user gets no calls from queues.

    Returns:
        The id of the state without calls; "" if it pauses nobody; None while it is not known whether there is such a user.
    """
    user = model.users.get(owner) if owner is not None else None
    if user is None:
        return "" if all(pbx in model.endpoints for pbx in model.settings.pbxs) else None
    if user.hushed:
        return ""
    for layer, _, state in user.layers(model.settings.states):
        if layer is not Layer.CALLS:
            return state.id if state.pauses_queues else ""
    return ""


def note_key(key: Key) -> str:
    """Give the key under which a pause is stored among the lamps; it holds a colon, as no user's does."""
    return f"queue:{key[1]}\t{key[0]}"


def noted(stored: Mapping[UserId, str]) -> dict[Key, frozenset[str]]:
    """Read the pauses among what was stored."""
    found = {}
    for name, text in stored.items():
        interface, tab, queue = name.removeprefix("queue:").partition("\t")
        if name.startswith("queue:") and tab:
            found[queue, interface] = frozenset(text.split())
    return found
