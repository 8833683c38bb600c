"""Which calendars there are, whose, and where each is read: the configuration as the keeper needs it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

from ari_presence.calendars.rules import Rule
from ari_presence.core.names import UserId, is_user_id

USER = "{user}"
RULES_AT_MOST = 1000  # of one calendar; the ranks of the next begin behind

ZoneOf = Callable[[UserId], tzinfo]


@dataclass(frozen=True)
class Calendar:
    """One `[[calendar]]`.

    Attributes:
        name: Legal id.
        order: Which one it is in the configuration, from 0.
        place: A file, a folder with one `<user>.ics` for each user, or an address that may hold `{user}`.
        is_folder: Whether it is a folder.
        users: Whose it is; None for everybody.
        zone: For times without a zone; None for that of the user.
        rules: In order, the default ones included.
        refresh_s: How often it is looked at.
        addresses: Of the owners, each may hold `{user}`.
    """

    name: str
    order: int
    place: str
    users: frozenset[UserId] | None
    rules: tuple[Rule, ...]
    is_folder: bool = False
    zone: tzinfo | None = None
    refresh_s: float = 300.0
    titles: bool = True
    addresses: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def is_for_each(self) -> bool:
        """Tell whether each user has a calendar of the own."""
        return self.is_folder or USER in self.place


@dataclass(frozen=True)
class Place:
    """One thing to read, for some users in their zones.

    Attributes:
        user: Whose own it is; None for one that several share.
        text: Path or address.
        zones: Name of a zone to the users who live in it.
        everyone: Name of the zone of everybody else, or None.
    """

    user: UserId | None
    text: str
    zones: Mapping[str, tuple[UserId, ...]]
    everyone: str | None = None

    @property
    def zone_names(self) -> tuple[str, ...]:
        """Name all zones, sorted."""
        return tuple(sorted({*self.zones, *([self.everyone] if self.everyone else [])}))


class FolderError(Exception):
    """A folder cannot be listed; the text names it and says what to do."""


def places(
    calendar: Calendar, people: Collection[UserId], listed: Iterable[UserId], zone_of: ZoneOf, default: tzinfo
) -> dict[UserId | None, Place]:
    """Give what is to be read of a calendar, by user (None: shared).

    Args:
        calendar: Which.
        people: All users at the moment.
        listed: Users of the configuration.
        zone_of: Gives a user's zone.
        default: Zone of users who have none of their own.

    Raises:
        FolderError: Its folder cannot be listed.
    """
    if calendar.is_for_each:
        users = _files(calendar) if calendar.is_folder else calendar.users if calendar.users is not None else people
        return {user: _own(calendar, user, zone_of) for user in sorted(users)}
    if calendar.users is not None:
        return {None: Place(None, calendar.place, _by_zone(calendar, calendar.users, zone_of))}
    everyone = str(calendar.zone or default)
    others = _by_zone(
        calendar, [user for user in listed if calendar.zone is None and zone_of(user) != default], zone_of
    )
    return {None: Place(None, calendar.place, others, everyone)}


def _own(calendar: Calendar, user: UserId, zone_of: ZoneOf) -> Place:
    place = f"{calendar.place}/{user}.ics" if calendar.is_folder else calendar.place.replace(USER, user)
    return Place(user, place, _by_zone(calendar, [user], zone_of))


def _by_zone(calendar: Calendar, users: Iterable[UserId], zone_of: ZoneOf) -> dict[str, tuple[UserId, ...]]:
    zones: dict[str, list[UserId]] = {}
    for user in sorted(users):
        zones.setdefault(str(calendar.zone or zone_of(user)), []).append(user)
    return {zone: tuple(found) for zone, found in zones.items()}


def _files(calendar: Calendar) -> list[UserId]:
    """Name the users who have a file in the folder."""
    try:
        names = [entry.name.removesuffix(".ics") for entry in Path(calendar.place).iterdir() if entry.suffix == ".ics"]
    except OSError as error:
        reason = f"{calendar.place}: cannot be listed ({error.strerror})"
        raise FolderError(f"{reason}: mend its path or its permissions") from None
    users = [UserId(name) for name in names if is_user_id(name)]
    return [user for user in users if calendar.users is None or user in calendar.users]
