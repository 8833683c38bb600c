"""Fixtures of the tests of the link."""

from collections.abc import Iterator

import pytest

from tests.unit.ari.fake_ari import FakeAri, serving


@pytest.fixture
def ari() -> Iterator[FakeAri]:
    """Give a running server."""
    with serving() as server:
        yield server
