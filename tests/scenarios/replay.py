"""Plays a recording to decode, engine and publisher, with a fake Asterisk that answers what they send.

The recording is the world's side of the talk: what was listed at the connect, then events as they arrived. A report of a
value that we never wrote is somebody else's change, and the fake Asterisk then has that value too.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from ari_presence.ari import decode
from ari_presence.ari.background import calls_listed
from ari_presence.ari.link import LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import CodeDialled, EndpointsSeen, Started, TimerDue
from ari_presence.core.lamps import LampLayout, Presence
from ari_presence.core.model import Settings
from ari_presence.core.names import UserId
from ari_presence.engine import Engine
from ari_presence.publish.host import Answer
from ari_presence.store.base import Change, ManualChanged
from tests.unit.publish.fakes import FakeClock, FakeServer

QUIET_S = 0.25


class Asterisk(FakeServer):
    """The fake server with channels that can be answered, played to and let go.

    Attributes:
        trace: What was done to it and what it told, in order; shown when a scenario fails.
        heard: Sounds that were played to callers.
        callers: Channels that are in our application.
    """

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(lambda device, value: None)
        self.trace: list[str] = []
        self.heard: list[str] = []
        self.callers: set[str] = set()
        self.writes: dict[str, list[str]] = {}

    def answer(self, request: Request) -> Response:
        """Answer one request, those for channels of callers too."""
        response = self._answer(request)
        if request.method != "GET":
            query = " ".join(value for _, value in request.query)
            self.trace.append(f"-> {request.method} {request.path} {query} {response.status}")
        return response

    def set(self, device: str, value: str) -> None:
        """Note who set what."""
        self.writes.setdefault(device, []).append(value)
        super().set(device, value)

    def _answer(self, request: Request) -> Response:
        match request.method, unquote(request.path).split("/"):
            case "GET", ["sounds", *_]:
                return Response(200, "{}")
            case "POST", ["channels", channel, *rest] if rest and channel != "create":
                if channel not in self.callers:
                    return Response(404, '{"message":"Channel not found"}')
                if rest[0] == "play":
                    self.heard += dict(request.query)["media"].split(",")
                if rest[0] == "continue":
                    self.callers.discard(channel)
                return Response(201 if rest[0] == "play" else 204, "{}")
        return super().answer(request)


class Replay:
    """One recording and everything that came of it.

    Attributes:
        asterisk: The fake server.
        engine: The real engine.
        saved: What went to the store.
    """

    def __init__(self, lines: Sequence[str], settings: Settings) -> None:
        """Play its lines to the end."""
        self.asterisk = Asterisk()
        self.saved: list[ManualChanged] = []
        self._clock = FakeClock()
        self.engine = Engine(settings, self._save, self._fatal, self._clock)
        self.engine.add_server("hq", "ari-presence", "", self, {}, "")
        self.engine.post(Started(self._clock.time(), {}))
        self._play([json.loads(line) for line in lines])

    # --- engine.LinkPort

    def submit(self, requests: list[Request], done: Answer, *, urgent: bool = False) -> None:
        """Queue a group."""
        self.asterisk.submit(requests, done, urgent=urgent)

    def watch(self, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe at once."""
        self.asterisk.watched |= {device.lower() for device in devices()}
        done()

    # --- inside

    def _save(self, change: Change, request: int | None) -> None:
        if isinstance(change, ManualChanged):
            self.saved.append(change)
        if request is not None:
            self.engine.stored([request], None)

    def _fatal(self, error: Exception) -> None:
        raise AssertionError(f"gave up: {error}")

    def _play(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "listing" in line:
                self._connect(line["listing"])
                continue
            self._pass(line)
            self.asterisk.trace.append(f"<- {line['type']} {_brief(line)}")
            self._take(line)
            self._settle()
        self._clock.now += QUIET_S
        self._settle()
        self._clock.now += QUIET_S
        self._settle()

    def _connect(self, listing: dict[str, Any]) -> None:
        now = self._clock.time()
        found = [decode.orphan(channel, "ari-presence", pbx="hq", at=now) for channel in listing["channels"]]
        callers = tuple(caller for caller in found if caller is not None)
        self.asterisk.callers |= {caller.channel for caller in callers}
        endpoints = EndpointsSeen(now, "hq", tuple(listing["endpoints"]))
        calls = calls_listed(listing["channels"], listing.get("bridges", []), {}, pbx="hq", at=now)
        self.engine.post(LinkUp(now, "hq", "22.10.1", "then", True, endpoints, calls, callers))
        self._settle()

    def _pass(self, line: dict[str, Any]) -> None:
        """Let as much time pass as Asterisk let pass."""
        sent_at = decode.sent_at(line)
        assert sent_at is not None
        previous = getattr(self, "_sent_at", sent_at)
        self._clock.now += max(sent_at - previous, 0.0)
        self._sent_at = max(sent_at, previous)
        self._settle()

    def _take(self, line: dict[str, Any]) -> None:
        event = decode.decode(decode.load(json.dumps(line)), pbx="hq", at=self._clock.time(), fresh=True)
        if isinstance(event, CodeDialled):
            self.asterisk.callers.add(event.channel)
        if isinstance(event, decode.DeviceSeen) and event.value not in self.asterisk.writes.get(event.device, ()):
            self.asterisk.values[event.device] = event.value
        if event is not None:
            self.engine.post(event)

    def _settle(self) -> None:
        """Let the engine and the fake server talk until both are silent."""
        for _ in range(1000):
            self.engine.post(TimerDue(self._clock.time()))  # so that it looks at its clock
            self.engine.stop()
            self.engine.run()
            if not self.asterisk.busy:
                return
            if self.asterisk.executable:
                self.asterisk.execute()
            self.asterisk.deliver()
        raise AssertionError("never silent:\n" + "\n".join(self.asterisk.trace[-40:]))

    # --- what a test looks at

    def lit(self) -> dict[str, str]:
        """Give every lamp that is not off."""
        dark = ("NOT_INUSE", "INVALID", "UNKNOWN")
        return {device: value for device, value in self.asterisk.values.items() if value not in dark}

    def presences(self) -> dict[str, Presence]:
        """Give every presence that is not plain "available"."""
        plain = Presence("available")
        return {name: value for name, value in self.asterisk.presences.items() if value != plain}

    def states(self) -> dict[str, tuple[str, str]]:
        """Give every manual state with its source."""
        users = self.engine.model.users.items()
        return {user: (entry.state, entry.source) for user, person in users if (entry := person.manual) is not None}

    def is_right(self, layout: LampLayout) -> bool:
        """Tell whether every lamp equals the model."""
        return all(
            layout.seen(i, DeviceState(self.asterisk.value(layout.device(i, UserId(user))))) is value
            for user in self.engine.model.users
            for i, value in enumerate(self.engine.desired(user)[0])
        )


def _brief(line: dict[str, Any]) -> str:
    device = line.get("device_state") or {}
    return " ".join(map(str, (*line.get("args", ()), *device.values())))
