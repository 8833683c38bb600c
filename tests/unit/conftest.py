"""What every unit test may rely on: logging as it is in a fresh process, whichever tests ran before."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Undo what a test, or uvicorn in it, did to the loggers."""
    root = logging.getLogger()
    names = ("ari_presence", "uvicorn", "uvicorn.error", "uvicorn.access", "urllib3")
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
