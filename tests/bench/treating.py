"""What call treatment costs: the time that the Gosub adds to call set-up, and the writes of what the dialplan keeps.

Both ways are dialled in turn by the same phone on the same server, INVITE to 180 or to 486. The floor of a write is the
other lamp that belongs to the user.
"""

import statistics
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack

from raw import Write, over_http, pipelined
from table import Row, amount, limited

from private_asterisk import PrivateAsterisk, SipPhone, wait_until
from private_asterisk.config import extensions
from private_asterisk.phone import Call

LIMIT_MS = 1.0
SETTLE_S = 0.02
WARM_UP = 10
RULES = {"through-1": "0170555.*|112", "emergency-1": "112", "site": "180^*86"}
DIALPLAN = """
[internal]
exten => 7001,1,Dial(PJSIP/101,30)
exten => 7101,1,Gosub(presence-treat,s,1(101))
 same => n,Goto(${PRESENCE_TREATMENT})
 same => n(ring),Dial(PJSIP/101,30)
exten => 7002,1,Set(CALLERID(num)=5${RAND(1,999999999)})
 same => n,Busy(1)
exten => 7102,1,Set(CALLERID(num)=5${RAND(1,999999999)})
 same => n,Gosub(presence-treat,s,1(102))
 same => n,Goto(${PRESENCE_TREATMENT})
 same => n(refuse),Busy(1)
exten => 7103,1,Set(CALLERID(num)=01705551)
 same => n,Gosub(presence-treat,s,1(102))
 same => n,Goto(${PRESENCE_TREATMENT})
 same => n(ring),Dial(PJSIP/101,30)
exten => 7003,1,Set(CALLERID(num)=01705551)
 same => n,Dial(PJSIP/101,30)
"""
PAIRS = {
    "a user who is available": ("7001", "7101"),
    "a user in dnd, refused": ("7002", "7102"),
    "a user in dnd, VIP caller": ("7003", "7103"),
}


def measure(version: int, calls: int, writes: int) -> Iterator[Row]:
    """Measure on one release.

    Args:
        version: Of Asterisk.
        calls: How often each number is dialled.
        writes: How many texts are written.
    """
    config = {"extensions.conf": extensions({}) + DIALPLAN}
    with PrivateAsterisk(version, config=config) as server, ExitStack() as stack:
        prepare(server)
        caller, callee = (stack.enter_context(SipPhone(user, server)) for user in ("100", "101"))
        for who, numbers in PAIRS.items():
            yield from _row(version, who, *_dial_both(server, caller, callee, numbers, calls))
        yield _cost(f"Asterisk {version}: text kept for the dialplan, by HTTP", over_http, server, writes)
        if version >= 22:
            yield _cost(f"Asterisk {version}: text kept for the dialplan, by websocket", pipelined, server, writes)


def prepare(server: PrivateAsterisk) -> None:
    """Keep what the daemon would: user 102 in do not disturb, and the rules of the site."""
    texts = RULES | {"user-102": "refuse^0^^do-not-disturb"}
    over_http(server, [_kept(name, text) for name, text in texts.items()])
    lamps = {"presence-102": "BUSY", "dnd-102": "INUSE"}
    over_http(server, [_variable(f"DEVICE_STATE(Custom:{name})", value) for name, value in lamps.items()])


def _kept(name: str, text: str) -> Write:
    return _variable(f"PRESENCE_STATE(CustomPresence:_ap-{name})", f"not_set,,{b64encode(text.encode()).decode()},e")


def _variable(function: str, value: str) -> Write:
    return "POST", "asterisk/variable", {"variable": function, "value": value}


def _dial_both(
    server: PrivateAsterisk, caller: SipPhone, callee: SipPhone, numbers: tuple[str, str], calls: int
) -> tuple[list[float], list[float]]:
    """Dial the plain number and the treated one in turn; gives milliseconds of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(-WARM_UP, calls):
        for number, found in zip(numbers, times, strict=True):
            took = _ring(caller.dial(number))
            wait_until(lambda: not _busy(server, caller, callee), 5, every_s=SETTLE_S)
            for phone in (caller, callee):
                phone.forget_calls()
            if turn >= 0:
                found.append(took * 1000)
    return times


def _ring(call: Call) -> float:
    """Wait until it rings or is refused, and give it up."""
    if not wait_until(lambda: call.ringing_at or call.ended_at, 5, every_s=0.002):
        raise RuntimeError(f"{call}: neither rings nor is refused")
    at = call.ringing_at or call.ended_at or 0.0
    if call.ringing_at is None and call.status != 486:
        raise RuntimeError(f"{call}: neither rings nor is refused")
    call.hangup()
    return at - call.sent_at


def _busy(server: PrivateAsterisk, *phones: SipPhone) -> bool:
    return any(call.ended_at is None for phone in phones for call in phone.calls) or bool(
        server.ari("GET", "channels").json()
    )


def _row(version: int, who: str, plain: list[float], treated: list[float]) -> Iterator[Row]:
    middle, floor = statistics.median(treated), statistics.median(plain)
    what = f"Asterisk {version}: call to {who}, to 180 or 486, median"
    yield Row(what, amount(middle, "ms"), f"{amount(floor, 'ms')} without the Gosub", f"{middle / floor:.2f}")
    yield limited(f"Asterisk {version}: the Gosub adds, {who}, median", middle - floor, LIMIT_MS, unit="ms")


def _cost(what: str, way: object, server: PrivateAsterisk, writes: int) -> Row:
    """Write texts of users who go to lunch, and as many lamps, one after another."""
    assert callable(way)
    text = "voicemail^1800000000^1300^digits/3"
    took = way(server, [_kept(f"user-x{number}", text) for number in range(writes)]) / writes
    floor = way(server, [_variable(f"DEVICE_STATE(Custom:x{number})", "BUSY") for number in range(writes)]) / writes
    return Row(what, f"{took * 1000:.3f} ms a write", f"{floor * 1000:.3f} ms a lamp", f"{took / floor:.2f}")
