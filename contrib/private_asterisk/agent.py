"""The transaction layer of the SIP phone: one UDP socket, one receiving thread, retransmission and digest.

Owns sockets, timers and the one lock (`changed`). Knows nothing of calls and subscriptions: requests of others go to
`on_request`, answers to the callback of their `Exchange`; both run in the receiving thread with the lock held.
Source: RFC 3261 section 17. There is no routing: Asterisk is one hop away and records no route.
"""

import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from private_asterisk.sip import Message, authorization, parameter, uri

TIMEOUT_S = 5.0
T1_S = 0.5
GIVE_UP_S = 64 * T1_S
TICK_S = 0.1
REMEMBERED = 500
REASONS = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    302: "Moved Temporarily",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
}
REASONS |= {405: "Method Not Allowed", 487: "Request Terminated", 603: "Decline"}

Key = TypeVar("Key")
Headers = list[tuple[str, str]]
Heard = Callable[[Message, float], None]
"""Gets a message and when it came, in the receiving thread with the lock held."""


class SipError(Exception):
    """A request was refused or not answered, or a call did not come about in time.

    Attributes:
        status: the SIP status, 0 if there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the status beside the sentence."""
        super().__init__(message)
        self.status = status


@dataclass
class Dialog:
    """One dialog, or the dialog to be of a first request (RFC 3261 section 12)."""

    local: str
    remote: str
    target: str
    call_id: str = field(default_factory=lambda: secrets.token_hex(8))
    cseq: int = 0

    def learn(self, message: Message, *, remote: str) -> None:
        """Take the remote tag and target from a message of the other side."""
        self.remote = message.get(remote)
        self.target = message.contact or self.target


@dataclass
class Exchange:
    """One request with all that answers it; a challenge is answered and the request repeated.

    Attributes:
        status: the latest status, provisional ones included; 0 before any.
        response: the final response.
        sent_at, final_at: `time.monotonic()`.
    """

    dialog: Dialog
    method: str
    headers: Headers
    body: str
    on_response: Heard
    branch: str = ""
    cseq: int = 0
    status: int = 0
    response: Message | None = None
    sent_at: float = 0.0
    final_at: float = 0.0
    authorized: bool = False


@dataclass
class _Resend:
    wire: bytes
    at: float
    interval: float = T1_S
    since: float = field(default_factory=time.monotonic)


class Agent:
    """Sends requests, answers those of Asterisk, and repeats both as UDP demands."""

    def __init__(self, user: str, password: str, server_port: int, *, user_agent: str, on_request: Heard) -> None:
        """Bind the socket and start the thread."""
        self.user, self._password, self._user_agent = user, password, user_agent
        self.server = ("127.0.0.1", server_port)
        self.changed = threading.Condition(threading.RLock())
        self._on_request = on_request
        self._exchanges: dict[tuple[str, str], Exchange] = {}
        self._resends: dict[tuple[str, str], _Resend] = {}
        self._acks: OrderedDict[str, bytes] = OrderedDict()
        self._replies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(TICK_S)
        self.port = int(self._socket.getsockname()[1])
        self.contact = f"<sip:{user}@127.0.0.1:{self.port}>"
        self._open = True
        self._thread = threading.Thread(target=self._receive, name=f"sip-{user}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the socket."""
        self._open = False
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Wait until the condition holds, looked at after each datagram."""
        with self.changed:
            return bool(self.changed.wait_for(condition, timeout_s))

    @staticmethod
    def now() -> float:
        """Tell the time as all stamps do."""
        return time.monotonic()

    # -- requests of ours

    def dialog(self, to: str, *, from_user: str = "") -> Dialog:
        """Begin a dialog to be with a user part at the server."""
        host = f"{self.server[0]}:{self.server[1]}"
        local = f"<sip:{from_user or self.user}@{host}>;tag={secrets.token_hex(6)}"
        target = f"sip:{to}@{host}" if to else f"sip:{host}"
        return Dialog(local, f"<sip:{to or self.user}@{host}>", target)

    def send(
        self,
        dialog: Dialog,
        method: str,
        headers: Headers | None = None,
        body: str = "",
        on_response: Heard = lambda _message, _at: None,
    ) -> Exchange:
        """Send a request and return at once; `on_response` gets each response but challenges that are answered."""
        exchange = Exchange(dialog, method, headers or [], body, on_response)
        with self.changed:
            self._transmit(exchange)
        return exchange

    def ask(
        self, dialog: Dialog, method: str, headers: Headers | None = None, body: str = "", timeout_s: float = TIMEOUT_S
    ) -> Message:
        """Send a request and wait for the final response.

        Raises:
            SipError: no final response in time.
        """
        exchange = self.send(dialog, method, headers, body)
        if not self.wait(lambda: exchange.response, timeout_s) or exchange.response is None:
            raise SipError(f"{self.user}: no answer to {method} {dialog.target} in {timeout_s} s", exchange.status)
        return exchange.response

    def cancel(self, invite: Exchange) -> None:
        """Cancel an INVITE that has no final response: same branch, same number (RFC 3261 section 9.1)."""
        with self.changed:
            wire = self._wire(invite.dialog, "CANCEL", invite.cseq, invite.branch, [], "")
            quiet = Exchange(invite.dialog, "CANCEL", [], "", lambda _message, _at: None, branch=invite.branch)
            self._exchanges[invite.branch, "CANCEL"] = quiet
            self._repeat((invite.branch, "CANCEL"), wire)

    def _transmit(self, exchange: Exchange, credentials: tuple[str, str] | None = None) -> None:
        exchange.dialog.cseq += 1
        exchange.cseq, exchange.branch = exchange.dialog.cseq, f"z9hG4bK{secrets.token_hex(8)}"
        extra = [*exchange.headers, *([credentials] if credentials else [])]
        wire = self._wire(exchange.dialog, exchange.method, exchange.cseq, exchange.branch, extra, exchange.body)
        key = (exchange.branch, exchange.method)
        self._exchanges[key] = exchange
        exchange.sent_at = exchange.sent_at or time.monotonic()
        self._repeat(key, wire)

    def _wire(self, dialog: Dialog, method: str, cseq: int, branch: str, extra: Headers, body: str) -> bytes:
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch={branch}"),
            ("Max-Forwards", "70"),
            ("From", dialog.local),
            ("To", dialog.remote),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("User-Agent", self._user_agent),
        ]
        if not any(name == "Contact" for name, _ in extra):
            headers.append(("Contact", self.contact))
        return Message(f"{method} {dialog.target} SIP/2.0", headers + extra, body).encode()

    def _repeat(self, key: tuple[str, str], wire: bytes) -> None:
        self._socket.sendto(wire, self.server)
        self._resends[key] = _Resend(wire, time.monotonic() + T1_S)

    # -- requests of Asterisk

    def reply(self, request: Message, status: int, *, tag: str = "", body: str = "", contact: str = "") -> None:
        """Answer a request; final answers to INVITE are repeated until the ACK is there."""
        copied = [(name, value) for name, value in request.headers if name in ("via", "from", "call-id", "cseq")]
        to = request.get("to")
        to += f";tag={tag}" if tag and not parameter(to, "tag") else ""
        headers = [*copied, ("To", to), ("Contact", contact or self.contact), ("User-Agent", self._user_agent)]
        headers.append(("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER"))
        if body:
            headers.append(("Content-Type", "application/sdp"))
        wire = Message(f"SIP/2.0 {status} {REASONS.get(status, 'Other')}", headers, body).encode()
        with self.changed:
            self._remember(self._replies, (request.branch, request.method), wire)
            if request.method == "INVITE" and status >= 200:
                self._repeat((request.get("call-id"), "reply"), wire)
            else:
                self._socket.sendto(wire, self.server)

    @staticmethod
    def _remember(store: "OrderedDict[Key, bytes]", key: Key, wire: bytes) -> None:
        store[key] = wire
        while len(store) > REMEMBERED:
            store.popitem(last=False)

    # -- the receiving thread

    def _receive(self) -> None:
        while self._open:
            try:
                data = self._socket.recv(65535)
            except TimeoutError:
                data = b""
            at = time.monotonic()
            with self.changed:
                if data.strip():
                    message = Message.parse(data)
                    (self._response if message.status else self._request)(message, at)
                    self.changed.notify_all()
                self._retransmit(at)

    def _retransmit(self, now: float) -> None:
        for key, resend in list(self._resends.items()):
            if now - resend.since > GIVE_UP_S:
                del self._resends[key]
            elif now >= resend.at:
                self._socket.sendto(resend.wire, self.server)
                resend.interval = min(2 * resend.interval, 8 * T1_S)
                resend.at = now + resend.interval

    def _request(self, message: Message, at: float) -> None:
        known = self._replies.get((message.branch, message.method))
        if known is not None:
            self._socket.sendto(known, self.server)
            return
        if message.method == "ACK":
            self._resends.pop((message.get("call-id"), "reply"), None)
        self._on_request(message, at)

    def _response(self, message: Message, at: float) -> None:
        key = (message.branch, message.method)
        exchange = self._exchanges.get(key)
        if exchange is None:
            if message.status >= 200 and message.branch in self._acks:
                self._socket.sendto(self._acks[message.branch], self.server)
            return
        self._resends.pop(key, None)
        if message.status < 200:
            exchange.status = message.status
            exchange.on_response(message, at)
            return
        del self._exchanges[key]
        if message.method == "INVITE":
            self._acknowledge(exchange, message)
        if message.status in (401, 407) and not exchange.authorized:
            exchange.authorized = True
            self._transmit(exchange, self._credentials(exchange, message))
            return
        exchange.status, exchange.response, exchange.final_at = message.status, message, at
        exchange.on_response(message, at)

    def _acknowledge(self, exchange: Exchange, message: Message) -> None:
        """Send the ACK: inside the transaction for a refusal, a request of its own for a 2xx (RFC 3261 13.2.2.4)."""
        good = message.status < 300
        branch = f"z9hG4bK{secrets.token_hex(8)}" if good else exchange.branch
        dialog = exchange.dialog
        target = message.contact if good and message.contact else dialog.target
        answered = Dialog(dialog.local, message.get("to"), target, dialog.call_id)
        wire = self._wire(answered, "ACK", exchange.cseq, branch, [], "")
        self._remember(self._acks, exchange.branch, wire)
        self._socket.sendto(wire, self.server)

    def _credentials(self, exchange: Exchange, message: Message) -> tuple[str, str]:
        name = "Authorization" if message.status == 401 else "Proxy-Authorization"
        challenges = message.all("www-authenticate" if message.status == 401 else "proxy-authenticate")
        md5 = [each for each in challenges if "algorithm" not in each.lower() or "algorithm=md5" in each.lower()]
        target = uri(exchange.dialog.target)
        words = {"method": exchange.method, "target": target, "user": self.user, "password": self._password}
        return name, authorization((md5 or challenges)[0], **words)
