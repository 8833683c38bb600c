"""Ports of loopback for servers that are stopped and started again on the same ones.

They lie below those that the kernel gives to clients (`ip_local_port_range`, from 32768 on): with ports of its choice, any
client that connects while the server is away can have taken the server's.
"""

import contextlib
import random
import socket

PORTS = range(12_000, 32_000)
TRIES = 1000
_random = random.SystemRandom()  # tests by hypothesis seed the other one, alike in each worker


def free_port(*kinds: socket.SocketKind, count: int = 1) -> int:
    """Choose a port that nobody has now, for each of these kinds of sockets (TCP alone by default).

    Args:
        kinds: Of sockets.
        count: How many ports in a row must be free, the one that is given being the first.

    Raises:
        OSError: None was found.
    """
    for _ in range(TRIES):
        first = _random.choice(PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for kind in kinds or (socket.SOCK_STREAM,):
                for port in range(first, first + count):
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            return first
    raise OSError(f"no free port from {PORTS.start} to {PORTS.stop}")
