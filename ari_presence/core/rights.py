"""Who may set whose state, which states, and from which endpoints: the one place that decides.

Asked by whatever knows the person who acts: dialled codes and AGI. Asking for a state needs no right, a lamp shows it too.
"""

from ari_presence.core.model import Settings, User
from ari_presence.core.names import StateId
from ari_presence.errors import Refused

SET_SELF = "set_self"
SET_GROUP = "set_group"
SET_OTHERS = "set_others"
RIGHTS = (SET_SELF, SET_GROUP, SET_OTHERS)
"""What `rights` may hold; each includes those before it."""


def may(settings: Settings, who: User, whom: User, state: StateId | None, endpoint: str) -> None:
    """Let it pass that `who` sets the manual state of `whom`, or raise.

    Args:
        settings: The configuration as the model sees it.
        who: The person who acts.
        whom: Whose state it is.
        state: Which state is set or ended; None for "no state", which whoever may set somebody may always do.
        endpoint: Where it was asked for, `PJSIP/100`; "" where there is none.

    Raises:
        Refused: Not allowed; the text says who, whom and why, the code is `not-allowed`.
    """
    if endpoint and settings.no_set is not None and settings.no_set.search(endpoint):
        raise _refused(f"nothing may be set from {endpoint} ([users] no_set)")
    if state is not None and who.settings.settable is not None and state not in who.settings.settable:
        raise _refused(f"{who.id} may not set or end '{state}' (settable)")
    enough = _enough(who, whom)
    if who.settings.rights.isdisjoint(enough):
        raise _refused(f'{who.id} has no right to set {whom.id} (rights = ["{enough[0]}"])')


def _enough(who: User, whom: User) -> tuple[str, ...]:
    """Give the rights each of which is enough, the smallest first."""
    if who.id == whom.id:
        return RIGHTS
    if set(who.settings.groups) & set(whom.settings.groups):
        return RIGHTS[1:]
    return RIGHTS[2:]


def _refused(reason: str) -> Refused:
    return Refused(reason, code="not-allowed")
