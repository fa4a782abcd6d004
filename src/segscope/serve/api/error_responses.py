"""Errors as clients receive them: one paragraph, without traceback or path of this machine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from typing import Any, TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from segscope.errors import SegscopeError
from segscope.serve.errors import ServeError, status_of
from segscope.serve.settings import ServerSettings

log = logging.getLogger("segscope.serve")

LISTED = 5  # problems of one request that are named
LONGEST = 1500  # characters of a message about a malformed request
_BUG = "This is a bug in segscope: please report it."
_KINDS = {404: "NotFound", 405: "UsageError"}
_PARTS = ("body", "query", "path")  # of a request; not part of a field's name


class ErrorBody(TypedDict):
    """The body of an error response."""

    detail: str
    kind: str


def error_answer(error: Exception, settings: ServerSettings) -> tuple[int, ErrorBody]:
    """Status and body for an error."""
    kind = type(error).__name__
    if isinstance(error, SegscopeError):
        detail = _hide_paths(str(error), settings)
        return status_of(error), {"detail": detail, "kind": kind}
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        detail = (
            "the server does not have enough memory for this; close other sessions, or use a "
            "smaller model"
        )
        return 507, {"detail": detail, "kind": "MemoryError"}
    if isinstance(error, OSError):
        reason = error.strerror or kind
        detail = f"the operating system of the server reported an error: {reason}"
        return 507, {"detail": detail, "kind": "OSError"}
    log.error("unexpected %s", kind, exc_info=error)
    return 500, {"detail": f"unexpected {kind}. {_BUG}", "kind": kind}


def paragraph_of(problems: Sequence[Any]) -> str:
    """What is wrong with a malformed request, as pydantic reports it."""
    parts = list(map(_describe_problem, problems[:LISTED]))
    if len(problems) > LISTED:
        parts.append(f"and {len(problems) - LISTED} more")
    paragraph = f"the request is malformed: {'; '.join(parts)}. See /v1/openapi.json"
    return paragraph[:LONGEST]


def _describe_problem(problem: dict[str, Any]) -> str:
    location = problem["loc"]
    field = ".".join(str(step) for step in location if step not in _PARTS)
    return f"{field or location[-1]}: {problem['msg']}"


def install(app: FastAPI) -> None:
    """Register the handlers that answer the errors of an app."""
    for kind in (SegscopeError, OSError, MemoryError, Exception):
        app.add_exception_handler(kind, _handle_error)
    app.add_exception_handler(RequestValidationError, _handle_malformed)
    app.add_exception_handler(HTTPException, _handle_http)


def _handle_error(request: Request, error: Exception) -> Response:
    status, body = error_answer(error, request.app.state.workspace.settings)
    headers = {}
    if isinstance(error, ServeError) and error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(body, status, headers)


def _handle_malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": paragraph_of(error.errors()), "kind": "UsageError"}, 422)


def _handle_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail: object = error.detail
    if not isinstance(detail, str):
        detail = json.dumps(detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = "this server has nothing at this path"
    kind = _KINDS.get(error.status_code, "ServeError")
    headers = dict(error.headers or {})
    return JSONResponse({"detail": detail, "kind": kind}, error.status_code, headers)


def _hide_paths(text: str, settings: ServerSettings) -> str:
    """A message without the places of the project and the roots."""
    names: set[str] = set()
    for place in (*settings.roots, settings.project):
        names |= {str(place.resolve()), str(place)}
    for name in sorted(names, key=len, reverse=True):  # the project may lie in a root
        if len(name) > 1:
            # not where the path of another folder begins alike
            inside = re.compile(re.escape(name) + r"[/\\]")
            itself = re.compile(re.escape(name) + r"(?![\w-]|\.\w)")
            text = itself.sub("this folder", inside.sub("", text))
    return text
