"""A lamp that the SIP phone watches: one subscription and its NOTIFYs (RFC 6665)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from private_asterisk.agent import TIMEOUT_S, Agent, Dialog, SipError
from private_asterisk.sip import Message, Shown


@dataclass(frozen=True)
class Notify:
    """One NOTIFY: when, what, and what of it a phone shows (None without a body)."""

    at: float
    body: str
    message: Message
    shown: Shown | None

    @property
    def subscription_state(self) -> str:
        """Value of Subscription-State without its parameters."""
        return self.message.get("subscription-state").partition(";")[0]


@dataclass
class Subscription:
    """One lamp that the phone watches (RFC 6665).

    Attributes:
        status: answer to the last SUBSCRIBE.
        notifies: all NOTIFYs so far, oldest first.
    """

    agent: Agent
    number: str
    dialog: Dialog
    headers: list[tuple[str, str]]
    status: int = 0
    notifies: list[Notify] = field(default_factory=list)

    def state(self) -> Shown | None:
        """Give what the lamp shows now; None before the first NOTIFY with a body."""
        return next((each.shown for each in reversed(self.notifies) if each.shown), None)

    def wait_for(self, predicate: Callable[[Shown], object], timeout_s: float = TIMEOUT_S) -> Notify:
        """Wait for a NOTIFY that shows what is asked for; the present one counts, earlier ones do not.

        Raises:
            SipError: not in time; says what was shown instead.
        """
        begin = max(len(self.notifies) - 1, 0)

        def found() -> Notify | None:
            return next((each for each in self.notifies[begin:] if each.shown and predicate(each.shown)), None)

        if self.agent.wait(found, timeout_s) and (notify := found()):
            return notify
        seen = [each.shown for each in self.notifies[begin:]]
        what = f"{self.agent.user} watching {self.number}"
        raise SipError(f"{what}: waited {timeout_s} s, shown: {seen}", self.status)

    def refresh(self, expires_s: int = 600) -> None:
        """Subscribe again in the same dialog."""
        response = self.agent.ask(self.dialog, "SUBSCRIBE", [*self.headers, ("Expires", str(expires_s))])
        self.status = response.status
        if response.status < 300:
            self.dialog.learn(response, remote="to")

    def unsubscribe(self) -> None:
        """End the subscription; 22 then sends a last NOTIFY with the state `terminated`, 16.28 sends none."""
        self.refresh(0)
