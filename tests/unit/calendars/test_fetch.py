"""Calendars from a real server: changed or not, slow, too large, redirected, refused."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from ari_presence.calendars import fetch
from ari_presence.calendars.fetch import Fetched, Fetcher, FetchError
from tests.unit.calendars import server as web
from tests.unit.calendars.server import CalendarServer, serving

BODY = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"


@pytest.fixture
def server() -> Iterator[CalendarServer]:
    """Run a server."""
    with serving() as running:
        yield running


@pytest.fixture
def fetcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fetcher]:
    """Make a fetcher that is in a hurry."""
    monkeypatch.setattr(fetch, "TOTAL_S", 3.0)
    monkeypatch.setattr(fetch, "CONNECT_S", 0.5)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Fetcher()
    yield made
    made.close()


def failure(fetcher: Fetcher, url: str) -> str:
    """Expect a failure and give its text."""
    with pytest.raises(FetchError) as error:
        fetcher.fetch(url)
    assert urlsplit(url).netloc in str(error.value) and "secret" not in str(error.value)
    return str(error.value)


def test_calendar_is_fetched_once_and_then_only_when_it_changes(server: CalendarServer, fetcher: Fetcher) -> None:
    """ETag: 304 costs no body."""
    server.answers["/a.ics"] = BODY
    first = fetcher.fetch(server.url())
    assert first.body == BODY and first.etag
    assert fetcher.fetch(server.url(), etag=first.etag) == Fetched(None)
    server.answers["/a.ics"] = BODY * 2
    assert fetcher.fetch(server.url(), etag=first.etag).body == BODY * 2


def test_date_of_the_last_change_is_sent_back(server: CalendarServer, fetcher: Fetcher) -> None:
    """Last-Modified, for servers without ETag."""
    date = "Mon, 09 Mar 2026 09:00:00 GMT"

    def answer(handler: web.Handler) -> None:
        same = handler.headers.get("If-Modified-Since") == date
        handler.reply(304) if same else handler.reply(200, BODY, Last_Modified=date)

    server.answers["/a.ics"] = answer
    first = fetcher.fetch(server.url())
    assert (first.body, first.modified) == (BODY, date)
    assert fetcher.fetch(server.url(), modified=date).body is None


def test_login_is_sent_and_nothing_else_is(
    server: CalendarServer, fetcher: Fetcher, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Basic authentication in UTF-8 as configured, nothing from .netrc."""
    from pathlib import Path

    netrc = Path(str(tmp_path)) / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers["/a.ics"] = BODY
    fetcher.fetch(server.url(), login=("alice", "pass:wörd"))
    fetcher.fetch(server.url())
    sent = [headers.get("Authorization") for _, headers in server.seen]
    assert sent == ["Basic YWxpY2U6cGFzczp3w7ZyZA==", None]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.status(401), "answers 401: check username and password"),
        (web.status(403), "answers 403: check username and password"),
        (web.status(404), "answers 404: check the address"),
        (web.status(500), "answers 500: tried again later"),
        (web.status(204), "answers 204"),
        (web.cut, "ended the connection"),
        (web.nonsense, "is it up?"),
        (web.bomb(200 * 2**20), "more than 10 MiB"),
        (lambda handler: handler.reply(200, b"x" * (11 * 2**20)), "more than 10 MiB"),
        (lambda handler: handler.reply(200, b"not packed", Content_Encoding="gzip"), "HTTP"),
    ],
    ids=["401", "403", "404", "500", "204", "cut", "nonsense", "bomb", "huge", "not-gzip"],
)
def test_answer_that_is_no_calendar_is_named(
    server: CalendarServer, fetcher: Fetcher, answer: web.Answer, says: str
) -> None:
    """Which host, what it did, what to do; never the path, which may hold a secret."""
    server.answers["/secret/a.ics"] = answer
    assert says in failure(fetcher, server.url("/secret/a.ics"))


@pytest.mark.parametrize("answer", [web.silent, web.drip_headers, web.drip_body], ids=lambda each: each.__name__)
def test_server_that_takes_too_long_is_given_up(server: CalendarServer, fetcher: Fetcher, answer: web.Answer) -> None:
    """Also one that sends a byte now and then, in the header or the body."""
    server.answers["/a.ics"] = answer
    began = time.monotonic()
    with pytest.raises(FetchError) as error:
        fetcher.fetch(server.url())
    assert error.value.slow and "is it up?" in str(error.value)
    assert time.monotonic() - began < 15


def test_server_that_is_down_is_named(server: CalendarServer, fetcher: Fetcher) -> None:
    """Nobody listens."""
    url = server.url()
    server.shutdown()
    server.server_close()
    assert "cannot be reached" in failure(fetcher, url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids=str)
def test_redirect_on_the_same_host_is_followed(server: CalendarServer, fetcher: Fetcher, status: int) -> None:
    """To another path, with the login."""
    server.answers |= {"/a.ics": web.redirect("/b.ics", status), "/b.ics": BODY}
    assert fetcher.fetch(server.url(), login=("a", "b")).body == BODY
    assert all("Authorization" in headers for _, headers in server.seen)


def test_redirect_elsewhere_is_not_followed(server: CalendarServer, fetcher: Fetcher) -> None:
    """Another host, port, scheme or loopback: nothing is even asked there."""
    with serving() as other:
        other.answers["/a.ics"] = BODY
        targets = [
            other.url(),
            other.url().replace("127.0.0.1", "localhost"),
            server.url().replace("127.0.0.1", "127.0.0.2"),
            "http://169.254.169.254/latest/meta-data",
            "https://example.org/a.ics",
            "file:///etc/passwd",
            f"http://user:secret@127.0.0.1:{server.port}/b.ics",
            "//example.org/a.ics",
            "http://[broken",
        ]
        for target in targets:
            server.answers["/a.ics"] = web.redirect(target)
            says = "does not speak HTTP" if "[" in target else "redirects to"
            assert says in failure(fetcher, server.url())
        assert other.seen == [] and {path for path, _ in server.seen} == {"/a.ics"}


def test_circle_of_redirects_ends(server: CalendarServer, fetcher: Fetcher) -> None:
    """After a few."""
    server.answers["/a.ics"] = web.redirect("/a.ics")
    assert "in a circle" in failure(fetcher, server.url())


@pytest.mark.parametrize(
    ("old", "new", "followed"),
    [
        ("http://a.example/x", "https://a.example/x", True),
        ("https://a.example/x", "http://a.example/x", False),
        ("http://a.example:8080/x", "https://a.example/x", False),
        ("https://a.example/x", "https://a.example:443/y", True),
        ("https://a.example/x", "https://A.Example/y", True),
        ("https://a.example/x", "https://a.example.evil/y", False),
    ],
    ids=["upgrade", "downgrade", "port", "default-port", "case", "longer"],
)
def test_only_the_scheme_may_become_safer(old: str, new: str, followed: bool) -> None:
    """From http to https on the standard ports; never back."""
    if followed:
        assert fetch._redirected(old, new, "a.example") == new
    else:
        with pytest.raises(FetchError):
            fetch._redirected(old, new, "a.example")


def test_certificate_that_does_not_verify_is_refused(server: CalendarServer, fetcher: Fetcher) -> None:
    """A plain server on an https address fails as well; nothing is sent unencrypted."""
    server.answers["/a.ics"] = BODY
    text = failure(fetcher, server.url().replace("http:", "https:"))
    assert "certificate" in text or "HTTP" in text or "reached" in text
    assert server.seen == []
