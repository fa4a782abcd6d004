"""Examples: what answers learn from, and the switch of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from segscope.serve.answers import JobStatus, LearningState, ProjectExamples
from segscope.serve.api.command_schemas import LearningRequest
from segscope.serve.api.dependencies import Leased, ServedWorkspace
from segscope.serve.errors import TooLarge
from segscope.session.examples.example_file import SUFFIX

router = APIRouter()
_CHUNK = 2**20

Model = Annotated[str | None, Query(max_length=200, description="default the server's")]
LabelName = Annotated[str | None, Query(max_length=200, description="default all")]

_FILE_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


@router.get("/examples")
def examples(workspace: ServedWorkspace, model: Model = None) -> ProjectExamples:
    """What there is to learn from, label by label."""
    return workspace.learning.describe(model)


@router.delete("/examples")
def forget_examples(
    workspace: ServedWorkspace, model: Model = None, label: LabelName = None
) -> ProjectExamples:
    """Forget the examples of a label, or all; the masks stay."""
    workspace.learning.forget(model, label)
    return workspace.learning.describe(model)


@router.post("/examples/rebuild", status_code=202)
def rebuild_examples(workspace: ServedWorkspace, model: Model = None) -> JobStatus:
    """Learn again from every accepted mask of the project, forgotten ones too."""
    return workspace.learning.rebuild(model).status()


@router.get("/examples/file", response_class=StreamingResponse)
def download_examples(
    workspace: ServedWorkspace, model: Model = None, label: LabelName = None
) -> StreamingResponse:
    """The examples as a file, for other projects and for `segscope segment --like`."""
    block = workspace.learning.export(model, label)
    path = block.__enter__()

    def chunks() -> Iterator[bytes]:
        try:
            with path.open("rb") as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
        finally:
            block.__exit__(None, None, None)

    headers = {
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "Content-Length": str(path.stat().st_size),
    }
    return StreamingResponse(chunks(), media_type="application/octet-stream", headers=headers)


@router.post("/examples/file", openapi_extra={"requestBody": _FILE_BODY})
async def upload_examples(
    request: Request, workspace: ServedWorkspace, model: Model = None
) -> ProjectExamples:
    """Add the examples of a file."""
    limit = workspace.settings.limits.upload_bytes
    with workspace.images.uploads.scratch() as folder:
        path = folder / f"upload{SUFFIX}"
        size = 0
        with path.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"a file of examples has at most {limit} bytes here")
                file.write(chunk)
        await run_in_threadpool(workspace.learning.load, model, path)
    return await run_in_threadpool(workspace.learning.describe, model)


@router.put("/sessions/{session_id}/learning")
def switch_learning(
    session_id: Leased, body: LearningRequest, workspace: ServedWorkspace
) -> LearningState:
    """Let the answers of a session learn from examples, or not, until it is closed."""
    with workspace.sessions.use(session_id) as session:
        return workspace.learning.switch(session, learns=body.learns)
