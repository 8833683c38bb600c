"""`reduce(model, event)`: what each event changes and what is to be done about it.

One small function for each type of event and one dispatch table; dialled codes are in `dialled.py`, who is a user in
`people.py`. Work is proportional to what changed. Lamps are not mentioned here: whoever is touched gets them compared with
the model (`plan.py`).
"""

from collections.abc import Callable
from typing import Any

from ari_presence.core import calendarstate, callstate, forgotten, parkstate, registration, schedulestate
from ari_presence.core import events as ev
from ari_presence.core.agi import on_agi
from ari_presence.core.change import Outcome, change_manual, make_entry, set_automatic, set_manual
from ari_presence.core.commands import Refuse, Track
from ari_presence.core.dialled import on_caller_left, on_code, on_link_lost, on_playback, on_settled
from ari_presence.core.model import Model, User
from ari_presence.core.names import StateId, message_problem
from ari_presence.core.occurrences import CalendarRead
from ari_presence.core.parked import ParkingListed
from ari_presence.core.people import drop, forget_absent, on_config, on_endpoints, on_started
from ari_presence.core.presences import on_presence
from ari_presence.core.timers import USERS_PER_SLICE
from ari_presence.core.userstate import DND, Entry, Layer
from ari_presence.errors import Refused


def reduce(model: Model, *events: ev.Event) -> Outcome:
    """Apply one event to the model, or several that come together: what lines do is then worked out once, behind them.

    Where each state of a call counts, for the history or the time after a call, it is worked out behind each event.

    Returns:
        Commands in order and the touched users. Never raises: what makes no sense is refused or noted.
    """
    out, settings = Outcome(), model.settings
    each_counts = settings.history_of_calls or settings.wrap_up_s > 0
    for event in events:
        _DISPATCH[type(event)](model, event, out)
        if model.changed_lines and each_counts:
            callstate.settle(model, out)
    if model.changed_lines:
        callstate.settle(model, out)
    return out


# --- HTTP, CLI, AGI ---------------------------------------------------------------------------------------------


def _on_change(model: Model, event: ev.ChangeAsked, out: Outcome) -> None:
    try:
        user = model.user(event.user)
        entry = _checked_entry(model, event)
    except Refused as error:
        _refuse(event, error, out, state=event.state)
        return
    change_manual(model, user, event.action, entry, event.at, event.source, event.request, out)
    out.commands.append(Track(event.request, user.id, None))


def _refuse(event: ev.ChangeAsked | ev.ResetAsked, error: Refused, out: Outcome, **more: object) -> None:
    """Tell whoever asked, and the log: who, whom and why, as of codes and AGI (`intents.note_refusal`)."""
    out.note("change refused", who=event.source, whom=event.user, **more, reason=str(error), code=error.code)
    out.commands.append(Refuse(event.request, str(error), error.code))


def _checked_entry(model: Model, event: ev.ChangeAsked) -> Entry | None:
    if event.state is None:
        return None
    state = model.settings.states.to_set(event.state).id
    problem = message_problem(event.message) if event.message is not None else None
    if problem is not None:
        raise Refused(problem, code="bad-message")
    if event.until is not None and event.until <= event.at:
        raise Refused("the end is in the past: give a later one", code="bad-time")
    return make_entry(model, state, event.source, event.at, event.until, event.message or None)


def _on_not_stored(model: Model, event: ev.NotStored, out: Outcome) -> None:
    """Take a change back, unless another one came after it."""
    user = model.users.get(event.user)
    if user is None or user.manual is not event.entry:
        return
    before = event.before if event.before and event.before.state in model.settings.states.by_id else None
    user.put(Layer.MANUAL, before, event.at)
    if before is not None and before.until is not None:
        model.ends.add(before.until, user.id)
    out.touched.add(user.id)


def _on_reset(model: Model, event: ev.ResetAsked, out: Outcome) -> None:
    try:
        users = list(model.users.values()) if event.user is None else [model.user(event.user)]
    except Refused as error:
        _refuse(event, error, out)
        return
    for user in users:
        if user.manual is not None:
            set_manual(model, user, None, event.at, event.source, event.request, out)
        user.hushed = True
        out.touched.add(user.id)
    if event.user is None:
        forget_absent(model, event.at, event.source, event.request, out)
    out.commands.append(Track(event.request, users[0].id if event.user is not None else None, None))


# --- adoption ---------------------------------------------------------------------------------------------------


def _on_lamps_changed(model: Model, event: ev.LampsChanged, out: Outcome) -> None:
    """Make somebody else's change of lamps the user's manual state; equal to what is set, it changes nothing."""
    out.touched.add(event.user)
    user = model.users.get(event.user)
    if user is None:
        return
    verdict = _verdict(model, user, event)
    if verdict is None:
        return
    (state,) = verdict
    if state is None:
        if user.manual is not None:
            set_manual(model, user, None, event.at, event.wish.source, None, out)
    elif user.manual is None or user.manual.state != state:
        set_manual(
            model, user, make_entry(model, state, event.wish.source, event.at), event.at, event.wish.source, None, out
        )
    else:
        return
    out.note("adopted", user=user.id, state=state or "clear", source=event.wish.source)


def _verdict(model: Model, user: User, event: ev.LampsChanged) -> tuple[StateId | None] | None:
    """Choose among the votes: a lit state lamp, then the dark one of the present state, then the main lamp."""
    states, main = event.wish.states, event.wish.main
    table = model.settings.states
    lit = [state.id for state in table.dialled if states.get(state.id)] or [DND] * states.get(DND, False)
    if lit:
        return (main[0],) if main and main[0] in lit else (lit[0],)
    manual = user.manual
    if manual is not None and states.get(manual.state) is False:
        return (None,)
    if main and main[0] and (main[0] not in table.by_id or (manual and _same_lamp(model, manual.state, main[0]))):
        return None
    return main


def _same_lamp(model: Model, present: StateId, wished: StateId) -> bool:
    """Tell whether the main lamp cannot tell two states apart: lunch is not replaced by an "away" that looks alike."""
    by_id = model.settings.states.by_id
    return by_id[present].joined is by_id[wished].joined


def _on_timer(model: Model, event: ev.TimerDue, out: Outcome) -> None:
    for until, user in model.ends.pop_due(event.at, USERS_PER_SLICE):  # the others follow at once
        if model.missing.get(user) == until:
            drop(model, user, out)
        elif (person := model.users.get(user)) is not None:
            _on_due(model, person, until, event.at, out)
    if event.clock_set:  # what follows from the time of day has to be worked out anew
        schedulestate.on_clock_set(model, event.at, out)
        calendarstate.look_again(model, event.at)
        forgotten.arm(model, event.at)
    schedulestate.on_timer(model, event.at, out)
    forgotten.on_timer(model, event.at, out)
    calendarstate.on_timer(model, event.at, out)
    callstate.on_timer(model, event.at, out)
    parkstate.on_timer(model, event.at, out)


def _on_due(model: Model, user: User, due: float, at: float, out: Outcome) -> None:
    if user.manual is not None and user.manual.until == due:
        set_manual(model, user, None, at, "expiry", None, out)
    call = user.entries.get(Layer.CALLS)
    if call is not None and call.until == due:
        set_automatic(model, user, Layer.CALLS, None, at, out)
    registration.on_due(model, user, due, out)


def _on_link_lost(model: Model, event: ev.LinkLost, out: Outcome) -> None:
    on_link_lost(model, event, out)
    callstate.on_link_lost(model, event)
    parkstate.on_link_lost(model, event)


def _all(*handlers: Callable[[Model, Any, Outcome], None]) -> Callable[[Model, Any, Outcome], None]:
    """Let several parts of the model take the same event, in this order."""

    def take(model: Model, event: ev.Event, out: Outcome) -> None:
        for handler in handlers:
            handler(model, event, out)

    return take


_DISPATCH: dict[type, Callable[[Model, Any, Outcome], None]] = {
    ev.Started: on_started,
    ev.ConfigChanged: on_config,
    ev.EndpointsSeen: on_endpoints,
    ev.CodeDialled: _all(callstate.on_code, on_code),
    ev.AgiAsked: _all(callstate.on_agi, on_agi),
    ev.PlaybackEnded: on_playback,
    ev.CallerLeft: on_caller_left,
    ev.LinkLost: _on_link_lost,
    ev.ChannelSeen: callstate.on_channel,
    ev.ChannelGone: _all(on_caller_left, callstate.on_channel_gone, parkstate.on_channel_gone),
    ev.HoldPressed: callstate.on_hold,
    ev.Dialling: callstate.on_dialling,
    ev.BridgeEntered: _all(callstate.on_entered, parkstate.on_entered),
    ev.BridgeLeft: _all(callstate.on_left, parkstate.on_left),
    ev.BridgesMerged: callstate.on_merged,
    ev.BridgeGone: _all(callstate.on_bridge_gone, parkstate.on_bridge_gone),
    ev.Transferred: parkstate.on_transferred,
    ev.CallsMoved: callstate.on_moved,
    ev.LineSeen: _all(registration.on_line, callstate.on_line),
    ev.SpaceSeen: parkstate.on_space,
    ev.SpacesWatched: parkstate.on_watched,
    ev.CallsListed: _all(callstate.on_listed, parkstate.on_listed),
    ParkingListed: parkstate.on_ami_listed,
    CalendarRead: calendarstate.on_read,
    ev.Stopping: callstate.on_stopping,
    ev.ChangeAsked: _on_change,
    ev.LampsChanged: _on_lamps_changed,
    ev.PresenceChanged: on_presence,
    ev.Settled: on_settled,
    ev.ResetAsked: _on_reset,
    ev.NotStored: _on_not_stored,
    ev.TimerDue: _on_timer,
}
