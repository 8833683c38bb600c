"""ARI over plain HTTP: for connecting, for slow background calls, and for servers without REST over WebSocket."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from ari_presence.ari.wire import Request, Response
from ari_presence.errors import AriAuthError, AriConnectionError, AriDecodeError, AriResponseError

CALL_TIMEOUT_S = 5.0
IDLE_S = 10.0  # Asterisk ends an idle connection after 15 s (`session_keep_alive` in http.conf)


class Rest:
    """One kept HTTP connection to one server; not for two threads at once."""

    def __init__(self, url: str, username: str, password: str, ca_file: Path | None = None) -> None:
        """Prepare a session; nothing is sent yet.

        Args:
            url: `http://host:8088`, with a path when `http.conf` has a prefix.
            username: ARI user.
            password: Its secret; sent as a header, never in a URL.
            ca_file: Certificate authority to trust; None for the system's.
        """
        self._base = url.rstrip("/") + "/ari/"
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy variable must not carry the secret elsewhere
        self._session.auth = HTTPBasicAuth(username.encode(), password.encode())
        if ca_file is not None:
            self._session.verify = str(ca_file)
        self._used = time.monotonic()
        self.where = urlsplit(url).netloc

    def call(self, request: Request, timeout_s: float = CALL_TIMEOUT_S, *, body: bool = True) -> Response:
        """Make one call; an error status is returned like any other. Without `body` that of a success is thrown away.

        Raises:
            AriConnectionError: No answer, or the server is booting (503, or 404 without a JSON body).
            AriAuthError: 401, 403, or the certificate does not verify.
        """
        now = time.monotonic()
        if now - self._used > IDLE_S:
            self._session.close()  # Asterisk may be closing the kept connection at this very moment
        self._used = now
        try:
            reply = self._session.request(
                request.method,
                self._base + request.path,
                params=list(request.query),
                data=None if request.body is None else request.body.encode(),
                headers={} if request.body is None else {"Content-Type": "application/json"},
                timeout=timeout_s,
                allow_redirects=False,
                stream=not body,
            )
            if not body and reply.ok:
                for _ in reply.iter_content(65536):  # read and forgotten, so that the connection can be used again
                    pass
                return Response(reply.status_code)
        except requests.exceptions.SSLError as error:
            if "certificate verify failed" not in str(error):  # the handshake broke off: it may be starting or ending
                raise AriConnectionError(f"{self.where}: {_cause(error)}") from None
            raise AriAuthError(f"{self.where}: the TLS certificate does not verify ({_cause(error)})") from None
        except requests.RequestException as error:
            raise AriConnectionError(f"{self.where}: {_cause(error)}") from None
        if reply.status_code in (401, 403):
            remedy = "check username and password against ari.conf" if reply.status_code == 401 else _FORBIDDEN
            raise AriAuthError(f"{self.where}: Asterisk answered {reply.status_code}: {remedy}")
        text = reply.content.decode(errors="replace")  # ARI is UTF-8; `reply.text` would search megabytes for a charset
        if reply.status_code == 503 or (reply.status_code == 404 and not text.lstrip().startswith("{")):
            raise AriConnectionError(f"{self.where}: ARI is not there (yet): answer {reply.status_code}")
        return Response(reply.status_code, text)

    def need(self, request: Request, timeout_s: float = CALL_TIMEOUT_S, *, body: bool = True) -> Response:
        """Make a call that must succeed; raises AriResponseError besides what `call` raises."""
        response = self.call(request, timeout_s, body=body)
        if not response.ok:
            raise AriResponseError(response.status, request.path, error_text(response))
        return response

    def close(self) -> None:
        """Drop the connection."""
        self._session.close()


_FORBIDDEN = "the user may not write (read_only) or its address is not allowed (ari.conf)"


def error_text(response: Response) -> str:
    """Give Asterisk's own words about an error, or nothing."""
    try:
        message = response.json()
    except AriDecodeError:
        return ""
    return str(message.get("message", "")) if isinstance(message, dict) else ""


def _cause(error: BaseException) -> str:
    """Find the plain reason at the bottom of what the HTTP library wraps."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason or error)
    for known in ("Connection refused", "timed out", "Name or service not known", "certificate verify failed"):
        if known in text:
            return known.lower()
    return text.rpartition(": ")[2].strip("')( ") or type(error).__name__
