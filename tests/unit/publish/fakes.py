"""One publisher against a fake Asterisk: what the server answers, what the engine would do, and a clock that is set.

`FakeServer` keeps device and presence states and answers requests as Asterisk does; requests run in two steps, `execute`
and `deliver`, so that a test can change a lamp between what was done and what was learnt. `World` ties it to a publisher
and to the real model.
"""

import json
import re
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import unquote

from ari_presence.ari.wire import Request, Response
from ari_presence.core import events as ev
from ari_presence.core.change import Outcome
from ari_presence.core.devstate import DeviceState, parse_state
from ari_presence.core.features import Action
from ari_presence.core.freepbx import FreepbxLamps
from ari_presence.core.lamps import NOT_SET, LampLayout, Presence, Vector, Wish
from ari_presence.core.model import Model, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.reducer import reduce
from ari_presence.core.userstate import StateTable
from ari_presence.publish.host import Answer
from ari_presence.publish.publisher import Publisher

OUTPUT_CHARS = 4095  # of one expression: VAR_BUF_SIZE in main/pbx_variables.c, less the closing zero
WALL = 1_800_000_000.0
KEPT = "CustomPresence:_ap-"


class FakeClock:
    """Both clocks; they move when told to."""

    def __init__(self) -> None:
        """Start at an arbitrary instant."""
        self.now = 1000.0

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return self.now

    def time(self) -> float:
        """Give seconds since the epoch."""
        return WALL + self.now


class FakeServer:
    """Device and presence states of one Asterisk, behind the requests that it answers.

    Attributes:
        values: Device states that were ever set.
        presences: Presence states that were ever set.
        kept: What the dialplan was told to keep, by name.
        refused: Devices whose writes are answered with 204 and do nothing, as `DEVICE_STATE()` does.
        statuses: Beginning of a path to the status that is answered in place of the right thing.
        without: Functions that are not loaded: reading them gives nothing.
        requests: Every request that was executed, in order.
        channels: Ids of channels that exist.
        watched: Devices that are reported, folded.
        report: Takes reported changes.
    """

    def __init__(self, report: Callable[[str, DeviceState], None]) -> None:
        """Start with nothing known."""
        self.values: dict[str, str] = {}
        self.presences: dict[str, Presence] = {}
        self.kept: dict[str, str] = {}
        self.refused: set[str] = set()
        self.statuses: dict[str, int] = {}
        self.without: set[str] = set()
        self.requests: list[Request] = []
        self.channels: set[str] = set()
        self.watched: set[str] = set()
        self.report = report
        self._urgent: deque[tuple[list[Request], Answer]] = deque()
        self._bulk: deque[tuple[list[Request], Answer]] = deque()
        self._done: deque[tuple[list[Response] | None, Answer]] = deque()

    def submit(self, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Queue a group."""
        (self._urgent if urgent else self._bulk).append((requests, done))

    @property
    def busy(self) -> bool:
        """Tell whether a group is queued or its answer not yet delivered."""
        return bool(self._urgent or self._bulk or self._done)

    @property
    def executable(self) -> bool:
        """Tell whether a group waits to be executed."""
        return bool(self._urgent or self._bulk)

    @property
    def answered(self) -> bool:
        """Tell whether an answer waits to be delivered."""
        return bool(self._done)

    def execute(self) -> None:
        """Carry out the next group without telling anybody."""
        requests, done = (self._urgent or self._bulk).popleft()
        self._done.append(([self.answer(request) for request in requests], done))

    def deliver(self) -> None:
        """Give the oldest answer to whoever waits for it."""
        responses, done = self._done.popleft()
        done(responses)

    def cut(self, *, after: int = 0) -> None:
        """End the link: `after` more requests are carried out, and no answer arrives any more."""
        left = after
        for requests, _ in [*self._urgent, *self._bulk]:
            for request in requests[:left]:
                self.answer(request)
            left = max(left - len(requests), 0)
        groups = [done for _, done in (*self._urgent, *self._bulk, *self._done)]
        for lane in (self._urgent, self._bulk, self._done):
            lane.clear()
        for done in groups:
            done(None)

    def set(self, device: str, value: str) -> None:
        """Set a device as anybody may (dialplan, `devstate change`); a real change of a watched device is reported."""
        before = self.values.get(device, "UNKNOWN")
        self.values[device] = value
        if before != value and device.lower() in self.watched:
            self.report(device, parse_state(value))

    def value(self, device: str) -> str:
        """Read a device."""
        return self.values.get(device, "UNKNOWN")

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        self.requests.append(request)
        for start, status in self.statuses.items():
            if f"{request.method} {request.path}".startswith(start):
                return Response(status, '{"message":"as told"}')
        path, query = unquote(request.path), dict(request.query)
        match request.method, path.split("/"):
            case "POST", ["asterisk", "variable"]:
                self._function(query["variable"], query["value"])
                return Response(204)
            case "PUT", ["deviceStates", name]:
                if not name.startswith("Stasis:"):
                    return Response(409, '{"message":"Uncontrolled device specified"}')
                self.set(name, query["deviceState"])
                return Response(204)
            case "GET", ["deviceStates", name]:
                return Response(200, json.dumps({"name": name, "state": self.value(name)}))
            case "POST", ["channels", "create"]:
                self.channels.add(query["channelId"])
                return Response(200, "{}")
            case "DELETE", ["channels", channel]:
                found = channel in self.channels
                self.channels.discard(channel)
                return Response(204 if found else 404)
            case "GET", ["channels", channel, "variable"]:
                if channel not in self.channels:
                    return Response(404, '{"message":"Channel not found"}')
                return Response(200, json.dumps({"value": self._evaluate(query["variable"])}))
        raise AssertionError(f"no such request: {request}")

    def _function(self, variable: str, value: str) -> None:
        match = re.fullmatch(r"(DEVICE_STATE|PRESENCE_STATE)\(([^()]+)\)", variable)
        assert match, f"neither function: {variable}"
        if match[1] == "DEVICE_STATE":
            assert value in set(DeviceState) - {"UNKNOWN"}, f"Asterisk refuses {value}"
            if match[2] not in self.refused:
                self.set(match[2], value)
            return
        kind, subtype, message, option = value.split(",")
        assert option == "e"
        if match[2].startswith(KEPT):
            assert (kind, subtype) == ("not_set", "")
            self.kept[match[2].removeprefix(KEPT)] = b64decode(message).decode()
            return
        self.presences[match[2]] = Presence(kind, b64decode(subtype).decode(), b64decode(message).decode())

    def _evaluate(self, variable: str) -> str:
        match = re.fullmatch(r"EVAL\((.*)\)", variable)
        assert match, f"no expression: {variable}"
        if "EVAL" in self.without:
            return ""
        return re.sub(r"\$\{(\w+)\(([^()]*)\)\}", self._read_function, match[1])[:OUTPUT_CHARS]

    def _read_function(self, match: re.Match[str]) -> str:
        if match[1] == "DEVICE_STATE":
            return self.value(match[2])
        name, part, *_ = match[2].split(",")
        if name.startswith(KEPT):
            return b64encode(self.kept.get(name.removeprefix(KEPT), "").encode()).decode()
        presence = self.presences.get(name, NOT_SET)
        if part == "value":
            return presence.type
        return b64encode((presence.subtype if part == "subtype" else presence.message).encode()).decode()


class World:
    """One publisher, one fake server, and the real model in between.

    Attributes:
        adopted: What was taken for somebody's wish, in order.
        stored: What the store was last told that the server shows; survives `restart_daemon`.
        settled: Users for whom an answer has come.
    """

    def __init__(
        self,
        users: Iterable[str] = ("100",),
        states: StateTable | None = None,
        *,
        whole: bool = True,
        rest: bool = True,
        freepbx: FreepbxLamps | None = None,
    ) -> None:
        """Make a world whose link is down; `rest` tells whether requests go over the websocket."""
        table = states or StateTable()
        self.layout = LampLayout(table, whole=whole, freepbx=freepbx)
        self.rest = rest
        self.clock = FakeClock()
        self.model = Model(Settings(table, self.layout, {UserId(user): UserSettings() for user in users}))
        reduce(self.model, ev.Started(self.clock.time(), {}))
        self.adopted: list[tuple[str, Wish]] = []
        self.stored: dict[UserId, str] = {}
        self.settled_users: list[str] = []
        self.server = FakeServer(self._reported)
        self.hold_events = False
        self.events: deque[tuple[str, DeviceState]] = deque()
        self._newly_watched: deque[tuple[UserId, ...]] = deque()
        self.publisher = self._publisher()

    def _publisher(self) -> Publisher:
        return Publisher("hq", "ari-presence", self.layout, dict(self.stored), self, self.clock.monotonic)

    # --- publisher.Host

    def desired(self, user: UserId) -> tuple[Vector, Presence]:
        """Say what the lamps should show."""
        person = self.model.users.get(user)
        if person is None or person.hushed:
            return self.layout.off, NOT_SET
        return self.layout.desired(person.entries), self.layout.presence(person.entries, person.settings.zone)

    def adopt(self, user: UserId, wish: Wish) -> None:
        """Take a wish as the engine does."""
        self.adopted.append((user, wish))
        self.feed(ev.LampsChanged(self.clock.time(), user, wish))

    def confirmed(self, pbx: str, user: UserId, text: str) -> None:
        """Store what the server shows."""
        assert pbx == "hq"
        self.stored[user] = text

    def settled(self, user: UserId) -> None:
        """Note it."""
        self.settled_users.append(user)

    def submit(self, pbx: str, requests: list[Request], done: Answer, *, urgent: bool) -> None:
        """Hand over to the server."""
        assert pbx == "hq"
        self.server.submit(requests, done, urgent=urgent)

    def watch(self, pbx: str, users: tuple[UserId, ...], devices: Callable[[], Sequence[str]]) -> None:
        """Subscribe at once; like the link, look again only where something was not watched before."""
        missing = {device.lower() for device in devices()} - self.server.watched
        self.server.watched |= missing
        if missing:
            self._newly_watched.append(users)

    # --- what a test does

    def feed(self, event: ev.Event, *, urgent: bool = False) -> Outcome:
        """Give the model an event and let the publisher know whom it touched."""
        out = reduce(self.model, event)
        self.publisher.touch(out.touched, urgent=urgent)
        self.publisher.pump()
        return out

    def wish(self, user: str, state: str | None, *, urgent: bool = True) -> None:
        """Set or clear a manual state over the API."""
        action = Action.SET if state else Action.CLEAR
        self.feed(ev.ChangeAsked(self.clock.time(), 1, user, action, "cli", state), urgent=urgent)

    def connect(self, *, restarted: bool = False, settle: bool = True) -> None:
        """Bring the link up."""
        self.publisher.link_up(self.model.users, restarted=restarted, over_websocket=self.rest)
        self.publisher.pump()
        if settle:
            self.run()

    def disconnect(self, *, after: int = 0) -> None:
        """End the link in the middle of what is under way."""
        self.events.clear()
        self._newly_watched.clear()
        self.server.cut(after=after)
        self.publisher.link_down()

    def restart_asterisk(self, **lost: str) -> None:
        """End the link and give some devices older values, as AstDB does after a crash; subscriptions are gone."""
        self.disconnect()
        self.server.watched.clear()
        self.server.channels.clear()
        self.server.values.update(lost)

    def restart_daemon(self) -> None:
        """End the link and begin again with what is stored."""
        self.disconnect()
        self.publisher = self._publisher()

    def tell(self) -> None:
        """Deliver the reports that were held back."""
        while self.events:
            self.publisher.lamp_seen(*self.events.popleft())
        self.publisher.pump()

    def run(self, seconds: float = 30.0) -> None:
        """Let everything happen that happens of its own accord within a time.

        Raises:
            AssertionError: It never comes to rest.
        """
        end = self.clock.now + seconds
        for _ in range(20_000):
            if self.events and not self.hold_events:
                self.tell()
            while self._newly_watched:
                self.publisher.reread(self._newly_watched.popleft())
            self.publisher.pump()
            if self.server.executable:
                self.server.execute()
            if self.server.busy:
                self.server.deliver()
                continue
            due = self.publisher.next_deadline()
            if self._newly_watched or (self.events and not self.hold_events):
                continue
            if due is None or due > end:
                self.clock.now = end
                return
            self.clock.now = max(self.clock.now, due)
        raise AssertionError("never comes to rest")

    def _reported(self, device: str, value: DeviceState) -> None:
        self.events.append((device, value))

    # --- what a test looks at

    def shown(self, user: str) -> dict[str, str]:
        """Tell what the server shows of a user: kind of lamp to value, a lamp that was never set as off."""
        vector = (parse_state(self.server.value(device)) for device in self.devices(user))
        return {
            kind.removeprefix("main-"): self.layout.seen(i, value)
            for i, (kind, value) in enumerate(zip(self.layout.kinds, vector, strict=True))
        }

    def devices(self, user: str) -> list[str]:
        """Name a user's devices."""
        return [self.layout.device(i, UserId(user)) for i in range(len(self.layout.kinds))]

    def presence(self, user: str) -> Presence:
        """Give the presence state that the server has for a user, with what is kept beside it."""
        found = self.server.presences.get(f"CustomPresence:{user}", NOT_SET)
        return found._replace(kept=self.server.kept.get(f"user-{user}", ""))

    def state(self, user: str = "100") -> str | None:
        """Tell the manual state."""
        manual = self.model.users[UserId(user)].manual
        return manual.state if manual else None

    def is_right(self) -> bool:
        """Tell whether every lamp and presence of every user equals the model, and the publisher knows it."""
        return self.publisher.idle and all(
            tuple(self.shown(user).values()) == self.desired(user)[0]
            and self.presence(user) == self.desired(user)[1]
            and self.publisher.in_sync(user)
            for user in self.model.users
        )
