"""A server that does what FreePBX does, by a dialplan of our own: its codes, its keys, its hints, its user panel.

The conventions are those of the issue: `DND/<user>` is YES or gone, `Custom:DND<user>` and `Custom:DEVDND<device>` are BUSY
or UNAVAILABLE, `CustomPresence:<user>` is `type,subtype,message`; `AMPUSER/<user>/device` names the devices.
"""

import socket
import threading
from contextlib import suppress
from typing import Self

from private_asterisk import PrivateAsterisk
from private_asterisk.config import DIALPLAN

DEVICES = {"100": ("100", "100-mobile"), "101": ("101",), "102": ("102",)}
TYPES = ("available", "chat", "away", "dnd", "xa", "unavailable")
CODES = f"""
#include "{DIALPLAN / "presence-freepbx.conf"}"
[internal]
include => app-dnd
exten => _1XX,1,Dial(PJSIP/${{EXTEN}},30)
exten => _1XX-mobile,1,Dial(PJSIP/${{EXTEN}},30)

[app-dnd]
exten => *76,1,Goto(dnd-toggle,${{DB(DEVICE/${{CHANNEL(endpoint)}}/user)}},1)
exten => *78,1,Goto(dnd-on,${{DB(DEVICE/${{CHANNEL(endpoint)}}/user)}},1)
exten => *79,1,Goto(dnd-off,${{DB(DEVICE/${{CHANNEL(endpoint)}}/user)}},1)
exten => _*76X.,1,Goto(dnd-toggle,${{DB(DEVICE/${{EXTEN:3}}/user)}},1)

[dnd-toggle]
exten => _X.,1,Goto(${{IF($["${{DB(DND/${{EXTEN}})}}" = "YES"]?dnd-off:dnd-on)}},${{EXTEN}},1)
[dnd-on]
exten => _X.,1,Set(DB(DND/${{EXTEN}})=YES)
 same => n,Set(DND_STATE=BUSY)
 same => n,Set(DND_TYPE=dnd)
 same => n,Goto(dnd-show,${{EXTEN}},1)
[dnd-off]
exten => _X.,1,NoOp(${{DB_DELETE(DND/${{EXTEN}})}})
 same => n,Set(DND_STATE=UNAVAILABLE)
 same => n,Set(DND_TYPE=available)
 same => n,Goto(dnd-show,${{EXTEN}},1)
[dnd-show]
exten => _X.,1,Set(DEVICE_STATE(Custom:DND${{EXTEN}})=${{DND_STATE}})
 same => n,Set(DND_DEVICES=${{DB(AMPUSER/${{EXTEN}}/device)}})
 same => n(next),Set(DND_DEVICE=${{SHIFT(DND_DEVICES,&)}})
 same => n,GotoIf($["${{DND_DEVICE}}" = ""]?shown)
 same => n,Set(DEVICE_STATE(Custom:DEVDND${{DND_DEVICE}})=${{DND_STATE}})
 same => n,Goto(next)
 same => n(shown),Set(PRESENCE_STATE(CustomPresence:${{EXTEN}})=${{DND_TYPE}},,)
 same => n,Answer()
 same => n,Hangup()

[dnd-done]
exten => s,1,Hangup()

[hints]
include => ext-local
include => ext-dnd-hints
[ext-local]
exten => 100,hint,PJSIP/100&PJSIP/100-mobile&Custom:DND100,CustomPresence:100
exten => 101,hint,PJSIP/101&Custom:DND101,CustomPresence:101
[ext-dnd-hints]
exten => _*76X.,hint,Custom:DEVDND${{EXTEN:3}}
"""


def make_freepbx(server: PrivateAsterisk) -> None:
    """Make a running server one of this kind."""
    server.write("extensions.conf", CODES)
    server.cli("dialplan reload")
    for user, devices in DEVICES.items():
        server.cli(f"database put AMPUSER/{user} device {'&'.join(devices)}")
        server.cli(f'database put AMPUSER/{user} cidname "User {user}"')
        for device in devices:
            server.cli(f"database put DEVICE/{device} user {user}")
            server.cli(f"database put DEVICE/{device} dial PJSIP/{device}")


def dial_code(server: PrivateAsterisk, what: str, user: str) -> None:
    """Run what a code of FreePBX runs: toggle, on or off."""
    ends = {"context": "dnd-done", "extension": "s", "priority": "1"}
    server.ari("POST", "channels", endpoint=f"Local/{user}@dnd-{what}", **ends).raise_for_status()


def panel_dnd(server: PrivateAsterisk, user: str, *, on: bool, older: bool = False) -> None:
    """Do what the user panel does; an older release writes NOT_INUSE for off."""
    server.cli(f"database put DND {user} YES" if on else f"database del DND {user}")
    value = "BUSY" if on else "NOT_INUSE" if older else "UNAVAILABLE"
    server.cli(f"devstate change Custom:DND{user} {value}")
    for device in DEVICES[user]:
        server.cli(f"devstate change Custom:DEVDND{device} {value}")


def panel_presence(server: PrivateAsterisk, user: str, kind: str, message: str = "") -> None:
    """Choose a presence state in the user panel."""
    server.cli(f'presencestate change CustomPresence:{user} "{kind},,{message}"')


def key(server: PrivateAsterisk, user: str) -> str | None:
    """Read `DND/<user>`."""
    text = server.cli(f"database get DND {user}")
    return text.removeprefix("Value: ") if text.startswith("Value: ") else None


def says(server: PrivateAsterisk, user: str) -> dict[str, bool | str]:
    """Tell what each of the four places says: on, off, or what it holds instead."""
    places: dict[str, bool | str] = {}
    lamps = [f"Custom:DND{user}", *(f"Custom:DEVDND{device}" for device in DEVICES[user])]
    meaning = {"BUSY": True, "INUSE": True, "UNAVAILABLE": False, "NOT_INUSE": False, "UNKNOWN": False}
    for lamp in lamps:
        value = server.device_state(lamp)
        places[lamp] = meaning.get(value, value)
    places["DND"] = {"YES": True, None: False}.get(key(server, user), str(key(server, user)))
    places["CustomPresence"] = presence_type(server, user) == "dnd"
    return places


def presence_type(server: PrivateAsterisk, user: str) -> str:
    """Read the type of `CustomPresence:<user>`."""
    text = server.cli(f"database get CustomPresence {user}")
    return text.removeprefix("Value: ").partition(",")[0] if text.startswith("Value: ") else "not_set"


class Changes:
    """Counts the device and presence states that change, as AMI tells them; as a context manager it listens."""

    def __init__(self, server: PrivateAsterisk) -> None:
        """Log in."""
        self._sock = socket.create_connection(("127.0.0.1", server.ami_port))
        login = f"Action: Login\r\nUsername: {server.ari_user}\r\nSecret: {server.ari_password}\r\nEvents: call\r\n\r\n"
        self._sock.sendall(login.encode())
        self.count = 0
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        rest = b""
        with suppress(OSError):
            while data := self._sock.recv(65536):
                *messages, rest = (rest + data).split(b"\r\n\r\n")
                self.count += sum(b"Custom" in m and b"Event: " in m and b"StateChange" in m for m in messages)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._sock.close()
