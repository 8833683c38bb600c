"""What is wrong is said in one line that names place and remedy, and nothing is half-started."""

import http.server
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import PEOPLE, Daemon, eventually, expected, lamps

from private_asterisk import PrivateAsterisk, Tree
from private_asterisk.ports import free_port

Trees = Callable[[int], Tree]


@pytest.fixture
def daemon(asterisk22: PrivateAsterisk, tmp_path: Path) -> Iterator[Daemon]:
    """Prepare a daemon that is not started."""
    daemon = Daemon(tmp_path, asterisk22, app="bad-input")
    yield daemon
    daemon.__exit__()


def refused(daemon: Daemon, *says: str) -> str:
    """Run it, expect exit 2, one line that says all of it, and no trace in its folder; gives the line."""
    assert daemon.run_to_end() == 2
    assert len(daemon.lines) == 1, daemon.log()
    line = str(daemon.lines[0].get("text"))
    assert line.startswith("ari-presence: ")
    for word in says:
        assert word in line
    assert list(daemon.state_dir.iterdir()) == []
    return line


BROKEN = {
    "unknown-key": ("colour = 1\n", ["colour", "unknown key"]),
    "unknown-section-key": ("[lamps]\nhole = true\n", ["[lamps] hole", "did you mean whole"]),
    "duplicate-user": (PEOPLE + '[[user]]\nid = "100"\n', ["[[user]] 3, id", "[[user]] 1"]),
    "two-users-on-one-endpoint": (
        '[[user]]\nid = "1"\nendpoints = ["PJSIP/a"]\n[[user]]\nid = "2"\nendpoints = ["PJSIP/A"]\n',
        ["[[user]] 2, endpoints", "PJSIP/A", "[[user]] 1"],
    ),
    **{
        f"id-{name}": (f'[[user]]\nid = "10{text}"\n', ["[[user]] 1, id", "legal"])
        for name, text in {
            "bracket": ")",
            "comma": ",",
            "ampersand": "&",
            "slash": "/",
            "newline": "\\n",
            "nul": "\\u0000",
            "space": " ",
            "umlaut": "ä",
            "long": "x" * 40,
            "dollar": "${EXTEN}",
        }.items()
    },
    "state-id": ('[[state]]\nid = "presence"\n', ["[[state]] 1, id"]),
    "digit-twice": ('[[state]]\nid = "x"\ndigit = 2\n', ["[[state]] 1, digit", "dnd"]),
    "zone": ('[users]\ntimezone = "Mars/Base"\n', ["[users] timezone", "Mars/Base"]),
    "pattern": ("[users]\ndiscover = '('\n", ["[users] discover", "regular expression"]),
    "not-toml": ("[[user]\n", ["not TOML"]),
}


@pytest.mark.parametrize(("extra", "says"), BROKEN.values(), ids=BROKEN)
def test_broken_configuration_ends_with_2(daemon: Daemon, extra: str, says: list[str]) -> None:
    """File, place and remedy in one line, before anything is opened."""
    if extra.startswith("colour"):
        daemon.write("")
        daemon.config.write_text(extra + daemon.config.read_text())
    else:
        daemon.write(extra)
    assert refused(daemon, str(daemon.config), *says).isprintable()


@pytest.mark.parametrize(
    ("secret", "says"),
    [("absent", "No such file"), ("folder", "folder"), ("empty", "empty"), ("two-lines", "line")],
    ids=lambda value: value.replace(" ", "-"),
)
def test_unreadable_secret_ends_with_2(daemon: Daemon, secret: str, says: str) -> None:
    """The line names [[pbx]] and the file, and never what is in it."""
    path = daemon.folder / "hq.secret"
    path.unlink()
    if secret == "folder":
        path.mkdir()
    elif secret != "absent":
        path.write_text("" if secret == "empty" else "geheim1\ngeheim2\n")
    line = refused(daemon, "[[pbx]] 1, password_file", str(path))
    assert says.lower() in line.lower() or secret == "folder"
    assert "geheim" not in line


def test_missing_configuration_ends_with_2(daemon: Daemon) -> None:
    """It says how to make one."""
    daemon.config.unlink()
    refused(daemon, str(daemon.config), "ari-presence init")


@pytest.mark.parametrize("what", ["file", "absent"], ids=str)
def test_state_dir_that_cannot_be_used_ends_with_2(daemon: Daemon, what: str) -> None:
    """Its path and the remedy are in the line."""
    daemon.state_dir.rmdir()
    if what == "file":
        daemon.state_dir.touch()
    assert daemon.run_to_end() == 2
    (line,) = daemon.lines
    assert str(daemon.state_dir) in line["text"]


@pytest.mark.parametrize("damage", ["rubbish", "newer"], ids=str)
def test_store_that_cannot_be_used_is_reported_and_left_as_it_is(daemon: Daemon, damage: str) -> None:
    """A damaged file is never overwritten, a newer schema never touched; the line says what to do."""
    import sqlite3

    if damage == "rubbish":
        daemon.store.write_bytes(b"this is no database" * 100)
    else:
        with daemon:
            daemon.stop()
        with sqlite3.connect(daemon.store) as store:
            store.execute("PRAGMA user_version = 99")
        store.close()
    before = daemon.store.read_bytes()
    assert daemon.run_to_end() in (1, 2)
    (line,) = daemon.lines
    assert str(daemon.store) in line["text"]
    assert daemon.store.read_bytes() == before
    assert not (daemon.state_dir / "control.sock").exists()


# -- servers


def gave_up(daemon: Daemon, *says: str) -> None:
    """Run it, expect exit 2 and one line of the log that says why."""
    assert daemon.run_to_end() == 2
    (line,) = [line for line in daemon.lines if line.get("level") in ("error", "warning", "critical")]
    for word in says:
        assert word in str(line.get("reason")), line
    assert not (daemon.state_dir / "control.sock").exists()


def test_wrong_password_ends_with_2_and_is_not_repeated_anywhere(daemon: Daemon) -> None:
    """Trying again would not help; neither the right nor the wrong secret is in the log."""
    daemon.write("")
    (daemon.folder / "hq.secret").write_text("wrong-geheim")
    gave_up(daemon, "401", "password")
    assert "geheim" not in daemon.log()
    assert daemon.server.ari_password not in daemon.log()


def test_user_who_may_only_read_ends_with_2(tree_of: Trees, tmp_path: Path) -> None:
    """A read-only ARI user cannot write lamps: said at once, with the key of ari.conf."""
    server = PrivateAsterisk(22, tree=tree_of(22))
    server.write("ari.conf", server.read("ari.conf").replace("read_only=no", "read_only=yes"))
    with server:
        daemon = Daemon(tmp_path, server)
        try:
            gave_up(daemon, "403", "read_only")
        finally:
            daemon.__exit__()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for 127.0.0.1, key and certificate in one file."""
    path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(words, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture(scope="module", params=[22, 16], ids=["22", "16"])
def encrypted(
    request: pytest.FixtureRequest, tree_of: Trees, certificate: Path
) -> Iterator[tuple[PrivateAsterisk, str]]:
    """Start a server that speaks TLS too; gives it and the URL."""
    server = PrivateAsterisk(request.param, tree=tree_of(request.param))
    port = free_port()
    tls = f"tlsenable=yes\ntlsbindaddr=127.0.0.1:{port}\ntlscertfile={certificate}\ntlsprivatekey={certificate}\n"
    server.write("http.conf", server.read("http.conf") + tls)
    with server:
        yield server, f"https://127.0.0.1:{port}"


def test_certificate_that_nobody_vouches_for_ends_with_2(
    encrypted: tuple[PrivateAsterisk, str], tmp_path: Path
) -> None:
    """TLS is always verified."""
    server, url = encrypted
    daemon = Daemon(tmp_path, server, url=url)
    try:
        gave_up(daemon, "certificate")
    finally:
        daemon.__exit__()


def test_certificate_of_the_configured_authority_is_accepted(
    encrypted: tuple[PrivateAsterisk, str], tmp_path: Path, certificate: Path
) -> None:
    """With ca_file the whole link works over TLS, websocket and HTTP."""
    server, url = encrypted
    daemon = Daemon(tmp_path, server, url=url)
    daemon.write(PEOPLE, ca_file=str(certificate.with_suffix(".crt")))
    with daemon:
        assert daemon.set("100", "dnd")["confirmed"]
        assert lamps(server, "100") == expected("dnd")
        daemon.clear("100")


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as a web server that is no Asterisk."""
        body = b"<html>It works!</html>"
        self.send_response(int(self.server.status))  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve something that is no ARI; the parameter is the status."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        server.status = request.param  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def keeps_trying(daemon: Daemon) -> None:
    """Expect one warning, however many attempts; not ready, and alive."""
    daemon.start()
    daemon.wait_logged("not connected, trying again", 12)
    assert daemon.http("GET", "/healthz").status_code == 200
    answer = daemon.http("GET", "/readyz")
    assert answer.status_code == 503
    assert "hq is not connected" in answer.json()["detail"]
    with pytest.raises(AssertionError):
        daemon.wait_ready(1.5)  # the next attempts
    assert len(daemon.logged("not connected, trying again")) == 1
    assert daemon.stop() == 0


@pytest.mark.parametrize("web", [200, 404, 500, 302], indirect=True, ids=str)
def test_web_server_that_is_no_asterisk_is_said_once_and_tried_again(daemon: Daemon, web: str) -> None:
    """Somebody else's page on that port is no reason to end, nor to fill the log."""
    daemon.write(PEOPLE, url=web)
    keeps_trying(daemon)


def test_port_that_accepts_and_never_answers_is_said_once_and_tried_again(daemon: Daemon) -> None:
    """Every step has a time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon.write(PEOPLE, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        keeps_trying(daemon)


def test_tls_to_a_port_without_tls_is_said_once_and_not_fatal_for_users(daemon: Daemon) -> None:
    """A wrong scheme is named; whether it is tried again or given up, it is never a traceback."""
    daemon.write(PEOPLE, url=daemon.server.url.replace("http:", "https:"))
    daemon.start()
    eventually(lambda: not daemon.is_running or daemon.logged("not connected, trying again"), "said", 10)
    assert "Traceback" not in daemon.log()
    assert "exception" not in daemon.log()


def test_asterisk_without_ari_is_said_once_and_tried_again(tree_of: Trees, tmp_path: Path) -> None:
    """HTTP answers, ARI is off: not ready until it is turned on."""
    server = PrivateAsterisk(22, tree=tree_of(22))
    conf = server.read("ari.conf")
    with server:
        server.write("ari.conf", conf.replace("enabled=yes", "enabled=no"))
        server.cli("module reload res_ari.so")
        daemon = Daemon(tmp_path, server)
        try:
            daemon.start()
            daemon.wait_logged("not connected, trying again")
            assert daemon.http("GET", "/readyz").status_code == 503
            server.write("ari.conf", conf)
            server.cli("module reload res_ari.so")
            daemon.wait_ready(10)
        finally:
            daemon.__exit__()


def test_secret_is_in_no_process_list_and_no_log(asterisk22: PrivateAsterisk, tmp_path: Path) -> None:
    """Neither arguments nor environment nor log nor answers hold the password."""
    with Daemon(tmp_path, asterisk22, app="bad-input") as daemon:
        told = [Path(f"/proc/{daemon.pid}/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
        told += [daemon.log(), str(daemon.ask("GET", "/pbxs")), daemon.http("GET", "/readyz").text]
        assert not [text for text in told if asterisk22.ari_password in text]
