"""Problem documents (RFC 9457): every error leaves as one, whoever raised it.

`type` is `about:blank`, so `title` is the phrase of the status (RFC 9457 section 4.2.1); programs go by `code`, people
by `detail`.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ari_presence.errors import AriPresenceError, ConfigError, Refused, StoreError, StoreSlow

MEDIA_TYPE = "application/problem+json"
_CODES = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed"}
_log = structlog.get_logger()


def problem_bytes(status: int, code: str, detail: str, **more: Any) -> bytes:
    """Write a problem document; `more` adds members to it. ASCII only, so that no text from outside can break it."""
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code, **more}
    return json.dumps(document).encode("ascii")


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Make the response for one error."""
    return Response(problem_bytes(status, code, detail, **more), status, headers, media_type=MEDIA_TYPE)


def refused_status(code: str) -> int:
    """Give the HTTP status for the code of a `Refused`: 404 unknown, 403 not allowed, else 422."""
    if code.startswith("unknown-user"):
        return 404
    return 403 if code.startswith("not-allowed") else 422


def validation_text(errors: list[dict[str, Any]]) -> str:
    """Say in one line what FastAPI found wrong with a request, at most three things of it."""
    return "; ".join(_one_error(error) for error in errors[:3])


def _one_error(error: Mapping[str, Any]) -> str:
    where, *path = (str(part) for part in error["loc"])
    name = ".".join(path)[:60] or where
    if error["type"] == "extra_forbidden":
        return f"unknown key '{name}'"
    if error["type"] == "missing":
        return f"'{name}' is missing"
    return f"'{name}': {error['msg']}"


async def _refused(_: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, Refused) else "refused"
    return problem(refused_status(code), code, str(error))


async def _config(_: Request, error: Exception) -> Response:
    return problem(422, "config-error", str(error))


async def _store(_: Request, error: Exception) -> Response:
    return problem(503, "not-stored-yet" if isinstance(error, StoreSlow) else "store-error", str(error))


async def _other(_: Request, error: Exception) -> Response:
    return problem(500, "internal-error", str(error))


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    return problem(error.status_code, _CODES.get(error.status_code, "http-error"), str(error.detail), error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    errors = list(error.errors())
    if errors and errors[0]["type"] == "json_invalid":
        return problem(400, "malformed-json", "the body is not valid JSON")
    return problem(422, "bad-request", validation_text(errors))


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("HTTP request failed", method=request.method, path=request.url.path, exc_info=error)
    return problem(500, "internal-error", "a fault in the daemon: its log has the details")


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ConfigError, _config)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(AriPresenceError, _other)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
