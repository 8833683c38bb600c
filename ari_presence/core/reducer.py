"""`reduce(model, event)`: what each event changes and what is to be done about it.

One small function for each type of event and one dispatch table. Work is proportional to what changed. Lamps are not
mentioned here: whoever is touched gets them compared with the model (`plan.py`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ari_presence.core import events as ev
from ari_presence.core.commands import Claim, Command, Leave, Note, Play, Record, Refuse, Save, Track
from ari_presence.core.features import Action, Intent, parse_code
from ari_presence.core.model import Caller, Model, User
from ari_presence.core.names import StateId, UserId, endpoint_of_channel, message_problem
from ari_presence.core.timers import next_time_of_day
from ari_presence.core.userstate import AVAILABLE, Entry, Layer
from ari_presence.errors import Refused

MASS_LOSS_FACTOR = 10  # users who go missing by the half are kept that much longer: it may be a broken listing


@dataclass(slots=True)
class Outcome:
    """What to do now, in order, and whose lamps may have to change."""

    commands: list[Command] = field(default_factory=list)
    touched: set[UserId] = field(default_factory=set)

    def note(self, event: str, **fields: object) -> None:
        """Ask for a line in the log."""
        self.commands.append(Note(event, tuple(fields.items())))


def reduce(model: Model, event: ev.Event) -> Outcome:
    """Apply one event to the model.

    Returns:
        Commands in order and the touched users. Never raises: what makes no sense is refused or noted.
    """
    out = Outcome()
    _DISPATCH[type(event)](model, event, out)
    return out


# --- the manual state -------------------------------------------------------------------------------------------


def _set_manual(
    model: Model, user: User, entry: Entry | None, at: float, source: str, request: int | None, out: Outcome
) -> None:
    """Set or remove the manual state, with its end, its line of history and its lamps."""
    before = user.manual
    user.put(Layer.MANUAL, entry, at)
    user.hushed = False
    if entry is not None and entry.until is not None:
        model.ends.add(entry.until, user.id)
    layer, now, _ = user.effective(model.settings.states)
    record = Record(at, user.id, now.state, layer, source, now.until, now.message)
    out.commands.append(Save(user.id, entry, record, request, before))
    out.touched.add(user.id)


def _wanted(user: User, action: Action, state: StateId | None) -> StateId | None:
    """Tell which manual state an action leads to; toggles look at the manual state alone."""
    manual = user.manual.state if user.manual else None
    if action is Action.CLEAR:
        return None
    if action is Action.CLEAR_IF:
        return None if manual == state else manual
    return None if action is Action.TOGGLE and manual == state else state


def _change(
    model: Model, user: User, action: Action, entry: Entry | None, at: float, source: str, request: int, out: Outcome
) -> StateId | None:
    """Carry out a checked change and return the manual state that it leads to.

    Args:
        entry: What SET and TOGGLE put; for CLEAR_IF only its state counts.
    """
    wanted = _wanted(user, action, entry.state if entry else None)
    if action in (Action.SET, Action.TOGGLE) and wanted is not None:
        _set_manual(model, user, entry, at, source, request, out)
    elif wanted is None and (user.manual is not None or user.hushed):
        _set_manual(model, user, None, at, source, request, out)
    return wanted


def _entry(
    model: Model, state: str, source: str, at: float, until: float | None = None, message: str | None = None
) -> Entry:
    """Make an entry, with the state's own end where none was asked for."""
    definition = model.settings.states.by_id[state]
    if until is None and definition.expires_s is not None:
        until = at + definition.expires_s
    return Entry(definition.id, source, at, until, message)


# --- feature codes ----------------------------------------------------------------------------------------------


def _on_code(model: Model, event: ev.CodeDialled, out: Outcome) -> None:
    if event.claim is ev.ClaimState.UNSURE:
        again = replace(event, claim=ev.ClaimState.CLAIMED)
        out.commands.append(Claim(event.pbx, event.channel, again))
        return
    caller = Caller(event.pbx, event.channel)
    if event.claim is ev.ClaimState.EARLIER:  # what was dialled may be done: a toggle must not be undone
        out.note("call of an earlier session ended", pbx=event.pbx, channel=event.name, args=",".join(event.args))
        _play(model, caller, model.settings.prompts.error, out)
        return
    if event.claim is ev.ClaimState.FRESH:
        out.commands.append(Claim(event.pbx, event.channel, None))
    try:
        user = _dialler(model, event, out)
        intent = parse_code(event.args, model.settings.states)
        target = _target(model, user, intent)
    except Refused as error:
        out.note("code refused", pbx=event.pbx, channel=event.name, args=",".join(event.args), reason=str(error))
        _play(model, caller, model.settings.prompts.error, out)
        return
    if intent.action is Action.SAY:
        _play(model, caller, _spoken(model, target), out)
        return
    source = f"phone:{endpoint_of_channel(event.name)}"
    entry = None
    if intent.state is not None:
        until = event.at + intent.minutes * 60 if intent.minutes is not None else None
        if intent.until is not None:
            until = next_time_of_day(intent.until, event.at, target.settings.zone)
        entry = _entry(model, intent.state, source, event.at, until)
    request = model.new_request()
    wanted = _change(model, target, intent.action, entry, event.at, source, request, out)
    model.callers[request] = caller
    caller.media = _confirmation(model, target, intent, wanted)
    out.commands.append(Track(request, target.id, event.pbx))


def _dialler(model: Model, event: ev.CodeDialled, out: Outcome) -> User:
    """Find the user whose endpoint was authenticated for this channel; the caller ID plays no part."""
    endpoint = endpoint_of_channel(event.name)
    owner = model.settings.owner(endpoint) if endpoint else None
    if owner is None:
        raise Refused("the channel belongs to no user", code="no-user")
    if owner not in model.users:
        out.touched.add(owner)
        _appear(model, owner, event.at, out)
    return model.users[owner]


def _target(model: Model, caller: User, intent: Intent) -> User:
    if intent.user is None or intent.user == caller.id:
        return caller
    user = model.users.get(intent.user)
    if user is None:
        raise Refused(f"there is no user {intent.user}", code="unknown-user")
    if intent.action is not Action.SAY and "set_others" not in caller.settings.rights:
        raise Refused(f'{caller.id} has no right to set {user.id} (rights = ["set_others"])', code="not-allowed")
    return user


def _sounds(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"sound:{name}" for name in names)


def _clock(user: User, until: float | None) -> tuple[str, ...]:
    """Say a time of day with what every language has: the hour as a number, the minutes as number or digits."""
    if until is None:
        return ()
    from datetime import datetime

    local = datetime.fromtimestamp(until, user.settings.zone)
    return (f"number:{local.hour}", f"number:{local.minute}" if local.minute > 9 else f"digits:{local.minute:02}")


def _confirmation(model: Model, user: User, intent: Intent, wanted: StateId | None) -> tuple[str, ...]:
    """Choose what a caller hears when all is done: the state, on or off, and the end."""
    prompts = model.settings.prompts
    about = wanted if wanted is not None and intent.action is not Action.CLEAR_IF else intent.state or AVAILABLE
    subject = _sounds(model.settings.states.by_id[about].prompt)
    if wanted is None or intent.action is Action.CLEAR_IF:
        return subject + _sounds(prompts.deactivated if intent.state else prompts.activated)
    return subject + _sounds(prompts.activated) + _clock(user, user.manual.until if user.manual else None)


def _spoken(model: Model, user: User) -> tuple[str, ...]:
    _, entry, state = user.effective(model.settings.states)
    return _sounds(state.prompt or ("beep",)) + _clock(user, entry.until)


def playback_of(channel: str) -> str:
    """Name the one playback that a channel hears."""
    return f"{channel}-presence"


def _play(model: Model, caller: Caller, media: Iterable[str], out: Outcome) -> None:
    names = tuple(name if ":" in name else f"sound:{name}" for name in media)
    playback = playback_of(caller.channel)
    model.playing[playback] = caller
    out.commands.append(Play(caller.pbx, caller.channel, playback, names))


def _on_settled(model: Model, event: ev.Settled, out: Outcome) -> None:
    caller = model.callers.pop(event.request, None)
    if caller is not None:
        _play(model, caller, caller.media if event.ok else model.settings.prompts.error, out)


def _on_playback(model: Model, event: ev.PlaybackEnded, out: Outcome) -> None:
    caller = model.playing.pop(event.playback, None)
    if caller is not None:
        out.commands.append(Leave(caller.pbx, caller.channel))


def _forget(model: Model, gone: Callable[[Caller], bool]) -> None:
    model.callers = {request: caller for request, caller in model.callers.items() if not gone(caller)}
    model.playing = {playback: caller for playback, caller in model.playing.items() if not gone(caller)}


def _on_caller_left(model: Model, event: ev.CallerLeft, _out: Outcome) -> None:
    _forget(model, lambda caller: (caller.pbx, caller.channel) == (event.pbx, event.channel))


def _on_link_lost(model: Model, event: ev.LinkLost, _out: Outcome) -> None:
    _forget(model, lambda caller: caller.pbx == event.pbx)


# --- HTTP, CLI, AGI ---------------------------------------------------------------------------------------------


def _on_change(model: Model, event: ev.ChangeAsked, out: Outcome) -> None:
    try:
        user = _known(model, event.user)
        entry = _checked_entry(model, event)
    except Refused as error:
        out.note("change refused", user=event.user, source=event.source, reason=str(error))
        out.commands.append(Refuse(event.request, str(error), error.code))
        return
    _change(model, user, event.action, entry, event.at, event.source, event.request, out)
    out.commands.append(Track(event.request, user.id, None))


def _known(model: Model, name: str) -> User:
    user = model.users.get(UserId(name))
    if user is None:
        raise Refused(f"there is no user '{name}': `ari-presence users` lists them", code="unknown-user")
    return user


def _checked_entry(model: Model, event: ev.ChangeAsked) -> Entry | None:
    if event.state is None:
        return None
    settable = {state.id: state for state in model.settings.states.settable}
    if event.state not in settable:
        raise Refused(f"there is no state '{event.state}' to set: one of {', '.join(settable)}", code="bad-state")
    problem = message_problem(event.message) if event.message is not None else None
    if problem is not None:
        raise Refused(problem, code="bad-message")
    if event.until is not None and event.until <= event.at:
        raise Refused("the end is in the past: give a later one", code="bad-time")
    return _entry(model, event.state, event.source, event.at, event.until, event.message or None)


def _on_not_stored(model: Model, event: ev.NotStored, out: Outcome) -> None:
    """Take a change back, unless another one came after it."""
    user = model.users.get(event.user)
    if user is not None and user.manual is event.entry:
        user.put(Layer.MANUAL, event.before, event.at)
        if event.before is not None and event.before.until is not None:
            model.ends.add(event.before.until, user.id)
        out.touched.add(user.id)


def _on_reset(model: Model, event: ev.ResetAsked, out: Outcome) -> None:
    try:
        users = list(model.users.values()) if event.user is None else [_known(model, event.user)]
    except Refused as error:
        out.commands.append(Refuse(event.request, str(error), error.code))
        return
    for user in users:
        if user.manual is not None:
            _set_manual(model, user, None, event.at, event.source, event.request, out)
        user.hushed = True
        out.touched.add(user.id)
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
            _set_manual(model, user, None, event.at, event.wish.source, None, out)
    elif user.manual is None or user.manual.state != state:
        _set_manual(
            model, user, _entry(model, state, event.wish.source, event.at), event.at, event.wish.source, None, out
        )
    else:
        return
    out.note("adopted", user=user.id, state=state or "clear", source=event.wish.source)


def _verdict(model: Model, user: User, event: ev.LampsChanged) -> tuple[StateId | None] | None:
    """Choose among the votes: a lit state lamp, then the dark one of the present state, then the main lamp."""
    states, main = event.wish.states, event.wish.main
    table = model.settings.states
    lit = [state.id for state in table.dialled if states.get(state.id)]
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


# --- who is a user ----------------------------------------------------------------------------------------------


def _on_started(model: Model, event: ev.Started, out: Outcome) -> None:
    model.parted.update(event.manual)
    model.lit.update(event.lit)
    for user in model.settings.listed:
        _appear(model, user, event.at, out)
        out.touched.add(user)


def _appear(model: Model, user: UserId, at: float, out: Outcome) -> User:
    """Make a user, with the stored manual state if there is one and it still means something."""
    person = User(user, model.settings.listed.get(user, model.settings.default), at)
    model.users[user] = person
    model.missing.pop(user, None)
    entry = model.parted.pop(user, None)
    if entry is not None and entry.state not in model.settings.states.by_id:
        out.note("state removed", user=user, state=entry.state)
        _set_manual(model, person, None, at, "configuration", None, out)
    elif entry is not None:
        person.put(Layer.MANUAL, entry, at)
        if entry.until is not None:
            model.ends.add(entry.until, user)
    return person


def _on_endpoints(model: Model, event: ev.EndpointsSeen, out: Outcome) -> None:
    before = len(model.users)
    model.endpoints[event.pbx] = event.endpoints
    present = _present(model)
    for user in present:
        model.missing.pop(user, None)
        if user not in model.users:
            _appear(model, user, event.at, out)
            out.touched.add(user)
    if any(pbx not in model.endpoints for pbx in model.settings.pbxs):
        return  # a server that was never heard may know the others
    gone = (model.users.keys() | model.lit) - present - model.missing.keys()
    keep_s = model.settings.keep_s
    if len(gone) > 3 and len(gone) * 2 > before:
        keep_s *= MASS_LOSS_FACTOR
        out.note("many endpoints missing", pbx=event.pbx, missing=len(gone), known=before, kept_s=keep_s)
    for user in gone:
        model.missing[user] = event.at + keep_s


def _present(model: Model) -> set[UserId]:
    owner = model.settings.owner
    present = {user for listing in model.endpoints.values() for user in map(owner, listing) if user is not None}
    return present | model.settings.listed.keys()


def _drop(model: Model, user: UserId, out: Outcome) -> None:
    """Let a user leave: the manual state waits in the store in case the person comes back, the lamps go off."""
    person = model.users.pop(user, None)
    if person is not None and person.manual is not None:
        model.parted[user] = person.manual
    model.missing.pop(user, None)
    model.lit.discard(user)
    out.touched.add(user)
    out.note("user left", user=user)


def _on_config(model: Model, event: ev.ConfigChanged, out: Outcome) -> None:
    model.settings = event.settings
    present = _present(model)
    for user in list(model.users):
        if user not in present and user not in model.missing:  # a listing that lacks somebody is not the configuration
            _drop(model, user, out)
    kept = present | model.users.keys()
    for user in kept:
        if user in present:
            model.missing.pop(user, None)
        person = model.users.get(user) or _appear(model, user, event.at, out)
        person.settings = event.settings.listed.get(user, event.settings.default)
        manual = person.manual
        if manual is not None and manual.state not in event.settings.states.by_id:
            person.put(Layer.MANUAL, None, event.at)  # before anybody looks it up
            out.note("state removed", user=user, state=manual.state)
            _set_manual(model, person, None, event.at, "configuration", None, out)
    out.touched.update(kept)


def _on_timer(model: Model, event: ev.TimerDue, out: Outcome) -> None:
    for until, user in model.ends.pop_due(event.at):
        person = model.users.get(user)
        if person is not None and person.manual is not None and person.manual.until == until:
            _set_manual(model, person, None, event.at, "expiry", None, out)
    for user in [user for user, due in model.missing.items() if due <= event.at]:
        _drop(model, user, out)


_DISPATCH: dict[type, Callable[[Model, Any, Outcome], None]] = {
    ev.Started: _on_started,
    ev.ConfigChanged: _on_config,
    ev.EndpointsSeen: _on_endpoints,
    ev.CodeDialled: _on_code,
    ev.PlaybackEnded: _on_playback,
    ev.CallerLeft: _on_caller_left,
    ev.LinkLost: _on_link_lost,
    ev.ChangeAsked: _on_change,
    ev.LampsChanged: _on_lamps_changed,
    ev.Settled: _on_settled,
    ev.ResetAsked: _on_reset,
    ev.NotStored: _on_not_stored,
    ev.TimerDue: _on_timer,
}
