"""Private servers and phones for all tests here: one server of each release for each worker, on loopback.

A server is shared: use a user, lamp or file of your own, or put back what you changed; a test that kills or freezes it
takes `PrivateAsterisk` itself. With `ARI_PRESENCE_REQUIRE=1` (`make test`) what is missing is fetched, and a failure if
it cannot be had; a bare pytest skips instead.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from daemon import shorten_prompts

from private_asterisk import PackagesError, PrivateAsterisk, SipPhone, SuiteMissingError, Tree, find_asterisk, is_here
from private_asterisk.config import DEFAULT_PHONES, whole_hints
from private_asterisk.packages import find_clients

HINTS = {"lamp": "Custom:lamp,CustomPresence:lamp", **whole_hints(map(str, range(100, 110)))}


def obtain(find: Callable[[], Tree], here: Callable[[], bool], what: str) -> Tree:
    """Give the files of a program, or skip or fail the test with the reason."""
    required = os.environ.get("ARI_PRESENCE_REQUIRE") == "1"
    if not required and not here():
        pytest.skip(f"{what} is not here: make test fetches it")
    try:
        return find()
    except SuiteMissingError as error:
        if "forky" in str(error):
            pytest.fail(str(error))
        pytest.skip(str(error))
    except PackagesError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def tree_of() -> Callable[[int], Tree]:
    """How to get the files of a release, for tests that start a server of their own."""
    return lambda version: obtain(lambda: find_asterisk(version), lambda: is_here(version), f"Asterisk {version}")


@pytest.fixture(scope="session")
def asterisk22(tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start an Asterisk 22."""
    with PrivateAsterisk(22, hints=HINTS, tree=tree_of(22)) as server:
        yield server


@pytest.fixture(scope="session")
def asterisk16(tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start an Asterisk 16."""
    with PrivateAsterisk(16, hints=HINTS, tree=tree_of(16)) as server:
        yield server


@pytest.fixture(scope="session", params=["asterisk22", "asterisk16"], ids=["22", "16"])
def asterisk(request: pytest.FixtureRequest) -> PrivateAsterisk:
    """Give each running release in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, PrivateAsterisk)
    return server


@pytest.fixture(scope="session", params=[22, 16], ids=["22", "16"])
def quick(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server for tests with a daemon: short prompts that can be told apart, and endpoints that are nobody."""
    phones = (*DEFAULT_PHONES, "555", "door", "anonymous")
    with PrivateAsterisk(request.param, hints=HINTS, phones=phones, tree=tree_of(request.param)) as server:
        shorten_prompts(server)
        yield server


@pytest.fixture(scope="session", params=[22, 16], ids=["22", "16"])
def staffed(request: pytest.FixtureRequest, tree_of: Callable[[int], Tree]) -> Iterator[PrivateAsterisk]:
    """Start a server like `quick` on which nobody is offline, registered or not."""
    phones = (*DEFAULT_PHONES, "555", "door", "anonymous")
    tree = tree_of(request.param)
    with PrivateAsterisk(request.param, hints=HINTS, phones=phones, contact_port=9, tree=tree) as server:
        shorten_prompts(server)
        yield server


@pytest.fixture
def phone() -> Iterator[Callable[..., SipPhone]]:
    """Make registered phones, with the arguments of `SipPhone`; they hang up and unregister at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(SipPhone(*args, **options))


@pytest.fixture(scope="session")
def clients() -> Tree:
    """Give the files of sipp and baresip."""
    return obtain(find_clients, lambda: is_here(None), "sipp and baresip")
