"""An engine in its own thread, with a clock, links and a store that the test controls."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ari_presence.ari.decode import DeviceSeen
from ari_presence.ari.link import LinkDown, LinkUp
from ari_presence.ari.wire import Request, Response
from ari_presence.core.devstate import DeviceState
from ari_presence.core.events import CallsListed, ClaimState, CodeDialled, EndpointsSeen, PlaybackEnded, Started
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Prompts, Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.userstate import StateTable
from ari_presence.engine import Engine
from ari_presence.errors import AriError, StoreError
from ari_presence.store.base import Change, LampsConfirmed, ManualChanged
from ari_presence.store.memory import MemoryStore
from tests.unit.ari.fake_asterisk import FakeAsterisk

START = 1_800_000_000.0
Done = Callable[[list[Response] | None], None]


class FakeClock:
    """Two clocks that stand until they are set."""

    def __init__(self) -> None:
        """Start at a round time."""
        self.wall, self.steady = START, 5000.0

    def time(self) -> float:
        """Give seconds since the epoch."""
        return self.wall

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return self.steady

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.steady += seconds


class FakeLink:
    """A link that asks a `FakeAsterisk`, at once or (held) when it is told to, as the real one answers in order."""

    def __init__(self, asterisk: FakeAsterisk) -> None:
        """Start without a connection."""
        self.asterisk = asterisk
        self.up = False
        self.held = False
        self.groups: list[list[Request]] = []
        self.urgent: list[list[Request]] = []
        self.watched: list[str] = []
        self.listings: list[tuple[str, ...]] = []
        self.endpoint_listings = 0
        self._waiting: deque[tuple[Sequence[Request], Done]] = deque()

    def submit(self, requests: Sequence[Request], done: Done, *, urgent: bool = False) -> None:
        """Take a group."""
        if not self.up:
            done(None)
            return
        (self.urgent if urgent else self.groups).append(list(requests))
        self._waiting.append((requests, done))
        if not self.held:
            self.release()

    def watch(self, devices: Callable[[], Sequence[str]], done: Callable[[], None]) -> None:
        """Subscribe at once."""
        self.watched += devices()
        done()

    def list_calls(self, lines: tuple[str, ...]) -> None:
        """Note that a listing was asked for."""
        self.listings.append(lines)

    def list_endpoints(self) -> None:
        """Note that a listing of endpoints was asked for."""
        self.endpoint_listings += 1

    def release(self) -> None:
        """Answer what waits."""
        while self._waiting:
            requests, done = self._waiting.popleft()
            done([self.asterisk.answer(request) for request in requests])

    def lose(self, *, executed: bool = False) -> None:
        """End the link: what waits fails, after Asterisk carried it out or before."""
        self.up = False
        while self._waiting:
            requests, done = self._waiting.popleft()
            if executed:
                for request in requests:
                    self.asterisk.answer(request)
            done(None)


class Rig:
    """The engine and all around it; every method may be called from the test's thread."""

    def __init__(self, pbxs: tuple[str, ...] = ("hq",), settings: Settings | None = None) -> None:
        """Build the parts; nothing runs yet."""
        self.clock = FakeClock()
        self.settings = settings or make_settings(pbxs)
        self.store = MemoryStore()
        self.fatal: list[AriError] = []
        self.saves: list[tuple[Change, int | None]] = []
        self.store_works = True
        self.store_error: StoreError | None = None
        self.trace: list[str] = []
        self.engine = Engine(self.settings, self._save, self.fatal.append, self.clock)
        self.links: dict[str, FakeLink] = {}
        for pbx in pbxs:
            asterisk = FakeAsterisk()
            asterisk.endpoints = ["PJSIP/100", "PJSIP/101"]
            link = self.links[pbx] = FakeLink(asterisk)
            asterisk.on_change = lambda device, state, pbx=pbx: self.engine.post(  # type: ignore[misc]
                DeviceSeen(self.clock.wall, pbx, device, DeviceState(state))
            )
            self.engine.add_server(pbx, "ari-presence", "http://127.0.0.1:1", link, {}, "")
        self._thread = threading.Thread(target=self.engine.run, daemon=True)

    def start(self, started: Started | None = None) -> None:
        """Start the engine's thread."""
        self._thread.start()
        self.engine.post(started or Started(self.clock.wall, {}))

    def stop(self) -> None:
        """End the engine's thread."""
        self.engine.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()

    @property
    def link(self) -> FakeLink:
        """The only link."""
        return self.links["hq"]

    @property
    def asterisk(self) -> FakeAsterisk:
        """The only Asterisk."""
        return self.link.asterisk

    def _save(self, change: Change, request: int | None) -> None:
        self.saves.append((change, request))
        if isinstance(change, ManualChanged):
            self.trace.append(f"save {change.user} {change.entry.state if change.entry else None}")
        if self.store_works:
            self._commit(change, request)

    def _commit(self, change: Change, request: int | None) -> None:
        if self.store_error is None:
            self.store.commit([change])
        self.engine.stored([request] if request is not None else [], self.store_error)

    def commit(self) -> None:
        """Let the store do what it was given."""
        for change, request in self.saves:
            self._commit(change, request)

    def sync(self) -> None:
        """Wait until the engine has done all that follows from what happened so far."""
        for _ in range(25):
            self.engine.call(lambda _engine: None)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due be done."""
        self.clock.advance(seconds)
        self.sync()

    def connect(self, pbx: str = "hq", *callers: CodeDialled, startup: str = "s1") -> None:
        """Bring a link up, and let everything be read."""
        link = self.links[pbx]
        link.up = True
        endpoints = tuple(link.asterisk.endpoints)
        listed = EndpointsSeen(self.clock.wall, pbx, endpoints)
        calls = CallsListed(self.clock.wall, pbx, (), (), {})
        self.engine.post(LinkUp(self.clock.wall, pbx, "22.10.1", startup, True, listed, calls, callers))
        self.sync()

    def disconnect(self, pbx: str = "hq", *, executed: bool = False, reason: str = "cut") -> None:
        """End a link."""
        self.links[pbx].lose(executed=executed)
        self.engine.post(LinkDown(self.clock.wall, pbx, reason))
        self.sync()

    def dial(
        self,
        *args: str,
        channel: str = "1.1",
        endpoint: str = "PJSIP/100",
        claim: ClaimState = ClaimState.FRESH,
        pbx: str = "hq",
        entered: bool = True,
    ) -> None:
        """Let somebody dial a code."""
        if entered:
            self.links[pbx].asterisk.enter(channel, *args, endpoint=endpoint)
        name = f"{endpoint}-0000000a"
        self.engine.post(CodeDialled(self.clock.wall, pbx, channel, name, args, claim))
        self.sync()

    def end_playback(self, channel: str = "1.1", pbx: str = "hq") -> None:
        """Let the prompt end."""
        self.engine.post(PlaybackEnded(self.clock.wall, pbx, f"{channel}-presence"))
        self.sync()

    def lamp(self, device: str, pbx: str = "hq") -> str:
        """Tell what a lamp shows; off ones may never have been written."""
        return self.links[pbx].asterisk.lamps.get(device, "-")

    def heard(self, channel: str = "1.1", pbx: str = "hq") -> list[str]:
        """Give what was played to a channel."""
        calls = self.links[pbx].asterisk.seen("POST", f"channels/{channel}/play/.*")
        return [dict(call.query)["media"] for call in calls]

    def manual(self, user: str = "100") -> str | None:
        """Give the manual state of a user."""

        def look(engine: Engine) -> str | None:
            entry = engine.model.users[UserId(user)].manual
            return entry.state if entry else None

        return self.engine.call(look)

    def stored(self, user: str = "100") -> str | None:
        """Give the manual state that is stored for a user."""
        entry = self.store.load().manual.get(UserId(user))
        return entry.state if entry else None

    def confirmed(self) -> list[LampsConfirmed]:
        """Give the lamps that were stored as confirmed."""
        return [change for change, _ in self.saves if isinstance(change, LampsConfirmed)]


def make_settings(pbxs: tuple[str, ...] = ("hq",), **changes: Any) -> Settings:
    """Make settings in which `100` may set others, and all of `PJSIP/<number>` are users."""
    import re

    states = StateTable()
    values: dict[str, Any] = {
        "states": states,
        "layout": LampLayout(states),
        "listed": {UserId("100"): UserSettings("Alice", ("sales",), frozenset({"set_others"}))},
        "endpoints": {"PJSIP/100": UserId("100")},
        "discover": re.compile(r"^PJSIP/(?P<user>\d{2,6})$"),
        "pbxs": pbxs,
        "prompts": Prompts(),
    }
    return Settings(**{**values, **changes})


@contextmanager
def running(*pbxs: str, settings: Settings | None = None) -> Iterator[Rig]:
    """Run an engine for the length of a block, with all links up."""
    rig = Rig(pbxs or ("hq",), settings)
    rig.start()
    for pbx in rig.links:
        rig.connect(pbx)
    try:
        yield rig
    finally:
        rig.stop()
