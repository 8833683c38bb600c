"""A daemon in memory behind the real HTTP server, for the tests of the HTTP interface and of the command line."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ari_presence.core.timers import rfc3339
from ari_presence.errors import ConfigError, Refused, StoreError
from ari_presence.http.app import create_app
from ari_presence.http.server import HttpServer
from ari_presence.http.service import ChangeResult, Json, Metrics, StateChange

LABELS = {"available": "Available", "dnd": "Do not disturb", "lunch": "At lunch"}
START = 1_700_000_000.0


class FakeWatch:
    """A watch over the list of events of a `FakeService`."""

    def __init__(self, service: "FakeService", position: int) -> None:
        """Begin behind `position` events."""
        self._service = service
        self._position = position
        self.closed = False

    def get(self, timeout_s: float) -> tuple[int, Json] | None:
        """Give the next event."""
        service = self._service
        with service.changed:
            service.changed.wait_for(lambda: self._has_more() or service.stopped or self.closed, timeout_s)
            if self._has_more():
                self._position += 1
                return service.events[self._position - 1]
            if service.stopped or self.closed:
                raise EOFError
            return None

    def _has_more(self) -> bool:
        return len(self._service.events) > self._position

    def close(self) -> None:
        """End the watch."""
        with self._service.changed:
            self.closed = True
            self._service.open_watches.discard(self)
            self._service.changed.notify_all()


class FakeService:
    """Keeps users and what was asked of it; `confirm`, `reasons`, `fail` and `gate` steer it."""

    def __init__(self, users: tuple[str, ...] = ("100", "101")) -> None:
        """Start with some users, all available."""
        self.changed = threading.Condition()
        self.model = {user: self._user(user, "available", "default", None) for user in users}
        self.events: list[tuple[int, Json]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.open_watches: set[FakeWatch] = set()
        self.waiting: tuple[str, ...] = ()
        self.reasons: list[str] = []
        self.fail: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.stopped = False
        self.no_groups = False

    @staticmethod
    def _user(user: str, state: str, layer: str, source: str | None, **more: Any) -> Json:
        base: Json = {"user": user, "name": f"Name {user}", "state": state, "label": LABELS[state], "layer": layer}
        return {**base, "source": source, "since": rfc3339(START), "until": None, "message": None, "groups": [], **more}

    def _check(self, user: str) -> None:
        self.gate.wait(20)
        if self.fail is not None:
            raise self.fail
        if user not in self.model:
            raise Refused(f"no user {user!r}", code="unknown-user")

    def _change(self, user: Json) -> ChangeResult:
        with self.changed:
            self.model[user["user"]] = user
            self.events.append((len(self.events) + 1, user))
            self.changed.notify_all()
        return ChangeResult(user, not self.waiting, self.waiting)

    def stop(self) -> None:
        """Do what the daemon does when it stops."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def users(self) -> list[Json]:
        """Give all users."""
        if self.fail is not None:
            raise self.fail
        return [self.model[user] for user in sorted(self.model)]

    def forgotten(self) -> list[Json]:
        """Give one user who forgot dnd."""
        return [self._user("101", "dnd", "manual", "cli")]

    def user(self, user: str) -> Json:
        """Give one user."""
        self._check(user)
        return self.model[user]

    def why(self, user: str) -> Json:
        """Give one user with two layers, or three."""
        found = self.user(user)
        default = self._user(user, "available", "default", None)
        calls = {**default, "layer": "calls", "state": None, "label": None, "applies": False}
        layers = [{**found, "applies": True}, calls]
        return {**found, "layers": layers + ([{**default, "applies": True}] if found["layer"] != "default" else [])}

    def set_state(self, user: str, change: StateChange, source: str) -> ChangeResult:
        """Set a state."""
        self._check(user)
        self.calls.append(("set", user, change, source))
        if change.state not in LABELS:
            raise Refused(f"'{change.state}' is not a state: choose one of {', '.join(LABELS)}", code="bad-state")
        until = rfc3339(START + change.for_s) if change.for_s else None
        return self._change(self._user(user, change.state, "manual", source, until=until, message=change.message))

    def clear_state(self, user: str, source: str) -> ChangeResult:
        """Clear a state."""
        self._check(user)
        self.calls.append(("clear", user, source))
        return self._change(self._user(user, "available", "default", None))

    def history(self, user: str | None, since: float | None, limit: int) -> list[Json]:
        """Give the events as history."""
        if user is not None:
            self._check(user)
        self.calls.append(("history", user, since, limit))
        rows = [item for _, item in self.events if user in (None, item["user"])]
        keys = ("user", "state", "label", "layer", "source", "until", "message")
        return [{"at": item["since"], **{key: item[key] for key in keys}} for item in rows][-limit:]

    def groups(self) -> list[Json]:
        """Give two groups, or none."""
        if self.fail is not None:
            raise self.fail
        if self.no_groups:
            return []
        members = [
            {"user": "100", "name": "Alice", "availability": "free", "state": "available", "label": "Available"},
            {"user": "101", "name": None, "availability": "busy", "state": "dnd", "label": "Do not disturb"},
        ]
        sales: Json = {"group": "sales", "state": "free", "lamp": "NOT_INUSE", "free": ["100"], "busy": ["101"]}
        night: Json = {"group": "night", "state": "out", "lamp": "UNAVAILABLE", "free": [], "busy": [], "out": ["101"]}
        gone = {"user": "101", "name": None, "availability": "out", "state": "offline", "label": "Offline"}
        return [{**night, "members": [gone]}, {**sales, "out": [], "members": members}]

    def pbxs(self) -> list[Json]:
        """Give one server."""
        return [{"name": "hq", "connected": True}]

    def parking(self) -> list[Json]:
        """Give two parked calls: one of which everything is known, and one of which little is."""
        caller = {"number": "0301234", "name": "Customer"}
        known = {"pbx": "hq", "lot": "default", "space": "701", "caller": caller, "parked_by": "100"}
        unknown = {"pbx": "hq", "lot": "sales", "space": None, "caller": {"number": None, "name": None}}
        more = {"parked_by": None, "since": None, "source": "unknown"}
        return [{**known, "since": rfc3339(START), "source": "ami"}, {**unknown, **more}]

    def schedule(self, user: str | None, *, week: bool) -> list[Json]:
        """Give one schedule with two rows, three for a week; 101 has none."""
        if user is not None:
            self._check(user)
        if self.no_groups or user == "101":
            return []
        row: Json = {"state": "lunch", "label": "At lunch", "reason": "hours"}
        row |= {"since": "2026-03-27T16:00:00.000Z", "until": "2026-03-30T07:00:00.000Z"}
        row |= {"local_since": "2026-03-27T17:00:00+01:00", "local_until": "2026-03-30T09:00:00+02:00"}
        none: Json = {"state": None, "label": None, "reason": "outside hours", "since": row["until"], "until": None}
        none |= {"local_since": "2026-03-30T09:00:30+02:00", "local_until": None}
        rows = [row, none, row] if week else [row, none]
        return [{"schedule": "office", "timezone": "Europe/Berlin", "users": 2, "coming": rows}]

    def metrics(self) -> Metrics:
        """Give what three users do."""
        pbxs: list[Json] = [{"name": "hq", "connected": True, "users_waiting": 4}]
        return Metrics({"available": 2, "dnd": 1}, [("101", "dnd", 90.5)], pbxs)

    def calendars(self) -> list[Json]:
        """Give two calendars: one that is well, and one that never was."""
        good: Json = {"calendar": "work", "users": ["100"], "read": rfc3339(START), "entries": 12, "occurrences": 3}
        bad: Json = {"calendar": "holidays", "users": None, "read": None, "entries": None, "occurrences": 0}
        problems = ["entry 7@example.org: ends before it begins, left out: mend it in the calendar"]
        return [
            {**good, "failure": None, "problems": problems},
            {**bad, "failure": "cloud.example.org: answers 404: check the address", "problems": []},
        ]

    def ready(self) -> tuple[bool, list[str]]:
        """Tell whether there is no reason against it."""
        return not self.reasons, self.reasons

    def reload(self) -> str:
        """Reload, or fail as told."""
        if isinstance(self.fail, ConfigError):
            raise self.fail
        return "configuration read again: nothing changed"

    def reset(self, user: str | None) -> ChangeResult:
        """Reset one or all."""
        self.calls.append(("reset", user))
        if user is not None:
            return self._change(self._user(user, "available", "default", None))
        return ChangeResult({}, not self.waiting, self.waiting)

    def hints(self) -> Json:
        """Give one group and two users."""
        users = [{"user": "100", "endpoints": ["PJSIP/100"]}, {"user": "alice", "endpoints": ["PJSIP/Alice"]}]
        return {"whole": True, "groups": ["sales", "sal-es"], "users": users}

    def agi(self, channel: str, name: str, words: tuple[str, ...]) -> Json:
        """Confirm."""
        if self.fail is not None:
            raise self.fail
        self.calls.append(("agi", channel, name, words))
        variables = {"PRESENCE_RESULT": "ok", "PRESENCE_REASON": "ok"}
        return {"variables": variables, "media": ["sound:digits/3", "sound:activated", "number:13", "digits:05"]}

    def backup(self, path: str) -> int:
        """Write a small file."""
        if Path(path).exists():
            raise StoreError(f"{path} exists already: choose a new file")
        return Path(path).write_bytes(b"backup")

    def watch(self, last_id: int | None) -> FakeWatch:
        """Stream events."""
        with self.changed:
            found = FakeWatch(self, len(self.events) if last_id is None else last_id)
            self.open_watches.add(found)
        return found


class Running:
    """A service behind its server."""

    def __init__(self, service: FakeService, server: HttpServer, path: Path) -> None:
        """Keep what a test needs."""
        self.service = service
        self.server = server
        self.path = path

    def connect(self, timeout_s: float = 10) -> socket.socket:
        """Open a raw connection to the control socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        sock.connect(str(self.path))
        return sock

    def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Make one request on the control socket: status, JSON body (None if empty), headers."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self.connect()
        return _exchange(connection, method, target, body, headers or {})

    def request_tcp(self, method: str, target: str, **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
        """Make one request on the TCP address."""
        assert self.server.tcp_port
        connection = http.client.HTTPConnection("127.0.0.1", self.server.tcp_port, timeout=10)
        return _exchange(connection, method, target, None, headers)


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, body: Any, headers: dict[str, str]
) -> tuple[int, Any, http.client.HTTPMessage]:
    try:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None, response.headers
    finally:
        connection.close()


@contextmanager
def serving(folder: Path, *, keep_alive_s: float = 15.0) -> Iterator[Running]:
    """Run the real server on a Unix socket in `folder` and on a free TCP port."""
    service = FakeService()
    path = folder / "control.sock"
    local = create_app(service, local=True, keep_alive_s=keep_alive_s)
    server = HttpServer(local, path, create_app(service, local=False), ("127.0.0.1", 0))
    server.start()
    try:
        yield Running(service, server, path)
    finally:
        service.gate.set()
        server.stop()


def eventually(condition: Callable[[], bool], timeout_s: float = 10) -> bool:
    """Wait until `condition` holds; False if it does not in time."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True
