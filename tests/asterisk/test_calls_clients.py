"""Calls by SIP programs that are not ours: baresip calls, holds, parks and confers, sipp sits in a conference."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from daemon import Daemon, eventually
from office import start
from test_clients import ACK, SESSION, request, send

from private_asterisk import PrivateAsterisk, Tree
from private_asterisk.clients import Baresip, run_sipp

BYE = ACK.replace("ACK", "BYE").replace("CSeq: 2", "CSeq: 3")


@pytest.fixture(scope="module")
def daemon(quick: PrivateAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for all tests here."""
    with start(tmp_path_factory.mktemp("calls-clients"), quick) as daemon:
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture
def pair(daemon: Daemon, clients: Tree, tmp_path: Path) -> Iterator[tuple[Baresip, Baresip]]:
    """Give two softphones of two people, 104 and 105."""
    with ExitStack() as stack:
        phones = [stack.enter_context(Baresip(clients, who, daemon.server, tmp_path / who)) for who in ("104", "105")]
        shown(daemon, u104="available", u105="available")
        yield phones[0], phones[1]


def shown(daemon: Daemon, **wanted: str) -> None:
    """Wait until people are in these states, message included."""

    def now() -> dict[str, str]:
        people = {user: daemon.show(user.removeprefix("u")) for user in wanted}
        return {user: " ".join(filter(None, (found["state"], found["message"]))) for user, found in people.items()}

    eventually(lambda: now() == wanted, f"{wanted}", 8)


def talk(daemon: Daemon, caller: Baresip, callee: Baresip) -> None:
    """Call and be answered."""
    caller.dial(callee.user)
    shown(daemon, u104="on-call with 105", u105="ringing from 104")
    callee.command("accept")
    shown(daemon, u104="on-call with 105", u105="on-call with 104")


def test_baresip_calls_holds_and_hangs_up(daemon: Daemon, pair: tuple[Baresip, Baresip]) -> None:
    """Ringing, on call, held by the one and then by the other, over."""
    caller, callee = pair
    talk(daemon, caller, callee)
    caller.command("hold")
    shown(daemon, u104="on-hold holding 105", u105="on-hold held by 104")
    caller.command("resume")
    shown(daemon, u104="on-call with 105", u105="on-call with 104")
    callee.command("hold")
    shown(daemon, u104="on-hold held by 105", u105="on-hold holding 104")
    callee.command("resume")
    shown(daemon, u104="on-call with 105", u105="on-call with 104")
    callee.hangup()
    shown(daemon, u104="available", u105="available")


def test_baresip_parks_a_call_and_takes_it_back(daemon: Daemon, pair: tuple[Baresip, Baresip]) -> None:
    """Transferred to the lot's extension: who waits is on hold, who parked is free, and takes the call back."""
    caller, callee = pair
    talk(daemon, caller, callee)
    callee.command("transfer", f"sip:700@127.0.0.1:{daemon.server.sip_port}")
    eventually(lambda: daemon.state("104") == "on-hold", "parked")
    callee.hangup()
    shown(daemon, u105="available")
    taken = [n for n in range(701, 721) if daemon.server.device_state(f"park:{n}@parkedcalls") == "INUSE"]
    callee.dial(str(taken[0]))
    shown(daemon, u104="on-call with 105", u105="on-call with 104")


def test_baresip_and_sipp_meet_in_a_conference(
    daemon: Daemon, pair: tuple[Baresip, Baresip], clients: Tree, tmp_path: Path
) -> None:
    """Three in the room; sipp has no registration, and is in the conference all the same, then offline."""
    for phone in pair:
        phone.dial("9003")
    scenario = stay("106", seconds=3)
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(run_sipp, clients, scenario, daemon.server, tmp_path, service="9003")
        room = "in-conference in room room"
        shown(daemon, u104=room, u105=room, u106=room)
        meeting.result(30)
    shown(daemon, u104=room, u105=room, u106="offline")


def stay(user: str, *, seconds: int) -> str:
    """Make the scenario of one call to `[service]` that is answered, lasts so long, and is ended with BYE."""
    refused = request(user, "INVITE", SESSION)
    accepted = request(user, "INVITE", SESSION, cseq=2, credentials=True)
    first_ack = ACK.replace("[next_url]", "sip:[service]@[remote_ip]:[remote_port]").replace("2 ACK", "1 ACK")
    steps = [send(refused), '<recv response="401" auth="true"/>', f"<send><![CDATA[\n{first_ack}\n\n]]></send>"]
    steps += [send(accepted), '<recv response="100" optional="true"/>', '<recv response="183" optional="true"/>']
    steps += ['<recv response="200" rrs="true"/>', f"<send><![CDATA[\n{ACK}\n\n]]></send>"]
    steps += [f'<pause milliseconds="{seconds * 1000}"/>', send(BYE), '<recv response="200"/>']
    head = '<?xml version="1.0"?><!DOCTYPE scenario SYSTEM "sipp.dtd"><scenario name="stay">'
    return head + "\n".join(steps) + "</scenario>"
