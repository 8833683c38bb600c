"""Logging: one chain for our own events and those of libraries.

Key/value lines on a terminal, one JSON object a line otherwise. Modules log with `structlog.get_logger()` and know
nothing of this one; only the composition root calls `configure_logging`. A line that cannot be written (full disk,
closed pipe) is lost and never stops the program.
"""

import logging  # noqa: TID251 - the one place where the standard library's logging meets structlog
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_KEY = re.compile(r"(?:.*[_.-])?(?:password|passwd|secret|token|api[_-]?key|authorization)", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(r"(api_key=|://[^/\s:@]*:)[^\s&@\"']+", re.IGNORECASE)
_MASK = "***"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _QuietLogger(structlog.WriteLogger):
    """Writes what the chain made of our own events; the standard library's way there takes three times as long."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    debug = info = warning = error = exception = critical = msg


class _QuietHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002
        # The standard one prints a traceback to standard error, which is where writing has just failed.
        return


def configure_logging(stream: TextIO, level: str = "info") -> None:
    """Set up logging for the whole process; may be called again.

    Args:
        stream: Where lines go; whether it is a terminal decides their form.
        level: `debug`, `info`, `warning` or `error`, for our own events; libraries are heard from WARNING on.
    """
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        mask_secrets,
    ]
    handler = _QuietHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream)],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _QuietHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    own = _QuietLogger(stream)
    structlog.configure(
        processors=[*shared, *_renderers(stream)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: own,
    )


def _renderers(stream: TextIO) -> list[Processor]:
    if stream.isatty():
        # Plain tracebacks: the pretty ones show local variables, secrets among them.
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ, exception_formatter=plain),
            _mask_line,
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        _mask_line,
    ]


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide values under keys that name a secret, at any depth."""
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: object, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.fullmatch(key):
        return _MASK
    if isinstance(value, Mapping):
        return {inner: _masked(inner, each) for inner, each in value.items()}
    return [_masked(None, each) for each in value] if isinstance(value, list | tuple) else value


def _mask_line(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Hide passwords inside addresses; in the whole line, since an exception's text is there only when it is rendered."""
    return _SECRET_IN_TEXT.sub(rf"\g<1>{_MASK}", line)
