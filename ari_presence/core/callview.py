"""What a line does, seen from one of its channels: on a call with whom, ringing, on hold, in which room."""

from typing import NamedTuple

from ari_presence.core.channels import Channel, Channels
from ari_presence.core.devstate import DeviceState
from ari_presence.core.names import StateId
from ari_presence.core.userstate import IN_CONFERENCE, ON_CALL, ON_HOLD, RINGING

PEOPLE_OF_CONFERENCE = 3


class Party(NamedTuple):
    """Somebody at the other end; `line` is None for who is known by number alone."""

    number: str
    name: str
    line: str | None


class CallView(NamedTuple):
    """What one line does.

    Attributes:
        state: User state that this makes.
        since: Seconds since the epoch, UTC.
        parties: Who is at the other end; empty where there is nobody, or a room full.
        hold: `holding`, `held`, `parked`, or "".
        room: Name of the conference or the parking lot, or "".
        talked: Whether the line was connected with somebody.
    """

    state: StateId
    line: str
    since: float
    parties: tuple[Party, ...] = ()
    hold: str = ""
    room: str = ""
    talked: bool = False

    @property
    def rank(self) -> int:
        """Tell which of several calls is shown: the highest."""
        return _RANK[self.state]


_RANK = {ON_HOLD: 0, RINGING: 1, ON_CALL: 2, IN_CONFERENCE: 3}
CALL_STATE = {
    DeviceState.INUSE: ON_CALL,
    DeviceState.BUSY: ON_CALL,
    DeviceState.RINGINUSE: ON_CALL,
    DeviceState.RINGING: RINGING,
    DeviceState.ONHOLD: ON_HOLD,
}


def view_of(channels: Channels, channel: Channel, line: str, device: DeviceState) -> CallView | None:
    """Say what a channel of a line, in this device state, makes of the line; None where it is no call."""
    state, bridge = CALL_STATE.get(device), channel.bridge
    if state is None or (channel.dials_code and bridge is None and not channel.linked):
        return None
    if bridge is not None and bridge.is_room:
        since, room = bridge.members[channel.id], bridge.info.name or "conference"
        hold = "holding" if channel.holding else "held" if channel.held_by else ""
        since = channel.holding or channel.held or since
        return CallView(ON_HOLD if hold else IN_CONFERENCE, line, since, (), hold, room, True)
    people = [other for other in channels.connected(channel) if other is not channel]
    parties = tuple(Party(*other.caller, other.line) for other in people) or _expected(channels, channel)
    if channel.holding:
        return CallView(ON_HOLD, line, channel.holding, parties, "holding", talked=True)
    if device is DeviceState.ONHOLD:
        holder = channels.channels.get(channel.held_by)
        by = parties if holder is None else (Party(*holder.caller, holder.line),)
        return CallView(ON_HOLD, line, channel.held, by, "held", talked=True)
    if bridge is not None and bridge.info.bridge_class == "parking":
        return CallView(ON_HOLD, line, bridge.members[channel.id], (), "parked", bridge.info.name, True)
    if len(people) + 1 >= PEOPLE_OF_CONFERENCE:
        state = IN_CONFERENCE
    return CallView(state, line, channel.since, parties, talked=bool(channel.talked_with))


def _expected(channels: Channels, channel: Channel) -> tuple[Party, ...]:
    """Say who is called, or calls, as far as it is known."""
    other = channels.far_end(channel)
    if other is not None and other.line is not None:
        return (Party(*other.caller, other.line),)
    number, name = channel.connected
    # Of an answered call it may be whoever was connected before.
    return (Party(number, name, None),) if number and channel.state != "Up" else ()
