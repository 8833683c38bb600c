"""The event stream (server-sent events): one watch of the daemon carried to any number of clients.

One thread takes changes from the daemon and hands each to the event loop once; there it is put, already encoded, into
the queue of every client. A client costs a queue, not a thread.

Missing nothing: a client joins the live events first and then asks for what it missed; what comes twice is dropped.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ari_presence.errors import AriPresenceError
from ari_presence.http.service import Json, Service, Watch

MAX_WATCHERS = 200
"""Clients of one stream at a time."""
MAX_QUEUE = 10_000
"""Events that a client may lag behind; a slower one is cut off and resumes with Last-Event-ID."""
SEND_S = 30.0
"""Seconds after which a client that takes nothing is given up."""
_POLL_S = 5.0
_log = structlog.get_logger()

Frame = tuple[int, bytes]


class StreamClosedError(AriPresenceError):
    """No stream now: the daemon stops, or too many clients watch; the client tries again."""


def frame(event_id: int, user: Json) -> bytes:
    """Encode one event as the HTML standard wants it (section 9.2.6, "interpreting an event stream")."""
    return f"id: {event_id}\nevent: user\ndata: {json.dumps(user)}\n\n".encode("ascii")


class Watcher:
    """The queue of one client; used on the event loop only."""

    def __init__(self) -> None:
        """Start empty."""
        self.ended = False
        self._frames: deque[Frame] = deque()
        self._wake = asyncio.Event()

    def put(self, item: Frame) -> None:
        """Queue one event; a client too far behind is ended."""
        if len(self._frames) >= MAX_QUEUE:
            self.end()
        if not self.ended:
            self._frames.append(item)
            self._wake.set()

    def end(self) -> None:
        """Let the client have what is queued, then end its stream."""
        self.ended = True
        self._wake.set()

    async def take(self, timeout_s: float) -> list[Frame]:
        """Wait for events and take all of them; empty after `timeout_s` or at the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        if not self.ended:
            self._wake.clear()
        taken = list(self._frames)
        self._frames.clear()
        return taken


class EventHub:
    """Carries the daemon's changes to every client of the stream."""

    def __init__(self, service: Service, *, keep_alive_s: float = 15.0) -> None:
        """Wait for the first client; nothing runs before.

        Args:
            service: The daemon.
            keep_alive_s: Seconds of silence after which a comment is sent, so that both sides notice a dead link.
        """
        self._service = service
        self._keep_alive_s = keep_alive_s
        self._watchers: set[Watcher] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live: asyncio.Future[None] | None = None
        self._upstream: Watch | None = None

    async def open(self, last_id: int | None) -> "EventStream":
        """Make the response for a new client, which has seen everything up to `last_id`.

        Raises:
            StreamClosedError: The daemon stops, or there are too many clients.
        """
        watcher = await self._join()
        try:
            missed = await run_in_threadpool(self._missed, last_id) if last_id is not None else []
        except BaseException:
            self.leave(watcher)
            raise
        return EventStream(self, watcher, missed)

    async def _join(self) -> Watcher:
        if self._closed or len(self._watchers) >= MAX_WATCHERS:
            raise StreamClosedError("the daemon stops" if self._closed else f"{MAX_WATCHERS} clients watch already")
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            if self._live is None:
                self._start_pump()
            assert self._live is not None  # noqa: S101 - for the type checker
            await asyncio.shield(self._live)
        except BaseException:
            self.leave(watcher)
            raise
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a client; may be called twice. Event loop only."""
        self._watchers.discard(watcher)

    def close(self) -> None:
        """End every stream. Any thread; may be called twice."""
        self._closed = True
        upstream, loop = self._upstream, self._loop
        if upstream is not None:
            upstream.close()
        if loop is not None:
            with suppress(RuntimeError):  # the loop is gone already
                loop.call_soon_threadsafe(self._end_all)

    def _missed(self, last_id: int) -> list[Frame]:
        watch = self._service.watch(last_id)
        missed: list[Frame] = []
        try:
            while len(missed) < MAX_QUEUE and (item := watch.get(0)) is not None:
                missed.append((item[0], frame(*item)))
        except EOFError:
            raise StreamClosedError("the daemon stops") from None
        finally:
            watch.close()
        return missed

    def _start_pump(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._live = self._loop.create_future()
        threading.Thread(target=self._pump, args=(self._loop, self._live), name="http-events", daemon=True).start()

    def _pump(self, loop: asyncio.AbstractEventLoop, live: asyncio.Future[None]) -> None:
        """Carry changes from the daemon to the event loop, until either stops (thread `http-events`)."""
        with suppress(RuntimeError):  # the loop is gone: the server has stopped
            try:
                self._upstream = self._service.watch(None)
                loop.call_soon_threadsafe(_settle, live)
                while not self._closed:
                    if (item := self._upstream.get(_POLL_S)) is not None:
                        loop.call_soon_threadsafe(self._deliver, (item[0], frame(*item)))
            except EOFError:
                self._closed = True
            except Exception:
                if not loop.is_closed():
                    _log.exception("event stream failed; clients come again")
            finally:
                if self._upstream is not None:
                    self._upstream.close()
                loop.call_soon_threadsafe(self._end_all)

    def _deliver(self, item: Frame) -> None:
        for watcher in self._watchers:
            watcher.put(item)

    def _end_all(self) -> None:
        """End every stream; the next client starts a new pump, unless the hub is closed."""
        if self._live is not None and not self._live.done():
            self._live.set_exception(StreamClosedError("the daemon gives no events now"))
        self._live = None
        for watcher in self._watchers:
            watcher.end()

    async def chunks(self, watcher: Watcher, missed: Sequence[Frame]) -> AsyncIterator[bytes]:
        """Give what one client is sent: what it missed, then what happens, and comments in between."""
        yield b"retry: 2000\n\n" + b"".join(data for _, data in missed)
        seen = missed[-1][0] if missed else None
        while True:
            batch = await watcher.take(self._keep_alive_s)
            fresh = b"".join(data for number, data in batch if seen is None or number > seen)
            if fresh:
                yield fresh
            if watcher.ended:
                return
            if not batch:
                yield b": keep-alive\n\n"


class EventStream(StreamingResponse):
    """The response of one client; leaves the hub however it ends."""

    media_type = "text/event-stream"

    def __init__(self, hub: EventHub, watcher: Watcher, missed: Sequence[Frame]) -> None:
        """Prepare the stream of a watcher that has joined `hub`."""
        super().__init__(hub.chunks(watcher, missed), headers={"cache-control": "no-store", "connection": "close"})
        self._hub = hub
        self._watcher = watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client goes, takes nothing for `SEND_S`, or the daemon stops."""

        async def send_in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), SEND_S)

        try:
            await super().__call__(scope, receive, send_in_time)
        except* TimeoutError:
            pass
        finally:
            self._hub.leave(self._watcher)


def _settle(live: "asyncio.Future[None]") -> None:
    if not live.done():
        live.set_result(None)
