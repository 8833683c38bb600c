"""Where one server is, and who we are there."""

from dataclasses import dataclass, field
from pathlib import Path

from ari_presence.ari.rest import Rest


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server is and who we are there; `password` is never shown."""

    name: str
    url: str
    username: str
    password: str = field(repr=False)
    app: str = "ari-presence"
    ca_file: Path | None = None

    def rest(self) -> Rest:
        """Make an HTTP session of its own for the calling thread."""
        return Rest(self.url, self.username, self.password, self.ca_file)
