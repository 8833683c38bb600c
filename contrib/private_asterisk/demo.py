"""`make demo`: a private Asterisk with the sample files, the daemon, a phone that dials and one that watches.

Every step prints what was done and what the watching phone shows then, as Asterisk sent it. Afterwards everything stays
up to be tried, until Ctrl-C; with `--once` it ends by itself, exit 0 if every step showed what it should, else 1.
"""

import argparse
import contextlib
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

from private_asterisk.packages import PackagesError, find_asterisk
from private_asterisk.phone import Call, Shown, SipError, SipPhone, Subscription
from private_asterisk.presence import Daemon
from private_asterisk.server import PrivateAsterisk, StartError, wait_until

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "contrib/asterisk"
DIALPLAN = ROOT / "dialplan"
CALLER, WATCHER, GUESTS = "100", "101", ("102", "103")
DIGIUM = "Digium demo"  # only a User-Agent with this word gets the text of a presence state from Asterisk
STEP_TIMEOUT_S = 10.0
LINE = "{:<44} {:<10} {:<9} {:<14} {}"
HEAD = LINE.format("", "lamp 100", "*842100", "note", "text")
CALL_LINE = "{:<44} {:<12} {:<12} {}"
CALL_HEAD = CALL_LINE.format("", "whole-100", "group-sales", "parked-100")
PARK = "700"
ACCOUNT = """
[{name}](presence-phone)
auth={name}
aors={name}
[{name}]
type=auth
auth_type=userpass
username={name}
password=CHANGE-ME
[{name}]
type=aor
max_contacts=1
remove_existing=yes
"""
TRANSPORT = """
[{kind}]
type=transport
protocol={kind}
bind=127.0.0.1:{port}
"""
USERS = """
[[user]]
id = "100"
name = "Alice Example"
endpoints = ["PJSIP/100", "PJSIP/100-mobile"]
groups = ["sales"]
"""
HOURS_LEFT_S = 4
OFFICE = """
[[schedule]]
name = "office"
all = true
hours = {{ mon-sun = "{begin:%H:%M:%S}-{end:%H:%M:%S}" }}
outside = "out"
"""
AGI_CODE = "771"  # of contrib/asterisk/extensions.conf: AGI(agi://.../toggle/lunch/45)
BUSY_HERE = 486


class SampleAsterisk(PrivateAsterisk):
    """A private Asterisk whose ari.conf, http.conf, pjsip.conf and extensions.conf are the samples of `contrib/`.

    Passwords and ports are filled in, transports and the accounts of the demo are added; nothing else is changed.
    """

    def __init__(self) -> None:
        """Choose the password of the phones and the port of AGI."""
        self.phone_password = secrets.token_hex(4)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.agi_port = int(free.getsockname()[1])
        super().__init__(22)

    def _write_all(self) -> None:
        super()._write_all()
        texts = {
            name: (SAMPLES / name).read_text() for name in ("ari.conf", "http.conf", "pjsip.conf", "extensions.conf")
        }
        texts |= {path.name: path.read_text() for path in DIALPLAN.glob("*.conf")}
        for name, key, value in (
            ("http", "bindport", self.http_port),
            ("presence-globals", "PRESENCE_AGI_PORT", self.agi_port),
        ):
            texts[f"{name}.conf"] = re.sub(rf"(?m)^{key}=.*", f"{key}={value}", texts[f"{name}.conf"])
        texts["ari.conf"] = texts["ari.conf"].replace("CHANGE-ME", self.ari_password)
        texts["extensions.conf"] = texts["extensions.conf"].replace(";include => parkedcalls", "include => parkedcalls")
        texts["pjsip.conf"] = self._pjsip(texts["pjsip.conf"])
        for name, text in texts.items():
            (self.folder / "etc" / name).write_text(text)

    def _pjsip(self, sample: str) -> str:
        local = "type=endpoint\nmedia_address=127.0.0.1\nbind_rtp_to_media_address=yes\n"
        sample = sample.replace("[presence-phone](!)\ntype=endpoint\n", f"[presence-phone](!)\n{local}")
        transports = "".join(TRANSPORT.format(kind=kind, port=self.sip_port) for kind in ("udp", "tcp"))
        accounts = "".join(ACCOUNT.format(name=name) for name in (WATCHER, *GUESTS))
        return transports + (sample + accounts).replace("CHANGE-ME", self.phone_password)


@dataclass(frozen=True)
class Lamps:
    """What the watching phone shows: the user's lamp, the key lamp of one state, and the presence document."""

    lamp: Shown
    key: Shown
    text: Shown

    @property
    def words(self) -> str:
        """Join what a Digium phone shows: type, subtype, message."""
        return " ".join(filter(None, (self.text.presence, self.text.subtype, self.text.message)))

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Give the columns of the transcript."""
        return _lit(self.lamp), _lit(self.key), self.text.note, self.words


@dataclass(frozen=True)
class Look:
    """What a step must show; `words` is the beginning of the text."""

    lamp: str
    key: str
    note: str
    words: str

    def fits(self, now: Lamps) -> bool:
        """Compare."""
        return now.columns[:3] == (self.lamp, self.key, self.note) and now.words.startswith(self.words)


OFF = Look("off", "off", "Ready", "available")
DND = Look("on", "on", "On the phone", "dnd")  # Asterisk's note of BUSY; which kind of busy stands in the text
LUNCH = Look("on, hold", "off", "On hold", "away lunch until ")
OUT = Look("on, hold", "off", "On hold", "xa until ")
MEETING = Look("on", "off", "On the phone", "dnd meeting Board room")


def _lit(shown: Shown) -> str:
    if shown.state == "early":
        return "flashing"
    if shown.state != "confirmed":
        return "off"
    return "on, hold" if shown.hold else "on"


def _columns(lamps: Sequence[Subscription]) -> tuple[str, ...]:
    states = [lamp.state() for lamp in lamps]
    return tuple(_lit(state) if state is not None else "?" for state in states)


class Demo:
    """The scene: a server, the daemon and two phones; every step is checked."""

    def __init__(self, server: SampleAsterisk, daemon: Daemon, caller: SipPhone, watcher: SipPhone) -> None:
        """Begin to watch."""
        self.server, self.daemon, self.caller, self.watcher = server, daemon, caller, watcher
        self.failures = 0
        self._lamps: list[Subscription] = []
        self._lamp = watcher.subscribe(CALLER)
        self._key = watcher.subscribe(f"*842{CALLER}")
        self._text = watcher.subscribe(CALLER, event="presence")

    def shown(self) -> Lamps | None:
        """Give what the watcher shows now; None before the first NOTIFYs."""
        lamp, key, text = (each.state() for each in (self._lamp, self._key, self._text))
        return Lamps(lamp, key, text) if lamp and key and text else None

    def step(self, what: str, expected: Look, act: Callable[[], object] = lambda: None) -> None:
        """Do something, wait until the watcher shows what is expected, and print it."""
        problem = ""
        try:
            act()
        except (SipError, StartError, RuntimeError) as error:
            problem = str(error)
        self.watcher.agent.wait(lambda: (now := self.shown()) is not None and expected.fits(now), STEP_TIMEOUT_S)
        now = self.shown()
        if now is None or not expected.fits(now):
            problem = problem or "not what it should show"
        columns = now.columns if now else ("?", "?", "?", "?")
        print(LINE.format(what, *columns).rstrip() + (f"   <-- FAILED: {problem}" if problem else ""), flush=True)
        self.failures += bool(problem)

    def dial(self, code: str) -> None:
        """Dial a code and listen to the prompt until Asterisk hangs up."""
        self.caller.dial(code).wait_answered().wait_ended(STEP_TIMEOUT_S)

    def dialled(self, code: str, meaning: str, expected: Look) -> None:
        """Make the step of one dialled code."""
        self.step(f"{CALLER} dials {code:<9} {meaning}", expected, lambda: self.dial(code))

    def command(self, *arguments: str) -> str:
        """Run `ari-presence` and give what it prints; RuntimeError if it fails."""
        done = self.daemon.command(*arguments)
        if done.returncode:
            raise RuntimeError(f"ari-presence {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def restart_asterisk(self) -> None:
        """Start Asterisk anew; it knows its subscribers again from its own database."""
        before = self.daemon.connected_at()
        seen = [len(each.notifies) for each in (self._lamp, self._key, self._text)]
        self.server.restart()
        wait_until(lambda: self.daemon.connected_at() > before, STEP_TIMEOUT_S)
        self.daemon.wait_ready(STEP_TIMEOUT_S)
        for phone in (self.caller, self.watcher):
            phone.register()
        for each, count in zip((self._lamp, self._key, self._text), seen, strict=True):
            self.watcher.agent.wait(lambda each=each, count=count: len(each.notifies) > count, 2)  # type: ignore[misc]

    def play(self) -> None:
        """Go through all steps."""
        print(
            f"\n{WATCHER} watches {CALLER} (lamp, note, text) and one key, *842{CALLER}\n\n{HEAD}\n{'-' * (len(HEAD) + 20)}"
        )
        self.step("(at the beginning)", OFF)
        self.dialled("*78", "do not disturb", DND)
        self.dialled("*79", "and off again", OFF)
        self.dialled("*843*45", "lunch for 45 minutes", LUNCH)
        self.dialled(f"*842{CALLER}", "the key: do not disturb", DND)
        self.dialled(f"*842{CALLER}", "the key again: off", OFF)
        self._by_command()
        self._by_the_clock()
        self._without_daemon()
        self._restarted()

    def _by_command(self) -> None:
        words = ("set", CALLER, "meeting", "--message", "Board room")
        self.step(f"ari-presence set {CALLER} meeting --message ...", MEETING, lambda: self.command(*words))
        self.step(f"ari-presence clear {CALLER}", OFF, lambda: self.command("clear", CALLER))

    def _by_the_clock(self) -> None:
        now = datetime.now()
        begin, end = now - timedelta(hours=1), now + timedelta(seconds=HOURS_LEFT_S)
        self.daemon.configure(USERS + OFFICE.format(begin=begin, end=end))
        self.step(f"[[schedule]] hours until {end:%H:%M:%S}, reload", OFF, lambda: self.command("reload"))
        self.step("the hours end       out of office", OUT)
        self.step(f"ari-presence set {CALLER} available", OFF, lambda: self.command("set", CALLER, "available"))
        self.daemon.configure(USERS)
        self.command("reload")
        self.command("clear", CALLER)

    def _without_daemon(self) -> None:
        self.step("daemon stopped", OFF, self.daemon.stop)
        self.dialled("*78", "by the dialplan alone", DND)
        self.step("daemon started", DND, self._start_daemon)
        user = self.daemon.ask("GET", f"/users/{CALLER}")
        print(f"  the daemon has adopted it: {user['label']}, set by {user['source']}")

    def _start_daemon(self) -> None:
        self.daemon.start()
        adopted = wait_until(lambda: self.daemon.ask("GET", f"/users/{CALLER}")["state"] == "dnd", STEP_TIMEOUT_S)
        if not adopted:
            raise RuntimeError("what was dialled meanwhile was not adopted")
        self.daemon.wait_ready()

    def _restarted(self) -> None:
        self.dialled("*843*45", "lunch for 45 minutes", LUNCH)
        self.step("Asterisk restarted", LUNCH, self.restart_asterisk)
        self.dialled("*840", "back to available", OFF)

    def play_calls(self, guest: SipPhone) -> None:
        """Go through calls: what the person, the group and the parked call show, and who gets through."""
        self._lamps = [self.watcher.subscribe(number) for number in ("whole-100", "group-sales", "parked-100")]
        print(f"\n{WATCHER} watches the person 100, the group of 100, and the calls that 100 parked\n\n{CALL_HEAD}")
        print("-" * (len(CALL_HEAD) + 6))
        self._parked(guest)
        self._treated(guest)

    def _call_step(self, what: str, act: Callable[[], object], *wanted: str) -> None:
        problem = ""
        try:
            act()
        except (SipError, RuntimeError) as error:
            problem = str(error)
        except IndexError:
            problem = "there is no such call"
        self.watcher.agent.wait(lambda: _columns(self._lamps) == wanted, STEP_TIMEOUT_S)
        now = _columns(self._lamps)
        if now != wanted:
            problem = problem or f"it should be {', '.join(wanted)}"
        print(CALL_LINE.format(what, *now).rstrip() + (f"   <-- FAILED: {problem}" if problem else ""), flush=True)
        self.failures += bool(problem)

    def _parked(self, guest: SipPhone) -> None:
        calls: list[Call] = []
        step = self._call_step
        step("(at the beginning)", lambda: None, "off", "off", "off")
        step(f"{guest.user} calls 100", lambda: calls.append(guest.dial(CALLER)), "flashing", "on", "off")
        step("100 answers", lambda: calls.append(self.caller.wait_ringing().answer()), "on", "on", "off")
        self._say("show", CALLER)
        step("100 presses hold", lambda: calls[1].hold(), "on, hold", "on", "off")
        step("100 parks the call", lambda: calls[1].refer(PARK), "off", "off", "flashing")
        wait_until(lambda: "701" in self.command("parking"), STEP_TIMEOUT_S)
        self._say("parking")
        step(f"{WATCHER} dials 701 and has it", lambda: calls.append(self.watcher.dial("701")), "off", "off", "off")
        step("it is over", lambda: calls[0].hangup(), "off", "off", "off")

    def _treated(self, guest: SipPhone) -> None:
        def refused() -> None:
            call = guest.dial(CALLER).wait_ended(STEP_TIMEOUT_S)
            if call.status != BUSY_HERE:
                raise SipError(f"{call}: it should be refused")

        def gets_through() -> None:
            call = guest.dial(CALLER)
            self.caller.wait_ringing()
            call.hangup()

        step = self._call_step
        step(f"{CALLER} dials *78       do not disturb", lambda: self.dial("*78"), "on", "on", "off")
        step(f"{guest.user} calls {CALLER}       refused, 486", refused, "on", "on", "off")
        step(f"{guest.user} tries again     gets through", gets_through, "on", "on", "off")
        step(f"{CALLER} dials {AGI_CODE}       lunch, over AGI", lambda: self.dial(AGI_CODE), "on, hold", "on", "off")
        step(f"{CALLER} dials *840      back to available", lambda: self.dial("*840"), "off", "off", "off")

    def _say(self, *words: str) -> None:
        try:
            text = self.command(*words)
        except RuntimeError as error:
            text, self.failures = str(error), self.failures + 1
        print("\n".join(f"  {line}" for line in (f"$ ari-presence {' '.join(words)}", *text.splitlines())), flush=True)

    def invite(self) -> None:
        """Say what can be tried."""
        program = f"{Path(sys.executable).parent / 'ari-presence'} --config {self.daemon.config}"
        accounts = " ".join((CALLER, "100-mobile", *GUESTS))
        print(f"""
Everything stays up. SIP accounts on 127.0.0.1:{self.server.sip_port} (UDP or TCP), password {self.server.phone_password}:
  {accounts}
Dial *78, *79, *843*45, *849; put {CALLER} or *842{CALLER} on a BLF key. Or, in another terminal:
  {program} users
  {program} set {CALLER} lunch --for 45m --message "Pizza"
  {program} why {CALLER}
  {program} watch
Ctrl-C ends it and leaves nothing behind.""")


def main() -> int:
    """Play the demo; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="ari-presence on a private Asterisk of this machine."
    )
    parser.add_argument("--once", action="store_true", help="end after the last step, exit 0 or 1")
    once = parser.parse_args().once
    stop = threading.Event()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _play(stop, once=once)
    except KeyboardInterrupt:
        print("\nending ...")
        return 0 if not once else 1
    except (PackagesError, StartError, SipError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _play(stop: threading.Event, *, once: bool) -> int:
    find_asterisk(22)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(SampleAsterisk())
        daemon = stack.enter_context(Daemon(server, USERS, agi_port=server.agi_port)).wait_ready()
        print(f"{server.cli('core show version').split(' built')[0]} on loopback, the daemon connected")
        password = server.phone_password
        caller = stack.enter_context(SipPhone(CALLER, server, password=password))
        watcher = stack.enter_context(SipPhone(WATCHER, server, password=password, user_agent=DIGIUM))
        demo = Demo(server, daemon, caller, watcher)
        demo.play()
        demo.play_calls(stack.enter_context(SipPhone(GUESTS[0], server, password=password)))
        if demo.failures:
            print(f"\n{demo.failures} steps failed; the daemon said:\n{daemon.log()}\nAsterisk said:\n{server.log()}")
        if not once:
            demo.invite()
            stop.wait()
        return min(demo.failures, 1)


if __name__ == "__main__":
    sys.exit(main())
