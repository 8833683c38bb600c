"""A small real SIP phone: registers, calls, is called, holds, transfers and watches lamps.

Test and demo equipment for one private Asterisk on loopback, over UDP. All times are `time.monotonic()`, stamped when
the datagram is read, so that latency can be measured. Methods are for any thread but the receiving one.
"""

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import quote

from private_asterisk import sip
from private_asterisk.agent import TIMEOUT_S, Agent, Dialog, Exchange, SipError
from private_asterisk.config import phone_password
from private_asterisk.sip import Message, Shown
from private_asterisk.watch import Notify, Subscription

__all__ = ["Call", "Notify", "Shown", "SipError", "SipPhone", "Subscription"]

SDP = ("Content-Type", "application/sdp")
DTMF = ("Content-Type", "application/dtmf-relay")
ACCEPT = {"dialog": "application/dialog-info+xml", "presence": "application/pidf+xml"}


class Server(Protocol):
    """What a phone needs to know of a server."""

    @property
    def sip_port(self) -> int:
        """UDP port on 127.0.0.1."""


@dataclass
class Call:
    """One call, dialled or received.

    Attributes:
        number: who was dialled, or who calls.
        status: the latest SIP status; 0 before any.
        sent_at, ringing_at, answered_at, ended_at: when; None if it has not happened.
        reason: header `Reason` of the BYE or CANCEL.
        held: the other side has put this call on hold.
        transfer: the last status that a transfer told of; 0 before any.
        media_port: where Asterisk wants the audio; 0 before it said so.
    """

    phone: "SipPhone"
    dialog: Dialog
    number: str
    incoming: bool
    sent_at: float = 0.0
    status: int = 0
    ringing_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    held: bool = False
    transfer: int = 0
    invite: Message | None = None
    exchange: Exchange | None = None
    media_port: int = 0
    _version: int = 1
    _cancelled: bool = False

    def wait_ringing(self, timeout_s: float = TIMEOUT_S) -> Self:
        """Wait until the other side rings (180 or 183)."""
        return self._wait(lambda: self.ringing_at, "ring", timeout_s)

    def wait_answered(self, timeout_s: float = TIMEOUT_S) -> Self:
        """Wait until the call is answered; SipError if it is refused or not answered in time."""
        return self._wait(lambda: self.answered_at, "get an answer", timeout_s)

    def wait_ended(self, timeout_s: float = TIMEOUT_S) -> Self:
        """Wait until the call is over, refused calls included."""
        if not self.phone.agent.wait(lambda: self.ended_at is not None, timeout_s):
            raise SipError(f"{self}: still up after {timeout_s} s", self.status)
        return self

    def _wait(self, happened: Callable[[], float | None], what: str, timeout_s: float) -> Self:
        self.phone.agent.wait(lambda: happened() is not None or self.ended_at is not None, timeout_s)
        if happened() is None:
            raise SipError(f"{self}: did not {what} in {timeout_s} s", self.status)
        return self

    def __str__(self) -> str:
        """Name the call and its status."""
        way = "from" if self.incoming else "to"
        return f"call of {self.phone.user} {way} {self.number} (status {self.status})"

    def answer(self) -> Self:
        """Answer a call that rings."""
        self._reply(200, sip.session(self.phone.audio_port))
        return self

    def reject(self, status: int = 486) -> None:
        """Refuse a call that rings."""
        self._reply(status)

    def forward(self, number: str) -> None:
        """Send a call that rings to another number (302)."""
        self._reply(302, contact=f"<sip:{_user(number)}@127.0.0.1:{self.phone.agent.server[1]}>")

    def press(self, keys: str) -> None:
        """Press keys during the call, each as a SIP INFO (`application/dtmf-relay`)."""
        for key in keys:
            body = f"Signal={key}\r\nDuration=100\r\n"
            self._good(self.phone.agent.ask(self.dialog, "INFO", [DTMF], body), f"key {key}")

    def speak(self, packets: int = 10) -> None:
        """Send so many packets of silence, 20 ms each (RFC 3550): some things wait for audio, as a Local channel to go."""
        for number in range(packets):
            head = bytes([0x80, 0]) + number.to_bytes(2) + (160 * number).to_bytes(4) + bytes(4)
            self.phone.send_audio(head + b"\xff" * 160, self.media_port)
            self.phone.agent.wait(lambda: self.ended_at is not None, 0.02)

    def hangup(self) -> None:
        """End the call whatever state it is in; nothing happens if it is over."""
        if self.ended_at is not None:
            return
        if self.answered_at is None:
            self.reject() if self.incoming else self.cancel()
            return
        with contextlib.suppress(SipError):
            self.phone.agent.ask(self.dialog, "BYE", timeout_s=1)
        self.phone.ended(self)

    def cancel(self) -> None:
        """Give up a dialled call that is not answered; it ends with status 487."""
        agent = self.phone.agent
        self._cancelled = True
        # A CANCEL may only follow a provisional response: RFC 3261 section 9.1.
        if self.exchange is not None and agent.wait(lambda: self.status or self.ended_at, TIMEOUT_S):
            if self.ended_at is None and self.answered_at is None:
                agent.cancel(self.exchange)
            self.wait_ended()

    def hold(self) -> None:
        """Put the other side on hold."""
        self._renegotiate("sendonly")

    def unhold(self) -> None:
        """Take the other side back."""
        self._renegotiate("sendrecv")

    def refer(self, number: str, *, replaces: "Call | None" = None) -> None:
        """Transfer: blind to a number, or attended to where `replaces` (a second call) is connected (RFC 5589).

        Then the own leg is hung up, as phones do: when told of success, but for a blind transfer after half a second
        in any case, because into a parking lot or a silent application Asterisk sends neither NOTIFY nor BYE.

        Raises:
            SipError: refused, or no success for an attended one.
        """
        agent = self.phone.agent
        target = f"sip:{_user(number)}@127.0.0.1:{agent.server[1]}"
        if replaces is not None:
            theirs, ours = (sip.parameter(each, "tag") for each in (replaces.dialog.remote, replaces.dialog.local))
            target += "?Replaces=" + quote(f"{replaces.dialog.call_id};to-tag={theirs};from-tag={ours}", safe="")
        headers = [("Refer-To", f"<{target}>"), ("Referred-By", agent.contact)]
        patience_s = 0.5 if replaces is None else TIMEOUT_S
        for _attempt in range(20):
            self.transfer = 0
            self._good(agent.ask(self.dialog, "REFER", headers), "transfer")
            agent.wait(lambda: self.transfer >= 200, patience_s)
            # Asterisk bridges a moment after the answer; until then it refuses, and a person presses the key again.
            if self.transfer != 400 or agent.wait(lambda: self.ended_at, 0.05):
                break
        if self.transfer >= 300 or (replaces is not None and self.transfer < 200):
            raise SipError(f"{self}: transfer to {number} failed", self.transfer)
        self.hangup()

    def _renegotiate(self, direction: str) -> None:
        self._version += 1
        body = sip.session(self.phone.audio_port, version=self._version, direction=direction)
        self._good(self.phone.agent.ask(self.dialog, "INVITE", [SDP], body), direction)

    def _good(self, response: Message, what: str) -> None:
        if response.status >= 300:
            raise SipError(f"{self}: {what}: {response.start}", response.status)

    def _reply(self, status: int, body: str = "", contact: str = "") -> None:
        agent = self.phone.agent
        with agent.changed:
            if self.invite is None or self.ended_at is not None or self.answered_at is not None:
                return
            self.phone.reply_to_invite(self, status, body, contact)
            agent.changed.notify_all()

    def on_response(self, message: Message, at: float) -> None:
        """Follow a dialled call (receiving thread)."""
        self.status = message.status
        if message.status in (180, 183) and self.ringing_at is None:
            self.ringing_at = at
        elif 200 <= message.status < 300:
            self.dialog.learn(message, remote="to")
            self.media_port = sip.media_port(message.body)
            self.answered_at = at
            if self._cancelled:
                self.phone.agent.send(self.dialog, "BYE")
                self.ended_at = at
        elif message.status >= 300:
            self.ended_at = at


class SipPhone:
    """A phone; as a context manager it registers, and at the end hangs up and unregisters.

    Attributes:
        user: its endpoint.
        calls: all calls, oldest first.
        auto_answer: answer at once, or only when `Call.answer` is called.
    """

    def __init__(
        self,
        user: str,
        server: Server,
        *,
        password: str | None = None,
        user_agent: str = "private phone",
        auto_answer: bool = False,
    ) -> None:
        """Open the sockets; a User-Agent containing `Digium` gets the text of presence states."""
        self.user, self.auto_answer = user, auto_answer
        self.calls: list[Call] = []
        self._unseen: list[Call] = []
        self._subscriptions: dict[str, Subscription] = {}
        self._registered = False
        self._audio = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._audio.bind(("127.0.0.1", 0))
        self._audio.setblocking(False)
        self.audio_port = int(self._audio.getsockname()[1])
        self.agent = Agent(
            user,
            phone_password(user) if password is None else password,
            server.sip_port,
            user_agent=user_agent,
            on_request=self._on_request,
        )
        self._registration = self.agent.dialog("")

    def __enter__(self) -> Self:
        """Register."""
        try:
            self.register()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Hang up, unregister and close."""
        self.close()

    def register(self, expires_s: int = 3600) -> None:
        """Register; SipError if refused or not answered."""
        headers = [("Contact", self.agent.contact), ("Expires", str(expires_s))]
        response = self.agent.ask(self._registration, "REGISTER", headers)
        if response.status != 200:
            raise SipError(f"{self.user}: registration refused: {response.start}", response.status)
        self._registered = expires_s > 0

    def unregister(self) -> None:
        """Take the registration back."""
        self.register(0)

    def close(self) -> None:
        """Hang up, unsubscribe, unregister and close; a server that is gone is no error."""
        for call in self.calls:
            with contextlib.suppress(SipError):
                call.hangup()
        with contextlib.suppress(SipError):
            for subscription in list(self._subscriptions.values()):
                if subscription.status == 200:
                    subscription.unsubscribe()
            if self._registered:
                self.unregister()
        self.agent.close()
        self._audio.close()

    def forget_calls(self) -> None:
        """Hang up whatever is up and begin anew."""
        for call in self.calls:
            with contextlib.suppress(SipError):
                call.hangup()
        with self.agent.changed:
            self.calls.clear()
            self._unseen.clear()

    def dial(self, number: str, *, from_user: str = "") -> Call:
        """Dial and return at once; wait with the methods of the call. `from_user` forges the caller ID."""
        dialog = self.agent.dialog(_user(number), from_user=from_user)
        call = Call(self, dialog, number, incoming=False)
        with self.agent.changed:
            self.calls.append(call)
            call.exchange = self.agent.send(dialog, "INVITE", [SDP], sip.session(self.audio_port), call.on_response)
            call.sent_at = call.exchange.sent_at
        return call

    def wait_ringing(self, timeout_s: float = TIMEOUT_S) -> Call:
        """Wait for the next received call, each is given once; with `auto_answer` it is answered already."""
        if not self.agent.wait(lambda: self._unseen, timeout_s):
            raise SipError(f"{self.user}: nobody called in {timeout_s} s")
        with self.agent.changed:
            return self._unseen.pop(0)

    def subscribe(self, number: str, event: str = "dialog", accept: str = "", expires_s: int = 600) -> Subscription:
        """Watch a lamp; look at `status`: 200, or 404 where there is no such hint."""
        headers = [("Event", event), ("Accept", accept or ACCEPT.get(event, "*/*"))]
        subscription = Subscription(self.agent, number, self.agent.dialog(_user(number)), headers)
        # Known before it is sent: the first NOTIFY may overtake the 200 (RFC 6665 section 4.1.2.4).
        with self.agent.changed:
            self._subscriptions[subscription.dialog.call_id] = subscription
        subscription.refresh(expires_s)
        return subscription

    def send_audio(self, packet: bytes, port: int) -> None:
        """Send one packet of audio to a port of Asterisk."""
        self._audio.sendto(packet, ("127.0.0.1", port))

    def heard(self) -> int:
        """Count the audio packets received since this was last called (20 ms each; the kernel keeps some 250)."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._audio.recv(2048):
                count += 1
        return count

    # -- the receiving thread, with the lock held

    def _on_request(self, message: Message, at: float) -> None:
        handlers = {"INVITE": self._on_invite, "BYE": self._on_bye, "CANCEL": self._on_cancel}
        handlers["NOTIFY"] = self._on_notify
        if message.method in handlers:
            handlers[message.method](message, at)
        elif message.method != "ACK":
            self.agent.reply(message, 200 if message.method in ("OPTIONS", "INFO", "MESSAGE") else 405)

    def _call(self, message: Message) -> Call | None:
        return next((call for call in self.calls if call.dialog.call_id == message.get("call-id")), None)

    def _on_invite(self, message: Message, at: float) -> None:
        call = self._call(message)
        if call is not None and call.ended_at is None:
            call.held = "a=sendonly" in message.body or "a=inactive" in message.body
            call.dialog.target = message.contact or call.dialog.target
            direction = "recvonly" if call.held else "sendrecv"
            self.agent.reply(message, 200, body=sip.session(self.audio_port, version=2, direction=direction))
            return
        dialog = self.agent.dialog(self.user)
        dialog.call_id, tag = message.get("call-id"), sip.parameter(dialog.local, "tag")
        dialog.local = f"{message.get('to')};tag={tag}"
        dialog.learn(message, remote="from")
        number = sip.uri(message.get("from")).removeprefix("sip:").partition("@")[0]
        call = Call(self, dialog, number, incoming=True, sent_at=at, invite=message)
        call.media_port = sip.media_port(message.body)
        self.calls.append(call)
        self._unseen.append(call)
        self.reply_to_invite(call, 180)
        if self.auto_answer:
            self.reply_to_invite(call, 200, sip.session(self.audio_port))

    def reply_to_invite(self, call: Call, status: int, body: str = "", contact: str = "") -> None:
        """Answer the INVITE of a received call and keep the score (lock held)."""
        if call.invite is None:
            return
        tag = sip.parameter(call.dialog.local, "tag")
        self.agent.reply(call.invite, status, tag=tag, body=body, contact=contact)
        at = self.agent.now()
        call.status = status
        if status == 180:
            call.ringing_at = at
        elif status == 200:
            call.answered_at = at
        else:
            call.ended_at = at

    def ended(self, call: Call) -> None:
        """Note that a call is over."""
        with self.agent.changed:
            call.ended_at = call.ended_at or self.agent.now()
            self.agent.changed.notify_all()

    def _on_bye(self, message: Message, at: float) -> None:
        call = self._call(message)
        self.agent.reply(message, 481 if call is None else 200)
        if call is not None:
            call.reason, call.ended_at = message.get("reason"), call.ended_at or at

    def _on_cancel(self, message: Message, _at: float) -> None:
        call = self._call(message)
        self.agent.reply(message, 481 if call is None else 200)
        if call is not None and call.answered_at is None and call.ended_at is None:
            call.reason = message.get("reason")
            self.reply_to_invite(call, 487)

    def _on_notify(self, message: Message, at: float) -> None:
        subscription = self._subscriptions.get(message.get("call-id"))
        call = self._call(message)
        if subscription is not None:
            self.agent.reply(message, 200)
            subscription.notifies.append(Notify(at, message.body, message, sip.shown(message.body)))
        elif call is not None and message.get("event").startswith("refer"):
            self.agent.reply(message, 200)
            call.transfer = Message.parse(message.body.encode()).status
        else:
            self.agent.reply(message, 481)


def _user(number: str) -> str:
    """Escape what may not stand in the user part of a SIP URI (RFC 3261 section 25.1)."""
    return quote(number, safe="*&=+$,;?/-_.!~'()")
