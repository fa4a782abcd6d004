"""What went wrong, as clients are told: one paragraph, no traceback, no path of this machine."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from segscope.errors import SegscopeError
from segscope.serve.errors import ServeError, status_of

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace

log = logging.getLogger("segscope.serve")


def said_of(error: Exception, space: Workspace) -> tuple[int, dict[str, str]]:
    """Status and body for an error."""
    if isinstance(error, SegscopeError):
        return status_of(error), {
            "detail": _without_places(str(error), space),
            "kind": type(error).__name__,
        }
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        detail = (
            "not enough memory on the server for this; close other sessions, or use a smaller model"
        )
        return 507, {"detail": detail, "kind": "MemoryError"}
    if isinstance(error, OSError):
        detail = f"the system of the server refused: {error.strerror or type(error).__name__}"
        return 507, {"detail": detail, "kind": "OSError"}
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    detail = f"unexpected {type(error).__name__}. This is a fault of segscope, not of yours: please report it."
    return 500, {"detail": detail, "kind": type(error).__name__}


def paragraph_of(problems: Sequence[Any]) -> str:
    """What is wrong with a request that does not have the form it should."""
    parts = []
    for problem in problems[:5]:
        where = ".".join(
            str(step) for step in problem["loc"] if step not in ("body", "query", "path")
        )
        parts.append(f"{where or problem['loc'][-1]}: {problem['msg']}")
    more = ""
    if len(problems) > 5:
        more = f"; and {len(problems) - 5} more"
    return f"the request has another form than it should: {'; '.join(parts)}{more}. See /v1/openapi.json"[
        :1500
    ]


def install(app: FastAPI) -> None:
    """Answer errors of an app with our paragraphs."""

    def own(request: Request, error: Exception) -> Response:
        status, said = said_of(error, request.app.state.workspace)
        headers = {}
        if isinstance(error, ServeError) and error.retry_after_s:
            headers["Retry-After"] = str(error.retry_after_s)
        return JSONResponse(said, status, headers)

    def malformed(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return JSONResponse({"detail": paragraph_of(error.errors()), "kind": "UsageError"}, 422)

    def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {404: "NotFound", 405: "UsageError"}.get(error.status_code, "ServeError")
        if isinstance(error.detail, str):
            detail = error.detail
        else:
            detail = json.dumps(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = "nothing is served at this path"
        return JSONResponse(
            {"detail": detail, "kind": kind}, error.status_code, dict(error.headers or {})
        )

    app.add_exception_handler(SegscopeError, own)
    app.add_exception_handler(OSError, own)
    app.add_exception_handler(MemoryError, own)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, own)


def _without_places(text: str, space: Workspace) -> str:
    for place in (*space.settings.roots, space.settings.project):
        for name in {str(place.resolve()), str(place)}:
            if len(name) > 1:
                text = text.replace(f"{name}/", "").replace(name, "this folder")
    return text
