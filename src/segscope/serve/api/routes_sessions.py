"""Sessions: opening and closing them, and looking at what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from segscope.errors import UsageError
from segscope.serve.api import schemas
from segscope.serve.api.dependencies import Leased, Space, array
from segscope.serve.sessions import review
from segscope.serve.sessions.registry import Wanted

router = APIRouter()
_CHUNK = 2**20


@router.get("/sessions")
def sessions(
    space: Space,
    image_id: Annotated[str | None, Query(max_length=200)] = None,
    annotator: Annotated[str | None, Query(max_length=200)] = None,
) -> list[schemas.Session]:
    """Sessions, the latest first."""
    return [schemas.Session(**row) for row in space.sessions.listed(image_id, annotator)]


@router.post("/sessions", status_code=201)
def open_session(body: schemas.SessionWanted, space: Space) -> schemas.SessionOpened:
    """Open the annotator's session on an image, a new one or the one there is, and lease it."""
    wanted = body.model_dump()
    take_over = wanted.pop("take_over")
    return schemas.SessionOpened(**space.open_session(Wanted(**wanted), take_over=take_over))


@router.get("/sessions/{session_id}")
def session(session_id: str, space: Space) -> schemas.Session:
    """One session."""
    return schemas.Session(**space.sessions.public(space.sessions.row(session_id)))


@router.delete("/sessions/{session_id}", status_code=204)
def close_session(
    session_id: Leased, space: Space, erase: Annotated[bool, Query()] = False
) -> None:
    """Give the lease back; with `erase` the session goes to the project's trash."""
    space.close_session(session_id, erase=erase)


@router.post("/sessions/{session_id}/heartbeat")
def heartbeat(
    session_id: str, space: Space, x_lease: Annotated[str | None, Header()] = None
) -> schemas.Heartbeat:
    """Say that the window is still there."""
    space.sessions.row(session_id)
    leases = space.sessions.leases
    lease = leases.check(session_id, x_lease, acts=False)
    return schemas.Heartbeat(idle_left_s=round(leases.idle_left_s(lease), 1))


@router.get("/sessions/{session_id}/state")
def state(session_id: str, space: Space) -> schemas.State:
    """Everything but pixels."""
    return schemas.State(**space.state(session_id))


@router.get("/sessions/{session_id}/prompts")
def prompts(
    session_id: str,
    space: Space,
    frame: Annotated[int | None, Query(ge=0)] = None,
    object_id: Annotated[int | None, Query(ge=1)] = None,
) -> dict[str, Any]:
    """Prompts as a prompt file has them."""
    return space.prompts(session_id, frame, object_id)


@router.get("/sessions/{session_id}/masks")
def masks(
    session_id: str,
    space: Space,
    frame: Annotated[int, Query(ge=0)],
    encoding: Annotated[Literal["bits", "rle", "png"], Query()] = "bits",
) -> list[schemas.MaskPart]:
    """Masks of a frame, each in its box."""
    with space.sessions.use(session_id) as document:
        return [schemas.MaskPart(**piece.to_json(encoding)) for piece in document.masks_on(frame)]


@router.get("/sessions/{session_id}/labels", response_class=Response)
def labels(
    session_id: str,
    request: Request,
    space: Space,
    frame: Annotated[int | None, Query(ge=0)] = None,
    axis: Annotated[
        int | None, Query(ge=0, le=2, description="of the stored array; default the session's")
    ] = None,
) -> Response:
    """Label map of a frame, also along another axis, or of all frames along the session's axis."""
    with space.sessions.use(session_id) as document:
        own = document.work.stack.axis
        if frame is not None and axis in (None, own):
            return array(document.labels(frame), request)
        size = document.frames * document.size_hw[0] * document.size_hw[1] * 2
        if size > space.settings.limits.volume_bytes:
            raise UsageError(
                "these labels are too large to be sent in one piece; ask frame by frame"
            )
        whole = np.stack([document.labels(index) for index in range(document.frames)])
    if frame is None:
        return array(whole, request, axis=own)
    stored = np.moveaxis(whole, 0, own)
    asked = np.moveaxis(stored, axis or 0, 0)
    if frame >= len(asked):
        raise UsageError(f"frame {frame} along axis {axis}, which has frames 0 to {len(asked) - 1}")
    return array(asked[frame], request)


@router.get("/sessions/{session_id}/review")
def look_next(
    session_id: str, space: Space, count: Annotated[int, Query(ge=1, le=10_000)] = 50
) -> list[schemas.Doubt]:
    """Where to look next, most doubtful first."""
    with space.sessions.use(session_id) as document:
        rows = review.queue(dict(document.work.tracks), document.size_hw, count)
    return [schemas.Doubt(**row) for row in rows]


@router.get("/sessions/{session_id}/export", response_class=StreamingResponse)
def export(
    session_id: str,
    space: Space,
    format: Annotated[str, Query(max_length=40)] = "nifti",  # noqa: A002 - name of the parameter
    objects: Annotated[
        str | None, Query(max_length=4000, description="numbers with commas; default all")
    ] = None,
) -> StreamingResponse:
    """The masks as a file, exactly as shown."""
    block = space.export(session_id, format, _numbers(objects))
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
def log(session_id: str, space: Space) -> Response:
    """The log, JSON lines: it makes the masks again, and shows how they came about."""
    data = space.sessions.log_path(session_id).read_bytes()
    headers = {"Content-Disposition": 'attachment; filename="log.jsonl"'}
    return Response(
        data[: data.rfind(b"\n") + 1], media_type="application/x-ndjson", headers=headers
    )


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"objects are numbers with commas such as 1,2,5; got {text[:60]!r}"
        ) from None
