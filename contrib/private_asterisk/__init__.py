"""A private Asterisk, SIP phones and clients for tests, benchmarks and the demo; no root, all on loopback.

    from private_asterisk import PrivateAsterisk, SipPhone

    with PrivateAsterisk(22, hints={"lamp": "Custom:lamp"}) as server:      # or 16; ready in about 0.4 s
        with SipPhone("100", server) as alice, SipPhone("101", server, auto_answer=True):
            lamp = alice.subscribe("lamp")                                  # event="presence" for PIDF
            server.cli("devstate change Custom:lamp BUSY")
            lamp.wait_for(lambda shown: shown.state == "confirmed")
            alice.dial("101").wait_answered().hangup()

A `SipPhone` registers when entered. `server.write("extensions.conf", text)` with `server.cli("dialplan reload")`
changes the configuration; the default one includes the project's own `dialplan/` files. pytest: fixtures
`asterisk22`, `asterisk16`, `asterisk` (both) and `phone` in `tests/asterisk/conftest.py`.
"""

from private_asterisk.packages import PackagesError, SuiteMissingError, Tree, find_asterisk, is_here, tree
from private_asterisk.people import People
from private_asterisk.phone import Call, Shown, SipPhone, Subscription
from private_asterisk.server import PrivateAsterisk, StartError, wait_until

__all__ = [
    "Call",
    "PackagesError",
    "People",
    "PrivateAsterisk",
    "Shown",
    "SipPhone",
    "StartError",
    "Subscription",
    "SuiteMissingError",
    "Tree",
    "find_asterisk",
    "is_here",
    "tree",
    "wait_until",
]
