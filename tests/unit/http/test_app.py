"""The resources of the control socket and of TCP, over real sockets."""

from pathlib import Path
from typing import Any

import pytest

from ari_presence.errors import AriPresenceError, ConfigError, Refused, StoreError, StoreSlow
from ari_presence.http import guard
from ari_presence.http.guard import MAX_BODY, is_loopback_host
from ari_presence.http.service import StateChange
from tests.unit.http.fake_service import Running, serving

STATE = "/api/v1/users/100/state"


def assert_problem(answer: tuple[int, Any, Any], status: int, code: str) -> str:
    """Check that an answer is a complete problem document; gives its detail."""
    found, body, headers = answer
    assert headers["content-type"] == "application/problem+json"
    assert (found, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert "\n" not in body["detail"]
    return str(body["detail"])


def test_users_listed_are_sorted_json(running: Running) -> None:
    """The list of users is what the daemon says."""
    status, body, headers = running.request("GET", "/api/v1/users")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert [user["user"] for user in body] == ["100", "101"]


def test_user_with_layers_shows_every_layer(running: Running) -> None:
    """`?layers=true` adds the layers, without it they are left out."""
    assert "layers" not in running.request("GET", "/api/v1/users/100")[1]
    layers = running.request("GET", "/api/v1/users/100?layers=true")[1]["layers"]
    assert [layer["applies"] for layer in layers] == [True, False]


def test_put_state_confirmed_is_200_from_cli(running: Running) -> None:
    """A change reaches the daemon whole, its source is `cli`, and its answer says that it is confirmed."""
    status, body, _ = running.request("PUT", STATE, {"state": "dnd", "message": "écoute", "for": "45m"})
    assert (status, body["confirmed"], body["waiting"], body["state"]) == (200, True, [], "dnd")
    assert running.service.calls == [("set", "100", StateChange("dnd", "écoute", 2700, None), "cli")]


def test_put_state_unconfirmed_is_202(running: Running) -> None:
    """What is stored but not yet on the lamps is 202 and says which server is away."""
    running.service.waiting = ("hq",)
    status, body, _ = running.request("PUT", STATE, {"state": "dnd", "until": "13:30"})
    assert (status, body["confirmed"], body["waiting"]) == (202, False, ["hq"])


def test_delete_state_clears(running: Running) -> None:
    """DELETE removes the manual state on behalf of `cli`."""
    status, body, _ = running.request("DELETE", STATE)
    assert (status, body["confirmed"]) == (200, True)
    assert running.service.calls == [("clear", "100", "cli")]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"{", 400, "malformed-json", id="cut json"),
        pytest.param(b"[" * 20_000, 400, "malformed-", id="deep json"),
        pytest.param(b"\xff\xfe", 400, "malformed-", id="not utf-8"),
        pytest.param(b"", 422, "bad-request", id="empty"),
        pytest.param(b"[]", 422, "bad-request", id="list"),
        pytest.param({"state": "dnd", "sate": 1}, 422, "bad-request", id="unknown key"),
        pytest.param({"state": "dnd", "\ud800": 1}, 422, "bad-request", id="unknown key, not text"),
        pytest.param({"message": "x"}, 422, "bad-request", id="no state"),
        pytest.param({"state": 5}, 422, "bad-request", id="state a number"),
        pytest.param({"state": "dnd", "message": "\ud800"}, 422, "bad-request", id="lone surrogate"),
        pytest.param({"state": "nonsense"}, 422, "bad-state", id="unknown state"),
        pytest.param({"state": "dnd", "for": "x"}, 422, "bad-time", id="bad for"),
        pytest.param({"state": "dnd", "for": "0m"}, 422, "bad-time", id="for nothing"),
        pytest.param({"state": "dnd", "for": "1m", "until": "13:30"}, 422, "bad-time", id="both ends"),
    ],
)
def test_put_state_with_bad_body_is_a_problem(running: Running, body: Any, status: int, code: str) -> None:
    """Nonsense is refused with a problem document and nothing changes."""
    answer = running.request("PUT", STATE, body)
    assert answer[1]["code"].startswith(code)
    assert_problem(answer, status, answer[1]["code"])
    assert not running.service.events


def test_unknown_key_is_named_in_the_detail(running: Running) -> None:
    """A typing error in a key can be found from the answer."""
    detail = assert_problem(running.request("PUT", STATE, {"state": "dnd", "sate": 1}), 422, "bad-request")
    assert "sate" in detail


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(Refused("no", code="unknown-user"), 404, "unknown-user", id="unknown user"),
        pytest.param(Refused("no", code="not-allowed"), 403, "not-allowed", id="not allowed"),
        pytest.param(Refused("no", code="bad-time"), 422, "bad-time", id="bad time"),
        pytest.param(StoreError("disk full"), 503, "store-error", id="store"),
        pytest.param(StoreSlow("slow"), 503, "not-stored-yet", id="slow store"),
        pytest.param(ConfigError("broken"), 422, "config-error", id="configuration"),
        pytest.param(AriPresenceError("other"), 500, "internal-error", id="ours"),
        pytest.param(ZeroDivisionError("secret 123"), 500, "internal-error", id="a bug"),
    ],
)
def test_error_of_the_daemon_becomes_a_problem(running: Running, error: Exception, status: int, code: str) -> None:
    """Each class of error has its status, and a bug does not leak its text."""
    running.service.fail = error
    assert "123" not in assert_problem(running.request("GET", "/api/v1/users/100"), status, code)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        pytest.param("GET", "/nowhere", 404, "not-found", id="unknown path"),
        pytest.param("GET", "/api/v1/users/", 404, "not-found", id="trailing slash"),
        pytest.param("GET", "/api/v1/users/%2e%2e%2fx", 404, "not-found", id="slash in the id"),
        pytest.param("GET", "/api/v1/users/%ff%00", 404, "unknown-user", id="bytes in the id"),
        pytest.param("POST", "/api/v1/users", 405, "method-not-allowed", id="method"),
        pytest.param("HEAD", "/api/v1/events", 405, "", id="head of the endless stream"),
        pytest.param("GET", "/api/v1/users/100?layers=maybe", 422, "bad-request", id="query"),
        pytest.param("GET", "/api/v1/history?limit=0", 422, "bad-request", id="limit"),
        pytest.param("GET", "/api/v1/history?since=yesterday", 422, "bad-time", id="since"),
        pytest.param("GET", "/openapi.json", 404, "not-found", id="no openapi here"),
    ],
)
def test_wrong_request_is_a_problem(running: Running, method: str, target: str, status: int, code: str) -> None:
    """What FastAPI itself refuses is a problem document too."""
    answer = running.request(method, target)
    if method == "HEAD":
        assert answer[0] == status
        assert answer[2]["allow"] == "GET"
    else:
        assert_problem(answer, status, code)


def test_head_is_get_without_a_body(running: Running) -> None:
    """HEAD gives the headers of GET."""
    status, body, headers = running.request("HEAD", "/api/v1/users")
    assert (status, body) == (200, None)
    assert int(headers["content-length"]) > 10


def test_huge_body_is_413(running: Running) -> None:
    """A body beyond the limit is refused, announced or not, and the daemon lives on."""
    assert_problem(running.request("PUT", STATE, b"x" * (MAX_BODY + 1)), 413, "too-large")
    with running.connect() as sock:
        sock.sendall(f"PUT {STATE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sock.sendall((b"2000\r\n" + b"x" * 0x2000 + b"\r\n") * 9 + b"0\r\n\r\n")
        assert b" 413 " in sock.recv(4096)
    with running.connect() as sock:
        sock.sendall(f"PUT {STATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\nx".encode())
        assert b" 413 " in sock.recv(4096)
    assert running.request("GET", "/healthz")[0] == 200


def test_slow_body_is_408_and_holds_up_nobody(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not finish its body is answered after the limit; others are served meanwhile."""
    monkeypatch.setattr(guard, "BODY_S", 0.3)
    with running.connect() as sock:
        sock.sendall(f"PUT {STATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert running.request("GET", "/api/v1/users")[0] == 200
        assert b" 408 " in sock.recv(4096)


def test_garbage_on_the_socket_is_a_problem(running: Running) -> None:
    """What is not HTTP at all gets a 400 problem document."""
    with running.connect() as sock:
        sock.sendall(b"\x00\x01garbage\r\n\r\n")
        received = b""
        while part := sock.recv(4096):
            received += part
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in received
    assert b"malformed-request" in received


def test_history_passes_user_since_and_limit(running: Running) -> None:
    """History of one user or of all, from an instant, so many at most."""
    running.request("PUT", STATE, {"state": "dnd"})
    running.request("PUT", "/api/v1/users/101/state", {"state": "lunch"})
    assert [row["user"] for row in running.request("GET", "/api/v1/history")[1]] == ["100", "101"]
    rows = running.request("GET", "/api/v1/users/100/history?since=1970-01-01T00:01:00Z&limit=5")[1]
    assert [row["state"] for row in rows] == ["dnd"]
    assert running.service.calls[-1] == ("history", "100", 60.0, 5)


def test_pbxs_are_listed(running: Running) -> None:
    """The servers are what the daemon says."""
    assert running.request("GET", "/api/v1/pbxs")[1] == [{"name": "hq", "connected": True}]


def test_parked_calls_are_listed(running: Running) -> None:
    """The parked calls are what the daemon says, null where something is not known."""
    status, body, _ = running.request("GET", "/api/v1/parking")
    assert (status, body) == (200, running.service.parking())
    assert running.request_tcp("GET", "/api/v1/parking")[0] == 404


def test_calendars_are_listed(running: Running) -> None:
    """With how fresh each is; on the control socket alone."""
    status, body, _ = running.request("GET", "/api/v1/calendars")
    assert (status, body) == (200, running.service.calendars())
    assert running.request_tcp("GET", "/api/v1/calendars")[0] == 404


def test_groups_are_listed(running: Running) -> None:
    """The groups are what the daemon says."""
    assert running.request("GET", "/api/v1/groups")[:2] == (200, running.service.groups())


def test_what_hints_are_made_of_is_for_the_operator(running: Running) -> None:
    """Names of endpoints are nobody else's business."""
    assert running.request("GET", "/api/v1/control/hints")[:2] == (200, running.service.hints())
    assert running.request_tcp("GET", "/api/v1/control/hints")[0] == 404


def test_control_reload_reset_backup_work(running: Running, tmp_path: Path) -> None:
    """The operator's requests reach the daemon."""
    assert "nothing changed" in running.request("POST", "/api/v1/control/reload")[1]["message"]
    assert running.request("POST", "/api/v1/control/reset", {"user": "100"})[1]["confirmed"] is True
    assert running.request("POST", "/api/v1/control/reset", {"all": True})[1] == {"confirmed": True, "waiting": []}
    assert running.service.calls == [("reset", "100"), ("reset", None)]
    target = str(tmp_path / "copy")
    assert running.request("POST", "/api/v1/control/backup", {"path": target})[1] == {"path": target, "size": 6}
    assert_problem(running.request("POST", "/api/v1/control/backup", {"path": target}), 503, "store-error")


@pytest.mark.parametrize(
    "body", [pytest.param({}, id="neither"), pytest.param({"user": "100", "all": True}, id="both")]
)
def test_control_reset_without_one_target_resets_nobody(running: Running, body: Any) -> None:
    """An empty request is never a reset of everybody."""
    assert_problem(running.request("POST", "/api/v1/control/reset", body), 422, "bad-request")
    assert not running.service.calls


def test_control_reload_of_broken_configuration_says_so(running: Running) -> None:
    """The configuration's error reaches the operator."""
    running.service.fail = ConfigError("file: [http] listen: nonsense")
    assert "[http] listen" in assert_problem(running.request("POST", "/api/v1/control/reload"), 422, "config-error")


@pytest.mark.parametrize("over_tcp", [pytest.param(False, id="unix"), pytest.param(True, id="tcp")])
def test_health_and_readiness_follow_the_daemon(running: Running, over_tcp: bool) -> None:
    """`/readyz` is 503 with every reason while something is missing; `/healthz` stays 200."""
    ask = running.request_tcp if over_tcp else running.request
    assert ask("GET", "/readyz")[1] == {"ready": True, "reasons": []}
    running.service.reasons = ["hq: not connected", "lamps not compared"]
    answer = ask("GET", "/readyz")
    assert_problem(answer, 503, "not-ready")
    assert (answer[1]["ready"], answer[1]["reasons"]) == (False, running.service.reasons)
    assert ask("GET", "/healthz")[0] == 200
    assert ask("HEAD", "/healthz")[:2] == (200, None)


def test_health_answers_while_every_worker_is_busy(tmp_path: Path) -> None:
    """Blocked changes do not make the process look dead."""
    with serving(tmp_path) as running:
        running.service.gate.clear()
        socks = [running.connect() for _ in range(45)]
        for sock in socks:
            sock.sendall(b"GET /api/v1/users/100 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert running.request("GET", "/healthz")[0] == 200
        running.service.gate.set()
        for sock in socks:
            assert b" 200 " in sock.recv(4096)
            sock.close()


@pytest.mark.parametrize("target", ["/api/v1/users", "/api/v1/events", "/api/v1/control/reset", "/docs"])
def test_tcp_has_health_only(running: Running, target: str) -> None:
    """What needs rights does not exist over TCP."""
    assert_problem(running.request_tcp("GET", target), 404, "not-found")


def test_tcp_refuses_foreign_host(running: Running) -> None:
    """A page that was rebound to this machine learns nothing, HEAD or GET."""
    assert_problem(running.request_tcp("GET", "/healthz", Host="evil.example"), 403, "host-not-allowed")
    assert running.request_tcp("HEAD", "/readyz", Host="evil.example")[0] == 403
    assert running.request_tcp("GET", "/healthz", Host="localhost:1")[0] == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        pytest.param("localhost", True, id="localhost"),
        pytest.param("LocalHost:8090", True, id="case and port"),
        pytest.param("127.0.0.1:8090", True, id="address"),
        pytest.param("127.1.2.3", True, id="loopback net"),
        pytest.param("[::1]:8090", True, id="ipv6"),
        pytest.param("", False, id="none"),
        pytest.param("localhost.evil.example", False, id="prefix"),
        pytest.param("127.0.0.1.evil.example", False, id="address as prefix"),
        pytest.param("127.0.0.1:80@evil", False, id="port not a number"),
        pytest.param("192.0.2.1", False, id="another address"),
        pytest.param("[::1", True, id="unclosed but loopback"),
        pytest.param("[::2]", False, id="another ipv6"),
        pytest.param("2130706433", False, id="address as a number"),
    ],
)
def test_host_is_loopback_only_when_it_names_this_machine(host: str, allowed: bool) -> None:
    """Names and addresses of this machine pass, whatever looks like them does not."""
    assert is_loopback_host(host) is allowed
