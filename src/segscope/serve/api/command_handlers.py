"""From a request to its answer: shared by HTTP and the socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from segscope.errors import SegscopeError
from segscope.inference.learning.notes import count_learned
from segscope.serve.answers import CandidateScore, CommandAnswer
from segscope.serve.api.command_schemas import CommandRequest, HoverRequest, RequestOptions
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.result import CommandResult
from segscope.session.entries import SessionCommand
from segscope.session.examples.acceptance import is_rejected


@dataclass(frozen=True)
class Reply:
    """A command that was done: its answer, with the masks still to be encoded."""

    options: RequestOptions
    result: CommandResult
    answer: CommandAnswer

    def with_masks(self) -> CommandAnswer:
        """The answer with its masks as text."""
        encoding = self.options.encoding
        self.answer.changes = [patch.encode(encoding) for patch in self.result.changes]
        self.answer.candidate_masks = [patch.encode(encoding) for patch in self.result.candidates]
        return self.answer


def execute(workspace: Workspace, session_id: str, request: CommandRequest) -> Reply:
    """Do what a request asks for, and start the propagation that may follow."""
    start = time.perf_counter()
    with workspace.sessions.use(session_id) as session:
        result = request.run(session)
        if result is None:  # there was nothing to do
            result = CommandResult()
        else:
            workspace.sessions.count_command(session_id, session)
        result, note = _follow_up(workspace, session_id, request, session, result)
        if result.answer is not None and workspace.settings.prefetch:
            workspace.session_jobs.look_ahead(session_id, result.answer.frame)
        answer = _answer(request, result, session, start)
        answer.note = " ".join(filter(None, (answer.note, note)))
        _add_changes(answer, result, session)
    return Reply(request, result, answer)


def _follow_up(
    workspace: Workspace,
    session_id: str,
    request: CommandRequest,
    session: OpenSession,
    result: CommandResult,
) -> tuple[CommandResult, str]:
    """Start the propagation that follows a command; the result, and why it was not started.

    The command is in the log by now: nothing that fails here may make it look undone.
    """
    try:
        propagation = request.propagation(session, result)
        if propagation is None:
            return result, ""
        job = workspace.session_jobs.propagate(session_id, propagation)
    except SegscopeError as error:
        return result, f"the correction counts, but was not propagated: {error}"
    return replace(result, job=job.job_id), ""


def execute_command(
    workspace: Workspace,
    session_id: str,
    options: RequestOptions,
    command: Callable[[OpenSession], SessionCommand],
    *,
    force: bool = False,
) -> Reply:
    """Do a command that has a separate route."""
    start = time.perf_counter()
    with workspace.sessions.use(session_id) as session:
        result = session.execute(command(session), force=force)
        workspace.sessions.count_command(session_id, session)
        answer = _answer(options, result, session, start)
        _add_changes(answer, result, session)
    return Reply(options, result, answer)


def preview(workspace: Workspace, session_id: str, request: HoverRequest) -> Reply:
    """What prompts would give; nothing is stored."""
    start = time.perf_counter()
    prompts = request.parse_prompts()
    with workspace.sessions.use(session_id) as session:
        result = session.preview(prompts, instead=request.instead, candidates=request.multimask)
        answer = _answer(request, result, session, start)
    return Reply(request, result, answer)


def _answer(
    options: RequestOptions, result: CommandResult, session: OpenSession, start: float
) -> CommandAnswer:
    work = session.work
    answer = CommandAnswer(
        seq=options.seq,
        commands=work.can_undo,
        can_undo=work.can_undo,
        can_redo=work.can_redo,
        timing_ms={
            "queue": round(1000 * result.waited_s, 2),
            "work": round(1000 * result.worked_s, 2),
            "total": round(1000 * (time.perf_counter() - start), 2),
        },
    )
    mask = result.answer
    if mask is None:
        return answer
    answer.frame = mask.frame
    answer.object_id = mask.object_id
    answer.score = round(float(mask.score), 4)
    answer.object_score = None
    if mask.object_score is not None:
        answer.object_score = round(float(mask.object_score), 3)
    answer.note = mask.note
    answer.learned = count_learned(mask.note)
    return answer


def _add_changes(answer: CommandAnswer, result: CommandResult, session: OpenSession) -> None:
    """Add what a stored command changed besides masks."""
    objects = session.work.objects
    answer.stale = list(result.stale)
    answer.job = result.job
    answer.objects = session.objects(result.touched, with_frames=False)
    answer.removed = [
        object_id
        for object_id in result.touched
        if object_id not in objects or is_rejected(objects[object_id])
    ]
    mask = result.answer
    if mask is None or mask.object_id not in objects:
        return
    stored = objects[mask.object_id].answers.get(mask.frame)
    if stored is not None:
        answer.chosen = stored.chosen
        answer.candidates = [
            CandidateScore(index=index, score=round(float(item.score), 4))
            for index, item in enumerate(stored.candidates)
        ]
