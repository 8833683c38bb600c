"""The composition root: builds the parts from the configuration, starts and joins their threads, minds signals."""

import fcntl
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from ari_presence.agi.answers import Answers
from ari_presence.agi.server import AgiServer
from ari_presence.ari.address import Address
from ari_presence.ari.link import Link
from ari_presence.calendars.keeper import Keeper
from ari_presence.calendarsetup import setup_of
from ari_presence.config import Agi, Config, Http, Pbx, load_config
from ari_presence.config_schedule import schedule_remarks
from ari_presence.core.events import ConfigChanged, Started
from ari_presence.core.model import Settings
from ari_presence.core.names import UserId
from ari_presence.engine import Engine
from ari_presence.errors import AriError, AriPresenceError, AriReplacedError, ConfigError, StoreError
from ari_presence.freepbxkeys import FreepbxKeys
from ari_presence.http.app import create_app
from ari_presence.http.server import HttpServer
from ari_presence.log import configure_logging
from ari_presence.memory import give_back, use_one_heap
from ari_presence.service import AgiDesk, DaemonService
from ari_presence.settings import settings_of
from ari_presence.store.base import Change, Stored
from ari_presence.store.sqlite import FILE_NAME, SqliteStore
from ari_presence.store.writer import StoreWriter
from ari_presence.unserved import findings

if TYPE_CHECKING:
    from ari_presence.ami.link import AmiLink

EXIT_CONFIG = 2
EXIT_REPLACED = 4
PRUNE_EVERY_S = 3600.0
TRIM_EVERY_S = 10.0
SIGNAL_S = 1.0  # a signal that comes just before a wait does not end it: Python handles it behind the wait
LAMPS_DOWN_S = 3.0
LOOK_S = 0.02
SWITCH_S = 0.0005  # a reader that waits 5 ms (the default) for a busy thread leaves the link empty

log = structlog.get_logger(__name__)


def run(config_path: Path, environ: Mapping[str, str]) -> int:
    """Run the daemon until a signal or a fatal error.

    Returns:
        Exit code: 0 stopped, 2 credentials or certificate refused, 4 the application was taken by another program.

    Raises:
        ConfigError: The configuration cannot be used, another daemon runs, or a socket cannot be opened.
        StoreError: The store cannot be opened.
    """
    with suppress(ValueError):  # not in the main thread: only tests do that
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    use_one_heap()
    configure_logging(sys.stderr)
    sys.setswitchinterval(SWITCH_S)
    config = load_config(config_path, environ)
    with ExitStack() as stack:
        stack.enter_context(_Lock(config.state_dir))
        daemon = _Daemon(config, config_path, environ, stack)
        del config  # thousands of listed users: what is needed of them is in the model's settings
        gc.collect()
        gc.freeze()  # what is here stays: later collections need not look at it
        return daemon.serve()


class _Daemon:
    """Everything that runs; closed in reverse order by the stack."""

    def __init__(self, config: Config, path: Path, environ: Mapping[str, str], stack: ExitStack) -> None:
        self._fixed = _Fixed.of(config)
        self._history_days = config.history_days
        self._path = path
        self._environ = environ
        self._ended = threading.Event()
        self._exit_code = 0
        self._reloading = threading.Lock()
        self._hangup_waits = threading.Event()
        self._store = SqliteStore(config.state_dir / FILE_NAME)
        stack.callback(self._store.close)
        stored = self._store.load()
        settings = settings_of(config)
        self._engine = Engine(settings, self._save, self._fatal)
        self._writer = StoreWriter(self._store, self._engine.stored)
        stack.callback(self._writer.close)
        self._links = {pbx.name: self._link(pbx) for pbx in config.pbxs}
        self._keys = FreepbxKeys(self._engine, self._engine.model, time.monotonic, time.time)
        self._engine.followers.add(self._keys)
        self._add_servers(config, stored)
        lit = frozenset(user for lamps in stored.lamps.values() for user in lamps if ":" not in user)
        self._engine.post(Started(time.time(), stored.manual, lit))
        thread = threading.Thread(target=self._engine.run, name="engine", daemon=True)
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(self._engine.stop)
        self._keeper = Keeper(config.state_dir / "calendars", self._engine.post, self._people)
        stack.callback(self._keeper.stop)
        self._keeper.start(setup_of(config.calendar_list, settings))
        self._serve_http(config, stack)
        self._serve_agi(config.agi, stack)
        _warn_of_unserved(config)
        _warn_of_schedules(config)
        links: tuple[Link | AmiLink, ...] = (*self._links.values(), *self._ami_links(config, stored))
        for link in links:
            stack.callback(link.stop)
            link.start()
        for link in links:  # all at once, before the first is waited for
            stack.callback(link.end)

    def _link(self, pbx: Pbx) -> Link:
        address = Address(pbx.name, pbx.url, pbx.username, pbx.password.get_secret_value(), pbx.app, pbx.ca_file)
        return Link(address, self._engine.post, self._engine.gathered)

    def _ami_links(self, config: Config, stored: Stored) -> "list[AmiLink]":
        """Make the links to AMI and what follows them; nothing of it is loaded where there is none."""
        pbxs = [(pbx, pbx.ami) for pbx in config.pbxs if pbx.ami is not None]
        if not pbxs:
            return []
        from ari_presence.ami.link import AmiLink
        from ari_presence.ami.session import AmiAddress
        from ari_presence.presencewatch import PresenceWatch
        from ari_presence.queuekeeper import QueueKeeper

        amis: dict[str, AmiLink] = {}
        queues = QueueKeeper(self._engine, amis, time.monotonic)
        presences = PresenceWatch(self._engine, amis, time.monotonic)
        for pbx, at in pbxs:
            secret = pbx.ami_password.get_secret_value() if pbx.ami_password is not None else ""
            address = AmiAddress(pbx.name, at.host, at.port, pbx.ami_username or "", secret)
            amis[pbx.name] = AmiLink(address, self._engine.post, self._fatal, (queues, presences))
            queues.add_server(pbx.name, stored.lamps.get(pbx.name, {}))
        self._engine.call(lambda engine: engine.followers.add(queues, presences))
        return list(amis.values())

    def _add_servers(self, config: Config, stored: Stored) -> None:
        for pbx in config.pbxs:
            lamps, startup = stored.lamps.get(pbx.name, {}), stored.servers.get(pbx.name, "")
            link = self._links[pbx.name]
            self._engine.add_server(pbx.name, pbx.app, pbx.url, link, lamps, startup, pbx.parking_spaces)
            self._keys.add_server(pbx.name, pbx.app)

    def _serve_http(self, config: Config, stack: ExitStack) -> None:
        service = DaemonService(self._engine, self._store, self._reload, keeper=self._keeper)
        listen = config.http.listen
        server = HttpServer(
            create_app(service, local=True),
            config.state_dir / "control.sock",
            create_app(service, local=False) if listen else None,
            (listen.host, listen.port) if listen else None,
        )
        server.start()
        stack.callback(server.stop)

    def _people(self) -> list[UserId]:
        return self._engine.call(lambda engine: list(engine.model.users))

    def _serve_agi(self, config: Agi, stack: ExitStack) -> None:
        if config.listen is not None:
            server = AgiServer(Answers(AgiDesk(self._engine)), config.listen.host, config.listen.port)
            server.start()
            stack.callback(server.stop)

    def _save(self, change: Change, request: int | None) -> None:
        self._writer.submit(change, request)

    def _fatal(self, error: AriError) -> None:
        log.error("giving up", reason=str(error))
        self._exit_code = EXIT_REPLACED if isinstance(error, AriReplacedError) else EXIT_CONFIG
        self._ended.set()

    def serve(self) -> int:
        """Wait for the end, minding signals and the age of the history."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        signal.signal(signal.SIGHUP, self._on_hangup)
        notify(self._environ, "READY=1")
        prune = trim = time.monotonic()
        while not self._ended.wait(SIGNAL_S):
            now = time.monotonic()
            if now >= prune:
                prune = now + PRUNE_EVERY_S
                self._prune()
            if now >= trim:
                trim = now + TRIM_EVERY_S
                give_back()
        notify(self._environ, "STOPPING=1")
        self._put_lamps_down()
        return self._exit_code

    def _put_lamps_down(self) -> None:
        """Leave no lamp saying that somebody is in a call, as far as the servers take it in time."""
        deadline = time.monotonic() + LAMPS_DOWN_S
        if self._exit_code or not self._engine.call(lambda engine: engine.stop_following_calls()):
            return
        while time.monotonic() < deadline and not self._engine.call(lambda engine: engine.lamps_are_down):
            threading.Event().wait(LOOK_S)

    def _prune(self) -> None:
        try:
            self._store.prune(time.time() - self._history_days * 86400)
        except StoreError as error:
            log.error("old history not deleted, tried again in an hour", reason=str(error))

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        if self._hangup_waits.is_set():  # one that has yet to read the file does for this signal too
            return
        self._hangup_waits.set()
        threading.Thread(target=self._reload_by_signal, name="reload", daemon=True).start()

    def _reload_by_signal(self) -> None:
        with suppress(AriPresenceError):  # said in the log
            self._reload()

    def _reload(self) -> str:
        """Read the configuration again; a broken one, or one that needs a restart, leaves the running one in force."""
        with self._reloading:
            self._hangup_waits.clear()
            try:
                config = load_config(self._path, self._environ)
                self._fixed.check(_Fixed.of(config))
            except ConfigError as error:
                log.error("configuration not reloaded, the running one stays in force", reason=str(error))
                raise
            settings = settings_of(config)
            before, after = self._engine.call(lambda engine: _swap(engine, settings))
            self._keeper.configure(setup_of(config.calendar_list, settings))
            self._history_days = config.history_days
            log.info("configuration reloaded", users_before=before, users=after)
            _warn_of_unserved(config)
            _warn_of_schedules(config)
            return f"configuration reloaded: {after} users (before: {before})"


def _swap(engine: Engine, settings: Settings) -> tuple[int, int]:
    """Put new settings in force; in the engine's thread."""
    before, old = len(engine.model.users), engine.model.settings
    if settings.states.all == old.states.all and settings.layout.equals(old.layout):
        settings = replace(settings, states=old.states, layout=old.layout)  # the same lamps need not be read again
    engine.reconfigure(ConfigChanged(time.time(), settings))
    return before, len(engine.model.users)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What only a restart can change."""

    state_dir: Path
    pbxs: tuple[Pbx, ...]
    http: Http
    agi: Agi

    @classmethod
    def of(cls, config: Config) -> "_Fixed":
        return cls(config.state_dir, config.pbxs, config.http, config.agi)

    def check(self, new: "_Fixed") -> None:
        for name, key in (("state_dir", "state_dir"), ("pbxs", "[[pbx]]"), ("http", "[http]"), ("agi", "[agi]")):
            if getattr(self, name) != getattr(new, name):
                raise ConfigError(f"{key} was changed: that needs a restart (systemctl restart ari-presence)")


_UNSERVED = ("cluster",)


def _warn_of_unserved(config: Config) -> None:
    """Say which settings are understood but have no effect in this release, so that nobody waits for one."""
    keys = [f"[{name}]" for name in _UNSERVED if _is_asked_for(config, name)]
    if keys:
        log.warning("settings without effect in this release", keys=keys)
    for each in findings(config):
        log.warning(each.problem, code=each.code, place=each.place, remedy=each.remedy)


def _is_asked_for(config: Config, name: str) -> bool:
    """Tell whether a section says anything but its defaults; `init` writes the headings of all."""
    section = getattr(config, name)
    return bool(section != type(section)())


def _warn_of_schedules(config: Config) -> None:
    """Say what schedules are surely not meant to do."""
    zones = (config.users.timezone or config.system_timezone, *(user.timezone for user in config.user_list))
    for text in schedule_remarks(config.schedule_list, filter(None, zones), time.time()):
        log.warning("schedule", remark=text)


class _Lock:
    """One daemon for each `state_dir`, by a lock on a file that names its process."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._file = -1

    def __enter__(self) -> "_Lock":
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            owner = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ConfigError(
                f"another daemon (process {owner}) uses {self._path.parent}: stop it, or give this one its own 'state_dir'"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot use state_dir {self._path.parent}: {error.strerror}; create it and give it to the daemon's user"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where there is none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
