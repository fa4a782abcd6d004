"""Commands on a session, and the jobs that some of them start."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from segscope.serve.api import command_handlers, command_schemas, schemas
from segscope.serve.api.dependencies import Leased, Space

router = APIRouter()
ObjectNumber = Annotated[int, Path(ge=1, le=65535)]


@router.post("/sessions/{session_id}/predict")
def predict(session_id: Leased, body: command_schemas.Predict, space: Space) -> schemas.Answer:
    """Prompts in, masks out; kept."""
    return _answer(command_handlers.act(space, session_id, "predict", body))


@router.post("/sessions/{session_id}/correct")
def correct(session_id: Leased, body: command_schemas.Correct, space: Space) -> schemas.Answer:
    """`predict`, and the neighbouring frames done again by the job that the answer names."""
    return _answer(command_handlers.act(space, session_id, "correct", body))


@router.post("/sessions/{session_id}/hover")
def hover(session_id: Leased, body: command_schemas.Predict, space: Space) -> schemas.Answer:
    """What `predict` would give; nothing is kept."""
    return _answer(command_handlers.hover(space, session_id, body))


@router.post("/sessions/{session_id}/replace")
def replace(session_id: Leased, body: command_schemas.Replace, space: Space) -> schemas.Answer:
    """Other prompts in the place of those of an object on a frame."""
    return _answer(command_handlers.act(space, session_id, "replace", body))


@router.post("/sessions/{session_id}/choose")
def choose(session_id: Leased, body: command_schemas.Choose, space: Space) -> schemas.Answer:
    """Another of the masks that the prompts may mean."""
    return _answer(command_handlers.act(space, session_id, "choose", body))


@router.post("/sessions/{session_id}/clear")
def clear(session_id: Leased, body: command_schemas.Clear, space: Space) -> schemas.Answer:
    """Forget prompts and mask of an object on a frame."""
    return _answer(command_handlers.act(space, session_id, "clear", body))


@router.post("/sessions/{session_id}/paint")
def paint(session_id: Leased, body: command_schemas.Paint, space: Space) -> schemas.Answer:
    """Brush, eraser, lasso or bitmap."""
    return _answer(command_handlers.act(space, session_id, "paint", body))


@router.post("/sessions/{session_id}/accept")
def accept(session_id: Leased, body: command_schemas.Accept, space: Space) -> schemas.Answer:
    """Freeze what is shown on frames, or thaw it."""
    return _answer(command_handlers.act(space, session_id, "accept", body))


@router.post("/sessions/{session_id}/undo")
def undo(session_id: Leased, body: command_schemas.Step, space: Space) -> schemas.Answer:
    """Take back the latest command; without one nothing happens."""
    return _answer(command_handlers.act(space, session_id, "undo", body))


@router.post("/sessions/{session_id}/redo")
def redo(session_id: Leased, body: command_schemas.Step, space: Space) -> schemas.Answer:
    """Do again what was undone last; without one nothing happens."""
    return _answer(command_handlers.act(space, session_id, "redo", body))


@router.put("/sessions/{session_id}/flags/{frame}", status_code=204)
def flag(session_id: Leased, frame: int, body: command_schemas.Flag, space: Space) -> None:
    """Mark a frame for somebody to look at."""
    space.flag(session_id, frame, flagged=body.flagged, comment=body.comment)


# --- objects -------------------------------------------------------------------------------------


@router.post("/sessions/{session_id}/objects", status_code=201)
def add_object(session_id: Leased, body: command_schemas.ObjectNew, space: Space) -> schemas.Answer:
    """A new object, with the next free number unless one is named."""
    with space.sessions.use(session_id) as document:
        object_id = body.object_id or document.free_id()
    about = {"label": body.label, **_said(body, "colour", "code", "comment")}
    return _answer(command_handlers.describe(space, session_id, object_id, body, about))


@router.patch("/sessions/{session_id}/objects/{object_id}")
def change_object(
    session_id: Leased, object_id: ObjectNumber, body: command_schemas.ObjectChange, space: Space
) -> schemas.Answer:
    """Label, colour, code, lock, visibility, comment of an object."""
    about = _said(body, "label", "colour", "code", "locked", "visible", "comment")
    return _answer(command_handlers.describe(space, session_id, object_id, body, about))


@router.delete("/sessions/{session_id}/objects/{object_id}")
def remove_object(
    session_id: Leased, object_id: ObjectNumber, space: Space, force: bool = False
) -> schemas.Answer:
    """Forget an object."""
    return _answer(command_handlers.remove(space, session_id, object_id, force=force))


# --- jobs ----------------------------------------------------------------------------------------


@router.post("/sessions/{session_id}/propagate", status_code=202)
def propagate(session_id: Leased, body: command_schemas.Propagate, space: Space) -> schemas.Job:
    """Carry objects from frame to frame."""
    return schemas.Job(**space.propagate(session_id, body.model_dump()).to_json())


@router.post("/sessions/{session_id}/embed", status_code=202)
def embed(session_id: Leased, body: command_schemas.Embed, space: Space) -> schemas.Job:
    """Encode frames ahead of need."""
    return schemas.Job(**space.embed(session_id, body.frames).to_json())


@router.post("/sessions/{session_id}/everything", status_code=202)
def everything(session_id: Leased, body: command_schemas.Everything, space: Space) -> schemas.Job:
    """Find all objects of a frame without prompts, or the classes of a model that needs none."""
    return schemas.Job(
        **space.everything(session_id, body.frame, body.model, whole=body.whole).to_json()
    )


@router.get("/jobs/{job_id}")
def job(job_id: str, space: Space) -> schemas.Job:
    """How far a job is."""
    return schemas.Job(**space.jobs.get(job_id).to_json())


@router.delete("/jobs/{job_id}")
def cancel(job_id: str, space: Space) -> schemas.Job:
    """Ask a job to stop; what it found is kept."""
    found = space.jobs.get(job_id)
    found.cancel()
    found.wait(5)
    return schemas.Job(**found.to_json())


@router.get("/jobs/{job_id}/frames", response_class=StreamingResponse)
def job_frames(job_id: str, space: Space) -> StreamingResponse:
    """Masks as a job finds them: packets as on the socket, each after its length (4 bytes,
    big-endian).
    """
    found = space.jobs.get(job_id)

    def packets() -> Iterator[bytes]:
        for piece in found.pieces():
            header = {
                "type": "mask",
                "reason": found.kind,
                "seq": None,
                "job_id": job_id,
                **piece.header("bits"),
            }
            data = packet(header, piece.payload("bits"))
            yield struct.pack(">I", len(data)) + data
        data = packet({"type": "job", **found.to_json()})
        yield struct.pack(">I", len(data)) + data

    return StreamingResponse(packets(), media_type="application/octet-stream")


def packet(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Length of the header (4 bytes, big-endian), the header as JSON, the payload."""
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + payload


def _answer(done: command_handlers.Done) -> schemas.Answer:
    return schemas.Answer(**done.whole())


def _said(body: command_schemas.Command, *names: str) -> dict[str, Any]:
    """Fields that a request names."""
    return {
        name: value for name, value in body.model_dump(exclude_unset=True).items() if name in names
    }
