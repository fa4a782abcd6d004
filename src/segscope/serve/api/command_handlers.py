"""Requests to commands and outcomes to answers: shared by HTTP and the socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segscope.errors import PromptError, UsageError
from segscope.prompts import Box, Point, Prompt
from segscope.serve.api import command_schemas
from segscope.serve.project.workspace import Workspace, counts
from segscope.serve.sessions import mask_patch
from segscope.serve.sessions.open_session import Document
from segscope.serve.sessions.result import Outcome
from segscope.wire import prompt_from_json


def prompts_of(request: command_schemas.Predict) -> list[Prompt]:
    """The prompts of a request, in order: `prompts`, boxes, points."""
    found = listed(request.prompts, request.frame, request.object_id)
    found += [Box(box, request.frame, request.object_id) for box in request.boxes]
    found += [
        Point(x, y, request.frame, request.object_id, bool(here)) for x, y, here in request.points
    ]
    if not found:
        raise PromptError("no prompts: give points, boxes or prompts")
    return found


def listed(items: Sequence[Mapping[str, Any]], frame: int, object_id: int) -> list[Prompt]:
    """Prompts as prompt files have them; frame and object are those of the request unless they say
    otherwise.
    """
    found = []
    for item in items:
        said = item.get("object", object_id)
        if isinstance(said, bool) or not isinstance(said, int):
            raise PromptError("'object' is a whole number")
        if "path" in item:
            raise PromptError("a mask prompt is sent as bits; paths are for prompt files on disk")
        found.append(prompt_from_json({"frame": frame, **item}, said))
    return found


def painted(
    request: command_schemas.Paint, size_hw: tuple[int, int]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The pixels that a brush, a lasso or a bitmap covers."""
    strokes = [(stroke.xy, stroke.width) for stroke in request.strokes]
    canvas = mask_patch.drawn(size_hw, strokes, request.polygon)
    if request.bits is not None:
        x0, y0, x1, y1 = request.bits.bbox
        if not (x0 < x1 <= size_hw[1] and y0 < y1 <= size_hw[0]):
            raise PromptError(
                f"the box of the bits {request.bits.bbox} does not lie on the frame of {size_hw} pixels"
            )
        canvas[y0:y1, x0:x1] |= mask_patch.from_text(
            request.bits.data, (y1 - y0, x1 - x0), request.bits.encoding
        )
    if not (strokes or request.polygon or request.bits):
        raise PromptError("nothing is painted: give strokes, a polygon or bits")
    return canvas


def step_of(action: str, request: Any) -> Callable[[Document], Outcome | None]:
    """What a request does to a document.

    Raises:
        UsageError: no such action.
    """
    match action:
        case "predict" | "correct":
            return lambda d: d.add(
                prompts_of(request), force=request.force, candidates=request.multimask
            )
        case "replace":
            return lambda d: d.replace(
                request.frame,
                request.object_id,
                listed(request.prompts, request.frame, request.object_id),
                force=request.force,
            )
        case "choose":
            return lambda d: d.choose(
                request.frame, request.object_id, request.index, force=request.force
            )
        case "clear":
            return lambda d: d.clear(request.frame, request.object_id, force=request.force)
        case "paint":
            return lambda d: d.paint(
                request.frame,
                request.object_id,
                painted(request, d.size_hw),
                erase=request.erase,
                force=request.force,
            )
        case "accept":
            return lambda d: d.accept(request.frames, request.object_ids, accepted=request.accepted)
        case "undo" | "redo":
            return lambda d: d.undo(request.frame, redo=action == "redo")
    raise UsageError(f"no action {action!r}; there are {', '.join(ACTIONS)}")


ACTIONS: Mapping[str, type[command_schemas.Command]] = {
    "predict": command_schemas.Predict,
    "correct": command_schemas.Correct,
    "replace": command_schemas.Replace,
    "choose": command_schemas.Choose,
    "clear": command_schemas.Clear,
    "paint": command_schemas.Paint,
    "accept": command_schemas.Accept,
    "undo": command_schemas.Step,
    "redo": command_schemas.Step,
}


@dataclass(frozen=True)
class Done:
    """A command that was done: what it led to, and what the client is told besides masks."""

    request: command_schemas.Command
    outcome: Outcome
    answer: dict[str, Any]

    def whole(self) -> dict[str, Any]:
        """The answer with its masks."""
        encoding = self.request.encoding
        return {
            **self.answer,
            "changes": [piece.to_json(encoding) for piece in self.outcome.changes],
            "candidate_masks": [piece.to_json(encoding) for piece in self.outcome.candidates],
        }


def _told(
    request: command_schemas.Command, outcome: Outcome, document: Document, start: float
) -> dict[str, Any]:
    found = outcome.found
    answer: dict[str, Any] = {"seq": request.seq, **counts(document)}
    if found is not None:
        presence = found.object_score
        answer |= {
            "frame": found.frame,
            "object_id": found.object_id,
            "score": round(float(found.score), 4),
            "object_score": None if presence is None else round(float(presence), 3),
            "note": found.note,
        }
    answer["timing_ms"] = {
        "queue": round(1000 * outcome.waited_s, 2),
        "work": round(1000 * outcome.worked_s, 2),
        "total": round(1000 * (time.perf_counter() - start), 2),
    }
    return answer


def _kept(outcome: Outcome, document: Document) -> dict[str, Any]:
    """What an answer says of a command that was kept."""
    more: dict[str, Any] = {
        "stale": list(outcome.stale),
        "job": outcome.job,
        "objects": document.objects(outcome.touched, with_frames=False),
        "removed": [number for number in outcome.touched if number not in document.work.tracks],
    }
    found = outcome.found
    track = None
    if found is not None:
        track = document.work.tracks.get(found.object_id)
    answer = None
    if not (found is None or track is None):
        answer = track.answers.get(found.frame)
    if answer is not None:
        more["chosen"] = answer.chosen
        more["candidates"] = [
            {"index": index, "score": round(float(item.score), 4)}
            for index, item in enumerate(answer.candidates)
        ]
    return more


def act(workspace: Workspace, session_id: str, action: str, request: Any) -> Done:
    """Do what a request asks for."""
    start = time.perf_counter()
    with workspace.sessions.use(session_id) as document:
        outcome = workspace.command(session_id, document, step_of(action, request))
        found = outcome.found
        if (
            action == "correct"
            and request.repropagate
            and found is not None
            and document.frames > 1
        ):
            within = request.within or document.work.interval(found.frame, found.object_id)
            again = {
                "objects": [found.object_id],
                "direction": "both",
                "start": found.frame,
                "within": list(within),
            }
            outcome = replace(outcome, job=workspace.propagate(session_id, again).job_id)
        if found is not None:
            workspace.look_ahead(session_id, found.frame)
        return Done(
            request,
            outcome,
            {**_told(request, outcome, document, start), **_kept(outcome, document)},
        )


def hover(workspace: Workspace, session_id: str, request: command_schemas.Predict) -> Done:
    """What a request would give."""
    start = time.perf_counter()
    prompts = prompts_of(request)
    with workspace.sessions.use(session_id) as document:
        outcome = document.hover(prompts, instead=request.instead, candidates=request.multimask)
        return Done(request, outcome, _told(request, outcome, document, start))


def describe(
    workspace: Workspace,
    session_id: str,
    object_id: int,
    request: command_schemas.Command,
    about: Mapping[str, Any],
) -> Done:
    """Say something of an object."""
    start = time.perf_counter()
    label = about.get("label")
    more = {key: value for key, value in about.items() if key != "label"}
    with workspace.sessions.use(session_id) as document:
        outcome = workspace.command(
            session_id, document, lambda d: d.describe(object_id, label=label, about=more)
        )
        return Done(
            request,
            outcome,
            {**_told(request, outcome, document, start), **_kept(outcome, document)},
        )


def remove(workspace: Workspace, session_id: str, object_id: int, *, force: bool) -> Done:
    """Forget an object."""
    start = time.perf_counter()
    request = command_schemas.Command()
    with workspace.sessions.use(session_id) as document:
        outcome = workspace.command(
            session_id, document, lambda d: d.remove(object_id, force=force)
        )
        return Done(
            request,
            outcome,
            {**_told(request, outcome, document, start), **_kept(outcome, document)},
        )
