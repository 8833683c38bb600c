"""Which lamps are subscribed to together, and in which order."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ari_presence.core.names import UserId
from ari_presence.core.plan import Layout

WATCHED_AT_ONCE = 16  # users; about as many names as one subscription takes


def watch_groups(
    layout: Layout, users: Sequence[UserId]
) -> Iterator[tuple[tuple[UserId, ...], Callable[[], list[str]]]]:
    """Divide the lamps of some users, all main lamps first: the plain dialplan writes them with every change.

    Yields:
        Users, and what names their devices: the names of ten thousand users' lamps need not all exist at once.
    """
    for part in (slice(1), slice(1, None)):
        for first in range(0, len(users), WATCHED_AT_ONCE):
            some = tuple(users[first : first + WATCHED_AT_ONCE])
            yield some, partial(_names, layout, some, part)


def _names(layout: Layout, users: tuple[UserId, ...], part: slice) -> list[str]:
    return [device for user in users for device in layout.watched(user)[part]]
