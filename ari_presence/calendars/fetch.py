"""A calendar from a server: only what has changed, never more than so much, never longer than so long.

Redirects stay on the host, the scheme and the port that are configured; from http to https alone they may change. So
neither credentials nor the daemon's place in the network can be borrowed. An address may hold a secret (the private
addresses of Google's calendar do): errors name the host alone.
"""

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from ari_presence.calendars.limits import TooCostly, time_limit

MOST_BYTES = 10 * 2**20
MOST_REDIRECTS = 5
CONNECT_S = 5.0
TOTAL_S = 20.0
_PIECE = 16_384  # a gzip bomb grows a thousandfold: so much of it at a time
_DEFAULT_PORTS = {"http": 80, "https": 443}


class FetchError(Exception):
    """A calendar could not be had; the text says from which host, why and what to do.

    Attributes:
        slow: The host did not answer in time: others there need not be tried now.
    """

    def __init__(self, text: str, *, slow: bool = False) -> None:
        """Keep both."""
        super().__init__(text)
        self.slow = slow


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server gave: `body` is None where it has not changed; the two marks are for the next time."""

    body: bytes | None
    etag: str = ""
    modified: str = ""


class Fetcher:
    """One session with all servers; not for several threads."""

    def __init__(self) -> None:
        """Take nothing from the environment but proxies: no .netrc."""
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """End all connections."""
        self._session.close()

    def fetch(
        self, url: str, *, etag: str = "", modified: str = "", login: tuple[str, str] | None = None, ca_file: str = ""
    ) -> Fetched:
        """Get a calendar.

        Raises:
            FetchError: It could not be had.
        """
        headers = {"Accept": "text/calendar, */*;q=0.1", "Accept-Encoding": "gzip", "User-Agent": "ari-presence"}
        headers |= {"If-None-Match": etag} if etag else {}
        headers |= {"If-Modified-Since": modified} if modified else {}
        host = urlsplit(url).netloc
        try:
            with time_limit(TOTAL_S):  # the timeouts of requests begin anew with every byte
                return self._follow(url, host, headers, login, ca_file)
        except TooCostly:
            raise FetchError(f"{host}: not done after {TOTAL_S:.0f} s: is it up?", slow=True) from None
        except requests.exceptions.SSLError:
            raise FetchError(
                f"{host}: its certificate does not verify: mend it there, or name its authority in ca_file"
            ) from None
        except requests.exceptions.Timeout:
            raise FetchError(f"{host}: no answer in time: is it up?", slow=True) from None
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            slow = "timed out" in str(error).lower()
            raise FetchError(f"{host}: cannot be reached, or ended the connection: is it up?", slow=slow) from None
        except (requests.exceptions.RequestException, ValueError, UnicodeError):
            raise FetchError(f"{host}: does not speak HTTP as it should: is the address right?") from None

    def _follow(
        self, url: str, host: str, headers: dict[str, str], login: tuple[str, str] | None, ca_file: str
    ) -> Fetched:
        for _ in range(MOST_REDIRECTS + 1):
            with self._get(url, headers, login, ca_file) as response:
                if not response.is_redirect:
                    return _body(response, host)
                url = _redirected(url, response.headers["Location"], host)
        raise FetchError(f"{host}: redirects in a circle: mend the address")

    def _get(self, url: str, headers: dict[str, str], login: tuple[str, str] | None, ca_file: str) -> requests.Response:
        return self._session.get(
            url,
            headers=headers,
            auth=HTTPBasicAuth(login[0].encode(), login[1].encode()) if login else None,
            timeout=(CONNECT_S, CONNECT_S),
            stream=True,
            allow_redirects=False,
            verify=ca_file or True,
            proxies=get_environ_proxies(url),
        )


def _redirected(url: str, location: str, host: str) -> str:
    """Give where a redirect leads; only to the same host."""
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        ports = [each.port or _DEFAULT_PORTS.get(each.scheme) for each in (old, new)]
        is_same = (new.scheme, ports[1]) == (old.scheme, ports[0])
        is_upgrade = (old.scheme, new.scheme, *ports) == ("http", "https", 80, 443)
        if new.hostname != old.hostname or "@" in new.netloc or not (is_same or is_upgrade):
            where = f"{new.scheme}://{new.netloc.rpartition('@')[2]}"[:100]
            raise FetchError(
                f"{host}: redirects to {where!r}, which is not followed: write that address into url if it is right"
            )
        return target
    except ValueError:
        raise FetchError(f"{host}: redirects to no address: mend the address") from None


def _body(response: requests.Response, host: str) -> Fetched:
    status = response.status_code
    if status == 304:
        return Fetched(None)
    if status in (401, 403):
        raise FetchError(f"{host}: answers {status}: check username and password")
    if status != 200:
        remedy = "check the address" if status in (404, 410) else "tried again later"
        raise FetchError(f"{host}: answers {status}: {remedy}")
    pieces, size = [], 0
    for piece in response.iter_content(_PIECE):
        size += len(piece)
        if size > MOST_BYTES:
            raise FetchError(f"{host}: more than {MOST_BYTES // 2**20} MiB: let the server leave out what is over")
        pieces.append(piece)
    marks = [response.headers.get(name, "")[:200] for name in ("ETag", "Last-Modified")]
    return Fetched(b"".join(pieces), *marks)
