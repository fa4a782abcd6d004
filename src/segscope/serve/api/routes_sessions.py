"""Sessions: opening and closing them, and looking at what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from segscope.errors import UsageError
from segscope.serve.answers import (
    Doubt,
    EncodedPatch,
    Encoding,
    Heartbeat,
    SessionDetails,
    SessionInfo,
    SessionOpened,
)
from segscope.serve.api.dependencies import Leased, ServedWorkspace, array_response
from segscope.serve.sessions import review
from segscope.serve.sessions.session_request import SessionRequest
from segscope.session.log_lines import without_private
from segscope.wire import JsonObject

router = APIRouter()
_CHUNK = 2**20


@router.get("/sessions")
def sessions(
    workspace: ServedWorkspace,
    image_id: Annotated[str | None, Query(max_length=200)] = None,
    annotator: Annotated[str | None, Query(max_length=200)] = None,
) -> list[SessionInfo]:
    """Sessions, the latest first."""
    return workspace.sessions.list_sessions(image_id, annotator)


@router.post("/sessions", status_code=201)
def open_session(body: SessionRequest, workspace: ServedWorkspace) -> SessionOpened:
    """Open the annotator's session on an image, an existing or a new one, and lease it."""
    return workspace.session_service.open(body)


@router.get("/sessions/{session_id}")
def session(session_id: str, workspace: ServedWorkspace) -> SessionInfo:
    """One session."""
    return workspace.sessions.describe(session_id)


@router.delete("/sessions/{session_id}", status_code=204)
def close_session(
    session_id: Leased, workspace: ServedWorkspace, erase: Annotated[bool, Query()] = False
) -> None:
    """End the lease; with `erase` the session is moved to the project's trash."""
    workspace.session_service.close(session_id, erase=erase)


@router.post("/sessions/{session_id}/heartbeat")
def heartbeat(
    session_id: str, workspace: ServedWorkspace, x_lease: Annotated[str | None, Header()] = None
) -> Heartbeat:
    """Keep the lease alive."""
    workspace.sessions.row(session_id)
    leases = workspace.sessions.leases
    lease = leases.check(session_id, x_lease, acts=False)
    return Heartbeat(idle_left_s=round(leases.idle_left_s(lease), 1))


@router.get("/sessions/{session_id}/state")
def state(session_id: str, workspace: ServedWorkspace) -> SessionDetails:
    """A session, but for its masks."""
    return workspace.session_service.describe(session_id)


@router.delete("/sessions/{session_id}/notes", status_code=204)
def acknowledge_notes(session_id: Leased, workspace: ServedWorkspace) -> None:
    """Remove the notes of a session, after its annotator has read them."""
    workspace.session_service.acknowledge_notes(session_id)


@router.get("/sessions/{session_id}/prompts")
def prompts(
    session_id: str,
    workspace: ServedWorkspace,
    frame: Annotated[int | None, Query(ge=0)] = None,
    object_id: Annotated[int | None, Query(ge=1)] = None,
) -> JsonObject:
    """Prompts as a prompt file has them."""
    return workspace.session_service.prompts(session_id, frame, object_id)


@router.get("/sessions/{session_id}/masks")
def masks(
    session_id: str,
    workspace: ServedWorkspace,
    frame: Annotated[int, Query(ge=0)],
    encoding: Annotated[Encoding, Query()] = "bits",
) -> list[EncodedPatch]:
    """Masks of a frame, each in its box."""
    with workspace.sessions.use(session_id) as session:
        return [patch.encode(encoding) for patch in session.masks_on(frame)]


@router.get("/sessions/{session_id}/labels", response_class=Response)
def labels(
    session_id: str,
    request: Request,
    workspace: ServedWorkspace,
    frame: Annotated[int | None, Query(ge=0)] = None,
    axis: Annotated[
        int | None, Query(ge=0, le=2, description="of the stored array; default the session's")
    ] = None,
) -> Response:
    """Label map of a frame, also along another axis, or of all frames along the session's axis."""
    with workspace.sessions.use(session_id) as session:
        session_axis = session.work.stack.axis
        if frame is not None and axis in (None, session_axis):
            return array_response(session.labels(frame), request)
        size = session.frames * session.size_hw[0] * session.size_hw[1] * 2
        if size > workspace.settings.limits.volume_bytes:
            raise UsageError("these labels are too large for one answer; request frame by frame")
        whole = np.stack(list(map(session.labels, range(session.frames))))
    if frame is None:
        return array_response(whole, request, axis=session_axis)
    stored = np.moveaxis(whole, 0, session_axis)
    along = np.moveaxis(stored, axis or 0, 0)
    if frame >= len(along):
        raise UsageError(
            f"there is no frame {frame} along axis {axis}; it has frames 0 to {len(along) - 1}"
        )
    return array_response(along[frame], request)


@router.get("/sessions/{session_id}/review")
def list_doubts(
    session_id: str, workspace: ServedWorkspace, count: Annotated[int, Query(ge=1, le=10_000)] = 50
) -> list[Doubt]:
    """Masks to review, most doubtful first."""
    with workspace.sessions.use(session_id) as session:
        return review.list_doubts(dict(session.work.objects), session.size_hw, count)


@router.get("/sessions/{session_id}/export", response_class=StreamingResponse)
def export(
    session_id: str,
    workspace: ServedWorkspace,
    format: Annotated[str, Query(max_length=40)] = "nifti",  # noqa: A002 - name of the parameter
    objects: Annotated[
        str | None, Query(max_length=4000, description="numbers with commas; default all")
    ] = None,
) -> StreamingResponse:
    """The masks as a file, exactly as displayed."""
    block = workspace.session_service.export(session_id, format, _numbers(objects))
    file = block.__enter__()

    def chunks(path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
        finally:
            block.__exit__(None, None, None)

    headers = {
        "Content-Disposition": f'attachment; filename="{file.path.name}"',
        "Content-Length": str(file.path.stat().st_size),
    }
    return StreamingResponse(chunks(file.path), media_type=file.media_type, headers=headers)


@router.get("/sessions/{session_id}/log", response_class=Response)
def log(session_id: str, workspace: ServedWorkspace) -> Response:
    """The log, JSON lines: it re-creates the masks and documents every step."""
    data = workspace.sessions.log_path(session_id).read_bytes()
    head, _, lines = data.partition(b"\n")
    data = without_private(head) + lines
    headers = {"Content-Disposition": 'attachment; filename="log.jsonl"'}
    return Response(
        data[: data.rfind(b"\n") + 1], media_type="application/x-ndjson", headers=headers
    )


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return list(map(int, text.split(",")))
    except ValueError:
        raise UsageError(
            f"objects are numbers with commas such as 1,2,5; got {text[:60]!r}"
        ) from None
