"""From what somebody asked for by phone to the change, and to what is heard: the same for dialled codes and AGI.

Part of the reducer. Knows neither Stasis nor AGI: `dialled.py` and `agi.py` do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ari_presence.core import forgotten
from ari_presence.core.change import Outcome, change_manual, make_entry
from ari_presence.core.commands import Said
from ari_presence.core.features import Action, Intent
from ari_presence.core.model import Model, User
from ari_presence.core.names import StateId
from ari_presence.core.people import appear
from ari_presence.core.rights import may
from ari_presence.core.timers import next_time_of_day
from ari_presence.core.treatment import Attempt, treatment_of
from ari_presence.errors import Refused

_ASKING = (Action.SAY, Action.TREAT)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and when.

    Attributes:
        endpoint: The endpoint that Asterisk authenticated, `PJSIP/100`; None for a channel without one.
        at: Seconds since the epoch, UTC.
        request: Number under which a change is stored and confirmed.
    """

    endpoint: str | None
    at: float
    request: int


def carry_out(model: Model, intent: Intent, asked: Asked, out: Outcome) -> Said:
    """Do what was asked for, or raise without having changed anything.

    Returns:
        What to say; where `waits` is set, only when the change is stored and confirmed.

    Raises:
        Refused: Nobody's endpoint, an unknown user or state, or no right to it.
    """
    who = None if intent.anybody else _dialler(model, asked, out)
    whom = _target(model, who, intent)
    if intent.action in _ASKING:
        media = () if intent.action is Action.TREAT else _reminder(model, who, asked.at) + _spoken(model, whom)
        return _said(model, whom, media, asked.at, waits=False)
    if who is None:  # no intent that changes anything is anybody's
        raise Refused("who asks is not known", code="no-user")
    if intent.state is not None:
        model.settings.states.to_set(intent.state)
    may(model.settings, who, whom, intent.state, asked.endpoint or "")
    source = f"phone:{asked.endpoint}"
    reminder = _reminder(model, who, asked.at)
    entry, before = None, whom.manual
    if intent.state is not None:
        until = asked.at + intent.minutes * 60 if intent.minutes is not None else None
        if intent.until is not None:
            until = next_time_of_day(intent.until, asked.at, whom.settings.zone)
        entry = make_entry(model, intent.state, source, asked.at, until)
    wanted = change_manual(model, whom, intent.action, entry, asked.at, source, asked.request, out)
    if intent.action is Action.CLEAR_IF:
        wanted = None  # what is confirmed is the end of that state, whatever else is set
    media = reminder + _confirmation(model, whom, wanted, intent.state or (before.state if before else None))
    return _said(model, whom, media, asked.at, waits=True)


def note_refusal(
    model: Model, event: str, error: Refused, endpoint: str | None, intent: Intent | None, out: Outcome, **more: object
) -> None:
    """Ask for the line in the log that every refusal leaves: who, whom, which state, from which endpoint, and why.

    Args:
        event: Name of the line, `code refused` or `agi refused`.
        intent: None where it could not be understood.
        more: What else tells where it came from.
    """
    who = model.settings.owner(endpoint) if endpoint else None
    whom = (intent.user or who) if intent else None
    state = intent.state if intent else None
    out.note(event, who=who, whom=whom, state=state, endpoint=endpoint, reason=str(error), code=error.code, **more)


def _dialler(model: Model, asked: Asked, out: Outcome) -> User:
    """Find the user whose endpoint was authenticated for this channel; the caller ID plays no part."""
    owner = model.settings.owner(asked.endpoint) if asked.endpoint else None
    if owner is None:
        raise Refused("the channel belongs to no user", code="no-user")
    if owner not in model.users:
        out.touched.add(owner)
        appear(model, owner, asked.at, out)
    return model.users[owner]


def _target(model: Model, who: User | None, intent: Intent) -> User:
    if who is not None and intent.user in (None, who.id):
        return who
    return model.user(intent.user or "")


def _said(model: Model, user: User, media: tuple[str, ...], at: float, *, waits: bool) -> Said:
    _, entry, state = user.effective(model.settings.states)
    return Said(user.id, media, waits, state.id, entry.until, treatment_of(model, user, Attempt(), at).what)


def sounds(names: Iterable[str]) -> tuple[str, ...]:
    """Give the media of sound files; names that are media already stay."""
    return tuple(name if ":" in name else f"sound:{name}" for name in names)


def _clock(user: User, until: float | None) -> tuple[str, ...]:
    """Say a time of day with what every language has: the hour as a number, the minutes as number or digits."""
    if until is None:
        return ()
    local = datetime.fromtimestamp(until, user.settings.zone)
    return (f"number:{local.hour}", f"number:{local.minute}" if local.minute > 9 else f"digits:{local.minute:02}")


def _confirmation(model: Model, user: User, wanted: StateId | None, ended: StateId | None) -> tuple[str, ...]:
    """Choose what a caller hears when all is done: the state, on or off, and the end.

    Args:
        wanted: State that is set, None where one was ended.
        ended: State that was; None for none, as the plain dialplan says it (`dialplan/presence-codes.conf`).
    """
    states, prompts = model.settings.states.by_id, model.settings.prompts
    if wanted is None:
        return sounds(states[ended].prompt if ended is not None else ()) + sounds(prompts.deactivated)
    return sounds(states[wanted].prompt + prompts.activated) + _clock(user, user.manual.until if user.manual else None)


def _reminder(model: Model, who: User | None, at: float) -> tuple[str, ...]:
    """Say a forgotten state to its owner, before anything else: that it is on, and its end if it has one."""
    entry = forgotten.forgotten_state(model, who, at) if who is not None else None
    if who is None or entry is None:
        return ()
    state = model.settings.states.by_id[entry.state]
    return sounds(state.prompt + model.settings.prompts.activated) + _clock(who, entry.until)


def _spoken(model: Model, user: User) -> tuple[str, ...]:
    _, entry, state = user.effective(model.settings.states)
    return sounds(state.prompt or ("beep",)) + _clock(user, entry.until)
