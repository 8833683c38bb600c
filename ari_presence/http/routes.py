"""The resources: each method is one endpoint. They run in worker threads, except where `async` says the event loop."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from ari_presence.core.timers import parse_duration, parse_instant
from ari_presence.errors import Refused
from ari_presence.http.events import EventHub, StreamClosedError
from ari_presence.http.problems import problem
from ari_presence.http.service import ChangeResult, Service, StateChange

EVENTS_PATH = "/api/v1/events"
MAX_HISTORY = 100_000
"""Rows of one answer; more are asked for in parts with `since`."""


def _encodable(text: str) -> str:
    """Refuse halves of surrogate pairs, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid text") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StateBody(_Body):
    """Body of `PUT /users/{user}/state`."""

    state: Text
    message: Text | None = None
    for_: Text | None = Field(None, alias="for")
    until: Text | None = None

    def change(self) -> StateChange:
        """Translate for the daemon; raises `Refused` (bad-time)."""
        if self.for_ is not None and self.until is not None:
            raise Refused("give 'for' or 'until', not both", code="bad-time")
        for_s = parse_duration(self.for_) if self.for_ is not None else None
        if for_s == 0:
            raise Refused(f"{self.for_!r} is no time at all: at least 1s", code="bad-time")
        return StateChange(self.state, self.message or None, for_s, self.until)


class ResetBody(_Body):
    """Body of `POST /control/reset`: one user, or explicitly all."""

    user: Text | None = None
    all: bool = False


class BackupBody(_Body):
    """Body of `POST /control/backup`."""

    path: Text


class AgiBody(_Body):
    """Body of `POST /control/agi`: the call, and the words of the path."""

    channel: Annotated[Text, Field(max_length=200)]
    name: Annotated[Text, Field(max_length=200)]
    words: Annotated[list[Annotated[Text, Field(max_length=200)]], Field(max_length=20)]


def changed(result: ChangeResult) -> Response:
    """Answer a change: 200 when Asterisk has confirmed it, 202 when it is stored and a server is away."""
    body = {**result.user, "confirmed": result.confirmed, "waiting": list(result.waiting)}
    return JSONResponse(body, 200 if result.confirmed else 202)


class HealthRoutes:
    """`/healthz` (the process runs) and `/readyz` (every lamp follows its user)."""

    def __init__(self, service: Service) -> None:
        """Ask `service`."""
        self._service = service

    def router(self) -> APIRouter:
        """Give the routes."""
        router = APIRouter()
        router.add_api_route("/healthz", self.health, methods=["GET"])
        router.add_api_route("/readyz", self.ready, methods=["GET"])
        return router

    async def health(self) -> Response:
        """Answer as long as the event loop runs, even when every worker thread is busy."""
        return JSONResponse({"status": "ok"})

    def ready(self) -> Response:
        """Tell whether every server is connected and every lamp was compared; 503 with reasons if not."""
        ready, reasons = self._service.ready()
        if ready:
            return JSONResponse({"ready": True, "reasons": []})
        return problem(503, "not-ready", "; ".join(reasons) or "not ready yet", ready=False, reasons=reasons)


class UserRoutes:
    """Users, their states and their history; changes carry the source that the socket stands for."""

    def __init__(self, service: Service, source: str) -> None:
        """Ask `service`; `source` is who changes states here, such as `cli`."""
        self._service = service
        self._source = source

    def router(self) -> APIRouter:
        """Give the routes, below `/api/v1`."""
        router = APIRouter()
        router.add_api_route("/users", self.users, methods=["GET"])
        router.add_api_route("/users/{user}", self.user, methods=["GET"])
        router.add_api_route("/users/{user}/state", self.set_state, methods=["PUT"])
        router.add_api_route("/users/{user}/state", self.clear_state, methods=["DELETE"])
        router.add_api_route("/users/{user}/history", self.user_history, methods=["GET"])
        router.add_api_route("/history", self.history, methods=["GET"])
        router.add_api_route("/groups", self.groups, methods=["GET"])
        router.add_api_route("/pbxs", self.pbxs, methods=["GET"])
        router.add_api_route("/parking", self.parking, methods=["GET"])
        router.add_api_route("/schedule", self.schedule, methods=["GET"])
        router.add_api_route("/calendars", self.calendars, methods=["GET"])
        return router

    def users(self, stale: bool = False) -> Response:
        """List all users; with `stale=true` those who may have forgotten what they set, with that."""
        return JSONResponse(self._service.forgotten() if stale else self._service.users())

    def user(self, user: str, layers: bool = False) -> Response:
        """Give one user; with `layers=true` every layer too."""
        return JSONResponse(self._service.why(user) if layers else self._service.user(user))

    def set_state(self, user: str, body: StateBody) -> Response:
        """Set the manual state."""
        return changed(self._service.set_state(user, body.change(), self._source))

    def clear_state(self, user: str) -> Response:
        """Remove the manual state."""
        return changed(self._service.clear_state(user, self._source))

    def user_history(
        self, user: str, since: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 1000
    ) -> Response:
        """Give the newest changes of one user, the newest last."""
        return self._history(user, since, limit)

    def history(self, since: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 1000) -> Response:
        """Give the newest changes of all users, the newest last."""
        return self._history(None, since, limit)

    def _history(self, user: str | None, since: str | None, limit: int) -> Response:
        start = parse_instant(since) if since is not None else None
        return JSONResponse(self._service.history(user, start, limit))

    def groups(self) -> Response:
        """Tell of each group who is free, busy and out."""
        return JSONResponse(self._service.groups())

    def pbxs(self) -> Response:
        """List the Asterisk servers."""
        return JSONResponse(self._service.pbxs())

    def parking(self) -> Response:
        """List the parked calls of all servers, by server, lot and space."""
        return JSONResponse(self._service.parking())

    def schedule(self, user: str | None = None, week: bool = False) -> Response:
        """Tell what schedules, or that of one user, give now and in the next day or (`week=true`) week."""
        return JSONResponse(self._service.schedule(user, week=week))

    def calendars(self) -> Response:
        """List the calendars, with how fresh each is and what is wrong with it."""
        return JSONResponse(self._service.calendars())


class EventRoutes:
    """The event stream."""

    def __init__(self, hub: EventHub) -> None:
        """Serve the clients of `hub`."""
        self._hub = hub

    def router(self) -> APIRouter:
        """Give the route."""
        router = APIRouter()
        router.add_api_route(EVENTS_PATH, self.events, methods=["GET"])
        return router

    async def events(self, last_event_id: Annotated[int | None, Header(ge=0, lt=2**63)] = None) -> Response:
        """Stream changed users as server-sent events, after `Last-Event-ID` if given."""
        try:
            return await self._hub.open(last_event_id)
        except StreamClosedError as error:
            return problem(503, "no-stream", f"{error}: try again", {"retry-after": "2"})


class ControlRoutes:
    """What only the operator on this machine may do."""

    def __init__(self, service: Service) -> None:
        """Ask `service`."""
        self._service = service

    def router(self) -> APIRouter:
        """Give the routes, below `/api/v1/control`."""
        router = APIRouter()
        router.add_api_route("/reload", self.reload, methods=["POST"])
        router.add_api_route("/reset", self.reset, methods=["POST"])
        router.add_api_route("/hints", self.hints, methods=["GET"])
        router.add_api_route("/backup", self.backup, methods=["POST"])
        router.add_api_route("/agi", self.agi, methods=["POST"])
        return router

    def reload(self) -> Response:
        """Read the configuration again."""
        return JSONResponse({"message": self._service.reload()})

    def reset(self, body: ResetBody) -> Response:
        """Set the lamps of one user or of all to off."""
        if (body.user is not None) == body.all:
            raise Refused("give 'user' or \"all\": true", code="bad-request")
        return changed(self._service.reset(body.user))

    def hints(self) -> Response:
        """Give what hints are made of."""
        return JSONResponse(self._service.hints())

    def backup(self, body: BackupBody) -> Response:
        """Copy the store to a new file."""
        answer: dict[str, Any] = {"path": body.path, "size": self._service.backup(body.path)}
        return JSONResponse(answer)

    def agi(self, body: AgiBody) -> Response:
        """Carry out what an AGI script asks for, and give what it is to tell its call."""
        return JSONResponse(self._service.agi(body.channel, body.name, tuple(body.words)))
