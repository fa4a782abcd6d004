"""Segment: prompts in, masks out, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import starmap

from segscope.errors import Cancelled, PromptError, UsageError
from segscope.masks import Masks
from segscope.memory import MemoryPolicy
from segscope.models.engine import Engine
from segscope.predict.overlaps import Overlap, compose
from segscope.predict.propagation import Direction, PropagationRange, default_direction
from segscope.predict.stop_rules import StopRules, default_rules
from segscope.prompts import Prompt
from segscope.session.commands import Add, Propagate, Rename, SessionCommand
from segscope.session.examples.examples import Examples
from segscope.session.examples.session_examples import SessionExamples, examples_of
from segscope.session.log_lines import LogHeader
from segscope.session.state import SessionState
from segscope.session.timeline import make_record
from segscope.stack import Stack
from segscope.wire import JsonObject

Progress = Callable[[int, int], None]


def segment(
    stack: Stack,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    names: Mapping[int, str] | None = None,
    direction: Direction | None = None,
    memory: str | MemoryPolicy = "fifo",
    window: str | JsonObject | None = None,
    overlap: Overlap = "highest",
    rules: StopRules | str | None = "auto",
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    examples: Examples | SessionExamples | None = None,
) -> Masks:
    """Segment the prompted objects of an image, or track them through a volume or a video.

    Args:
        stack: from `segscope.read` or `Stack.from_array`.
        engine: from `segscope.load`.
        prompts: of any kind, on any frames, for any objects. Those of one object on one frame are
            answered together.
        names: labels of objects by id.
        direction: None goes both ways through a volume and forward through a video.
        memory: which past frames are attended to: the name of a policy, or a `MemoryPolicy`.
        window: intensities displayed, see `segscope.render.Renderer`; None chooses by modality.
        overlap: "highest" gives shared pixels to the object with the highest logit, "keep" to all.
        rules: when tracking of an object ends; "auto" uses `StopRules()` for volumes and none for
            videos.
        progress: called with (frames done, frames to do at most).
        cancel: called after each mask; True stops the propagation.
        examples: accepted objects that the masks learn from.

    Returns:
        masks on the frames of the stack, with the record of how they were made.

    Raises:
        PromptError: no prompts, or one outside the stack.
        UsageError: unknown rules.
        Cancelled: `cancel` returned True.
    """
    if not prompts:
        raise PromptError("nothing to segment: give at least one box, point, scribble or mask")
    if isinstance(rules, str) and rules != "auto":
        raise UsageError(f'rules are "auto", None or StopRules, got {rules!r}')
    state = SessionState.begin(stack, engine, window=window, memory=memory, overlap=overlap)
    state.learning = examples_of(stack, engine, examples)
    commands = _list_commands(prompts, names or {})
    # without undo and log nothing else shares the objects, so commands need no copies of them
    with closing(state.inference.spool):
        for number, command in enumerate(commands):
            commands[number] = command.learn(state)
            commands[number].check(state)
            commands[number].apply(state)
        if len(stack) > 1:
            ends = default_rules(stack) if isinstance(rules, str) else rules
            range_ = PropagationRange(direction or default_direction(stack), rules=ends)
            command = Propagate(range_, tuple(sorted(state.objects)))
            commands.append(_propagate(command, state, progress, cancel))
        record = make_record(LogHeader.of(state), state.objects, commands)
        return compose(state.inference, state.objects, overlap, record)


def _list_commands(prompts: Sequence[Prompt], names: Mapping[int, str]) -> list[SessionCommand]:
    commands: list[SessionCommand] = []
    if any(names.values()):  # objects without names come into being with their prompts
        commands += starmap(Rename, names.items())
    return [*commands, Add(tuple(prompts))]


def _propagate(
    command: Propagate,
    state: SessionState,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> Propagate:
    """Propagate to the end, report progress, and stop when asked to; the command as it was done.

    Raises:
        Cancelled: `cancel` returned True.
    """
    command = command.learn(state)
    command.check(state)
    total = len(state.inference.stack)
    frame_count = 0
    done: set[int] = set()
    for results in command.results(state, lambda: False):
        frame_count += 1
        for frame_mask in results:
            done.add(frame_mask.frame)
            if progress is not None:
                progress(len(done), total)
            if cancel is not None and cancel():
                raise Cancelled(f"stopped after {len(done)} of {total} frames; nothing was written")
    return replace(command, frame_count=frame_count)
