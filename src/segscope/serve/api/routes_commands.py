"""Commands on a session, and the jobs that some of them start."""

from __future__ import annotations

import inspect
import struct
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from segscope.serve.answers import CommandAnswer, JobStatus
from segscope.serve.api import command_handlers
from segscope.serve.api.command_schemas import (
    COMMANDS,
    CommandRequest,
    EmbedRequest,
    EverythingRequest,
    FindAllRequest,
    FlagRequest,
    HoverRequest,
    NewObject,
    ObjectChange,
    RequestOptions,
)
from segscope.serve.api.dependencies import Leased, ServedWorkspace
from segscope.serve.api.packets import event_to_json, packet
from segscope.serve.sessions.propagation import PropagateRequest
from segscope.session.commands import Describe, Remove

router = APIRouter()
ObjectNumber = Annotated[int, Path(ge=1, le=65535)]


def _add_command_route(word: str, request_type: type[CommandRequest]) -> None:
    def command(
        session_id: Leased, body: CommandRequest, workspace: ServedWorkspace
    ) -> CommandAnswer:
        return command_handlers.execute(workspace, session_id, body).with_masks()

    command.__annotations__["body"] = request_type  # FastAPI reads the schema from here
    router.add_api_route(
        f"/sessions/{{session_id}}/{word}",
        command,
        methods=["POST"],
        name=word,
        summary=word.capitalize(),
        description=inspect.getdoc(request_type),
    )


for _word, _request_type in COMMANDS.items():
    _add_command_route(_word, _request_type)


@router.post("/sessions/{session_id}/hover")
def hover(session_id: Leased, body: HoverRequest, workspace: ServedWorkspace) -> CommandAnswer:
    """What `predict` would answer; nothing is stored."""
    return command_handlers.preview(workspace, session_id, body).with_masks()


@router.put("/sessions/{session_id}/flags/{frame}", status_code=204)
def flag(session_id: Leased, frame: int, body: FlagRequest, workspace: ServedWorkspace) -> None:
    """Flag a frame for review, or remove the flag."""
    if body.flagged:
        workspace.session_service.flag(session_id, frame, comment=body.comment)
    else:
        workspace.session_service.remove_flag(session_id, frame)


# --- objects -------------------------------------------------------------------------------------


@router.post("/sessions/{session_id}/objects", status_code=201)
def add_object(session_id: Leased, body: NewObject, workspace: ServedWorkspace) -> CommandAnswer:
    """A new object, with the lowest free number by default."""
    reply = command_handlers.execute_command(
        workspace,
        session_id,
        body,
        lambda session: Describe(body.object_id or session.free_id(), body.label, body.about()),
    )
    return reply.with_masks()


@router.patch("/sessions/{session_id}/objects/{object_id}")
def change_object(
    session_id: Leased, object_id: ObjectNumber, body: ObjectChange, workspace: ServedWorkspace
) -> CommandAnswer:
    """Change label, colour, code, lock, visibility or comment of an object."""
    command = Describe(object_id, body.label, body.about())
    reply = command_handlers.execute_command(workspace, session_id, body, lambda _: command)
    return reply.with_masks()


@router.delete("/sessions/{session_id}/objects/{object_id}")
def remove_object(
    session_id: Leased, object_id: ObjectNumber, workspace: ServedWorkspace, force: bool = False
) -> CommandAnswer:
    """Remove an object with its prompts and masks."""
    reply = command_handlers.execute_command(
        workspace, session_id, RequestOptions(), lambda _: Remove(object_id), force=force
    )
    return reply.with_masks()


# --- jobs ----------------------------------------------------------------------------------------


@router.post("/sessions/{session_id}/propagate", status_code=202)
def propagate(session_id: Leased, body: PropagateRequest, workspace: ServedWorkspace) -> JobStatus:
    """Track objects from frame to frame."""
    return workspace.session_jobs.propagate(session_id, body).status()


@router.post("/sessions/{session_id}/embed", status_code=202)
def embed(session_id: Leased, body: EmbedRequest, workspace: ServedWorkspace) -> JobStatus:
    """Encode frames before they are needed."""
    return workspace.session_jobs.embed(session_id, body.frames).status()


@router.post("/sessions/{session_id}/everything", status_code=202)
def everything(
    session_id: Leased, body: EverythingRequest, workspace: ServedWorkspace
) -> JobStatus:
    """Segment all objects of a frame without prompts, or the classes of a model that needs none."""
    job = workspace.session_jobs.everything(session_id, body.frame, body.model, whole=body.whole)
    return job.status()


@router.post("/sessions/{session_id}/find_all", status_code=202)
def find_all(session_id: Leased, body: FindAllRequest, workspace: ServedWorkspace) -> JobStatus:
    """Find all objects like the accepted ones; they wait as suggestions."""
    jobs = workspace.session_jobs
    return jobs.find_all(session_id, body.frame, body.labels, whole=body.whole).status()


@router.get("/jobs/{job_id}")
def job(job_id: str, workspace: ServedWorkspace) -> JobStatus:
    """How far a job is."""
    return workspace.jobs.get(job_id).status()


@router.delete("/jobs/{job_id}")
def cancel(job_id: str, workspace: ServedWorkspace) -> JobStatus:
    """Stop a job; the masks so far stay."""
    running = workspace.jobs.get(job_id)
    running.cancel()
    running.wait(5)
    return running.status()


@router.get("/jobs/{job_id}/frames", response_class=StreamingResponse)
def job_frames(job_id: str, workspace: ServedWorkspace) -> StreamingResponse:
    """Masks as a job computes them: packets as on the socket, each after its length (4 bytes,
    big-endian).
    """
    running = workspace.jobs.get(job_id)

    def packets() -> Iterator[bytes]:
        for patch in running.patches():
            header = {
                "type": "mask",
                "reason": running.kind,
                "seq": None,
                "job_id": job_id,
                **patch.header("bits"),
            }
            yield _with_length(packet(header, patch.payload("bits")))
        yield _with_length(packet(event_to_json(running.status())))

    return StreamingResponse(packets(), media_type="application/octet-stream")


def _with_length(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
