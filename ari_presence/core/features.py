"""Dialled codes to intents: what the digits behind a feature code ask for.

The dialplan (`dialplan/presence-codes.conf`) hands over which code it was and the digits behind it; nothing here knows
which digits the site has chosen for the code itself, nor who dialled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from enum import StrEnum

from ari_presence.core.names import StateId, UserId
from ari_presence.core.timers import parse_minutes, parse_time_of_day
from ari_presence.core.userstate import DND, StateTable
from ari_presence.errors import Refused


class Action(StrEnum):
    """What to do with the manual state."""

    SET = "set"
    TOGGLE = "toggle"
    CLEAR = "clear"
    CLEAR_IF = "clear-if"  # only if the manual state is this one
    SAY = "say"
    TREAT = "treat"  # say nothing, tell the dialplan what happens to a call


@dataclass(frozen=True, slots=True)
class Intent:
    """What a caller asked for.

    Attributes:
        action: What to do.
        state: Which state; None for CLEAR, SAY and TREAT.
        user: Whose state, None for the caller's own.
        minutes: Ends after so many minutes (1 to 1440), or None.
        until: Ends at this time of day in the user's zone, or None.
        anybody: The dialplan itself asks for `user`, whoever the caller is: an outside call, too. Never for a change.
    """

    action: Action
    state: StateId | None = None
    user: UserId | None = None
    minutes: int | None = None
    until: time | None = None
    anybody: bool = False


_REST = re.compile(r"(?P<digit>\d)(?:(?P<user>\d{1,10})|\*(?P<minutes>\d{1,9})|\*\*(?P<until>\d{4}))?\Z", re.ASCII)
_USER = re.compile(r"\d{1,10}\Z", re.ASCII)  # as many digits as the dialplan lets through
_BAD = "this code does not exist"


def parse_code(args: Sequence[str], states: StateTable) -> Intent:
    """Turn the arguments of `Stasis()` into an intent.

    Args:
        args: `dnd,on`, `dnd,off`, `dnd,toggle`, `dnd-key,<user>` or `state,<digits behind the code>`.
        states: Which digit is which state.

    Raises:
        Refused: Unknown digit, absurd time, or anything else that no phone should have sent.
    """
    match list(args):
        case ["dnd", "on"]:
            return Intent(Action.SET, DND)
        case ["dnd", "off"]:
            return Intent(Action.CLEAR_IF, DND)
        case ["dnd", "toggle"]:
            return Intent(Action.TOGGLE, DND)
        case ["dnd-key", user] if _USER.match(user):
            return Intent(Action.TOGGLE, DND, UserId(user))
        case ["state", rest]:
            return _state_code(rest, states)
    raise Refused(_BAD, code="bad-code")


def _state_code(rest: str, states: StateTable) -> Intent:
    match = _REST.match(rest)
    if match is None:
        raise Refused(_BAD, code="bad-code")
    user = UserId(match["user"]) if match["user"] else None
    timed = match["minutes"] is not None or match["until"] is not None
    if match["digit"] == "9" and not timed:
        return Intent(Action.SAY, user=user)
    if match["digit"] == "0" and not timed and user is None:
        return Intent(Action.CLEAR)
    state = states.by_digit.get(match["digit"])
    if state is None:
        raise Refused(f"no state has the digit {match['digit']}", code="bad-code")
    if match["minutes"] is not None:
        return Intent(Action.SET, state.id, minutes=parse_minutes(match["minutes"]))
    if match["until"] is not None:
        return Intent(Action.SET, state.id, until=parse_time_of_day(match["until"]))
    return Intent(Action.TOGGLE, state.id, user)
