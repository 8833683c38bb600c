"""What Asterisk knows and how it answers ARI calls, without a network: for tests of the link and of the engine."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ari_presence.ari.wire import Request, Response

_FUNCTION = re.compile(r"\$\{(DEVICE_STATE|PRESENCE_STATE)\(([^)]*)\)\}")
_SETTABLE = {"NOT_INUSE", "INUSE", "BUSY", "INVALID", "UNAVAILABLE", "RINGING", "RINGINUSE", "ONHOLD"}


@dataclass(frozen=True)
class Call:
    """One call that came in: `http` or `ws`, method, path and values."""

    way: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: str = ""


class FakeAsterisk:
    """Answers as Asterisk 22 does, as far as the daemon asks; `override` changes single answers."""

    def __init__(self, version: str = "22.10.1") -> None:
        """Start with two endpoints, nothing subscribed and no application."""
        self.version = version
        self.startup = "2026-11-22T23:53:20.395+0000"
        self.lamps: dict[str, str] = {}
        self.presences: dict[str, str] = {}
        self.endpoints = ["PJSIP/100", "PJSIP/101"]
        self.channels: dict[str, dict[str, Any]] = {}
        self.bridges: set[str] = set()
        self.subscribed_bridges: list[str] = []
        self.devices: list[str] = []
        self.followed: list[str] = []
        self.event_filter: dict[str, Any] = {}
        self.app_known = False
        self.missing_sounds: set[str] = set()
        self.playbacks: set[str] = set()
        self.calls: list[Call] = []
        self.changed = threading.Condition(threading.RLock())
        self.on_change: Callable[[str, str], None] = lambda _device, _state: None
        self.on_userevent: Callable[[str], None] = lambda _name: None
        self._overrides: list[tuple[str, str, Callable[[], Response]]] = []

    # --- for the tests ------------------------------------------------------------------------------------------

    def override(self, method: str, path: str, *answers: Response) -> None:
        """Give these answers, one after another, to calls whose path matches the expression; the last one stays."""
        left = list(answers)
        self._overrides.append((method, path, lambda: left.pop(0) if len(left) > 1 else left[0]))

    def normal(self) -> None:
        """Forget all overrides."""
        self._overrides.clear()

    def seen(self, method: str, path: str) -> list[Call]:
        """Give the calls so far whose method is this and whose path matches the expression."""
        with self.changed:
            return [c for c in self.calls if c.method == method and re.fullmatch(path, c.path)]

    def orders(self) -> list[str]:
        """Give the calls so far as text, in order."""
        with self.changed:
            return [f"{call.method} {call.path}" for call in self.calls]

    def enter(
        self, channel: str, *args: str, app: str = "ari-presence", endpoint: str = "PJSIP/100", state: str = "Ring"
    ) -> None:
        """Let a channel wait in Stasis."""
        dialplan = {"app_name": "Stasis", "app_data": ",".join((app, *args)), "exten": "*78", "context": "x"}
        name, nobody = f"{endpoint}-0000000a", {"number": "", "name": ""}
        self.channels[channel] = {"id": channel, "name": name, "state": state, "dialplan": dialplan} | {
            "caller": nobody,
            "connected": nobody,
        }

    def wait_for(self, method: str, path: str, count: int = 1, timeout_s: float = 5.0) -> Call:
        """Wait for the `count`-th such call and give it."""
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.seen(method, path)) >= count, timeout_s)
            assert enough, (
                f"{method} {path} came {len(self.seen(method, path))} times within {timeout_s} s, not {count}"
            )
            return self.seen(method, path)[count - 1]

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, request: Request, way: str = "ws") -> Response:
        """Answer one call."""
        path = unquote(request.path)
        with self.changed:
            self.calls.append(Call(way, request.method, path, request.query, request.body or ""))
            self.changed.notify_all()
        for method, pattern, answer in self._overrides:
            if method == request.method and re.fullmatch(pattern, path):
                return answer()
        return self._route(request.method, path, dict(request.query), request.body)

    def _route(self, method: str, path: str, query: dict[str, str], body: str | None) -> Response:
        head, _, rest = path.partition("/")
        found = getattr(self, f"_{head}", None)
        status, value = found(method, rest, query, body) if found else (404, {"message": "Resource not found"})
        return Response(status, "" if value is None else json.dumps(value))

    def _asterisk(self, _method: str, rest: str, query: dict[str, str], _body: str | None) -> tuple[int, Any]:
        if rest == "info":
            return 200, {"system": {"version": self.version}, "status": {"startup_time": self.startup}, "build": {}}
        if rest == "ping":
            return 200, {"ping": "pong"}
        function, _, name = query["variable"].partition("(")
        self._set(function, name.rstrip(")"), query["value"])
        return 204, None

    def _set(self, function: str, name: str, value: str) -> None:
        if function == "PRESENCE_STATE":
            self.presences[name.removeprefix("CustomPresence:")] = value
        elif function == "DEVICE_STATE" and value in _SETTABLE:
            self.set_lamp(name, value)

    def set_lamp(self, device: str, value: str) -> None:
        """Change a device state, by whomever; only a change is reported."""
        if self.lamps.get(device) != value:
            self.lamps[device] = value
            self.on_change(device, value)

    def _deviceStates(self, method: str, name: str, query: dict[str, str], _body: str | None) -> tuple[int, Any]:  # noqa: N802
        if method == "PUT":
            self.set_lamp(name, query["deviceState"])
            return 204, None
        return 200, {"name": name, "state": self.lamps.get(name, "UNKNOWN")}

    def _applications(self, _method: str, rest: str, query: dict[str, str], body: str | None) -> tuple[int, Any]:
        if not self.app_known:
            return 404, {"message": "Application not found"}
        if rest.endswith("/subscription"):
            sources = json.loads(body)["eventSource"] if body else query["eventSource"].split(",")
            self.devices += [s.removeprefix("deviceState:") for s in sources if s.startswith("deviceState:")]
            self.subscribed_bridges += [s.removeprefix("bridge:") for s in sources if s.startswith("bridge:") and s[7:]]
            self.followed += [s for s in sources if s in ("channel:", "bridge:")]
        elif rest.endswith("/eventFilter"):
            self.event_filter = json.loads(body or "{}")
        return 200, {"name": rest, "bridge_ids": self.subscribed_bridges, "device_names": self.devices}

    def _bridges(self, method: str, rest: str, _query: dict[str, str], _body: str | None) -> tuple[int, Any]:
        if method == "POST":
            if rest in self.bridges:
                return 409, {"message": "Bridge with id already exists"}
            self.bridges.add(rest)
        if not rest:
            kind = {"bridge_type": "holding", "bridge_class": "stasis", "channels": []}
            return 200, [{"id": name, **kind} for name in self.bridges]
        return (200, {"id": rest}) if rest in self.bridges else (404, {"message": "Bridge not found"})

    def _endpoints(self, *_: object) -> tuple[int, Any]:
        return 200, [dict(zip(("technology", "resource"), name.split("/"), strict=True)) for name in self.endpoints]

    def _channels(self, method: str, rest: str, query: dict[str, str], _body: str | None) -> tuple[int, Any]:
        if not rest:
            return 200, list(self.channels.values())
        if rest == "create":
            self.channels[query["channelId"]] = {"id": query["channelId"], "name": "Local/r@x-1;1", "dialplan": {}}
            return 200, self.channels[query["channelId"]]
        channel, _, what = rest.partition("/")
        if channel not in self.channels:
            return 404, {"message": "Channel not found"}
        if method == "DELETE" or what == "continue":
            del self.channels[channel]
        elif what == "answer":
            self.channels[channel]["state"] = "Up"
        elif what == "variable" and method == "GET":
            return 200, {"value": self._evaluate(query["variable"])}
        return (201, {"id": what}) if what.startswith("play/") else (204, None)

    def _evaluate(self, expression: str) -> str:
        values = []
        for function, text in _FUNCTION.findall(expression):
            name, _, field = text.partition(",")
            if function == "DEVICE_STATE":
                values.append(self.lamps.get(name, "UNKNOWN"))
            else:
                parts = (self.presences.get(name.removeprefix("CustomPresence:"), "not_set") + ",,").split(",")
                values.append(parts[0] if field == "value" else parts[1 if field.startswith("subtype") else 2])
        return ",".join(values)

    def _sounds(self, _method: str, name: str, *_: object) -> tuple[int, Any]:
        return (404, {"message": "Sound not found"}) if name in self.missing_sounds else (200, {"id": name})

    def _playbacks(self, _method: str, name: str, *_: object) -> tuple[int, Any]:
        return (200, {"id": name}) if name in self.playbacks else (404, {"message": "Playback not found"})

    def _events(self, _method: str, rest: str, *_: object) -> tuple[int, Any]:
        self.on_userevent(rest.removeprefix("user/"))
        return 204, None
