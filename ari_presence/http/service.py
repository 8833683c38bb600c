"""What the HTTP interface needs from the daemon; `ari_presence.daemon` provides it.

Every method blocks and may be called from any thread. Times in arguments are seconds since the epoch, UTC; what is
returned is ready for JSON (times are RFC 3339 UTC, absent values None).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StateChange:
    """What somebody asked for over HTTP or the CLI.

    Attributes:
        state: A state id (not yet checked).
        message: Text for phones that show it.
        for_s: Ends after so many seconds.
        until: `HH:MM` in the user's zone, or an RFC 3339 time (not yet checked). Not together with `for_s`.
    """

    state: str
    message: str | None = None
    for_s: int | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What became of a change: stored in any case, and whether Asterisk has confirmed it.

    Attributes:
        user: The user as JSON (`{}` for a reset of all users).
        confirmed: Whether every server has confirmed every lamp within 3 s.
        waiting: Names of the servers that have not.
    """

    user: Mapping[str, Any]
    confirmed: bool
    waiting: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is measured when Prometheus asks.

    Attributes:
        users: How many users show a state; every state is there.
        forgotten: User, state set by hand, and for how many seconds, where that is longer than `remind_after`.
        pbxs: As `Service.pbxs`.
    """

    users: Mapping[str, int]
    forgotten: list[tuple[str, str, float]]
    pbxs: list[Json]


class Watch(Protocol):
    """A stream of changed users."""

    def get(self, timeout_s: float) -> tuple[int, Json] | None:
        """Give the next (id, user as JSON), or None after `timeout_s`; raises EOFError when the daemon stops."""

    def close(self) -> None:
        """End the stream; may be called twice."""


class Service(Protocol):
    """The daemon as HTTP sees it. Unknown users and bad values raise `Refused` (code `unknown-user`, `bad-state`,
    `bad-time`, `bad-message`, ...); a broken store raises `StoreError`."""  # noqa: D205, D209

    def users(self) -> list[Json]:
        """Give all users, sorted by id: user, name, state, label, layer, source, since, until, message, groups."""

    def forgotten(self) -> list[Json]:
        """Give the users whose state set by hand has lasted longer than `remind_after`, with that state."""

    def user(self, user: str) -> Json:
        """Give one user."""

    def why(self, user: str) -> Json:
        """Give one user with `layers`: the same fields each, with `applies` true or false, the winner first; and
        `calendars`, those of the user as in that method."""  # noqa: D205, D209

    def set_state(self, user: str, change: StateChange, source: str) -> ChangeResult:
        """Set the manual state; `source` is `cli` or `api:<token>`. Returns when stored and confirmed, 3 s at most."""

    def clear_state(self, user: str, source: str) -> ChangeResult:
        """Remove the manual state; clearing what is clear is done at once."""

    def history(self, user: str | None, since: float | None, limit: int) -> list[Json]:
        """Give changes, the newest last: at, user, state, label, layer, source, until, message."""

    def groups(self) -> list[Json]:
        """Give the groups, sorted: group, state (`free`, `busy`, `out`), lamp, who is free, busy, out, and members."""

    def pbxs(self) -> list[Json]:
        """Give the servers: name, url, connected, version, since, transport (`websocket`, `http`), users_waiting."""

    def parking(self) -> list[Json]:
        """Give the parked calls: pbx, lot, space, caller (number, name), parked_by (user or endpoint), since, source."""

    def schedule(self, user: str | None, *, week: bool) -> list[Json]:
        """Give what schedules do, of all or of one user: schedule, timezone, users (how many), coming (state, label,
        reason, since, until, local_since, local_until), what holds now first."""  # noqa: D205, D209

    def metrics(self) -> Metrics:
        """Give what is measured."""

    def calendars(self) -> list[Json]:
        """Give the calendars: calendar, users (None: all), read (when last found good), entries, occurrences (in the
        coming days), failure, problems (of single entries)."""  # noqa: D205, D209

    def ready(self) -> tuple[bool, list[str]]:
        """Tell whether every server is connected and every lamp was compared; with the reasons if not."""

    def reload(self) -> str:
        """Read the configuration again and say what changed; raises `ConfigError` and changes nothing if broken."""

    def reset(self, user: str | None) -> ChangeResult:
        """Clear the manual state and set every lamp to off, of one user or (None) of all."""

    def hints(self) -> Json:
        """Give what hints are made of: whole (whether such lamps are written), groups, users with their endpoints."""

    def agi(self, channel: str, name: str, words: tuple[str, ...]) -> Json:
        """Carry out what an AGI script asks for; gives `variables` of its channel and `media` to play, in order.

        Args:
            channel: Channel id.
            name: Channel name.
            words: The path.
        """

    def backup(self, path: str) -> int:
        """Copy the store safely to a new file (absolute path, must not exist); gives its size in bytes."""

    def watch(self, last_id: int | None) -> Watch:
        """Stream changes, those after `last_id` first as far as they are still known."""
