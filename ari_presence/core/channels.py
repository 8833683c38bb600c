"""Channels and bridges of one server as they are: which belong to a line, and who is connected with whom.

A *line* is an endpoint, `PJSIP/100`. Knows no events, no clock and no device states; `calls.py` keeps it and makes sense of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from ari_presence.core.names import endpoint_of_channel, local_pair

SOMEBODY = "?"  # in the place of the id of a channel that nobody knows
SEARCHED = 24  # channels that are looked at to find out who talks with whom; in larger rooms only the room counts


class ChannelInfo(NamedTuple):
    """A channel as every event shows it.

    Attributes:
        state: As the server sends it (`ast_state2str` in `main/channel.c`), which may be any text.
        caller: Number and name of whoever is on this channel.
        connected: Number and name of the other side.
        created: Seconds since the epoch by Asterisk's clock, 0 if it does not say.
    """

    id: str
    name: str
    state: str
    caller: tuple[str, str]
    connected: tuple[str, str]
    created: float = 0.0


class BridgeInfo(NamedTuple):
    """A bridge as every event shows it; `members` are channel ids."""

    id: str
    kind: str
    bridge_class: str
    creator: str
    name: str
    members: tuple[str, ...] = ()


@dataclass(slots=True)
class Channel:
    """A channel, its place and its hold.

    Attributes:
        line: The endpoint it belongs to, or None for a Local channel and others of no phone.
        pair: The Local channel that it is half of, or None.
        state: As the server sends it (`ast_state2str` in `main/channel.c`), since `since`.
        since: Seconds since the epoch, UTC, as `holding` and `held` are.
        caller: Number and name of whoever is on this channel.
        connected: Number and name of the other side.
    """

    id: str
    name: str
    line: str | None
    pair: str | None
    state: str
    since: float
    caller: tuple[str, str]
    connected: tuple[str, str]
    bridge: "Bridge | None" = None
    linked: str = ""  # the channel that this one dials, or that dials it
    holding: float = 0.0  # since when this side has the other on hold; 0: not
    held_by: str = ""  # the channel that has this one on hold, or SOMEBODY
    held: float = 0.0  # since when
    talked_with: str = ""  # the channel that it was connected with last
    dials_code: bool = False  # it is served by us, so nobody is talked to


@dataclass(slots=True)
class Bridge:
    """A bridge and who is in it; `members` are channel ids with when each entered, seconds since the epoch, UTC."""

    info: BridgeInfo
    members: dict[str, float] = field(default_factory=dict)  # channel id to when it entered

    @property
    def is_room(self) -> bool:
        """A conference whoever is in it: ConfBridge, or a mixing bridge of an ARI application."""
        info = self.info
        return info.creator == "ConfBridge" or (info.bridge_class == "stasis" and info.kind == "mixing")


class Channels:
    """All channels and bridges of one server; one thread owns them."""

    def __init__(self) -> None:
        """Start empty."""
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, Bridge] = {}
        self._lines: dict[str, dict[str, None]] = {}
        self._pairs: dict[str, set[str]] = {}

    def lines(self) -> Iterable[str]:
        """Give the lines that have channels."""
        return self._lines.keys()

    def talked_with(self, id_: str) -> tuple[str, str] | None:
        """Give id and name of the channel that a channel was connected with last, if that one is still there."""
        channel = self.channels.get(id_)
        other = self.channels.get(channel.talked_with) if channel is not None else None
        return (other.id, other.name) if other is not None and other.state == "Up" else None

    def connected(self, channel: Channel) -> list[Channel]:
        """List the people that hear each other with a channel, itself included: through bridges and Local channels."""
        if channel.bridge is None:
            return [channel] if channel.line is not None else []
        found, queue, seen = [], [channel], {channel.id}
        while queue and len(seen) < SEARCHED:
            here = queue.pop()
            if here.line is not None:
                found.append(here)
            for other in self._next(here):
                if other.id not in seen:
                    seen.add(other.id)
                    queue.append(other)
        return found + [c for c in queue if c.line is not None]

    def _next(self, channel: Channel) -> Iterator[Channel]:
        if channel.bridge is not None and not channel.bridge.is_room and channel.bridge.info.kind == "mixing":
            yield from self.members_of(channel.bridge, SEARCHED)
        if channel.pair is not None:
            yield from self._paired(channel)

    def far_end(self, channel: Channel) -> Channel | None:
        """Follow a call that is not connected yet, through Local channels."""
        if channel.bridge is None and channel.pair is None:  # as most are, and nothing but who is dialled leads on
            linked = self.channels.get(channel.linked)
            if linked is None or (linked.line is not None and linked is not channel):
                return linked
        queue, seen = [channel], {channel.id}
        while queue and len(seen) < SEARCHED:
            here = queue.pop()
            if here.line is not None and here is not channel:
                return here
            linked = self.channels.get(here.linked)
            for other in (*self._next(here), *([linked] if linked is not None else [])):
                if other.id not in seen:
                    seen.add(other.id)
                    queue.append(other)
        return None

    def partner(self, channel: Channel) -> Channel | None:
        """Give the other of exactly two in a bridge, who can be held; through a Local channel nobody is (`core_local.c`)."""
        if channel.bridge is None or len(channel.bridge.members) != 2 or channel.bridge.info.creator == "ConfBridge":
            return None
        return next((c for c in self.members_of(channel.bridge) if c is not channel and c.line is not None), None)

    def held_by(self, channel: Channel) -> list[Channel]:
        """Give whoever is on hold because this channel pressed it."""
        return [other for other in self.members_of(channel.bridge, 2) if other.held_by == channel.id]

    def members_of(self, bridge: Bridge | None, most: int | None = None) -> list[Channel]:
        """Give the channels in a bridge, or the first so many, in the order in which they came."""
        return [self.channels[id_] for id_ in islice(bridge.members, most)] if bridge is not None else []

    def _paired(self, channel: Channel) -> list[Channel]:
        return [self.channels[id_] for id_ in self._pairs.get(channel.pair or "", ()) if id_ != channel.id]

    def on_line(self, line: str) -> list[Channel]:
        """Give the channels of a line."""
        return [self.channels[id_] for id_ in self._lines.get(line, ())]

    def update(self, channel: Channel, info: ChannelInfo, at: float) -> None:
        """Take a channel's present state."""
        if channel.name != info.name:  # a masquerade: the call goes on at another endpoint
            self.unindex(channel)
            self.index(channel, info.name)
        if channel.state != info.state:
            channel.state, channel.since = info.state, at
        channel.caller, channel.connected = info.caller, info.connected

    def index(self, channel: Channel, name: str) -> None:
        """Take the name of a channel, which says whose it is."""
        channel.name, channel.line, channel.pair = name, endpoint_of_channel(name), local_pair(name)
        if channel.line is not None:
            self._lines.setdefault(channel.line, {})[channel.id] = None
        if channel.pair is not None:
            self._pairs.setdefault(channel.pair, set()).add(channel.id)

    def unindex(self, channel: Channel) -> None:
        """Forget whose it is."""
        if channel.line is not None and (ids := self._lines.get(channel.line)) is not None:
            ids.pop(channel.id, None)
            if not ids:
                del self._lines[channel.line]
        if channel.pair is not None and (pair := self._pairs.get(channel.pair)) is not None:
            pair.discard(channel.id)
            if not pair:
                del self._pairs[channel.pair]

    def leave(self, channel: Channel) -> None:
        """Take a channel out of its bridge, and its hold with it."""
        bridge, channel.bridge = channel.bridge, None
        channel.holding = 0.0
        release(channel)
        if bridge is not None:
            bridge.members.pop(channel.id, None)
            if not bridge.members:
                self.bridges.pop(bridge.info.id, None)


def release(channel: Channel) -> None:
    """Take back that a channel is on hold."""
    channel.held_by, channel.held = "", 0.0
