"""`GET /metrics`: what the model holds when it is asked, in the text format of Prometheus. No counter is kept anywhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from ari_presence.http.service import Metrics, Service

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class _Collector:
    """Makes the metrics of one scrape (`prometheus_client.registry.Collector`)."""

    def __init__(self, found: Metrics) -> None:
        self._found = found

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily as Gauge

        found = self._found
        users = Gauge("ari_presence_users", "Users by the state that is shown.", labels=["state"])
        for state, count in found.users.items():
            users.add_metric([state], count)
        yield users
        forgotten = Gauge(
            "ari_presence_forgotten_state_seconds",
            "How long a state set by hand has lasted, of users for whom that is longer than remind_after.",
            labels=["user", "state"],
        )
        for user, state, seconds in found.forgotten:
            forgotten.add_metric([user, state], seconds)
        yield forgotten
        connected = Gauge("ari_presence_server_connected", "Whether a server is connected.", labels=["server"])
        waiting = Gauge(
            "ari_presence_server_users_waiting", "Users whose lamps a server has not confirmed.", labels=["server"]
        )
        for pbx in found.pbxs:
            connected.add_metric([pbx["name"]], float(pbx["connected"]))
            waiting.add_metric([pbx["name"]], float(pbx["users_waiting"]))
        yield connected
        yield waiting


class MetricsRoutes:
    """The one resource of this module."""

    def __init__(self, service: Service) -> None:
        """Ask `service`."""
        self._service = service

    def router(self) -> APIRouter:
        """Give the route."""
        router = APIRouter()
        router.add_api_route("/metrics", self.metrics, methods=["GET"])
        return router

    def metrics(self) -> Response:
        """Answer one scrape; the library is loaded by the first one, since most daemons are never asked."""
        from prometheus_client.core import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self._service.metrics()))
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})
