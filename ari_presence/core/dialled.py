"""Dialled codes: who may do what, and what the caller hears. Part of the reducer."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from ari_presence.core import events as ev
from ari_presence.core import forgotten
from ari_presence.core.change import Outcome, change_manual, make_entry
from ari_presence.core.commands import Claim, Leave, Play, Track
from ari_presence.core.features import Action, Intent, parse_code
from ari_presence.core.model import Caller, Model, User
from ari_presence.core.names import StateId, endpoint_of_channel
from ari_presence.core.people import appear
from ari_presence.core.timers import next_time_of_day
from ari_presence.core.userstate import AVAILABLE
from ari_presence.errors import Refused


def on_code(model: Model, event: ev.CodeDialled, out: Outcome) -> None:
    """Serve a dialled code: claim the caller, change what was asked for, and prepare what is heard."""
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
    reminder = _reminder(model, user, event.at)
    if intent.action is Action.SAY:
        _play(model, caller, reminder + _spoken(model, target), out)
        return
    source = f"phone:{endpoint_of_channel(event.name)}"
    entry = None
    if intent.state is not None:
        until = event.at + intent.minutes * 60 if intent.minutes is not None else None
        if intent.until is not None:
            until = next_time_of_day(intent.until, event.at, target.settings.zone)
        entry = make_entry(model, intent.state, source, event.at, until)
    request = model.new_request()
    wanted = change_manual(model, target, intent.action, entry, event.at, source, request, out)
    model.callers[request] = caller
    caller.media = reminder + _confirmation(model, target, intent, wanted)
    out.commands.append(Track(request, target.id, event.pbx))


def _dialler(model: Model, event: ev.CodeDialled, out: Outcome) -> User:
    """Find the user whose endpoint was authenticated for this channel; the caller ID plays no part."""
    endpoint = endpoint_of_channel(event.name)
    owner = model.settings.owner(endpoint) if endpoint else None
    if owner is None:
        raise Refused("the channel belongs to no user", code="no-user")
    if owner not in model.users:
        out.touched.add(owner)
        appear(model, owner, event.at, out)
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


def _reminder(model: Model, user: User, at: float) -> tuple[str, ...]:
    """Say a forgotten state to its owner, before anything else: that it is on, and its end if it has one."""
    entry = forgotten.forgotten_state(model, user, at)
    if entry is None:
        return ()
    state = model.settings.states.by_id[entry.state]
    return _sounds(state.prompt + model.settings.prompts.activated) + _clock(user, entry.until)


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


def on_settled(model: Model, event: ev.Settled, out: Outcome) -> None:
    """Tell a caller what became of the change."""
    caller = model.callers.pop(event.request, None)
    if caller is not None:
        _play(model, caller, caller.media if event.ok else model.settings.prompts.error, out)


def on_playback(model: Model, event: ev.PlaybackEnded, out: Outcome) -> None:
    """Let a caller go whose prompt has ended."""
    caller = model.playing.pop(event.playback, None)
    if caller is not None:
        out.commands.append(Leave(caller.pbx, caller.channel))


def _forget(model: Model, gone: Callable[[Caller], bool]) -> None:
    model.callers = {request: caller for request, caller in model.callers.items() if not gone(caller)}
    model.playing = {playback: caller for playback, caller in model.playing.items() if not gone(caller)}


def on_caller_left(model: Model, event: ev.CallerLeft, _out: Outcome) -> None:
    """Forget a caller."""
    _forget(model, lambda caller: (caller.pbx, caller.channel) == (event.pbx, event.channel))


def on_link_lost(model: Model, event: ev.LinkLost, _out: Outcome) -> None:
    """Forget the callers of a server; a new link finds those who wait."""
    _forget(model, lambda caller: caller.pbx == event.pbx)
