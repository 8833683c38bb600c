"""What is asked of the reader process, and what it answers: one JSON document a line, in each direction."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from ari_presence.calendars.rules import Rule


@dataclass(frozen=True)
class Job:
    """Read one calendar.

    Attributes:
        place: A path, or the address of an http(s) server.
        kept: Path of the last good copy, without its ending; `.ics` and `.json` are added.
        start: Of the days that are wanted, seconds since the epoch, UTC.
        end: Their end.
        zones: Names of the time zones in which somebody looks at it.
        rules: In order.
        titles: Whether titles become messages.
        addresses: E-mail addresses of the owner.
        look: Look at the place itself; else only the last good copy is read.
        anyway: Give the occurrences even if nothing has changed.
        username: For the server, or "".
        password: For the server; never logged.
        ca_file: Certificate authorities, or "" for the system's.
    """

    place: str
    kept: str
    start: float
    end: float
    zones: tuple[str, ...]
    rules: tuple[Rule, ...]
    titles: bool = True
    addresses: tuple[str, ...] = ()
    look: bool = True
    anyway: bool = True
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def is_web(self) -> bool:
        """Tell whether the place is on a server."""
        return self.place.startswith(("http://", "https://"))

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Take it from plain data."""
        rules = tuple(
            Rule(rule["state"], tuple(rule["words"]), tuple(rule["categories"]), tuple(rule["busy"]))
            for rule in data["rules"]
        )
        plain = {**data, "rules": rules, "zones": tuple(data["zones"]), "addresses": tuple(data["addresses"])}
        return cls(**plain)


Row = tuple[float, float, str, str | None, int]


@dataclass
class Answer:
    """What became of a job.

    Attributes:
        failure: Why the place could not be read, with a remedy; "" if it was, or was not to be.
        rows: Zone to occurrences (begin, end, state, message, number of the rule); None where nothing has changed. With a
            failure they are those of the last good copy.
        problems: Complaints about single entries.
        entries: How many entries the calendar has, over ones included.
        read_at: When the place was last found good, seconds since the epoch; None for never.
        slow: The host did not answer in time.
    """

    failure: str = ""
    rows: dict[str, list[Row]] | None = None
    problems: list[str] = field(default_factory=list)
    entries: int | None = None
    read_at: float | None = None
    slow: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Take it from plain data."""
        return cls(**{each.name: data[each.name] for each in fields(cls)})
