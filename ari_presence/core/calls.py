"""Channels and bridges of one server: what every line does, and with whom.

A *line* is an endpoint, `PJSIP/100`. Fed by `callstate.py` with channel and bridge events, whole listings and Asterisk's own
device states; knows neither users nor lamps. Every method tells which lines it may have changed; what they do is looked up.

Events may come twice, late, out of order or not at all: each sets what it says, whatever was never introduced is taken up, and
the device state that Asterisk reports for a line is a second witness. Where the two disagree for `DOUBT_S`, channels and
bridges are listed again; where they still disagree, Asterisk's word stands until something happens on that line.

Sources: `ast_state_chan2dev` in `main/channel.c`, `chan_pjsip_devicestate` in `channels/chan_pjsip.c`.
"""

from collections.abc import Iterable, Mapping
from math import inf
from operator import attrgetter

from ari_presence.core.callview import CALL_STATE, CallView, view_of
from ari_presence.core.channels import SOMEBODY, Bridge, BridgeInfo, Channel, ChannelInfo, Channels, release
from ari_presence.core.devstate import DeviceState, aggregate

DOUBT_S = 1.0
LIST_EVERY_S = 60.0  # so that nothing that was missed stays
LIST_GAP_S = 0.5  # between two listings, at least
LIST_GAP_PER_CHANNEL_S = 0.005  # and so much more for each channel that is listed
SETTLED_S = 0.3  # after which a transfer is over and done with
LIST_PATIENCE_S = 30.0
CODES_AWAITED = 50  # an AGI peer can come before the channel's first event, by a few ms

Lines = set[str]

_DEVICE = {
    "Down": DeviceState.NOT_INUSE,
    "Ringing": DeviceState.RINGING,
    "Pre-ring": DeviceState.RINGING,
    "Busy": DeviceState.BUSY,
}
_IDLE = frozenset({DeviceState.NOT_INUSE, DeviceState.UNAVAILABLE, DeviceState.INVALID, DeviceState.UNKNOWN})


class Calls(Channels):
    """All channels and bridges of one server, and what Asterisk says of each line; one thread owns it."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.doubts: dict[str, float] = {}  # line to when it is looked into; the oldest first
        self._reported: dict[str, DeviceState] = {}
        self._stands: dict[str, DeviceState] = {}  # Asterisk's word where the two witnesses could not be reconciled
        self._moved: set[str] | None = None  # what events told since a listing was asked for
        self._asked = 0.0  # when a listing was asked for last
        self._also: dict[str, None] = {}  # devices to ask about besides
        self._suspected = inf  # when to ask because of something that nobody can tell from events
        self._all_asked = 0.0  # when lines that nobody doubts were asked about last
        self._turn = 0  # which of them come first the next time, where there are too many
        self._codes: dict[str, str] = {}  # id to name of channels that dial a code and were not introduced yet

    # --- what happens -------------------------------------------------------------------------------------------

    def seen(self, info: ChannelInfo, at: float) -> Lines:
        """Take a channel's present state, whichever event carried it."""
        channel, new = self._take_up(info, at)
        changed = new or channel.state != info.state or channel.name != info.name
        if not changed and (channel.caller, channel.connected) == (info.caller, info.connected):
            return set()
        before, line = self._around(channel) if not new and channel.name != info.name else set(), channel.line
        self.update(channel, info, at)
        if line is not None and line != channel.line:
            self._forget_idle(line)
        return before | self._around(channel)

    def gone(self, id_: str, at: float) -> Lines:
        """Take the end of a channel."""
        self._moves(id_)
        channel = self.channels.get(id_)
        if channel is None:
            return set()
        touched = self._around(channel)
        if channel.bridge is not None:  # it never left: another channel may have taken its place, which no event tells
            self.suspect(at)
        for other in self.held_by(channel):  # whoever holds and hangs up holds no more, and says nothing of it
            release(other)
            touched |= self._around(other)
        self.leave(channel)
        linked = self.channels.get(channel.linked)
        if linked is not None and linked.linked == id_:
            linked.linked = ""
        del self.channels[id_]
        self.unindex(channel)
        if channel.line is not None:
            self._forget_idle(channel.line)
        return touched

    def suspect(self, at: float) -> None:
        """Take that channels were perhaps moved without a word, as a transfer into a conference does it."""
        self._suspected = min(self._suspected, at + SETTLED_S)

    def want(self, devices: Iterable[str], at: float) -> None:
        """Have the next listing come soon, and with it the states of these devices."""
        self._also.update(dict.fromkeys(devices))
        self._suspected = min(self._suspected, at)

    def hold(self, info: ChannelInfo, at: float, *, pressed: bool) -> Lines:
        """Take that this side put the other on hold, or took it back."""
        touched = self.seen(info, at)
        channel = self.channels[info.id]
        if bool(channel.holding) is not pressed:
            channel.holding = at if pressed else 0.0
            partner = self.partner(channel) if pressed else None
            for other in (*self.held_by(channel), *([partner] if partner is not None else [])):
                release(other)
                touched |= self._around(other)
            if partner is not None:
                partner.held_by, partner.held = channel.id, at
            touched |= self._around(channel)
        return touched

    def entered(self, bridge: BridgeInfo, info: ChannelInfo, at: float) -> Lines:
        """Take that a channel is in a bridge, and so in no other."""
        touched = self.seen(info, at)
        return touched | self._enter(bridge, self.channels[info.id], at)

    def left(self, bridge: str, info: ChannelInfo, at: float) -> Lines:
        """Take that a channel is not in a bridge any more."""
        touched = self.seen(info, at)
        channel = self.channels[info.id]
        if channel.bridge is not None and channel.bridge.info.id == bridge:
            touched |= self._around(channel)
            self.leave(channel)
            touched |= self._around(channel)
        return touched

    def bridge_gone(self, bridge: str) -> Lines:
        """Take the end of a bridge."""
        ended = self.bridges.get(bridge)
        touched: Lines = set()
        for channel in self.members_of(ended):
            touched |= self._around(channel)
        for channel in self.members_of(ended):
            self.leave(channel)
        self.bridges.pop(bridge, None)
        return touched

    def merged(self, into: BridgeInfo, source: str, at: float) -> Lines:
        """Take that all channels of one bridge went to another."""
        touched: Lines = set()
        for channel in self.members_of(self.bridges.get(source)):
            touched |= self._enter(into, channel, at)
        return touched

    def dialled(self, caller: ChannelInfo, peer: ChannelInfo, at: float) -> Lines:
        """Take that one channel calls another."""
        touched = self.seen(caller, at) | self.seen(peer, at)
        one, other = self.channels[caller.id], self.channels[peer.id]
        before = self.channels.get(other.linked)
        if before is not None and before is not one and before.linked == other.id:
            before.linked = ""
            touched |= self._around(before)
        one.linked, other.linked = other.id, one.id
        return touched | self._around(one) | self._around(other)

    def dials_code(self, id_: str, name: str, at: float) -> Lines:
        """Take that a channel dialled a code of ours: Asterisk counts it as a call, its user does not."""
        channel = self.channels.get(id_)
        if channel is None:
            self.seen(ChannelInfo(id_, name, "Ring", ("", ""), ("", "")), at)
            channel = self.channels[id_]
        if channel.dials_code:
            return set()
        channel.dials_code = True
        return self._around(channel)

    def awaits_code(self, id_: str, name: str) -> None:
        """Take the same of a channel that was not introduced yet, if there is one: who says so may be wrong."""
        self._codes[id_] = name
        if len(self._codes) > CODES_AWAITED:
            del self._codes[next(iter(self._codes))]

    def reported(self, line: str, state: DeviceState) -> Lines:
        """Take what Asterisk says of a line; it shows in what the line does only where channels do not tell all."""
        self._moves(line)
        stood = self._stands.pop(line, None) is not None
        self._reported[line] = state
        self._forget_idle(line)
        return {line} if stood or any(channel.state == "Ring" for channel in self.on_line(line)) else set()

    # --- listings -----------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """Tell when `wants_listing` may have something to say."""
        if self._moved is not None:
            return self._asked + LIST_PATIENCE_S
        due = self._all_asked + LIST_EVERY_S
        if self.doubts or self._suspected < due:
            doubt = min(next(iter(self.doubts.values()), inf), self._suspected)
            gap_s = LIST_GAP_S + LIST_GAP_PER_CHANNEL_S * len(self.channels)
            due = min(max(doubt, self._asked + gap_s), due)
        return due

    def wants_listing(self, at: float, most: int) -> tuple[str, ...] | None:
        """Tell whether channels and bridges should be listed now, and of which lines (at most `most`) Asterisk is to be asked.

        Those that are in doubt come first, and once in `LIST_EVERY_S` as many others as there is room for. What moves from
        then on is noted: about that, the listing will be out of date.
        """
        if at < self.next_deadline():
            return None
        lines = [line for line, since in self.doubts.items() if since <= at][:most]
        for line in lines:
            del self.doubts[line]
        if at >= self._all_asked + LIST_EVERY_S:
            self._all_asked = at
            others = [line for line in self._lines if line not in lines]
            first = self._turn % len(others) if others else 0
            lines += (others[first:] + others[:first])[: most - len(lines)]
            self._turn = first + most
        also, self._also = self._also, {}
        self._asked, self._moved, self._suspected = at, set(), inf
        return (*also, *lines)

    def forget_listing(self) -> None:
        """Expect no answer any more."""
        self._moved = None

    def listed(
        self,
        channels: Iterable[ChannelInfo],
        bridges: Iterable[BridgeInfo],
        reported: Mapping[str, DeviceState],
        at: float,
    ) -> Lines:
        """Take a whole listing: what it lacks is over; a hold, which no listing tells, stays."""
        moved, self._moved, self._asked = self._moved or set(), None, at
        self._all_asked = self._all_asked or at
        rows = {row.id: row for row in channels}
        touched: Lines = set()
        for id_ in self.channels.keys() - rows.keys() - moved:
            touched |= self.gone(id_, at)
        for row in rows.values():
            if row.id not in moved:
                touched |= self.seen(row, row.created or at)
        touched |= self._listed_bridges({row.id: row for row in bridges}, moved, at)
        for line, state in reported.items():
            if line not in moved:
                self.reported(line, state)
                touched.add(line)
        for line in reported.keys() - moved:  # what was said before may be out of date
            self._infer_hold(line, at)
        for line in reported.keys() - moved:
            if self.differs(line):
                self._stands[line] = self._said(line)
        return touched

    def _listed_bridges(self, rows: Mapping[str, BridgeInfo], moved: set[str], at: float) -> Lines:
        touched: Lines = set()
        inside: dict[str, BridgeInfo] = {id_: row for row in rows.values() for id_ in row.members}
        for channel in list(self.channels.values()):
            if channel.id in moved:
                continue
            row = inside.get(channel.id)
            if row is not None:
                touched |= self._enter(row, channel, channel.since or at)
            elif channel.bridge is not None:
                touched |= self._around(channel)
                self.leave(channel)
        return touched

    def _infer_hold(self, line: str, at: float) -> None:
        """Where Asterisk says that somebody is held and nobody is seen to hold: it is the other of two."""
        if self._said(line) is not DeviceState.ONHOLD or self.state(line) is DeviceState.ONHOLD:
            return
        for channel in self.on_line(line):
            if channel.state == "Up" and not channel.held_by:
                other = self.partner(channel)
                channel.held_by, channel.held = other.id if other is not None else SOMEBODY, at
                if other is not None:
                    other.holding = other.holding or at

    # --- what it means ------------------------------------------------------------------------------------------

    def state(self, line: str) -> DeviceState:
        """Say what the device state of a line is, from its channels; a line without channels is NOT_INUSE."""
        if line in self._stands:
            said = self._stands[line]
            return DeviceState.NOT_INUSE if said in _IDLE else said
        channels = self.on_line(line)
        if len(channels) == 1:
            return self._device(line, channels[0])
        return aggregate([DeviceState.NOT_INUSE, *(self._device(line, channel) for channel in channels)])

    def differs(self, line: str) -> bool:
        """Tell whether Asterisk reports another state than ours, or was not heard on a line that has channels."""
        said = self._reported.get(line)
        if said is None:
            return line in self._lines
        return (DeviceState.NOT_INUSE if said in _IDLE else said) is not self.state(line)

    def check(self, line: str, at: float) -> None:
        """Begin or end the doubt about a line."""
        if not self.differs(line):
            self.doubts.pop(line, None)
        else:
            self.doubts.setdefault(line, at + DOUBT_S)

    def view(self, line: str) -> CallView | None:
        """Say what a line does, or None when it is idle; of several calls, the one that counts most."""
        if line in self._stands:
            state = CALL_STATE.get(self._stands[line])
            ours = [view for view in self._views(line) if view.state is state]
            channels = self.on_line(line)
            since = min((c.since for c in channels), default=0.0)
            return ours[0] if ours else CallView(state, line, since) if state is not None else None
        views = self._views(line)
        return max(views, key=attrgetter("rank")) if len(views) > 1 else views[0] if views else None

    def _views(self, line: str) -> list[CallView]:
        views = [view_of(self, channel, line, self._device(line, channel)) for channel in self.on_line(line)]
        return [view for view in views if view is not None]

    def _said(self, line: str) -> DeviceState:
        return self._reported.get(line, DeviceState.NOT_INUSE)

    def _device(self, line: str, channel: Channel) -> DeviceState:
        if channel.state == "Ring":
            # Asterisk counts a caller only from the first progress on, and does not say when that was.
            said = self._said(line)
            return DeviceState.NOT_INUSE if said in _IDLE or said is DeviceState.RINGING else DeviceState.INUSE
        if channel.held_by and channel.state == "Up":
            return DeviceState.ONHOLD
        return _DEVICE.get(channel.state, DeviceState.INUSE)

    # --- who is connected with whom -----------------------------------------------------------------------------

    def _around(self, channel: Channel) -> Lines:
        """Name the lines for which a change of this channel may matter."""
        lines = {c.line for c in self.connected(channel) if c.line is not None}
        if channel.line is not None:
            lines.add(channel.line)
        if len(lines) < 2 and (other := self.far_end(channel)) is not None and other.line is not None:
            lines.add(other.line)
        for line in lines:
            self._stands.pop(line, None)
        return lines

    # --- book-keeping -------------------------------------------------------------------------------------------

    def _moves(self, id_: str) -> None:
        if self._moved is not None:
            self._moved.add(id_)

    def _take_up(self, info: ChannelInfo, at: float) -> tuple[Channel, bool]:
        self._moves(info.id)
        channel = self.channels.get(info.id)
        if channel is not None:
            return channel, False
        channel = Channel(info.id, "", None, None, info.state, info.created or at, info.caller, info.connected)
        self.channels[info.id] = channel
        self.index(channel, info.name)
        if self._codes and self._codes.pop(info.id, None) == info.name:
            channel.dials_code = True
        return channel, True

    def _forget_idle(self, line: str) -> None:
        """Keep no word on lines that are idle and have no channels: they are most of all."""
        if line not in self._lines and self._reported.get(line) in _IDLE:
            del self._reported[line]

    def _enter(self, info: BridgeInfo, channel: Channel, at: float) -> Lines:
        if channel.bridge is not None and channel.bridge.info.id == info.id:
            return set()
        touched = self._around(channel)
        self.leave(channel)
        bridge = self.bridges.setdefault(info.id, Bridge(info._replace(members=())))
        for member in self.members_of(bridge, 2):  # among more than two nobody is held
            if member.held_by:
                release(member)
                touched |= self._around(member)
        bridge.members[channel.id] = at
        channel.bridge = bridge
        other = self.partner(channel)
        if other is not None and other.holding and at - other.holding < DOUBT_S:  # told before, though it came after
            channel.held_by, channel.held = other.id, other.holding
        channel.linked = ""
        for other in self.connected(channel):
            if other is not channel:
                other.talked_with, channel.talked_with = channel.id, other.id
        return touched | self._around(channel)
