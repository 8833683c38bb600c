"""People with phones: what tests and recordings make them do to each other.

Each is named after the endpoint of the phone, `100`; dialling is what a finger does, so that a call takes the dialplan's way.
"""

import contextlib
from collections.abc import Iterable
from typing import Self

from private_asterisk.agent import SipError
from private_asterisk.phone import Call, SipPhone
from private_asterisk.server import PrivateAsterisk, wait_until

PATIENCE_S = 10.0


class People:
    """Phones at one server; as a context manager they register, and at the end hang up and unregister.

    Attributes:
        server: The Asterisk.
        phones: By the name of their endpoint.
    """

    def __init__(self, server: PrivateAsterisk, names: Iterable[str]) -> None:
        """Make the phones; nothing registers yet."""
        self.server = server
        self.phones: dict[str, SipPhone] = {}
        self._names = tuple(names)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Register all."""
        with contextlib.ExitStack() as stack:
            for name in self._names:
                self.phones[name] = stack.enter_context(SipPhone(name, self.server))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Hang up and unregister."""
        self._stack.close()

    def __getitem__(self, name: str) -> SipPhone:
        """Give one phone."""
        return self.phones[name]

    # --- what they do

    def ring(self, caller: str, number: str, *callees: str) -> tuple[Call, ...]:
        """Dial and wait until the phones ring; gives the caller's call and those of the callees."""
        out = self.phones[caller].dial(number)
        return out, *(self.phones[callee].wait_ringing(PATIENCE_S) for callee in callees)

    def talk(self, caller: str, number: str, callee: str = "") -> tuple[Call, Call]:
        """Dial and be answered, and wait until the two hear each other; the callee is who has that number."""
        out, incoming = self.ring(caller, number, callee or number)
        incoming.answer()
        out.wait_answered()
        if not wait_until(lambda: self.is_bridged(caller), PATIENCE_S):
            raise SipError(f"{caller} and {number} are never connected")
        return out, incoming

    def enter(self, caller: str, number: str) -> Call:
        """Dial something that answers by itself."""
        return self.phones[caller].dial(number).wait_answered(PATIENCE_S)

    def ask_by_keys(self, out: Call, number: str) -> Call:
        """Press what puts the other side on hold and dials a number (features.conf); gives the call that rings there."""
        out.press("*2")
        # Its prompt takes the first digits away.
        if not wait_until(lambda: self.holds(out.phone.user), PATIENCE_S):
            raise SipError(f"{out}: *2 does not hold")
        out.press(number)
        return self.phones[number].wait_ringing(PATIENCE_S)

    def hang_up(self) -> None:
        """End whatever is up and wait until nothing is left, channels of others included."""
        for phone in self.phones.values():
            phone.forget_calls()
        for channel in self.server.ari("GET", "channels").json():
            self.server.ari("DELETE", f"channels/{channel['id']}")
        for bridge in self.server.ari("GET", "bridges").json():
            if bridge["bridge_class"] == "stasis" and bridge["bridge_type"] == "mixing":
                self.server.ari("DELETE", f"bridges/{bridge['id']}")
        if not wait_until(lambda: not self.server.ari("GET", "channels").json(), PATIENCE_S):
            raise SipError(f"channels are left: {self.server.cli('core show channels')}")

    # --- what the server says

    def channels(self, name: str) -> list[str]:
        """Give the ids of somebody's channels."""
        found = self.server.ari("GET", "channels").json()
        return [each["id"] for each in found if each["name"].rpartition("-")[0] == f"PJSIP/{name}"]

    def bridges(self, name: str) -> list[str]:
        """Give the ids of the bridges that somebody is in."""
        own = set(self.channels(name))
        return [each["id"] for each in self.server.ari("GET", "bridges").json() if own & set(each["channels"])]

    def is_bridged(self, name: str) -> bool:
        """Tell whether all of somebody's calls are connected."""
        return 0 < len(self.channels(name)) == len(self.bridges(name))

    def holds(self, name: str) -> bool:
        """Tell whether somebody has somebody else on hold."""
        bridges = self.server.ari("GET", "bridges").json()
        own = set(self.channels(name))
        held = {each for bridge in bridges if own & set(bridge["channels"]) for each in bridge["channels"]} - own
        lines = {
            each["name"].rpartition("-")[0] for each in self.server.ari("GET", "channels").json() if each["id"] in held
        }
        return any(self.server.device_state(line) == "ONHOLD" for line in lines)

    def space(self, context: str = "parkedcalls") -> str:
        """Give the number of a taken parking space."""
        first, last = {"parkedcalls": (701, 720), "secondlot": (751, 755), "shortlot": (761, 765)}[context]
        taken = [n for n in range(first, last + 1) if self.server.device_state(f"park:{n}@{context}") == "INUSE"]
        return str(taken[0])
