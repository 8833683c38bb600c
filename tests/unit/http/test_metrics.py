"""The metrics, over real sockets, read by the parser of the Prometheus client."""

import http.client
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.http.fake_service import Running


def scrape(running: Running, *, tcp: bool) -> tuple[str, dict[tuple[str, str], float]]:
    """Ask once; gives the content type, and each sample by name and labels."""
    with closing(http.client.HTTPConnection("127.0.0.1", running.server.tcp_port or 0, timeout=10)) as connection:
        if not tcp:
            connection.sock = running.connect()
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        text = response.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    labels = [",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())) for sample in samples]
    return str(response.headers["content-type"]), {
        (sample.name, label): sample.value for sample, label in zip(samples, labels, strict=True)
    }


@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "socket"])
def test_metrics_are_what_the_model_holds(running: Running, tcp: bool) -> None:
    """Users by state, forgotten states one by one, servers; on both sockets."""
    kind, found = scrape(running, tcp=tcp)
    assert kind.startswith("text/plain; version=")
    assert found == {
        ("ari_presence_users", "state=available"): 2,
        ("ari_presence_users", "state=dnd"): 1,
        ("ari_presence_forgotten_state_seconds", "state=dnd,user=101"): 90.5,
        ("ari_presence_server_connected", "server=hq"): 1,
        ("ari_presence_server_users_waiting", "server=hq"): 4,
    }


def test_metrics_asked_twice_are_counted_anew(running: Running) -> None:
    """Nothing is kept between two scrapes."""
    assert scrape(running, tcp=False) == scrape(running, tcp=False)


def test_users_that_are_stale_are_those_who_forgot(running: Running) -> None:
    """The same over HTTP as in the metrics."""
    status, body, _ = running.request("GET", "/api/v1/users?stale=true")
    assert (status, [(row["user"], row["state"]) for row in body]) == (200, [("101", "dnd")])
    assert len(running.request("GET", "/api/v1/users?stale=false")[1]) == 2
