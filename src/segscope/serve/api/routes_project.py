"""The project, its models, its work list, and the token's way into a cookie."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from segscope._version import __version__
from segscope.errors import UsageError
from segscope.serve import security
from segscope.serve.answers import JobStatus, ModelInfo
from segscope.serve.api import schemas
from segscope.serve.api.dependencies import Space, referred
from segscope.serve.errors import NotFound, Unauthorised

router = APIRouter()


@router.get("/health")
def health(space: Space) -> schemas.Health:
    """Whether the server is up. Needs no token."""
    return schemas.Health(version=__version__, uptime_s=round(time.time() - space.started, 1))


@router.post("/login", status_code=204)
def login(body: schemas.Login, request: Request, response: Response, space: Space) -> None:
    """Exchange the token for a cookie that scripts of the page cannot read."""
    who = "?"
    if request.client:
        who = request.client.host
    failures: security.Failures = request.app.state.failures
    failures.check(who)
    if not security.is_token(space.settings, body.token):
        failures.note(who)
        raise Unauthorised(
            "this is not the token of the server; it was printed when the server started"
        )
    response.set_cookie(
        security.cookie_name(request.headers.get("host")),
        body.token,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )


@router.post("/logout", status_code=204)
def logout(request: Request, response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(security.cookie_name(request.headers.get("host")), path="/")


@router.get("/project")
def project(space: Space) -> schemas.Project:
    """Name, labels, window presets, export formats, limits, roots, cases."""
    return schemas.Project(**space.project())


@router.patch("/project")
def change_project(body: schemas.ProjectChange, space: Space) -> schemas.Project:
    """Change name or labels."""
    labels = None
    if body.labels is not None:
        labels = [label.model_dump() for label in body.labels]
    space.change_project(name=body.name, labels=labels)
    return schemas.Project(**space.project())


@router.post("/project/dataset", status_code=202)
def collect(body: schemas.Collect, space: Space) -> JobStatus:
    """Write the cases of these states as a data set into the project; `segscope adapt` takes it."""
    return space.collect(body.states).status()


@router.get("/models")
def models(space: Space) -> list[ModelInfo]:
    """Models that sessions may use. `available`: using it downloads nothing."""
    return space.engines.list_models()


# --- cases ---------------------------------------------------------------------------------------


@router.get("/cases")
def cases(
    space: Space, state: Annotated[Literal["todo", "done", "skip", "flag"] | None, Query()] = None
) -> list[schemas.Case]:
    """The work list in order."""
    return [schemas.Case(**row) for row in space.cases.listed(state)]


@router.post("/cases", status_code=201)
def add_case(body: schemas.CaseNew, space: Space) -> schemas.Case:
    """A case at the end of the list; an image is a case once."""
    if (body.image_id is None) == (body.reference is None):
        raise UsageError("name a case by `image_id` or by `reference`, one of the two")
    image_id = body.image_id
    if body.reference is not None:
        image_id = referred(space, body.reference)["image_id"]
    assert image_id is not None
    return schemas.Case(**space.cases.add(image_id))


@router.get("/cases/next")
def next_case(
    space: Space, after: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> schemas.Case:
    """The next case to do; its image is opened in the background."""
    found: dict[str, Any] | None = space.cases.following(after)
    if found is None:
        raise NotFound("no case is left to do")
    space.warm(found["image_id"])
    return schemas.Case(**found)


@router.patch("/cases/{case_id}")
def change_case(case_id: int, body: schemas.CaseChange, space: Space) -> schemas.Case:
    """State, comment or annotator of a case."""
    return schemas.Case(**space.cases.change(_number(case_id), **body.model_dump()))


def _number(case_id: int) -> int:
    if not 0 <= case_id < 2**53:
        raise NotFound("no such case; `GET /v1/cases` lists them")
    return case_id
