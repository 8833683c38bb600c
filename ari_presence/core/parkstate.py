"""Parked calls of all servers, and the lamps of those who parked them. Part of the reducer.

`parking.py` knows one server's lots and endpoints, this knows whose they are.
"""

from ari_presence.core import events as ev
from ari_presence.core.callstate import calls_of
from ari_presence.core.change import Outcome
from ari_presence.core.channels import BridgeInfo, ChannelInfo
from ari_presence.core.devstate import DeviceState
from ari_presence.core.model import Model
from ari_presence.core.names import UserId
from ari_presence.core.parked import Member, Parker, ParkingListed, parked_lamp, parse_space
from ari_presence.core.parking import Parkers, Parking

LOT = "parking"  # bridge_class


def parking_of(model: Model, pbx: str) -> Parking:
    """Give the parked calls of one server."""
    return model.parking.setdefault(pbx, Parking())


def on_entered(model: Model, event: ev.BridgeEntered, out: Outcome) -> None:
    """Take that a call may be parked now: by whom it was connected with, unless a transfer or AMI says otherwise."""
    if event.bridge.bridge_class == LOT:
        who = _member(event.bridge, event.channel)
        other = calls_of(model, event.pbx).talked_with(event.channel.id)
        if other is not None:
            who = who._replace(parker=Parker.of(*other))
        parkers = parking_of(model, event.pbx).entered(who.channel, who.lot, who.caller, who.parker, event.at)
        _show(model, parkers, event.at, out)


def on_left(model: Model, event: ev.BridgeLeft, out: Outcome) -> None:
    """Take that a call may not be parked any more."""
    if event.bridge.bridge_class == LOT:
        _show(model, parking_of(model, event.pbx).left(event.channel.id, event.at), event.at, out)


def on_channel_gone(model: Model, event: ev.ChannelGone, out: Outcome) -> None:
    """Take the end of a channel."""
    parking = model.parking.get(event.pbx)
    if parking is not None:
        _show(model, parking.gone(event.channel, event.at), event.at, out)


def on_bridge_gone(model: Model, event: ev.BridgeGone, out: Outcome) -> None:
    """Take the end of a lot, as a reload brings it about."""
    if event.bridge.bridge_class == LOT:
        _show(model, parking_of(model, event.pbx).lot_gone(event.bridge.name, event.at), event.at, out)


def on_transferred(model: Model, event: ev.Transferred, out: Outcome) -> None:
    """Take who sent a call away, perhaps into a lot."""
    if event.transferee is not None:
        who = Parker.of(event.channel.id, event.channel.name)
        _show(model, parking_of(model, event.pbx).transferred(who, event.transferee, event.at), event.at, out)


def on_space(model: Model, event: ev.SpaceSeen, out: Outcome) -> None:
    """Take that a space is in use or free."""
    in_use = event.state is DeviceState.INUSE
    _show(model, parking_of(model, event.pbx).space_seen(event.space, in_use, event.at), event.at, out)


def on_watched(model: Model, event: ev.SpacesWatched, _out: Outcome) -> None:
    """Take that spaces are watched: what they are is asked with the next listing."""
    calls_of(model, event.pbx).want(event.devices, event.at)


def on_listed(model: Model, event: ev.CallsListed, out: Outcome) -> None:
    """Take who is in a lot, and which of the watched spaces are in use where that was asked."""
    parking, channels = parking_of(model, event.pbx), {row.id: row for row in event.channels}
    lots = [bridge for bridge in event.bridges if bridge.bridge_class == LOT]
    members = [_member(lot, channels[id_]) for lot in lots for id_ in lot.members if id_ in channels]
    parkers = parking.restored(members, event.at)
    spaces = {space: state for name, state in event.reported.items() if (space := parse_space(name)) is not None}
    if spaces or not members:
        in_use = [space for space, state in spaces.items() if state is DeviceState.INUSE]
        parkers |= parking.spaces_listed(in_use, event.at)
    _show(model, parkers, event.at, out)


def on_ami_listed(model: Model, event: ParkingListed, out: Outcome) -> None:
    """Take what AMI says, which knows the spaces for certain."""
    _show(model, parking_of(model, event.pbx).listed(event.calls, event.at), event.at, out)


def on_link_lost(model: Model, event: ev.LinkLost) -> None:
    """Take that nothing more is heard."""
    if event.pbx in model.parking:
        model.parking[event.pbx].lost(event.at)


def on_timer(model: Model, at: float, out: Outcome) -> None:
    """Turn the lamps of calls that have waited for too long."""
    for parking in model.parking.values():
        _show(model, parking.due(at, model.settings.parked_alert_s), at, out)


def refresh(model: Model, at: float, out: Outcome) -> None:
    """Work out all lamps anew: endpoints may belong to others now."""
    before, model.parked = set(model.parked), {}
    for parking in model.parking.values():
        _show(model, set(parking.waiting()), at, out)
    out.touched |= before - model.parked.keys()


def _member(lot: BridgeInfo, channel: ChannelInfo) -> Member:
    return Member(channel.id, lot.name, channel.caller, Parker.of(channel.id, channel.name))


def _show(model: Model, parkers: Parkers, at: float, out: Outcome) -> None:
    """Work out the lamps of those whose parked calls have changed."""
    for user in {owner for endpoint in parkers if (owner := model.owner(endpoint)) is not None}:
        lamp = parked_lamp(_waiting(model, user), at, model.settings.parked_alert_s)
        if model.parked.get(user, DeviceState.NOT_INUSE) is lamp:
            continue
        if lamp is DeviceState.NOT_INUSE:
            del model.parked[user]
        else:
            model.parked[user] = lamp
        out.touched.add(user)


def _waiting(model: Model, user: UserId) -> float | None:
    """Tell since when the oldest call waits that this user parked, on any server."""
    rows = (row for parking in model.parking.values() for row in parking.waiting().items())
    return min((since for endpoint, since in rows if model.owner(endpoint) == user), default=None)
