"""A program that holds one application open with the product's own link, until it is killed (see `abrupt.py`).

Arguments: URL, user, application, number of devices; the password is the first line of standard input. It prints `up` when
it is connected and subscribed, and `events N` about ten times a second while events come.
"""

import sys
import threading
import time

from ari_presence.ari.address import Address
from ari_presence.ari.link import Link, LinkUp
from ari_presence.log import configure_logging

EVERY_S = 0.1


class Member:
    """Counts events and says when the link is up."""

    def __init__(self, address: Address, devices: int) -> None:
        """Prepare the link."""
        self._devices = [f"Custom:flood-{number}" for number in range(devices)]
        self._events = 0
        self._said = 0.0
        self.link = Link(address, self._post)

    def _post(self, event: object) -> None:
        if isinstance(event, LinkUp):
            # Subscriptions of an earlier link live on: nothing is called when none is missing.
            self.link.watch(lambda: self._devices, lambda: None)
            print("up", flush=True)
            return
        self._events += 1
        if time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            print(f"events {self._events}", flush=True)


def main() -> None:
    """Connect, and stay connected."""
    configure_logging(sys.stderr, "error")
    url, user, app, devices = sys.argv[1:]
    password = sys.stdin.readline().strip()
    Member(Address("hq", url, user, password, app), int(devices)).link.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
