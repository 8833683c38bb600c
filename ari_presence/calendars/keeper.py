"""Keeps the calendars: looks at them in turn, tells the core what they say, and remembers how fresh each is.

One thread, which mostly waits; the work is done in the reader process, which lives for the length of a round. At the start
the last good copies are read first, so that what was known before a restart counts again at once.
"""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from sys import intern
from typing import Any, Protocol

import structlog

from ari_presence.calendars.known import Source, ZoneKey, is_of, log_changes, status_of
from ari_presence.calendars.plan import RULES_AT_MOST, Calendar, FolderError, Place, ZoneOf, places
from ari_presence.calendars.process import LateError, ReaderProcess
from ari_presence.calendars.source import Answer, Job, Row
from ari_presence.core.names import StateId, UserId
from ari_presence.core.occurrences import CalendarRead, Occurrence, Occurrences

DAY_S = 86400.0
BEFORE_S, AFTER_S = DAY_S, 8 * DAY_S
"""The days around now of which occurrences are kept; more than `refresh` can be."""
LONGEST_BACKOFF_S = 3600.0
NOBODY_YET_S = 5.0  # users are found when Asterisk has listed its endpoints
ROWS_AT_ONCE = 5000  # occurrences that one event makes the engine look at: a millisecond or two
USERS_AT_ONCE = 100

log = structlog.get_logger(__name__)

Key = tuple[str, UserId | None]


class Clock(Protocol):
    """Two clocks: seconds since the epoch, and seconds that never jump."""

    def time(self) -> float:
        """Give seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Give seconds from an arbitrary start."""


@dataclass(frozen=True)
class Setup:
    """What the configuration says: the calendars, the listed users, and the zones of users."""

    calendars: tuple[Calendar, ...]
    listed: tuple[UserId, ...]
    zone_of: ZoneOf
    default: tzinfo


class Keeper:
    """`start`, then `configure` at will, then `stop`; `status` and `of_user` from any thread."""

    def __init__(
        self,
        folder: Path,
        post: Callable[[CalendarRead], None],
        people: Callable[[], list[UserId]],
        clock: Clock = time,
        process: ReaderProcess | None = None,
    ) -> None:
        """Prepare.

        Args:
            folder: For the last good copies; made if absent.
            post: Takes what calendars say.
            people: Gives all users of the moment.
            clock: The clocks.
            process: Does the reading.
        """
        self._folder, self._post, self._people, self._clock = folder, post, people, clock
        self._process = process or ReaderProcess()
        self._lock = threading.Condition()  # guards what follows; waited on for the end and for another setup
        self._sources: dict[Key, Source] = {}
        self._setup: Setup | None = None
        self._new: Setup | None = None
        self._over = False
        self._due: dict[str, float] = {}
        self._told: dict[str, str] = {}  # complaints about a whole calendar
        self._thread = threading.Thread(target=self._run, name="calendars", daemon=True)

    # --- from any thread ----------------------------------------------------------------------------------------

    def start(self, setup: Setup) -> None:
        """Start the thread."""
        self._new = setup
        self._thread.start()

    def configure(self, setup: Setup) -> None:
        """Take other calendars; all are looked at again."""
        with self._lock:
            self._new = setup
            self._lock.notify_all()

    def stop(self) -> None:
        """End the thread, and the process that it may wait for."""
        with self._lock:
            self._over = True
            self._lock.notify_all()
        self._process.end()
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def reader_pid(self) -> int | None:
        """Id of the reader process, while there is one."""
        return self._process.pid

    def status(self) -> list[dict[str, Any]]:
        """Tell of every calendar, in the order of the configuration: whose, how fresh, what is wrong."""
        with self._lock:
            known = {key[0] for key in self._sources}
            empty = [each for each in self._setup.calendars if each.name not in known] if self._setup else []
            nothing = [
                Source(each, Place(None, each.place, {}), Answer(self._told.get(each.name, ""))) for each in empty
            ]
            found = [*self._sources.values(), *nothing]
            ordered = sorted(found, key=lambda each: (each.calendar.order, each.place.user or ""))
            return [status_of(source) for source in ordered]

    def of_user(self, user: UserId) -> list[dict[str, Any]]:
        """Tell the same of the calendars of one user."""
        with self._lock:
            found = [source for source in self._sources.values() if is_of(source, user)]
            return [status_of(source) for source in sorted(found, key=lambda each: each.calendar.order)]

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over:
            try:
                self._take_setup()
                self._round()
            except Exception as error:  # whatever it is: calendars are not worth a daemon
                log.error("bug: calendars were not looked at", error=type(error).__name__, reason=str(error)[:200])
                self._due = {name: self._clock.monotonic() + LONGEST_BACKOFF_S for name in self._due}
            finally:
                self._process.close()
            with self._lock:
                if not self._over and self._new is None:
                    self._lock.wait(self._wait_s())

    def _wait_s(self) -> float | None:
        return max(min(self._due.values()) - self._clock.monotonic(), 0.05) if self._due else None

    @property
    def _is_interrupted(self) -> bool:
        return self._over or self._new is not None

    def _take_setup(self) -> None:
        with self._lock:
            setup, self._new = self._new, None
        if setup is None:
            return
        first, self._setup = self._setup is None, setup
        names = {calendar.name for calendar in setup.calendars}
        self._drop([key for key in self._sources if key[0] not in names])
        self._due = dict.fromkeys(names, 0.0)
        self._told = {name: text for name, text in self._told.items() if name in names}
        for source in self._sources.values():
            source.due = 0.0
        for calendar in setup.calendars if first else ():
            self._plan(setup, calendar)
        for source in list(self._sources.values()) if first else ():
            if not self._is_interrupted and self._has_copy(source):
                self._work(source, look=False)

    def _has_copy(self, source: Source) -> bool:
        with suppress(OSError):  # of a folder that may not be looked into
            return Path(self._copy(source) + ".ics").exists()
        return False

    def _round(self) -> None:
        """Look at everything that is due."""
        now, setup = self._clock.monotonic(), self._setup
        if setup is None:
            return
        if setup.calendars:
            with suppress(OSError):  # calendars count without copies too; the reader says what is wrong with the folder
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for calendar in setup.calendars:
            if self._is_interrupted or self._due.get(calendar.name, now + 1) > now:
                continue
            self._due[calendar.name] = now + calendar.refresh_s
            sources = self._plan(setup, calendar)
            if not sources and calendar.is_for_each and not calendar.is_folder and calendar.users is None:
                self._due[calendar.name] = now + NOBODY_YET_S
            changed = [source for source in sources if source.due <= now and self._look_at(source)]
            log_changes(calendar, changed)

    def _plan(self, setup: Setup, calendar: Calendar) -> list[Source]:
        """Bring the sources of a calendar in line with what is there."""
        needs_people = calendar.users is None and calendar.is_for_each and not calendar.is_folder
        try:
            people = self._people() if needs_people else []
            found = places(calendar, people, setup.listed, setup.zone_of, setup.default)
            known = [key for key in self._sources if key[0] == calendar.name]
            if not found and known and calendar.is_folder:
                raise FolderError(f"{calendar.place}: holds no <user>.ics any more: is it mounted?")
        except FolderError as error:
            self._complain(calendar, str(error))
            return []
        self._complain(calendar, "")
        self._drop([key for key in known if key[1] not in found])
        with self._lock:
            for user, place in found.items():
                source = self._sources.setdefault((calendar.name, user), Source(calendar, place))
                if (source.calendar, source.place) != (calendar, place):
                    source.worked_out_at = None
                source.calendar, source.place = calendar, place
        return [self._sources[calendar.name, user] for user in found]

    def _complain(self, calendar: Calendar, text: str) -> None:
        """Say once what is wrong with a whole calendar."""
        if text and self._told.get(calendar.name) != text:
            log.warning("calendar not read, the last good copy counts", calendar=calendar.name, reason=text)
        self._told[calendar.name] = text
        with self._lock:
            for key, source in self._sources.items() if text else ():
                if key[0] == calendar.name:
                    source.answer.failure = text

    def _drop(self, keys: list[Key]) -> None:
        """Forget sources that are no longer there, and their copies."""
        for key in keys:
            with self._lock:
                source = self._sources.pop(key)
            self._untell(source, (), ())
            for ending in (".ics", ".json"):
                with suppress(OSError):
                    Path(self._copy(source) + ending).unlink(missing_ok=True)

    def _copy(self, source: Source) -> str:
        """Name the last good copy, without its ending; `@` is in no id, so that names never meet."""
        user = f"@{source.place.user}" if source.place.user is not None else ""
        return str(self._folder / f"{source.calendar.name}{user}")

    def _look_at(self, source: Source) -> bool:
        """Look at one source; tell whether there is something new to say of it."""
        if self._is_interrupted:
            return False
        before, worked_out_at = source.answer, source.worked_out_at
        answer = self._work(source, look=True)
        was_read = source.worked_out_at != worked_out_at  # though its copy could not be kept
        source.failures = source.failures + 1 if answer.failure and not was_read else 0
        wait_s = source.calendar.refresh_s * 2 ** min(source.failures, 20) if source.failures > 1 else 0.0
        source.due = self._clock.monotonic() + min(wait_s, max(LONGEST_BACKOFF_S, source.calendar.refresh_s))
        first = source.looks == 0
        source.looks += 1
        return first or (before.failure, before.problems) != (answer.failure, answer.problems)

    def _work(self, source: Source, *, look: bool) -> Answer:
        """Have a source read, and tell the core what is new."""
        at = self._clock.time()
        anyway = source.worked_out_at is None or not 0 <= at - source.worked_out_at < DAY_S
        try:
            answer = self._process.ask(self._job(source, at, look=look, anyway=anyway))
        except LateError as error:
            if self._over:
                return source.answer
            answer = Answer(
                f"{source.calendar.name}: {error}: make the calendar smaller", read_at=source.answer.read_at
            )
            answer.entries = source.answer.entries
        if answer.rows is None:
            answer.problems = source.answer.problems
        else:
            source.worked_out_at = at
            self._tell_all(source, answer.rows)
        answer.rows = None
        with self._lock:
            source.answer = answer
        return answer

    def _job(self, source: Source, at: float, *, look: bool, anyway: bool) -> Job:
        calendar, place = source.calendar, source.place
        return Job(
            place=place.text,
            kept=self._copy(source),
            start=at - BEFORE_S,
            end=at + AFTER_S,
            zones=place.zone_names,
            rules=calendar.rules,
            titles=calendar.titles,
            addresses=tuple(each.replace("{user}", place.user or "").lower() for each in calendar.addresses),
            look=look,
            anyway=anyway,
            username=calendar.username,
            password=calendar.password,
            ca_file=calendar.ca_file,
        )

    # --- to the core --------------------------------------------------------------------------------------------

    def _tell_all(self, source: Source, rows: dict[str, list[Row]]) -> None:
        """Post what is new: first for nobody who has it no longer, then for each zone."""
        place, rank = source.place, source.calendar.order * RULES_AT_MOST
        wanted: dict[ZoneKey, tuple[UserId, ...]] = {(zone, False): users for zone, users in place.zones.items()}
        if place.everyone is not None:
            wanted[place.everyone, True] = ()
        self._untell(source, {user for users in place.zones.values() for user in users}, wanted.keys())
        for zone, users in wanted.items():
            before_users, before = source.posted.get(zone, ((), None))
            occurrences = tuple(_occurrence(row, rank) for row in rows.get(zone[0], ()))
            if occurrences == before:
                occurrences = before  # one object for all
                users_to_tell = tuple(user for user in users if user not in frozenset(before_users))
                if zone[1] or not users_to_tell:
                    source.posted[zone] = (users, occurrences)
                    continue
            else:
                users_to_tell = users
            source.posted[zone] = (users, occurrences)
            self._say(source, occurrences, users_to_tell, everyone=zone[1])

    def _untell(self, source: Source, staying: Collection[UserId], zones: Collection[ZoneKey]) -> None:
        """Take back what was said of users who are not those of the calendar any more."""
        for zone in list(source.posted):
            users, _ = source.posted[zone]
            if zone not in zones:
                del source.posted[zone]
            if zone[1] and zone not in zones:
                self._say(source, None, (), everyone=True)
            elif gone := tuple(user for user in users if user not in staying):
                self._say(source, None, gone, everyone=False)

    def _say(self, source: Source, found: Occurrences | None, users: tuple[UserId, ...], *, everyone: bool) -> None:
        """Post it in parts, none of which keeps the engine for long."""
        name, at = source.calendar.name, self._clock.time()
        if everyone:
            self._post(CalendarRead(at, name, found, (), True))
        todo = iter(self._people() if everyone else users)
        at_once = min(max(ROWS_AT_ONCE // max(len(found or ()), 1), 1), USERS_AT_ONCE)
        while some := tuple(islice(todo, at_once)):
            self._post(CalendarRead(at, name, found, some, everyone))


def _occurrence(row: Row, first_rank: int) -> Occurrence:
    start, end, state, message, rule = row
    # The same few texts in many rows: one object each.
    return Occurrence(start, end, StateId(intern(state)), message and intern(message), first_rank + rule)
