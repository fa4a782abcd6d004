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
from segscope.serve.api.dependencies import ServedWorkspace, resolve_reference
from segscope.serve.errors import NotFound
from segscope.serve.project.dataset_export import DatasetExport
from segscope.serve.project.project_info import LabelCode, ProjectInfo, ProjectLabel
from segscope.serve.project.worklist import CaseState, CaseUpdate, WorklistCase
from segscope.serve.sessions.jobs import Job

router = APIRouter()


@router.get("/health")
async def health(workspace: ServedWorkspace) -> schemas.Health:
    """Whether the server is up. Needs no token."""
    # on no thread of the pool: it answers even while all of them wait
    return schemas.Health(version=__version__, uptime_s=round(time.time() - workspace.started, 1))


@router.post("/login", status_code=204)
def login(
    body: schemas.Login, request: Request, response: Response, workspace: ServedWorkspace
) -> None:
    """Exchange the token for a cookie that scripts of the page cannot read."""
    message = "wrong token; the server printed it when it started"
    tokens.require_token(request, workspace.settings, body.token, message)
    headers = request.headers
    secure = tokens.is_https(request.url.scheme, headers.get("origin"))
    logins: tokens.Logins = request.app.state.logins
    value = logins.value(logins.open(secure=secure))
    cookie = tokens.cookie_header(
        headers.get("host"), value, secure=secure, life_s=tokens.COOKIE_LIFE_S
    )
    response.headers.append("set-cookie", cookie)


@router.post("/logout", status_code=204)
def logout(request: Request, response: Response) -> None:
    """End the login of the cookie, and forget it."""
    logins: tokens.Logins = request.app.state.logins
    login = logins.find(tokens.RequestHeaders(request.scope).cookie())
    if login is not None:
        logins.close(login)
    secure = login is not None and login.secure
    cookie = tokens.cookie_header(request.headers.get("host"), "", secure=secure, life_s=0)
    response.headers.append("set-cookie", cookie)


@router.get("/project")
def project(workspace: ServedWorkspace) -> ProjectInfo:
    """Name, labels, window presets, export formats, limits, roots, cases."""
    return workspace.describe()


@router.patch("/project")
def change_project(body: schemas.ProjectChange, workspace: ServedWorkspace) -> ProjectInfo:
    """Change name or labels."""
    labels: list[ProjectLabel] | None = None
    if body.labels is not None:
        labels = list(map(project_label, body.labels))
    workspace.update(name=body.name, labels=labels)
    return workspace.describe()


@router.post("/project/dataset", status_code=202)
def collect(body: schemas.Collect, workspace: ServedWorkspace) -> JobStatus:
    """Export the cases in these states as a data set of the project, for `segscope adapt`."""
    cases = [case for case in workspace.cases.list_cases() if case.state in body.states]
    target = workspace.settings.project / "dataset"
    export = DatasetExport(cases, workspace.sessions, workspace.images, target, name=workspace.name)

    def work(job: Job) -> None:
        def progress(done: int, total: int) -> None:
            job.total = total
            job.step(done=done)

        job.result = dict(export.run(progress, job.cancelled))

    return workspace.jobs.start(Job("collect", ""), work).status()


@router.get("/models")
def models(workspace: ServedWorkspace) -> list[ServedModel]:
    """Models that sessions may use. `available`: using it downloads nothing."""
    return workspace.engines.list_models()


# --- cases ---------------------------------------------------------------------------------------


@router.get("/cases")
def cases(
    workspace: ServedWorkspace, state: Annotated[CaseState | None, Query()] = None
) -> list[WorklistCase]:
    """The work list in order."""
    return workspace.cases.list_cases(state)


@router.post("/cases", status_code=201)
def add_case(body: schemas.CaseNew, workspace: ServedWorkspace) -> WorklistCase:
    """A case at the end of the list; an image is a case once."""
    if (body.image_id is None) == (body.reference is None):
        raise UsageError("name a case by `image_id` or by `reference`, one of the two")
    image_id = body.image_id
    if body.reference is not None:
        image_id = resolve_reference(workspace, body.reference).image_id
    assert image_id is not None
    return workspace.cases.add(image_id)


@router.get("/cases/next")
def next_case(
    workspace: ServedWorkspace, after: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> WorklistCase:
    """The next case to do; its image is opened in the background."""
    case = workspace.cases.next_after(after)
    if case is None:
        raise NotFound("no case is left to do")
    if workspace.settings.prefetch:
        workspace.images.prefetch(case.image_id)
    return case


@router.patch("/cases/{case_id}")
def change_case(case_id: int, body: schemas.CaseChange, workspace: ServedWorkspace) -> WorklistCase:
    """State, comment or annotator of a case."""
    return workspace.cases.update(case_id, CaseUpdate(**body.model_dump()))


def project_label(label: schemas.Label) -> ProjectLabel:
    """A label as the project stores it."""
    code = None
    if label.code is not None:
        code = LabelCode(
            scheme=label.code.scheme, value=label.code.value, meaning=label.code.meaning
        )
    return ProjectLabel(label.number, label.name, label.colour, code)
