"""The calls layer: from what lines do to what their users do. Part of the reducer.

`calls.py` knows lines, this knows whose they are. Of all calls of a user, on all lines and servers, the one of the highest
rank is shown (`CallView.rank`).
"""

from ari_presence.core import events as ev
from ari_presence.core.calls import Calls, Lines
from ari_presence.core.callview import CallView, Party
from ari_presence.core.change import Outcome, set_automatic
from ari_presence.core.commands import ListCalls
from ari_presence.core.features import Action
from ari_presence.core.model import Model, User
from ari_presence.core.names import UserId, printable
from ari_presence.core.userstate import RINGING, WRAP_UP, Call, Entry, Layer, Person

KEPT_S = 30.0  # a lost link says nothing of the calls, for a while
SHOWN_AT_MOST = 3  # people named in one message
_WAY = {"": "with", "holding": "holding", "held": "held by"}
_ROOM = {"": "in", "holding": "holding", "held": "held in"}
LINES_READ = 500  # device states read with one listing


def calls_of(model: Model, pbx: str) -> Calls:
    """Give the calls of one server."""
    calls = model.calls.get(pbx)
    if calls is None:
        calls = model.calls[pbx] = Calls()
    return calls


def on_channel(model: Model, event: ev.ChannelSeen, _out: Outcome) -> None:
    """Take a channel's state."""
    lines = calls_of(model, event.pbx).seen(event.channel, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_code(model: Model, event: ev.CodeDialled, out: Outcome) -> None:
    """Take that somebody sets a state by phone, which is no call: before it is looked at what the state was."""
    lines = calls_of(model, event.pbx).dials_code(event.channel, event.name, event.at)
    _changed(model, event.pbx, lines, event.at)
    settle(model, out)


def on_agi(model: Model, event: ev.AgiAsked, out: Outcome) -> None:
    """Take that we serve a caller over AGI, on whichever server; a call that is treated is a call."""
    if event.intent.action is Action.TREAT:
        return
    for pbx in model.settings.pbxs:
        calls = calls_of(model, pbx)
        channel = calls.channels.get(event.channel)
        if channel is None:
            calls.awaits_code(event.channel, event.name)
        elif channel.name == event.name:
            _changed(model, pbx, calls.dials_code(event.channel, event.name, event.at), event.at)
    settle(model, out)


def on_channel_gone(model: Model, event: ev.ChannelGone, _out: Outcome) -> None:
    """Take the end of a channel."""
    lines = calls_of(model, event.pbx).gone(event.channel, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_hold(model: Model, event: ev.HoldPressed, _out: Outcome) -> None:
    """Take that somebody pressed hold or took the other side back."""
    lines = calls_of(model, event.pbx).hold(event.channel, event.at, pressed=event.pressed)
    _changed(model, event.pbx, lines, event.at)


def on_dialling(model: Model, event: ev.Dialling, _out: Outcome) -> None:
    """Take who calls whom."""
    lines = calls_of(model, event.pbx).dialled(event.caller, event.peer, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_entered(model: Model, event: ev.BridgeEntered, _out: Outcome) -> None:
    """Take that a channel is in a bridge."""
    lines = calls_of(model, event.pbx).entered(event.bridge, event.channel, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_left(model: Model, event: ev.BridgeLeft, _out: Outcome) -> None:
    """Take that a channel is not in a bridge any more."""
    lines = calls_of(model, event.pbx).left(event.bridge.id, event.channel, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_merged(model: Model, event: ev.BridgesMerged, _out: Outcome) -> None:
    """Take that two bridges became one."""
    lines = calls_of(model, event.pbx).merged(event.bridge, event.source, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_bridge_gone(model: Model, event: ev.BridgeGone, _out: Outcome) -> None:
    """Take the end of a bridge."""
    lines = calls_of(model, event.pbx).bridge_gone(event.bridge.id)
    _changed(model, event.pbx, lines, event.at)


def on_moved(model: Model, event: ev.CallsMoved, _out: Outcome) -> None:
    """Take that a listing is needed to know who is where."""
    calls_of(model, event.pbx).suspect(event.at)


def on_line(model: Model, event: ev.LineSeen, _out: Outcome) -> None:
    """Take Asterisk's word on a line; mostly it agrees, and nothing follows."""
    calls = calls_of(model, event.pbx)
    lines = calls.reported(event.line, event.state)
    if lines:
        _changed(model, event.pbx, lines, event.at)
    else:
        _checked(model, calls, event.line, event.at)


def on_listed(model: Model, event: ev.CallsListed, _out: Outcome) -> None:
    """Take a whole listing."""
    model.unheard.pop(event.pbx, None)
    reported = {name: state for name, state in event.reported.items() if ":" not in name}
    lines = calls_of(model, event.pbx).listed(event.channels, event.bridges, reported, event.at)
    _changed(model, event.pbx, lines, event.at)


def on_link_lost(model: Model, event: ev.LinkLost) -> None:
    """Keep what is known of calls for a while."""
    if event.pbx in model.calls:
        model.unheard[event.pbx] = event.at + KEPT_S
        model.calls[event.pbx].forget_listing()


def on_timer(model: Model, at: float, out: Outcome) -> None:
    """Look into doubts, and give up calls of servers that were not heard of for long."""
    for pbx, calls in model.calls.items():
        if pbx not in model.unheard and (lines := calls.wants_listing(at, LINES_READ)) is not None:
            out.commands.append(ListCalls(pbx, lines))
    for pbx in [pbx for pbx, due in model.unheard.items() if due <= at]:
        _give_up(model, pbx, at, out)


def on_stopping(model: Model, event: ev.Stopping, out: Outcome) -> None:
    """Leave no lamp saying that somebody is in a call."""
    model.stopping = True
    for pbx in list(model.calls):
        _give_up(model, pbx, event.at, out)
    for person in model.users.values():
        if Layer.CALLS in person.entries:
            set_automatic(model, person, Layer.CALLS, None, event.at, out)


def refresh_all(model: Model, at: float, out: Outcome) -> None:
    """Look up all lines again: endpoints may belong to others now."""
    before, model.views = set(model.views), {}
    for pbx, calls in model.calls.items():
        _follow(model, dict.fromkeys([(pbx, line) for line in calls.lines()], at), out)
    for user in before - model.views.keys():
        if (person := model.users.get(user)) is not None:
            _settle(model, person, at, out)


def _give_up(model: Model, pbx: str, at: float, out: Outcome) -> None:
    model.unheard.pop(pbx, None)
    model.calls.pop(pbx, None)
    for user, views in list(model.views.items()):
        for key in [key for key in views if key[0] == pbx]:
            del views[key]
        if not views:
            del model.views[user]
        if (person := model.users.get(user)) is not None:
            _settle(model, person, at, out, wrap_up_s=0.0)


def _changed(model: Model, pbx: str, lines: Lines, at: float) -> None:
    """Note that some lines may do something else now; what, `settle` looks up behind all events that came together."""
    for line in lines:
        model.changed_lines.setdefault((pbx, line), at)


def settle(model: Model, out: Outcome) -> None:
    """Show what the lines that moved do now to be what their users do."""
    _follow(model, model.changed_lines, out)


def _follow(model: Model, changed: dict[tuple[str, str], float], out: Outcome) -> None:
    """Show what some lines do; they are taken out one by one, so that a bug in one leaves the others to the next time."""
    for (pbx, line), at in list(changed.items()):
        del changed[pbx, line]
        calls = calls_of(model, pbx)
        person = _checked(model, calls, line, at)
        if person is None:
            continue
        view = calls.view(line)
        views = model.views.get(person.id)
        if view is None:
            if views is None or views.pop((pbx, line), None) is None:
                continue
            if not views:
                del model.views[person.id]
        elif views is None:
            model.views[person.id] = {(pbx, line): view}
        elif views.get((pbx, line)) == view:
            continue
        else:
            views[pbx, line] = view
        _settle(model, person, at, out)


def _checked(model: Model, calls: Calls, line: str, at: float) -> User | None:
    """Give whose line it is, if it is to be followed, having begun or ended the doubt about it."""
    user = model.owner(line)
    person = model.users.get(user) if user is not None and not model.stopping else None
    if person is not None:
        calls.check(line, at)
    return person


def _settle(model: Model, person: User, at: float, out: Outcome, *, wrap_up_s: float | None = None) -> None:
    """Work out a user's calls layer anew."""
    before = person.entries.get(Layer.CALLS)
    views = model.views.get(person.id)
    if views:
        entry: Entry | None = _entry(model, max(views.values(), key=lambda view: view.rank))
    else:
        entry = _wrap_up(before, at, model.settings.wrap_up_s if wrap_up_s is None else wrap_up_s)
    if entry != before:
        set_automatic(model, person, Layer.CALLS, entry, at, out)


def _wrap_up(before: Entry | None, at: float, wrap_up_s: float) -> Entry | None:
    if before is None or before.state == WRAP_UP:
        return before
    if wrap_up_s <= 0 or before.call is None or not before.call.talked:
        return None
    return Entry(WRAP_UP, before.source, at, at + wrap_up_s)


def _entry(model: Model, view: CallView) -> Entry:
    others = sorted((_person(model, party) for party in view.parties), key=lambda who: who.number)
    call = Call(tuple(others), view.hold, view.room, view.talked)
    return Entry(view.state, f"phone:{view.line}", view.since, None, _message(view, call) or None, call)


def _person(model: Model, party: Party) -> Person:
    user = model.owner(party.line) if party.line is not None else None
    known = model.users.get(user) if user is not None else None
    if known is None and party.line is None:
        known = model.users.get(UserId(party.number))  # called by number, and nobody has answered yet
    name = (known.settings.name if known is not None else None) or party.name
    number = known.id if known is not None else party.number or (party.line or "").partition("/")[2]
    return Person(printable(number), printable(name), known.id if known is not None else None)


def _message(view: CallView, call: Call) -> str:
    """Say in a few words with whom, or where."""
    if call.hold == "parked":
        return f"parked in {printable(call.room)}"
    if call.room:
        return f"{_ROOM[call.hold]} room {printable(call.room)}"
    people = [f"{who.name} ({who.number})" if who.name else who.number for who in call.others[:SHOWN_AT_MOST]]
    if len(call.others) > len(people):
        people.append(f"{len(call.others) - len(people)} more")
    if not people:
        return {"holding": "holding the call", "held": "held"}.get(call.hold, "")
    way = "from" if view.state == RINGING else _WAY[call.hold]
    return f"{way} {', '.join(people)}" + (" (outside)" if call.outside else "")
