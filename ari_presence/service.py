"""What HTTP and CLI are served with: questions to the engine, the store and the daemon (`http.service.Service`)."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog

from ari_presence.agi.answers import Answers, Settled
from ari_presence.agi.talk import Environment
from ari_presence.calendars.keeper import Keeper
from ari_presence.core.agenda import Followed, agenda_json, followed, followed_by
from ari_presence.core.events import AgiAsked, ChangeAsked, ResetAsked
from ari_presence.core.features import Action
from ari_presence.core.forgotten import forgotten_state
from ari_presence.core.groups import group_json
from ari_presence.core.lamps import WHOLE
from ari_presence.core.model import Settings, User
from ari_presence.core.names import UserId, printable
from ari_presence.core.parked import parked_json
from ari_presence.core.timers import next_time_of_day, parse_instant, parse_time_of_day, rfc3339
from ari_presence.core.userstate import StateTable
from ari_presence.core.view import manual_json, record_json, user_json, why_json
from ari_presence.engine import Engine
from ari_presence.errors import Refused
from ari_presence.feed import FeedWatch
from ari_presence.http.service import ChangeResult, Json, Metrics, StateChange
from ari_presence.store.base import Store
from ari_presence.tickets import CONFIRM_S, Outcome

log = structlog.get_logger(__name__)

T = TypeVar("T")
USERS_PER_CALL = 200  # the engine is never held up for longer than these take to be written down


class DaemonService:
    """Serves any thread; every question about users is answered in the engine's thread."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        reload: Callable[[], str],
        now: Callable[[], float] = time.time,
        keeper: Keeper | None = None,
    ) -> None:
        """Serve from these parts; `reload` reads the configuration again and says what changed."""
        self._keeper = keeper
        self._now = now
        self._engine = engine
        self._store = store
        self._reload = reload

    def users(self) -> list[Json]:
        """Give all users, sorted by id."""
        return list(self._each(lambda engine, user: user_json(engine.model, user)))

    def forgotten(self) -> list[Json]:
        """Give the users who may have forgotten what they set."""
        now = self._now()

        def look(engine: Engine, user: User) -> Json | None:
            entry = forgotten_state(engine.model, user, now)
            return None if entry is None else manual_json(engine.model, user, entry)

        return [row for row in self._each(look) if row is not None]

    def _each(self, look: Callable[[Engine, User], T]) -> Iterator[T]:
        """Look at every user in the engine's thread, sorted by id, a few in each turn."""
        todo = iter(self._engine.call(lambda engine: sorted(engine.model.users)))
        while batch := list(islice(todo, USERS_PER_CALL)):
            yield from self._engine.call(lambda engine, batch=batch: _rows(engine, batch, look))  # type: ignore[misc]

    def user(self, user: str) -> Json:
        """Give one user."""
        return self._engine.call(lambda engine: user_json(engine.model, engine.model.user(user)))

    def why(self, user: str) -> Json:
        """Give one user with all layers, and how fresh the user's calendars are."""
        found = self._engine.call(lambda engine: why_json(engine.model, engine.model.user(user)))
        return {**found, "calendars": self._keeper.of_user(UserId(user)) if self._keeper else []}

    def calendars(self) -> list[Json]:
        """Give the calendars."""
        return self._keeper.status() if self._keeper else []

    def set_state(self, user: str, change: StateChange, source: str) -> ChangeResult:
        """Set the manual state."""
        zone = self._engine.call(lambda engine: engine.model.user(user).settings.zone)

        def make(request: int, at: float) -> ChangeAsked:
            until = at + change.for_s if change.for_s is not None else None
            if change.until is not None:
                is_clock = len(change.until) <= 5
                until = (
                    next_time_of_day(parse_time_of_day(change.until), at, zone)
                    if is_clock
                    else parse_instant(change.until)
                )
            return ChangeAsked(at, request, user, Action.SET, source, change.state, change.message, until)

        return self._result(user, self._engine.ask(make))

    def clear_state(self, user: str, source: str) -> ChangeResult:
        """Remove the manual state."""
        return self._result(user, self._engine.ask(lambda n, at: ChangeAsked(at, n, user, Action.CLEAR, source)))

    def history(self, user: str | None, since: float | None, limit: int) -> list[Json]:
        """Give changes, the newest last; of somebody who is no user any more as well."""
        states = self._engine.call(lambda engine: engine.model.settings.states)
        rows = self._store.history(UserId(user) if user is not None else None, since, limit)
        if user is not None and not rows:
            self.user(user)  # says so if there is no such user
        return [record_json(row, states) for row in rows]

    def groups(self) -> list[Json]:
        """Give the groups; put into words outside the engine's thread."""
        settings, seen = self._engine.call(lambda engine: (engine.model.settings, engine.groups.groups.seen()))
        return [group_json(group, settings) for group in seen]

    def pbxs(self) -> list[Json]:
        """Give the servers."""
        return self._engine.call(lambda engine: [_pbx(engine, name) for name in engine.servers])

    def parking(self) -> list[Json]:
        """Give the parked calls."""
        return self._engine.call(_parked)

    def schedule(self, user: str | None, *, week: bool) -> list[Json]:
        """Give what schedules do; worked out outside the engine's thread."""

        def find(engine: Engine) -> tuple[StateTable, list[Followed]]:
            model = engine.model
            found = followed(model) if user is None else followed_by(model, engine.model.user(user))
            return model.settings.states, found

        states, found = self._engine.call(find)
        return [agenda_json(each, states, self._now(), week=week) for each in found]

    def metrics(self) -> Metrics:
        """Count the users, a few in each turn of the engine."""
        now = self._now()

        def look(engine: Engine, user: User) -> tuple[str, tuple[str, str, float] | None]:
            entry = forgotten_state(engine.model, user, now)
            row = None if entry is None else (user.id, entry.state, now - entry.since)
            return user.effective(engine.model.settings.states)[1].state, row

        rows = list(self._each(look))
        states = self._engine.call(lambda engine: engine.model.settings.states)
        counts = Counter(state for state, _ in rows)
        return Metrics(
            {state.id: counts[state.id] for state in states.all}, [row for _, row in rows if row], self.pbxs()
        )

    def ready(self) -> tuple[bool, list[str]]:
        """Tell whether every server is connected and compared."""
        reasons = self._engine.call(_reasons)
        return not reasons, reasons

    def reload(self) -> str:
        """Read the configuration again."""
        return self._reload()

    def reset(self, user: str | None) -> ChangeResult:
        """Clear the manual state and set every lamp to off."""
        outcome = self._engine.ask(lambda n, at: ResetAsked(at, n, user, "cli"))
        return ChangeResult({}, outcome.confirmed, outcome.waiting) if user is None else self._result(user, outcome)

    def hints(self) -> Json:
        """Give what hints are made of; endpoints as the servers list them."""
        return _hints(*self._engine.call(_parts_of_hints))

    def agi(self, channel: str, name: str, words: tuple[str, ...]) -> Json:
        """Carry out what the script form of AGI asks for, and give what it is to tell its call."""
        answers, call = Answers(AgiDesk(self._engine)), Environment(channel, name, words)
        try:
            outcome = answers.begin(call, answers.understand(words))
        except Refused as error:
            log.warning("agi refused", code=error.code, channel=printable(name), reason=str(error))
            answer = answers.refused(error, words)
        else:
            wait([outcome], CONFIRM_S + 2)
            answer = answers.of(call, outcome)
        return {"variables": answer.variables, "media": answer.media}

    def backup(self, path: str) -> int:
        """Copy the store."""
        self._store.backup(Path(path))
        return Path(path).stat().st_size

    def watch(self, last_id: int | None) -> FeedWatch:
        """Stream changes."""
        return self._engine.feed.watch(last_id)

    def _result(self, user: str, outcome: Outcome) -> ChangeResult:
        return ChangeResult(self.user(user), outcome.confirmed, outcome.waiting)


class AgiDesk:
    """The engine as AGI needs it (`agi.answers.Desk`)."""

    def __init__(self, engine: Engine) -> None:
        """Ask this engine."""
        self._engine = engine

    def settings(self) -> Settings:
        """Give the settings in force; they are replaced as a whole, so any thread may read them."""
        return self._engine.model.settings

    def gathered(self) -> AbstractContextManager[None]:
        """Gather what is posted during the block, and carry it out at its end if nothing else is going on."""
        return self._engine.gathered()

    def begin(self, make: Callable[[int, float], AgiAsked]) -> "Future[Settled]":
        """Post a request; never waits."""
        return cast("Future[Settled]", self._engine.begin(make))


def _rows(engine: Engine, users: list[UserId], look: Callable[[Engine, User], T]) -> list[T]:
    known = engine.model.users
    return [look(engine, known[user]) for user in users if user in known]


def _parts_of_hints(engine: Engine) -> tuple[Settings, list[str], list[UserId], list[str]]:
    endpoints = sorted({endpoint for listing in engine.model.endpoints.values() for endpoint in listing})
    return engine.model.settings, sorted(engine.groups.groups), sorted(engine.model.users), endpoints


def _hints(settings: Settings, groups: list[str], users: list[UserId], endpoints: list[str]) -> Json:
    """Find out, in any thread, whose the endpoints are."""
    owned: dict[UserId, list[str]] = {user: [] for user in users}
    for endpoint in endpoints:
        owner = settings.owner(endpoint)
        if owner in owned:
            owned[owner].append(endpoint)
    rows = [{"user": user, "endpoints": found} for user, found in owned.items()]
    return {"whole": WHOLE in settings.layout.kinds, "groups": groups, "users": rows}


def _pbx(engine: Engine, name: str) -> dict[str, Any]:
    server = engine.servers[name]
    return {
        "name": name,
        "url": server.url,
        "connected": server.up,
        "version": server.version or None,
        "since": rfc3339(server.since) if server.since else None,
        "transport": server.transport if server.up else None,
        "users_waiting": max(server.publisher.waiting, 0),
    }


def _parked(engine: Engine) -> list[Json]:
    now, model = time.time(), engine.model
    lots = sorted(model.parking.items())
    rows = [(pbx, call) for pbx, parking in lots for call in parking.calls(now)]
    owner = model.settings.owner
    return [parked_json(pbx, call, owner(call.parker) if call.parker else None) for pbx, call in rows]


def _reasons(engine: Engine) -> list[str]:
    reasons = []
    for name, server in engine.servers.items():
        if not server.up:
            reasons.append(f"{name} is not connected" + (f": {server.said}" if server.said else ""))
        elif not server.publisher.idle:
            reasons.append(f"{name}: the lamps of {server.publisher.waiting} users are not confirmed yet")
        elif not server.groups.idle:
            reasons.append(f"{name}: the lamps of groups are not confirmed yet")
    return reasons
