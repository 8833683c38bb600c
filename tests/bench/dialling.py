"""Dial to lamp: from the INVITE of a feature code to the NOTIFY at a watching phone.

The floor is a dialplan extension that plays the same role itself: it writes one lamp with `Set(DEVICE_STATE(...))`,
answers and plays the same prompt. Both are dialled in turn, by the same phones, on the same server. The lamps are hints
that name nothing but the device written, so no NOTIFY comes from the call itself.
"""

import select
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from table import Row, compared

from private_asterisk import PrivateAsterisk, SipPhone, wait_until
from private_asterisk.config import extensions
from private_asterisk.presence import Daemon
from private_asterisk.watch import Subscription

CALLERS = ("100", "101", "102", "103")
LIMITS = {22: (1.5, 2.0), 16: (2.5, None)}
SETTLE_S = 0.05
LISTEN_EVERY = 5  # audio takes half a second in a plain dialplan: Answer() waits for the caller's
ON, OFF = ("*78", "7801"), ("*79", "7901")
NATIVE = """
[internal]
exten => 7801,1,Set(DEVICE_STATE(Custom:native-${CHANNEL(endpoint)})=BUSY)
 same => n,Answer()
 same => n,Playback(do-not-disturb&activated)
 same => n,Hangup()
exten => 7901,1,Set(DEVICE_STATE(Custom:native-${CHANNEL(endpoint)})=INVALID)
 same => n,Answer()
 same => n,Playback(do-not-disturb&de-activated)
 same => n,Hangup()
"""


class TimedPhone(SipPhone):
    """A phone that tells when the audio of its call began."""

    def wait_audio(self, timeout_s: float = 5.0) -> float:
        """Wait for the next audio packet and give its time (`time.monotonic`).

        Raises:
            TimeoutError: None came.
        """
        if not select.select([self._audio], [], [], timeout_s)[0]:
            raise TimeoutError(f"{self.user} heard nothing for {timeout_s} s")
        return time.monotonic()


@dataclass
class Times:
    """Seconds from the INVITE, to the NOTIFY, and, for some dials, to the first audio of the confirmation."""

    notify: list[float] = field(default_factory=list)
    audio: list[float] = field(default_factory=list)


def measure(version: int, dials: int) -> Iterator[Row]:
    """Dial both ways in turn and compare.

    Args:
        version: Of Asterisk.
        dials: How often each way is dialled.
    """
    hints = {f"lamp-{user}": f"Custom:presence-{user}" for user in CALLERS}
    hints |= {f"native-{user}": f"Custom:native-{user}" for user in CALLERS}
    config = {"extensions.conf": extensions(hints) + NATIVE}
    with PrivateAsterisk(version, config=config) as server, Daemon(server) as daemon, ExitStack() as stack:
        daemon.wait_ready()
        watcher = stack.enter_context(SipPhone("109", server))
        lamps = {(way, user): watcher.subscribe(f"{way}-{user}") for way in ("lamp", "native") for user in CALLERS}
        callers = [stack.enter_context(TimedPhone(user, server)) for user in CALLERS]
        ours, native = _dial_all(callers, lamps, dials)
    yield from _rows(version, ours, native)


def _dial_all(callers: list[TimedPhone], lamps: dict[tuple[str, str], Subscription], dials: int) -> tuple[Times, Times]:
    ours, native = Times(), Times()
    for number in range(-len(callers) * 2, dials):  # the first ones warm up
        caller = callers[number % len(callers)]
        is_on = (number // len(callers)) % 2 == 0
        codes = ON if is_on else OFF
        for way, code, times in (("lamp", codes[0], ours), ("native", codes[1], native)):
            shown = "confirmed" if is_on else "terminated"
            listen = number % LISTEN_EVERY == 0
            notify, audio = _dial(caller, code, lamps[way, caller.user], shown, listen=listen)
            if number >= 0:
                times.notify.append(notify)
                times.audio += [audio] if listen else []
    return ours, native


def _dial(caller: TimedPhone, code: str, lamp: Subscription, shown: str, *, listen: bool) -> tuple[float, float]:
    caller.heard()
    call = caller.dial(code)
    notify = lamp.wait_for(lambda now: now.state == shown)
    call.wait_answered()
    audio = caller.wait_audio() if listen else 0.0
    call.hangup()
    wait_until(lambda: False, SETTLE_S)  # the end of one call is not part of the next one's time
    if notify.at < call.sent_at:
        raise RuntimeError(f"the lamp of {caller.user} showed {shown} before {code} was dialled")
    return notify.at - call.sent_at, audio - call.sent_at


def _rows(version: int, ours: Times, native: Times) -> Iterator[Row]:
    median_limit, tail_limit = LIMITS[version]
    name = f"Asterisk {version}: *78 to NOTIFY"
    middle, floor = (_ms(statistics.median(times.notify)) for times in (ours, native))
    yield compared(f"{name}, median", middle, floor, median_limit, unit="ms", floor_name="dialplan alone")
    tail, floor = (_ms(statistics.quantiles(times.notify, n=100)[98]) for times in (ours, native))
    if tail_limit is not None:
        yield compared(f"{name}, p99", tail, floor, tail_limit, unit="ms", floor_name="dialplan alone")
    else:
        yield Row(f"{name}, p99", f"{tail:.1f} ms", f"{floor:.1f} ms dialplan alone", f"{tail / floor:.2f}")
    heard = [_ms(statistics.median(times.audio)) for times in (ours, native)]
    what = f"Asterisk {version}: *78 to confirmation (first audio), median"
    yield Row(what, f"{heard[0]:.1f} ms", f"{heard[1]:.1f} ms dialplan alone", f"{heard[0] / heard[1]:.2f}")


def _ms(seconds: float) -> float:
    return seconds * 1000
