"""Records the scenarios anew: what a private Asterisk sends while real phones dial and the real link and engine serve.

Run by hand, `PYTHONPATH=contrib:. python tests/scenarios/record.py 22 16`; the tests only read what it writes:
`data/ari/<version>/<case>.jsonl`, first the listing at the connect, then each event as it arrived.
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

from ari_presence.ari import decode
from ari_presence.ari.address import Address
from ari_presence.ari.link import Link
from ari_presence.core.events import Started
from ari_presence.core.lamps import LampLayout
from ari_presence.core.model import Settings, UserSettings
from ari_presence.core.names import UserId
from ari_presence.core.userstate import StateTable
from ari_presence.engine import Engine
from private_asterisk import PrivateAsterisk, SipPhone, wait_until

DATA = Path(__file__).parent / "data" / "ari"
TABLE = StateTable()
LAYOUT = LampLayout(TABLE)
SETTINGS = Settings(
    TABLE,
    LAYOUT,
    {UserId("100"): UserSettings(), UserId("102"): UserSettings(rights=frozenset({"set_others"}))},
    {"PJSIP/100": UserId("100"), "PJSIP/100-mobile": UserId("100"), "PJSIP/102": UserId("102")},
    re.compile(r"PJSIP/(?P<user>\d{3})"),
    re.compile("PJSIP/trunk"),
    pbxs=("hq",),
)
PHONES = ("100", "100-mobile", "101", "102", "door")


class Recording:
    """Lines of one case, taken from the link's own ears."""

    def __init__(self) -> None:
        """Start empty."""
        self.lines: list[dict[str, Any]] = []

    def keep(self, message: dict[str, Any]) -> None:
        """Keep an event; answers to requests are none."""
        if message["type"] != "RESTResponse":
            self.lines.append(message)


class RecordingLink(Link):
    """A link that notes what was listed at the connect."""

    recording: Recording

    def _announce(self, session: Any) -> None:
        listing = {"endpoints": list(session.endpoints), "channels": list(session.channels)}
        listing["bridges"] = list(session.bridges)
        self.recording.lines.insert(0, {"listing": listing})
        super()._announce(session)


@contextmanager
def served(server: PrivateAsterisk) -> Iterator[tuple[Engine, Recording]]:
    """Run engine and link, and record what arrives."""
    recording, load = Recording(), decode.load

    def listen(frame: str | bytes) -> dict[str, Any]:
        message = load(frame)
        recording.keep(message)
        return message

    engine: Engine
    engine = Engine(
        SETTINGS, lambda _, request: engine.stored([request] if request is not None else [], None), lambda error: None
    )
    link = RecordingLink(Address("hq", server.url, server.ari_user, server.ari_password), engine.post)
    link.recording = recording
    engine.add_server("hq", "ari-presence", server.url, link, {}, "")
    engine.post(Started(0.0, {}))
    thread = threading.Thread(target=engine.run)
    thread.start()
    decode.load = listen
    link.start()
    try:
        assert wait_until(lambda: engine.call(lambda e: e.servers["hq"].publisher.idle), 10)
        yield engine, recording
    finally:
        link.stop()
        decode.load = load
        engine.stop()
        thread.join()


def dial(server: PrivateAsterisk, user: str, number: str, *, forged: str = "") -> None:
    """Dial and listen to the end."""
    with SipPhone(user, server) as phone:
        phone.dial(number, from_user=forged).wait_ended(15)


def hang_up(server: PrivateAsterisk, user: str, number: str) -> None:
    """Dial and hang up in the middle of the prompt."""
    with SipPhone(user, server) as phone:
        call = phone.dial(number).wait_answered()
        wait_until(lambda: phone.heard() > 5, 5)
        call.hangup()


def record(server: PrivateAsterisk, case: str, act: Callable[[Engine], object]) -> None:
    """Record one case and write it down."""
    with served(server) as (engine, recording):
        act(engine)
        # Rest: the caller is gone, what was adopted is written.
        wait_until(lambda: engine.call(lambda e: e.servers["hq"].publisher.idle and not e.model.playing), 10)
        wait_until(lambda: False, 0.5)
    said = server.ari("GET", "asterisk/info").json()["system"]["version"]
    version = re.match(r"[\d.]+", said)[0]  # type: ignore[index]
    path = DATA / version / f"{case}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in recording.lines))
    reset(server)


def reset(server: PrivateAsterisk) -> None:
    """Put all lamps off again."""
    for user in ("100", "101", "102"):
        for index, off in enumerate(LAYOUT.off):
            device = LAYOUT.device(index, UserId(user))
            if device.startswith("Custom:"):
                server.cli(f"devstate change {device} {off}")


def orphan(server: PrivateAsterisk) -> SipPhone:
    """Leave a caller in Stasis whose application is gone."""
    secret = f"{server.ari_user}:{server.ari_password}"
    ws = websocket.create_connection(f"{server.url.replace('http', 'ws')}/ari/events?app=ari-presence&api_key={secret}")
    server.ari("POST", "bridges/ari-presence-keepalive", type="holding")
    server.ari("POST", "applications/ari-presence/subscription", eventSource="bridge:ari-presence-keepalive")
    phone = SipPhone("100", server)
    phone.register()
    phone.dial("*78")
    while json.loads(ws.recv())["type"] != "StasisStart":
        pass
    ws.close()
    return phone


def main(versions: list[str]) -> None:
    """Record every case on each release."""
    for version in versions:
        with PrivateAsterisk(int(version), phones=PHONES) as server:
            record(server, "dnd-on", lambda _: dial(server, "100", "*78"))
            record(server, "lunch-for-minutes", lambda _: dial(server, "100", "*843*45"))
            record(server, "hangup-in-prompt", lambda _: hang_up(server, "100", "*843"))
            record(server, "unknown-endpoint", lambda _: dial(server, "door", "*78"))
            record(server, "forged-caller-id", lambda _: dial(server, "101", "*78", forged="100"))
            record(server, "unknown-digit", lambda _: dial(server, "100", "*847"))
            record(server, "key-without-right", lambda _: dial(server, "100", "*76102"))
            record(server, "key-with-right", lambda _: dial(server, "102", "*76100"))
            record(server, "second-phone", lambda _: dial(server, "100-mobile", "*845"))
            record(server, "devstate-change", lambda _: server.cli("devstate change Custom:dnd-100 INUSE"))
            record(server, "main-lamp-change", lambda _: server.cli("devstate change Custom:presence-100 ONHOLD"))
            with orphan(server) as phone:
                record(server, "orphan", lambda _: phone.calls[0].wait_ended(15))


if __name__ == "__main__":
    main(sys.argv[1:])
