"""AGI: the path that a dialplan asks for, and carrying it out. Part of the reducer.

Paths, words separated by `/`, to which arguments of `AGI()` are added as further words:

    set/<state>[/<minutes> | /until/<HHMM>][/user/<user>]
    toggle/<state>[/<minutes> | /until/<HHMM>][/user/<user>]
    clear[/<state>][/user/<user>]               with a state only if that is set
    say[/<user>]      treat/<user>              ask, change nothing
    code/<what Stasis() would be given>         a dialled code: code/dnd/on, code/state/3*45
"""

from collections.abc import Sequence
from datetime import time

from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.commands import Refuse, Tell, Track
from ari_presence.core.features import Action, Intent, parse_code
from ari_presence.core.intents import Asked, carry_out, note_refusal
from ari_presence.core.model import Model
from ari_presence.core.names import UserId, endpoint_of_channel, is_user_id, printable
from ari_presence.core.timers import parse_minutes, parse_time_of_day
from ari_presence.core.userstate import StateTable
from ari_presence.errors import Refused


def parse_path(words: Sequence[str], states: StateTable) -> Intent:
    """Turn the words of a path into an intent.

    Raises:
        Refused: `bad-path` for a path that does not exist; `bad-state`, `bad-time`, `bad-user` or `bad-code` for one whose
            words make no sense.
    """
    match list(words):
        case ["code", *args]:
            return parse_code(args, states)
        case ["say"]:
            return Intent(Action.SAY)
        case ["say" | "treat" as verb, user]:
            return Intent(Action(verb), user=_user(user), anybody=True)
        case [*rest, "user", user] if len(rest) > 0:
            return _change(rest, _user(user), states)
    return _change(words, None, states)


def _change(words: Sequence[str], user: UserId | None, states: StateTable) -> Intent:
    match list(words):
        case ["set" | "toggle" as verb, state, *when]:
            minutes, until = _when(when)
            return Intent(Action(verb), states.to_set(state).id, user, minutes, until)
        case ["clear"]:
            return Intent(Action.CLEAR, user=user)
        case ["clear", state]:
            return Intent(Action.CLEAR_IF, states.to_set(state).id, user)
    raise Refused(f"there is no AGI path '{printable('/'.join(words))}'", code="bad-path")


def _when(words: Sequence[str]) -> tuple[int | None, time | None]:
    match list(words):
        case []:
            return None, None
        case [minutes]:
            return parse_minutes(minutes), None
        case ["until", at]:
            return None, parse_time_of_day(printable(at))
    raise Refused(f"'{printable('/'.join(words))}' is no end: write <minutes> or until/<HHMM>", code="bad-time")


def _user(text: str) -> UserId:
    if not is_user_id(text):
        raise Refused(f"'{printable(text)}' is not a user", code="bad-user")
    return UserId(text)


def on_agi(model: Model, event: ev.AgiAsked, out: Outcome) -> None:
    """Carry out what a dialplan asks for; whoever dialled is the endpoint of its channel."""
    endpoint = endpoint_of_channel(event.name)
    try:
        said = carry_out(model, event.intent, Asked(endpoint, event.at, event.request), out)
    except Refused as error:
        note_refusal(model, "agi refused", error, endpoint, event.intent, out, channel=printable(event.name))
        out.commands.append(Refuse(event.request, str(error), error.code))
        return
    out.commands.append(Tell(event.request, said))
    if said.waits:
        out.commands.append(Track(event.request, said.user, None))
