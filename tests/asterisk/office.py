"""An office for tests of calls: people with phones, the daemon beside their Asterisk, a phone that watches everybody's lamp."""

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket
from daemon import WHOLE, Daemon

from private_asterisk import People, PrivateAsterisk, Subscription, wait_until

PATIENCE_S = 5.0
USERS = {"100": ("100", "100-mobile"), "101": ("101",), "102": ("102",), "103": ("103",)}
PHONES = (*(line for lines in USERS.values() for line in lines), "trunk", "109")
WATCHER = "109"
ALICE, BOB, CAROL = "Alice Example (100)", "Bob Example (101)", "Carol Example (102)"
BOOK = """
[[user]]
id = "100"
name = "Alice Example"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
[[user]]
id = "101"
name = "Bob Example"
endpoints = ["PJSIP/101"]
[[user]]
id = "102"
name = "Carol Example"
endpoints = ["PJSIP/102"]
"""
LAMP = WHOLE | {
    "available": "NOT_INUSE",
    "ringing": "RINGING",
    "on-call": "INUSE",
    "in-conference": "INUSE",
    "on-hold": "ONHOLD",
    "wrap-up": "ONHOLD",
    "offline": "UNAVAILABLE",
}
SHOWN = {
    "NOT_INUSE": ("terminated", False),
    "UNAVAILABLE": ("terminated", False),
    "RINGING": ("early", False),
    "INUSE": ("confirmed", False),
    "BUSY": ("confirmed", False),
    "ONHOLD": ("confirmed", True),
}
LINE = {
    "ringing": {"RINGING", "RINGINUSE"},
    "on-call": {"INUSE", "RINGINUSE"},
    "in-conference": {"INUSE", "RINGINUSE"},
    "on-hold": {"INUSE", "ONHOLD"},
}
IDLE = {"NOT_INUSE", "UNAVAILABLE"}


class Office(People):
    """People whose states are looked at.

    Attributes:
        daemon: The daemon that serves their Asterisk.
        joined: Changes of their joined lamps since the office was opened, as (device, value).
    """

    def __init__(self, server: PrivateAsterisk, daemon: Daemon) -> None:
        """Keep both; `opened` does the rest."""
        super().__init__(server, PHONES)
        self.daemon = daemon
        self.joined: list[tuple[str, str]] = []
        self._lamps: dict[str, Subscription] = {}

    @contextmanager
    def opened(self) -> Iterator["Office"]:
        """Register the phones and watch the lamps."""
        with self, self._listening():
            assert wait_until(lambda: all(map(self._is_online, PHONES)), PATIENCE_S), "a phone is not registered"
            self._lamps = {user: self[WATCHER].subscribe(f"whole-{user}") for user in USERS}
            yield self

    def state(self, user: str) -> str:
        """Give somebody's state, and the message after it."""
        found = self.daemon.show(user)
        return " ".join(filter(None, (found["state"], found["message"])))

    def expect(self, **wanted: str) -> None:
        """Wait until people are in these states, `on-call with Bob Example (101)`, and all the others are available.

        Then every lamp shows that, as a phone sees it, and the lines are what Asterisk itself says.

        Args:
            wanted: By user, as a keyword `u100`.
        """
        states = dict.fromkeys(USERS, "available") | {user.removeprefix("u"): state for user, state in wanted.items()}
        right = wait_until(lambda: {user: self.state(user) for user in USERS} == states, PATIENCE_S)
        assert right, f"{ {user: self.state(user) for user in USERS} } instead of {states}"
        ids = {user: state.partition(" ")[0] for user, state in states.items()}
        self.expect_lamps(ids)
        agreed = wait_until(lambda: not any(self._disagreement(*each) for each in ids.items()), PATIENCE_S)
        assert agreed, [self._disagreement(*each) for each in ids.items()]

    def expect_lamps(self, ids: dict[str, str]) -> None:
        """Wait until the whole lamps show these states, at the server and at the watching phone."""
        for user, state in ids.items():
            self._expect_lamp(user, LAMP[state])

    def _expect_lamp(self, user: str, value: str) -> None:
        device = f"Stasis:presence-{user}"
        assert wait_until(lambda: self.lamp(device) == value, PATIENCE_S), (device, self.lamp(device), value)
        if user in self._lamps:
            self._lamps[user].wait_for(lambda now: (now.state, now.hold) == SHOWN[value])

    def lamp(self, device: str) -> str:
        """Read a lamp; one that was never written is off."""
        value = self.server.device_state(device)
        return "NOT_INUSE" if value == "UNKNOWN" else value

    def call(self, user: str) -> dict[str, Any]:
        """Give what is known of somebody's call."""
        return dict(self.daemon.show(user)["call"])

    def _is_online(self, line: str) -> bool:
        return bool(self.server.ari("GET", f"endpoints/PJSIP/{line}").json()["state"] == "online")

    def _disagreement(self, user: str, state: str) -> str:
        """Say how Asterisk's own device states contradict a state; empty if they do not."""
        lines = {line: self.server.device_state(f"PJSIP/{line}") for line in USERS[user]}
        if state in LINE:
            return "" if LINE[state] & set(lines.values()) else f"{user} is {state}, but {lines}"
        return "" if set(lines.values()) <= IDLE else f"{user} is {state}, but {lines}"

    @contextmanager
    def _listening(self) -> Iterator[None]:
        secret = f"{self.server.ari_user}:{self.server.ari_password}"
        url = f"{self.server.url.replace('http', 'ws')}/ari/events?api_key={secret}&app=ears,other-app"
        ears = websocket.create_connection(url)
        thread = threading.Thread(target=self._hear, args=(ears,), daemon=True)
        thread.start()
        sources = ",".join(f"deviceState:Custom:presence-{user}" for user in USERS)
        assert self.server.ari("POST", "applications/ears/subscription", eventSource=sources).ok
        try:
            yield
        finally:
            self.server.ari("DELETE", "applications/ears/subscription", eventSource=sources)
            ears.close()
            thread.join(5)

    def _hear(self, ears: Any) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError, ValueError):
            while event := json.loads(ears.recv()):
                if event["type"] == "DeviceStateChanged":
                    self.joined.append((event["device_state"]["name"], event["device_state"]["state"]))


def start(folder: Path, server: PrivateAsterisk, more: str = "") -> Daemon:
    """Make the daemon of an office, with further tables of its configuration."""
    return Daemon(folder, server, extra=more + BOOK)
