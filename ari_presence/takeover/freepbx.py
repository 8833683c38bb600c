"""FreePBX's users in Asterisk's database, and how they differ from the configuration.

`AMPUSER/<user>/cidname` and `/device` (joined by &) make a user, `DEVICE/<device>/dial` names the endpoint, `DND/<user>` and
`CustomPresence/<user>` (`type,subtype,message`, with the option e in base64) the state. No input or output.
"""

import difflib
import json
import tomllib
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ari_presence import config_values as values
from ari_presence.config import Config, User, parse_config
from ari_presence.core.freepbx import is_dnd, state_of_presence
from ari_presence.core.lamps import Presence
from ari_presence.core.names import is_user_id
from ari_presence.core.userstate import DND, StateTable
from ari_presence.errors import Refused
from ari_presence.settings import settings_of
from ari_presence.takeover.astdb import Row

HEAD = "# Taken over from FreePBX.\n"
_NOBODY = "none"  # the user of a device without one


@dataclass(frozen=True, slots=True)
class Person:
    """One user of FreePBX.

    Attributes:
        id: As ours: folded to lower case.
        name: For people, or "".
        endpoints: `PJSIP/100`, in FreePBX's order.
        dnd: Whether calls are refused.
        presence: What is stored, or None.
    """

    id: str
    name: str
    endpoints: tuple[str, ...]
    dnd: bool
    presence: Presence | None

    def state(self, states: StateTable) -> tuple[str, str] | None:
        """Give the state that this is with us, with its message; None for none."""
        presence = self.presence or Presence("available")
        found = state_of_presence(states, presence.type, presence.subtype)
        if self.dnd and (found is None or not is_dnd(states.by_id[found])):
            return DND, ""
        return (found, presence.message) if found is not None else None


def people(rows: Iterable[Row], where: str) -> list[Person]:
    """Find the users, sorted.

    Raises:
        Refused: One line for each thing that is wrong, with its place.
    """
    by_key = {row.key: row for row in rows}
    parts = {key: key.strip("/").split("/") for key in by_key}
    found: dict[str, Row] = {}
    for key, words in parts.items():
        if len(words) == 3 and words[0] == "AMPUSER" and words[2] in ("cidname", "device") and words[1] != _NOBODY:
            found.setdefault(words[1], by_key[key])
    if not found:
        raise Refused(f"{where}: holds no AMPUSER/<user>/device: this is not the database of a FreePBX")
    problems: list[str] = []
    persons = [person for user, row in found.items() if (person := _person(user, row, by_key, problems)) is not None]
    problems += _overlaps(persons, found)
    if problems:
        raise Refused("\n".join(f"{where}: {problem}" for problem in problems))
    return sorted(persons, key=lambda person: (len(person.id), person.id))


def _person(user: str, first: Row, rows: Mapping[str, Row], problems: list[str]) -> Person | None:
    def value(key: str) -> str:
        row = rows.get(key)
        return row.value if row is not None else ""

    if not is_user_id(user.lower()):
        problems.append(
            f"{first.place}: {user!r} cannot be a user: at most 40 of a-z 0-9 _ . -, a letter or digit first"
        )
        return None
    name = value(f"/AMPUSER/{user}/cidname")
    try:
        name = values.label(name) if name else ""
    except ValueError as error:
        problems.append(f"{rows[f'/AMPUSER/{user}/cidname'].place}: the name of {user}: {error}: mend it in FreePBX")
    devices = [each for each in value(f"/AMPUSER/{user}/device").split("&") if each]
    endpoints = []
    for device in devices:
        dial = value(f"/DEVICE/{device}/dial") or f"PJSIP/{device}"
        if dial.startswith("Local/"):  # a "custom" device: what it calls is no endpoint
            continue
        try:
            endpoints.append(values.endpoint(dial))
        except ValueError as error:
            place = rows.get(f"/DEVICE/{device}/dial", first).place
            problems.append(f"{place}: device {device} of {user}: {error}")
    try:
        presence = _presence(value(f"/CustomPresence/{user}"))
    except ValueError:
        problems.append(
            f"{rows[f'/CustomPresence/{user}'].place}: the presence state of {user} is no base64: set it anew"
        )
        return None
    return Person(user.lower(), name, tuple(dict.fromkeys(endpoints)), bool(value(f"/DND/{user}")), presence)


def _presence(text: str) -> Presence | None:
    """Read a stored presence state (`func_presencestate.c`)."""
    if not text:
        return None
    kind, subtype, message, options = [*text.split(",", 3), "", "", ""][:4]
    if "e" in options:
        subtype, message = (b64decode(each, validate=True).decode() for each in (subtype, message))
    return Presence(kind.lower(), subtype, message)


def _overlaps(persons: Sequence[Person], found: Mapping[str, Row]) -> list[str]:
    problems = []
    users: dict[str, str] = {}
    for user, row in found.items():
        if (first := users.setdefault(user.lower(), user)) != user:
            problems.append(
                f"{row.place}: {user} and {first} ({found[first].place}) are the same user here: rename one"
            )
    owners: dict[str, str] = {}
    for person in persons:
        for endpoint in person.endpoints:
            owner = owners.setdefault(endpoint.lower(), person.id)
            if owner != person.id:
                place = next(row.place for user, row in found.items() if user.lower() == person.id)
                problems.append(f"{place}: {endpoint} belongs to {person.id} and to {owner}: let one have it")
    return problems


@dataclass(frozen=True, slots=True)
class Difference:
    """What a take-over would change.

    Attributes:
        text: The configuration as it would be.
        added: Users who get a table.
        kept: One line for each user whose table differs from FreePBX and stays as it is.
        states: User, state and message of everybody who is not available.
    """

    text: str
    added: tuple[str, ...]
    kept: tuple[str, ...]
    states: tuple[tuple[str, str, str], ...]

    def lines(self, before: str, name: str) -> list[str]:
        """Give the difference as `diff -U0` prints it: without lines around it, since one may hold a password."""
        old, new = before.splitlines(), self.text.splitlines()
        return list(difflib.unified_diff(old, new, name, f"{name} (new)", n=0, lineterm=""))


def compare(found: Sequence[Person], config: Config, text: str, environ: Mapping[str, str]) -> Difference:
    """Compare FreePBX's users with the configuration; tables that are there are never changed.

    Args:
        found: The users.
        config: The present configuration.
        text: Its file.
        environ: For what the configuration reads of it.

    Raises:
        ConfigError: The configuration would not be valid any more: one line for each reason.
    """
    tables, added, kept, states = [], [], [], []
    owner = settings_of(config).owner
    for person in found:
        if (state := person.state(config.states)) is not None:
            states.append((person.id, *state))
        row = next((user for user in config.user_list if user.id == person.id), None)
        if row is not None:
            kept += _differing(person, row)
        elif person.name or [owner(each) for each in person.endpoints] != [person.id]:  # else discovery finds it
            added.append(person.id)
            tables.append(_table(person))
    new = text
    if tables:
        new = "\n".join([text.rstrip("\n") + "\n", HEAD + "\n".join(tables)])
        parse_config(tomllib.loads(new), environ, where="with the users of FreePBX")
    return Difference(new, tuple(added), tuple(kept), tuple(states))


def _differing(person: Person, row: User) -> list[str]:
    lines = []
    if person.name and person.name != row.name:
        lines.append(f"{person.id}: name is {row.name or 'not given'!r} here, {person.name!r} in FreePBX")
    if row.endpoints and set(person.endpoints) != set(row.endpoints):
        ours, theirs = (", ".join(sorted(each)) or "nothing" for each in (row.endpoints, person.endpoints))
        lines.append(f"{person.id}: endpoints are {ours} here, {theirs} in FreePBX")
    return lines


def _table(person: Person) -> str:
    lines = ["[[user]]", f"id = {_toml(person.id)}"]
    if person.name:
        lines.append(f"name = {_toml(person.name)}")
    if person.endpoints:
        lines.append(f"endpoints = [{', '.join(map(_toml, person.endpoints))}]")
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Write text as a TOML basic string, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
