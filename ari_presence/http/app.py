"""The FastAPI application: which resources exist on the control socket and which over TCP."""

from fastapi import FastAPI

from ari_presence.http import problems
from ari_presence.http.events import EventHub
from ari_presence.http.guard import Guard
from ari_presence.http.metrics import MetricsRoutes
from ari_presence.http.routes import EVENTS_PATH, ControlRoutes, EventRoutes, HealthRoutes, UserRoutes
from ari_presence.http.service import Service


def create_app(service: Service, *, local: bool, keep_alive_s: float = 15.0) -> FastAPI:
    """Make the application for one kind of socket.

    Args:
        service: The daemon.
        local: True for the control socket: everything, on behalf of `cli`. False for TCP: health, readiness and metrics
            only, and only for a Host that is this machine.
        keep_alive_s: Seconds between comments on a silent event stream.

    Returns:
        The application; `app.state.close_streams()` (any thread) ends its event streams.
    """
    app = FastAPI(title="ari-presence", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    problems.install(app)
    app.add_middleware(Guard, loopback_host_only=not local, no_head=[EVENTS_PATH])
    app.include_router(HealthRoutes(service).router())
    app.include_router(MetricsRoutes(service).router())
    hub = EventHub(service, keep_alive_s=keep_alive_s)
    app.state.close_streams = hub.close
    if local:
        app.include_router(UserRoutes(service, "cli").router(), prefix="/api/v1")
        app.include_router(EventRoutes(hub).router())
        app.include_router(ControlRoutes(service).router(), prefix="/api/v1/control")
    return app
