"""The project, its models, its work list, and the token's way into a cookie."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from segscope._version import __version__
from segscope.errors import UsageError
from segscope.serve import tokens
from segscope.serve.answers import JobStatus, ServedModel
from segscope.serve.api import schemas
from segscope.serve.api.dependencies import Space, resolve_reference
from segscope.serve.errors import NotFound, Unauthorised
from segscope.serve.project.dataset_export import export_dataset
from segscope.serve.project.project_info import LabelCode, ProjectInfo, ProjectLabel
from segscope.serve.project.worklist import CaseState, CaseUpdate, WorklistCase
from segscope.serve.sessions.jobs import Job

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
    failures: tokens.Failures = request.app.state.failures
    failures.check(who)
    if not tokens.is_token(space.settings, body.token):
        failures.note(who)
        raise Unauthorised(
            "this is not the token of the server; it was printed when the server started"
        )
    response.set_cookie(
        tokens.cookie_name(request.headers.get("host")),
        body.token,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )


@router.post("/logout", status_code=204)
def logout(request: Request, response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(tokens.cookie_name(request.headers.get("host")), path="/")


@router.get("/project")
def project(space: Space) -> ProjectInfo:
    """Name, labels, window presets, export formats, limits, roots, cases."""
    return space.project()


@router.patch("/project")
def change_project(body: schemas.ProjectChange, space: Space) -> ProjectInfo:
    """Change name or labels."""
    labels: list[ProjectLabel] | None = None
    if body.labels is not None:
        labels = [project_label(label) for label in body.labels]
    space.change_project(name=body.name, labels=labels)
    return space.project()


@router.post("/project/dataset", status_code=202)
def collect(body: schemas.Collect, space: Space) -> JobStatus:
    """Export the cases in these states as a data set of the project, for `segscope adapt`."""
    cases = [case for case in space.cases.list_cases() if case.state in body.states]

    def work(job: Job) -> None:
        def progress(done: int, total: int) -> None:
            job.total = total
            job.step(done=done)

        job.result = dict(
            export_dataset(
                cases,
                space.sessions,
                space.images,
                space.settings.project / "dataset",
                name=space.name,
                progress=progress,
                cancelled=job.cancelled,
            )
        )

    return space.jobs.start(Job("collect", ""), work).status()


@router.get("/models")
def models(space: Space) -> list[ServedModel]:
    """Models that sessions may use. `available`: using it downloads nothing."""
    return space.engines.list_models()


# --- cases ---------------------------------------------------------------------------------------


@router.get("/cases")
def cases(space: Space, state: Annotated[CaseState | None, Query()] = None) -> list[WorklistCase]:
    """The work list in order."""
    return space.cases.list_cases(state)


@router.post("/cases", status_code=201)
def add_case(body: schemas.CaseNew, space: Space) -> WorklistCase:
    """A case at the end of the list; an image is a case once."""
    if (body.image_id is None) == (body.reference is None):
        raise UsageError("name a case by `image_id` or by `reference`, one of the two")
    image_id = body.image_id
    if body.reference is not None:
        image_id = resolve_reference(space, body.reference).image_id
    assert image_id is not None
    return space.cases.add(image_id)


@router.get("/cases/next")
def next_case(
    space: Space, after: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> WorklistCase:
    """The next case to do; its image is opened in the background."""
    case = space.cases.next_after(after)
    if case is None:
        raise NotFound("no case is left to do")
    space.warm(case.image_id)
    return case


@router.patch("/cases/{case_id}")
def change_case(case_id: int, body: schemas.CaseChange, space: Space) -> WorklistCase:
    """State, comment or annotator of a case."""
    return space.cases.update(case_id, CaseUpdate(**body.model_dump()))


def project_label(label: schemas.Label) -> ProjectLabel:
    """A label as the project stores it."""
    code = None
    if label.code is not None:
        code = LabelCode(
            scheme=label.code.scheme, value=label.code.value, meaning=label.code.meaning
        )
    return ProjectLabel(label.number, label.name, label.colour, code)
