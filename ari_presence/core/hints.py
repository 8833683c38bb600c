"""Which hints a site needs beside the patterns of `dialplan/presence-hints.conf`: one for each name that no pattern can make.

Ids are legal ones, and device names hold nothing else, except the endpoints: those are checked here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ari_presence.core.groups import group_device
from ari_presence.core.names import UserId, joined_device, presence_provider, whole_device

_BY_PATTERN = re.compile(r"[0-9]{2,6}\Z")
_ENDPOINT = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9_.+@*#-]+\Z")  # `&` `,` `;` and spaces would end the device or the line


@dataclass(frozen=True, slots=True)
class Hint:
    """One hint: the extension, what follows `hint,`, and why it cannot be made ("" if it can)."""

    extension: str
    devices: str
    problem: str = ""


def make_hints(groups: Iterable[str], users: Mapping[str, Sequence[str]], *, whole: bool = True) -> list[Hint]:
    """Make the hints of groups, of parked calls, of whole lamps, and of users whom the patterns do not cover.

    Args:
        groups: Ids.
        users: Ids, with the endpoints of each as Asterisk spells them.
        whole: Whether whole lamps are written.

    Returns:
        Sorted hints. Asterisk ignores dashes in extensions (`ext_cmp` in `main/pbx.c`): of several that differ in nothing
        else only the first can be made.
    """
    made: list[Hint] = []
    first: dict[str, str] = {}
    for hint in (*_groups(groups), *_users(users, whole=whole)):
        other = first.setdefault(hint.extension.replace("-", ""), hint.extension)
        if other == hint.extension:
            made.append(hint)
        else:
            problem = f"not made, since Asterisk ignores dashes and takes it for {other}: give one of them another id"
            made.append(Hint(hint.extension, hint.devices, problem))
    return made


def _groups(groups: Iterable[str]) -> Iterator[Hint]:
    for group in sorted(groups):
        yield Hint(f"group-{group}", group_device(group))


def _users(users: Mapping[str, Sequence[str]], *, whole: bool) -> Iterator[Hint]:
    ids = [UserId(user) for user in sorted(users)]
    for user in ids:
        endpoints = sorted(users[user])
        if _BY_PATTERN.match(user) and endpoints == [f"PJSIP/{user}"]:
            continue
        usable = [endpoint for endpoint in endpoints if _ENDPOINT.match(endpoint)]
        problem = "" if usable == endpoints else "not made, since no hint can name one of the endpoints: rename that"
        yield Hint(user, f"{'&'.join([*usable, joined_device(user)])},{presence_provider(user)}", problem)
    if whole:
        for user in ids:
            yield Hint(f"whole-{user}", f"{whole_device(user)},{presence_provider(user)}")
    for user in ids:
        yield Hint(f"parked-{user}", f"Stasis:parked-{user}")
