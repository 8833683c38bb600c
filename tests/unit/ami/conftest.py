"""Fixtures of the tests of AMI."""

from collections.abc import Iterator

import pytest

from tests.unit.ami.fake_ami import FakeAmi, fake_ami


@pytest.fixture
def ami() -> Iterator[FakeAmi]:
    """Give a manager interface in memory."""
    with fake_ami() as server:
        yield server
