"""What is written for one user, and what became of it."""

from collections.abc import Sequence
from typing import NamedTuple

from ari_presence.ari.wire import Request
from ari_presence.core.devstate import DeviceState
from ari_presence.core.lamps import Presence
from ari_presence.core.names import UserId
from ari_presence.core.plan import Change, Layout
from ari_presence.publish import requests as lamps


class Outcome(NamedTuple):
    """What the read-back says of a write.

    Attributes:
        done: Changes that were made, even if somebody has changed the lamp again since.
        refused: Devices that show what they showed before, or could not be read.
        foreign: Somebody else's value is there.
    """

    done: tuple[Change, ...]
    refused: list[str]
    foreign: bool


class Write(NamedTuple):
    """Changes of one user's lamps, and the presence state that is wanted instead of `before` (None: not known)."""

    user: UserId
    changes: tuple[Change, ...]
    presence: Presence | None
    before: Presence | None = None

    def devices(self, layout: Layout) -> list[str]:
        """Name the lamps that change, in order."""
        return [layout.device(change.place, self.user) for change in self.changes]

    def requests(self, devices: Sequence[str]) -> list[Request]:
        """Make the requests: one for each of `devices`, then for the presence state and what is kept, as far as they differ."""
        writes = [lamps.write_lamp(device, change.after) for device, change in zip(devices, self.changes, strict=True)]
        return writes + self.presence_requests()

    def presence_requests(self) -> list[Request]:
        """Make the requests for the presence state and what is kept."""
        new, old, requests = self.presence, self.before, []
        if new is None:
            return []
        if old is None or (new.type, new.subtype, new.message) != (old.type, old.subtype, old.message):
            requests.append(lamps.write_presence(self.user, new))
        if old is None or new.kept != old.kept:
            requests.append(lamps.write_kept(self.user, new.kept))
        return requests

    def judge(self, layout: Layout, values: Sequence[DeviceState | None]) -> Outcome:
        """Compare with what the lamps were read to show (None: refused or not read)."""
        if all(v is c.after for c, v in zip(self.changes, values, strict=True)):
            return Outcome(self.changes, [], False)
        seen = [None if v is None else layout.seen(c.place, v) for c, v in zip(self.changes, values, strict=True)]
        refused = [c for c, v in zip(self.changes, seen, strict=True) if v is None or v is c.before]
        foreign = any(v is not c.after and c not in refused for c, v in zip(self.changes, seen, strict=True))
        done = tuple(change for change in self.changes if change not in refused) if refused else self.changes
        return Outcome(done, [layout.device(change.place, self.user) for change in refused], foreign)
