"""The FastAGI server: one thread, one event loop; a connection that is held open costs neither a thread nor others' time.

Every step of every connection has a limit, and there are at most `MAX_OPEN` connections: where more come, the one whose peer
has been silent longest gives way. The socket is opened in the caller's thread, so that what is wrong with it is raised where
the operator sees it.
"""

import asyncio
import errno
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import structlog

from ari_presence.agi import talk
from ari_presence.agi.answers import Answers, Settled
from ari_presence.agi.complaints import Complaints
from ari_presence.core.features import Action, Intent
from ari_presence.core.names import printable
from ari_presence.errors import AriPresenceError, ConfigError, Refused

MAX_OPEN = 400
"""Well below the 1,024 files that a process may have open by default (`RLIMIT_NOFILE`)."""
AT_ONCE = 32
"""Connections that asyncio takes before it looks after the others."""
BACKLOG = 1024
ENVIRONMENT_S = 5.0
REPLY_S = 5.0
PROMPT_S = 90.0
"""As long as the site's own recording may be."""
LINGER_S = 1.0
MAX_BYTES = 16 * 1024
"""Of an environment, or of one reply; an environment with 127 arguments (`MAX_AGI_ARGS`) of usual length has 6 KiB."""
MAX_LINGER_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class CallerGoneError(Exception):
    """The caller has hung up, or the peer does not speak AGI any more; nobody acts."""


class _Connection:
    """One peer; `quiet` holds all whose turn it is to say something, the longest silent first."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, quiet: "dict[_Connection, None]"
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._quiet = quiet
        self._patience: asyncio.Timeout | None = None
        self.gave_way = False
        self.hung_up = False

    @property
    def peer(self) -> str:
        name = self._writer.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if name else "unknown"

    def give_way(self) -> None:
        """Stop waiting for the peer."""
        self.gave_way = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _patiently(self, limit_s: float, reading: Awaitable[bytes]) -> bytes:
        self._quiet[self] = None
        try:
            async with asyncio.timeout(limit_s) as self._patience:
                return await reading
        finally:
            self._patience = None
            self._quiet.pop(self, None)

    async def environment(self) -> str:
        """Wait for the whole environment; raises `Refused` where none comes."""
        try:
            return (await self._patiently(ENVIRONMENT_S, self._reader.readuntil(b"\n\n"))).decode(errors="replace")
        except TimeoutError:
            if self.gave_way:
                raise Refused(f"more than {MAX_OPEN} connections, and this one was silent", code="crowded") from None
            raise Refused(f"no whole environment within {ENVIRONMENT_S:g} s", code="no-environment") from None
        except asyncio.LimitOverrunError:
            raise Refused(f"an environment of more than {MAX_BYTES} bytes", code="too-long") from None
        except asyncio.IncompleteReadError as error:
            behind = printable(error.partial.decode(errors="replace"))
            raise Refused(
                f"the connection ended in the environment, behind {behind!r}", code="no-environment"
            ) from None

    async def ask(self, command: str) -> int | None:
        """Send a command and give the result of its reply (`talk.result_of`); raises `CallerGoneError`."""
        limit_s = PROMPT_S if command.startswith(talk.LONG) else REPLY_S
        self.send(command)
        try:
            while True:
                line = (await self._patiently(limit_s, self._reader.readuntil(b"\n"))).decode(errors="replace").strip()
                if line == talk.HANGUP:
                    self.hung_up = True
                elif not talk.is_more(line):
                    return talk.result_of(line)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise CallerGoneError(type(error).__name__) from None

    def send(self, command: str) -> None:
        """Send a command."""
        self._writer.write(f"{command}\n".encode())

    async def tell(self, answer: talk.Answer) -> None:
        """Go through the conversation, to its end or until the caller hangs up."""
        steps = talk.conversation(answer)
        command = next(steps)
        with suppress(StopIteration):
            while True:
                result = await self.ask(command)
                if self.hung_up:
                    return
                command = steps.send(-1 if result is None else result)

    async def turn_away(self, answer: talk.Answer) -> None:
        """Say the first words of an answer, and wait for nothing but that the peer can have read them.

        Closing over bytes that were not read would take them away from it (TCP reset).
        """
        self.send(next(talk.conversation(answer)))
        if self.gave_way:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                self._writer.write_eof()
                left = MAX_LINGER_BYTES
                while left > 0 and (data := await self._reader.read(MAX_BYTES)):
                    left -= len(data)


class _Asking:
    """Puts to the engine together what many connections ask in one round of the loop, and brings what became of it.

    One wake-up for many, each way: between threads it costs more than a question does.
    """

    def __init__(self, answers: Answers, loop: asyncio.AbstractEventLoop) -> None:
        self._answers = answers
        self._loop = loop
        self._asked: list[tuple[talk.Environment, Intent, asyncio.Future[Future[Settled]]]] = []
        self._settled: deque[tuple[asyncio.Future[Future[Settled]], Future[Settled]]] = deque()
        self._woken = False

    async def ask(self, call: talk.Environment, intent: Intent) -> "Future[Settled]":
        """Have it carried out; gives the outcome, good or bad, when it is there."""
        waiter: asyncio.Future[Future[Settled]] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._begin)
        self._asked.append((call, intent, waiter))
        return await waiter

    def _begin(self) -> None:
        asked, self._asked = self._asked, []
        with self._answers.gathered():
            for call, intent, waiter in asked:
                try:
                    self._answers.begin(call, intent).add_done_callback(partial(self._put, waiter))
                except Exception as error:  # a bug in one does not keep the others waiting
                    if not waiter.done():
                        waiter.set_exception(error)

    def _put(self, waiter: "asyncio.Future[Future[Settled]]", outcome: "Future[Settled]") -> None:
        """Take an outcome, in any thread."""
        self._settled.append((waiter, outcome))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._woken = False  # first: what is put from now on wakes again
        while self._settled:
            waiter, outcome = self._settled.popleft()
            if not waiter.done():
                waiter.set_result(outcome)


class AgiServer:
    """Listens at one address."""

    def __init__(self, answers: Answers, host: str, port: int) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            answers: What calls are told.
            host: Address or name to listen at.
            port: 0 for any free one.
        """
        self._answers = answers
        self._listen = (host, port)
        self._complaints = Complaints(time.monotonic)
        self._open: set[_Connection] = set()
        self._quiet: dict[_Connection, None] = {}
        self._ready = threading.Event()
        self._failed = False
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._asking: _Asking  # while it serves
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="agi", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened at, 0 before `start`."""
        return self._port

    def start(self) -> None:
        """Open the socket and serve; returns when calls are answered.

        Raises:
            ConfigError: The address is in use or not of this machine; names the key `[agi] listen`.
        """
        self._socket = open_socket(*self._listen)
        self._port = int(self._socket.getsockname()[1])
        self._thread.start()
        if not self._ready.wait(10) or self._failed:
            raise AriPresenceError("the AGI server did not start: the log says why")

    def stop(self) -> None:
        """Cut all connections and end; may be called before `start`."""
        loop, end = self._loop, self._end
        if loop is not None and end is not None:
            with suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(end.set)
            self._thread.join(5)

    def _run(self) -> None:
        if self._socket is None:
            raise AssertionError("started without a socket")
        try:
            with self._socket as listening:
                asyncio.run(self._serve(listening))
        except Exception:
            self._failed = True
            log.exception("AGI server failed")
        finally:
            self._ready.set()

    async def _serve(self, listening: socket.socket) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._asking = _Asking(self._answers, self._loop)
        server = await asyncio.start_server(self._on_connection, sock=listening, limit=MAX_BYTES, backlog=AT_ONCE)
        listening.listen(BACKLOG)  # asyncio's backlog is also how many it takes at once
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._make_room()
        connection = _Connection(reader, writer, self._quiet)
        self._open.add(connection)
        try:
            await self._converse(connection)
        except (CallerGoneError, OSError) as error:
            log.debug("agi caller gone", peer=connection.peer, reason=str(error))
        except Exception:
            log.exception("bug: an AGI call was not served", peer=connection.peer)
        finally:
            self._open.discard(connection)
            writer.close()

    def _make_room(self) -> None:
        """Let the connection that has been silent longest give way to a new one."""
        if len(self._open) >= MAX_OPEN and self._quiet:
            oldest = next(iter(self._quiet))
            del self._quiet[oldest]
            self._open.discard(oldest)
            oldest.give_way()

    async def _converse(self, connection: _Connection) -> None:
        call = talk.NOBODY
        try:
            if len(self._open) > MAX_OPEN:  # and nobody could give way
                raise Refused(f"more than {MAX_OPEN} calls at once", code="crowded")
            call = talk.parse_environment(await connection.environment())
            intent = self._answers.understand(call.words)
        except Refused as error:
            self._complain(connection, call, error)
            answer = self._answers.refused(error, call.words)
            await (connection.tell(answer) if answer.media else connection.turn_away(answer))
            return
        if intent.action not in (Action.SAY, Action.TREAT):
            await self._claim(connection, call)
        await connection.tell(self._answers.of(call, await self._asking.ask(call, intent)))

    def _complain(self, connection: _Connection, call: talk.Environment, error: Refused) -> None:
        where = {"channel": printable(call.name), "path": printable("/".join(call.words))} if call.name else {}
        self._complaints.say(error.code, reason=str(error), peer=connection.peer, **where)

    async def _claim(self, connection: _Connection, call: talk.Environment) -> None:
        """Make sure that somebody is there before anything is changed: a daemon that was frozen finds old calls."""
        if await connection.ask(talk.CLAIM) is None or connection.hung_up:
            path = printable("/".join(call.words))
            log.info("agi caller gone before the claim", channel=printable(call.name), path=path)
            raise CallerGoneError("before the claim")


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on a TCP address; the log says so where others than this machine can reach it.

    Raises:
        ConfigError: It is in use or not an address of this machine; names the key `[agi] listen`.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "stop the other program or choose another port" if taken else "choose an address of this machine"
        # create_server() adds the address to the text of the error
        known = error.errno is not None and not isinstance(error, socket.gaierror)
        reason = os.strerror(error.errno) if known and error.errno else error.strerror
        raise ConfigError(f"[agi] listen: cannot listen on {host}:{port}: {reason}; {remedy}") from None
    if not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        log.warning("AGI can be reached by other machines: whoever may connect may set every state", address=host)
    sock.setblocking(False)
    return sock
