"""One Asterisk as the engine sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ari_presence.ari.wire import Request
from ari_presence.callers import Callers
from ari_presence.core.devstate import DeviceState
from ari_presence.core.kept import site_texts
from ari_presence.core.model import Settings
from ari_presence.publish.host import Answer
from ari_presence.publish.publisher import Publisher
from ari_presence.publish.requests import write_kept_of_site


class LinkPort(Protocol):
    """What the engine needs from a link."""

    def submit(self, requests: list[Request], done: Answer, *, urgent: bool = False) -> None:
        """Send a group of requests."""

    def watch(self, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe in the background."""

    def list_calls(self, lines: tuple[str, ...]) -> None:
        """List channels, bridges, and the device states of some lines in the background."""

    def list_endpoints(self) -> None:
        """List endpoints in the background."""


@dataclass(slots=True)
class Server:
    """One Asterisk as the engine sees it.

    Attributes:
        since: When it came or went, seconds since the epoch, UTC; 0 before the first attempt.
        said: Why it is not connected, as logged last.
        publisher: The lamps of users.
        groups: The lamps of groups.
        callers: Those who dialled a code there.
        spaces: Devices of its parking spaces.
        lines: Endpoints of the listing whose users' were subscribed to last in this session; None until that has begun.
    """

    name: str
    app: str
    url: str
    link: LinkPort
    publisher: Publisher
    groups: Publisher
    callers: Callers
    spaces: tuple[str, ...] = ()
    startup: str = ""
    version: str = ""
    transport: str = ""
    up: bool = False
    since: float = 0.0
    said: str = ""
    lines: tuple[str, ...] | None = None

    @property
    def idle(self) -> bool:
        """Tell whether it is connected and every lamp is known to be right."""
        return self.publisher.idle and self.groups.idle

    def pump(self) -> None:
        """Send what is due of all lamps."""
        self.publisher.pump()
        self.groups.pump()

    def take(self, settings: Settings) -> None:
        """Have the dialplan know who gets through in spite of a state, known or not, and look for the sounds."""
        self.link.submit([write_kept_of_site(*text) for text in site_texts(settings.rules)], lambda _: None)
        self.callers.check_sounds(settings)

    def next_deadline(self) -> float | None:
        """Tell when `pump` has something to do of its own accord, monotonic."""
        users, groups = self.publisher.next_deadline(), self.groups.next_deadline()
        return users if groups is None or (users is not None and users < groups) else groups

    def lamp_seen(self, device: str, value: DeviceState) -> None:
        """Take a report of a device, whosever lamp it is."""
        self.publisher.lamp_seen(device, value)
        self.groups.lamp_seen(device, value)

    def lamps_lost(self) -> None:
        """Take the end of the link."""
        self.publisher.link_down()
        self.groups.link_down()
