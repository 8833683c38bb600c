"""Fixtures of the HTTP tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.http.fake_service import Running, serving


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Give a served daemon in memory."""
    with serving(tmp_path) as found:
        yield found
