"""What becomes of a call to a user: the decision, pure.

The dialplan decides by the same rules from what it keeps (`kept.py`, `dialplan/presence-treat.conf`): a test on real
servers holds both against each other. Order: who is not refused needs nobody's leave; the override code; an emergency call
of the user; VIP and emergency callers; a second try; then the state.
"""

from dataclasses import dataclass

from ari_presence.core.kept import RING, Row, caller_number, is_listed, rows, through
from ari_presence.core.model import Model, User

EMERGENCY_S = 3600  # so long after an emergency call every call gets through
MAX_FORWARDS = 3
FORWARD = "forward:"
REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call to a user, as far as it matters; times are seconds since the epoch, UTC.

    Attributes:
        number: The caller's, as it came from the network; "" for none.
        override: The override code that was dialled before the user's number, or "".
        tried_at: When this caller last tried and the state did not ring, or None (AstDB `presence-tried/<user>`).
        emergency_at: When the user last dialled an emergency number, or None (AstDB `presence-emergency/<user>`).
        forwards: How often this call has been forwarded from user to user.
    """

    number: str = ""
    override: str = ""
    tried_at: float | None = None
    emergency_at: float | None = None
    forwards: int = 0


@dataclass(frozen=True, slots=True)
class Treatment:
    """What to do with a call.

    Attributes:
        what: `ring`, `refuse`, `voicemail` or `forward:<number>`.
        because: `state`, `override`, `emergency`, `listed`, `repeat` or `loop`.
        prompt: Sounds of the state, for the caller; empty where the state rings.
        until: When the state ends, seconds since the epoch, UTC, or None.
    """

    what: str
    because: str = "state"
    prompt: tuple[str, ...] = ()
    until: float | None = None


def row_of(model: Model, user: User, at: float) -> Row | None:
    """Give the row of a user's state that is in force, None where calls ring.

    An end that has come counts, whether or not the model has been told.
    """
    if user.hushed:
        return None
    found = (row for row in rows(model.settings.states, user.entries) if row.until is None or int(row.until) > int(at))
    row = next(found, None)
    return None if row is None or row.treatment == RING else row


def treatment_of(model: Model, user: User, attempt: Attempt, at: float) -> Treatment:
    """Decide about a call to a user at a moment (seconds since the epoch, UTC); never raises."""
    row = row_of(model, user, at)
    if row is None:
        return Treatment(RING)
    because = _gets_through(model, attempt, at)
    if because:
        return Treatment(RING, because, row.prompt, row.until)
    if row.treatment.startswith(FORWARD) and attempt.forwards >= MAX_FORWARDS:
        return Treatment(REFUSE, "loop", row.prompt, row.until)
    return Treatment(row.treatment, "state", row.prompt, row.until)


def _gets_through(model: Model, attempt: Attempt, at: float) -> str:
    """Say why a call gets through in spite of the state; "" if it does not."""
    rules, now = model.settings.rules, int(at)
    if attempt.override and attempt.override == rules.override_code:
        return "override"
    if attempt.emergency_at is not None and int(attempt.emergency_at) + EMERGENCY_S > now:
        return "emergency"
    number = caller_number(attempt.number)
    if number and is_listed(number, through(rules)):
        return "listed"
    within, last = rules.repeat_within_s, attempt.tried_at
    # A call that comes back to a user in a circle of forwards is no second try.
    if number and within is not None and last is not None and not attempt.forwards and int(last) + within >= now:
        return "repeat"
    return ""


def tried_at(kept: str, number: str) -> float | None:
    """Find when a caller last tried in `presence-tried/<user>`: `<number>=<seconds>:<number>=<seconds>`, newest first."""
    for entry in kept.split(":"):
        caller, _, seconds = entry.partition("=")
        if caller and caller == caller_number(number) and seconds.isascii() and seconds.isdigit():
            return float(seconds)
    return None


def tried_text(kept: str, number: str, at: float) -> str:
    """Note a try there; unchanged for a caller without a number. The last ten are kept."""
    caller = caller_number(number)
    return ":".join([f"{caller}={int(at)}", *filter(None, kept.split(":"))][:10]) if caller else kept
