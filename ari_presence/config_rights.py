"""The keys of the configuration about rights: what they may hold, and what only the whole file can tell of them."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator

from ari_presence import config_values as values
from ari_presence.core.userstate import BUILTIN, CALL_STATES, OFFLINE

Rights = tuple[Literal["set_self", "set_group", "set_others"], ...]
"""Whom somebody may set (`core.rights.RIGHTS`)."""
Settable = tuple[Annotated[str, AfterValidator(values.state_id)], ...] | None
"""States that somebody may set or end, None for all."""


def unsettable(rows: Iterable[tuple[str, Settable]], added: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Complain of states that nobody can set.

    Args:
        rows: Where the list stands in the file, and the list.
        added: Ids of the states that the file changes or adds.
    """
    known = {*(state.id for state in BUILTIN), *added} - CALL_STATES - {OFFLINE}
    for where, states in rows:
        for state in states or ():
            if state not in known:
                yield f"{where} settable", f"{state!r} is no state that a person sets: add a [[state]], or leave it out"
