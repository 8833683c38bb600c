"""The configuration's calendars as the keeper takes them."""

from collections.abc import Sequence

from ari_presence.calendars.keeper import Setup
from ari_presence.calendars.plan import Calendar
from ari_presence.config_calendar import CalendarSection
from ari_presence.core.model import Settings
from ari_presence.core.names import UserId


def setup_of(sections: Sequence[CalendarSection], settings: Settings) -> Setup:
    """Give what the keeper must know of a configuration."""
    calendars = tuple(_calendar(section, order, settings) for order, section in enumerate(sections))
    listed, default = settings.listed, settings.default
    return Setup(calendars, tuple(listed), lambda user: listed.get(user, default).zone, default.zone)


def _calendar(section: CalendarSection, order: int, settings: Settings) -> Calendar:
    groups = frozenset(section.groups)
    members = [user for user, own in settings.listed.items() if groups.intersection(own.groups)] if groups else []
    return Calendar(
        name=section.name,
        order=order,
        place=str(section.file or section.folder or section.url),
        users=None if section.everybody else frozenset([*map(UserId, section.users), *members]),
        rules=section.all_rules,
        is_folder=section.folder is not None,
        zone=section.timezone,
        refresh_s=float(section.refresh_s),
        titles=section.titles,
        addresses=section.address,
        username=section.username or "",
        password=section.password.get_secret_value() if section.password else "",
        ca_file=str(section.ca_file or ""),
    )
