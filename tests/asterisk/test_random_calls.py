"""People who call, hold, transfer, park and confer at random: whenever all is quiet, the daemon says what Asterisk says.

A run is given by its number. One that failed comes again, as far as threads and packets allow, with its number in
`ARI_PRESENCE_RUNS=7`; `ARI_PRESENCE_RUNS=100-199` tries others.
"""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from office import PATIENCE_S, USERS, Office, start

from private_asterisk import Call, PrivateAsterisk, wait_until
from private_asterisk.agent import SipError

FIRST, _, LAST = os.environ.get("ARI_PRESENCE_RUNS", "1-4").partition("-")
RUNS = range(int(FIRST), int(LAST or FIRST) + 1)
STEPS = 40
CALLS_AT_ONCE = 3
LINES = tuple(line for lines in USERS.values() for line in lines)
PEOPLE = (*LINES, "trunk")
INTERNAL = ("100", "101", "102", "103", "62101", "63102", "610", "611", "600", "0301234")
VOICES = ("9001", "9003", "9003", "9006", "9007", "9000")
LOTS = ("700", "750")


class Chance:
    """People at random.

    Attributes:
        done: What was done so far, to be read when something goes wrong.
    """

    def __init__(self, office: Office, run: int) -> None:
        """Begin with everybody idle."""
        self.office = office
        self.done: list[str] = []
        self._dice = random.Random(run)
        self._deeds: list[Callable[[], str]] = [
            self._dial,
            self._dial,
            self._dial,
            self._answer,
            self._answer,
            self._answer,
            self._reject,
            self._forward,
            self._hang_up,
            self._hold,
            self._hold,
            self._unhold,
            self._send_away,
            self._connect,
            self._park,
            self._retrieve,
            self._take_over,
        ]

    def act(self) -> None:
        """Do something that can be done now; what fails because the other side was faster, is done all the same."""
        deed = ""
        while not deed:
            with contextlib.suppress(SipError, IndexError):
                deed = self._dice.choice(self._deeds)()
        self.done.append(deed)

    # --- deeds: each says what it did, or raises IndexError when there is nothing to do it with

    def _dial(self) -> str:
        who = self._dice.choice([name for name in PEOPLE if len(self._calls(name)) < CALLS_AT_ONCE])
        number = self._dice.choice(INTERNAL if self._dice.random() < 0.7 else VOICES)
        if who == "trunk":
            number = self._dice.choice(INTERNAL[:4])
        self.office[who].dial(number)
        return f"{who} dials {number}"

    def _answer(self) -> str:
        return self._do(self._ringing(), "answer", Call.answer)

    def _reject(self) -> str:
        return self._do(self._ringing(), "reject", Call.reject)

    def _forward(self) -> str:
        return self._do(self._ringing(), "forward", lambda call: call.forward(self._dice.choice(("101", "102", "103"))))

    def _hang_up(self) -> str:
        deed = self._do([call for name in PEOPLE for call in self._calls(name)], "hang up", Call.hangup)
        # 22.10.1 can crash when somebody parks a call whose other side has hung up in the same millisecond.
        wait_until(self._is_settled, PATIENCE_S)
        return deed

    def _is_settled(self) -> bool:
        """Tell whether the phones know of all calls that are over."""
        channels = [each["name"].rpartition("-")[0] for each in self.office.server.ari("GET", "channels").json()]
        return all(channels.count(f"PJSIP/{name}") >= len(self._calls(name)) for name in PEOPLE)

    def _hold(self) -> str:
        return self._do(self._talking(), "hold", Call.hold)

    def _unhold(self) -> str:
        return self._do(self._talking(), "unhold", Call.unhold)

    def _send_away(self) -> str:
        number = self._dice.choice(("100", "101", "102", "103", "9003", "62103"))
        return self._do(self._talking(), f"send to {number}", lambda call: call.refer(number))

    def _park(self) -> str:
        lot = self._dice.choice(LOTS)
        return self._do(self._talking(), f"park in {lot}", lambda call: call.refer(lot))

    def _connect(self) -> str:
        pairs = [
            (one, other)
            for name in PEOPLE
            for one in self._calls(name, talking=True)
            for other in self._calls(name, talking=True)
            if one is not other
        ]
        one, other = pairs[self._dice.randrange(len(pairs)) if pairs else 0]
        with contextlib.suppress(SipError):
            one.refer(other.number, replaces=other)
        return f"{one}: connect with {other}"

    def _retrieve(self) -> str:
        who = self._dice.choice([name for name in LINES if len(self._calls(name)) < CALLS_AT_ONCE])
        space = self.office.space(self._dice.choice(("parkedcalls", "secondlot")))
        self.office[who].dial(space)
        return f"{who} takes {space}"

    def _take_over(self) -> str:
        whose = self._ringing()[0].phone.user
        who = self._dice.choice([name for name in LINES if name != whose and len(self._calls(name)) < CALLS_AT_ONCE])
        self.office[who].dial(f"67{whose}")
        return f"{who} takes what rings at {whose}"

    def _do(self, calls: list[Call], what: str, deed: Callable[[Call], object]) -> str:
        call = calls[self._dice.randrange(len(calls)) if calls else 0]
        with contextlib.suppress(SipError):
            deed(call)
        return f"{call}: {what}"

    def _calls(self, name: str, *, talking: bool = False) -> list[Call]:
        calls = [call for call in self.office[name].calls if call.ended_at is None]
        return [call for call in calls if call.answered_at is not None] if talking else calls

    def _ringing(self) -> list[Call]:
        calls = [call for name in PEOPLE for call in self._calls(name)]
        return [call for call in calls if call.incoming and call.answered_at is None]

    def _talking(self) -> list[Call]:
        return [call for name in PEOPLE for call in self._calls(name, talking=True)]


def contradictions(office: Office) -> list[str]:
    """Say in what the daemon and Asterisk differ: states of lines, and who talks with whom."""
    shown = {user: office.daemon.show(user) for user in USERS}
    lines = {line: office.server.device_state(f"PJSIP/{line}") for line in LINES}
    found = [f"{user}: {problem}" for user in USERS if (problem := _line_problem(shown[user], lines, user))]
    channels = {each["id"]: each["name"] for each in office.server.ari("GET", "channels").json()}
    for bridge in office.server.ari("GET", "bridges").json():
        members = [channels.get(each, "") for each in bridge["channels"]]
        alone = [name for name in members if [_user(each) for each in channels.values()].count(_user(name)) == 1]
        if bridge["bridge_class"] == "basic" and len(members) == 2:
            found += [problem for name in alone if (problem := _company_problem(shown, name, members))]
        if bridge["creator"] == "ConfBridge":
            found += [problem for name in alone if (problem := _room_problem(shown, name, bridge["name"]))]
    return found


def _line_problem(shown: dict[str, Any], lines: dict[str, str], user: str) -> str:
    """Compare one user with the lines; with several lines the user may show any of them."""
    own = [lines[line] for line in USERS[user] if lines[line] not in ("NOT_INUSE", "UNAVAILABLE")]
    state, hold = shown["state"], (shown.get("call") or {}).get("hold")
    allowed = {"available"} if not own else set()
    for value in own:
        allowed |= {
            "RINGING": {"ringing"},
            # Both may hold; a phone that rings is held too, when a caller who was sent here holds.
            "ONHOLD": {"held", "holding", "ringing"},
            "INUSE": {"on-call", "in-conference", "holding", "held", "parked"},
            "BUSY": {"on-call"},
            "RINGINUSE": {"on-call", "in-conference", "ringing"},
        }[value]
    said = (hold or "held") if state == "on-hold" else state  # Asterisk alone may know of a hold, of one that rings
    return "" if said in allowed else f"{state} {shown['message']} (hold {hold}) while the lines are {own}"


def _company_problem(shown: dict[str, Any], name: str, members: list[str]) -> str:
    """Compare one of two who are alone in a bridge, and has no other call, with what is said of the company."""
    user, company = _user(name), next((_user(each) for each in members if each != name), None)
    said = [each["user"] for each in (shown[user].get("call") or {}).get("with", [])] if user else []
    return "" if None in (user, company) or said == [company] else f"{user} talks with {company}, not with {said}"


def _room_problem(shown: dict[str, Any], name: str, room: str) -> str:
    """Compare somebody in a conference room, who has no other call, with what is said."""
    user = _user(name)
    said = (shown[user]["state"], (shown[user].get("call") or {}).get("room")) if user else None
    right = said is None or (said[0] in ("in-conference", "on-hold") and said[1] == room)
    return "" if right else f"{user} is in the room {room}, not {said}"


def _user(channel: str) -> str | None:
    line = channel.removeprefix("PJSIP/").rpartition("-")[0]
    return next((user for user, lines in USERS.items() if line in lines), None)


@pytest.fixture(scope="module")
def rooms(quick: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run one daemon and one set of phones for all runs."""
    with start(tmp_path_factory.mktemp("random"), quick) as daemon, Office(quick, daemon).opened() as office:
        yield office
        assert daemon.stop() == 0, daemon.log()[-3000:]


@pytest.fixture
def office(rooms: Office) -> Iterator[Office]:
    """Begin and end with everybody idle."""
    rooms.expect()
    rooms.joined.clear()
    yield rooms
    rooms.hang_up()


@pytest.mark.parametrize("run", RUNS)
def test_random_calls_leave_daemon_and_asterisk_agreed(office: Office, run: int) -> None:
    """After every few deeds, when it has settled, everybody is what Asterisk says; in the end nothing is left."""
    chance = Chance(office, run)
    dice = random.Random(run)
    for _ in range(STEPS):
        chance.act()
        if dice.random() < 0.5:
            agreed = wait_until(lambda: not contradictions(office), PATIENCE_S, every_s=0.05)
            trouble = [] if agreed else contradictions(office)
            assert not trouble, "\n".join([*chance.done, *trouble, office.server.cli("core show channels concise")])
    office.hang_up()
    office.expect()
    assert office.joined == [], chance.done
