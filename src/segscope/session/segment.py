"""Segment: prompts in, masks out, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from segscope.errors import Cancelled, PromptError, UsageError
from segscope.masks import FrameMask, Masks
from segscope.memory import MemoryPolicy
from segscope.models.engine import Engine
from segscope.predict.overlaps import Overlap
from segscope.predict.propagation import Direction, default_direction
from segscope.predict.stop_rules import StopRules, default_rules
from segscope.prompts import Prompt
from segscope.session.interaction import Interaction
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

    Returns:
        masks on the frames of the stack, with the record of how they were made.

    Raises:
        PromptError: no prompts, or one outside the stack.
        UsageError: unknown rules.
        Cancelled: `cancel` returned True.
    """
    if not prompts:
        raise PromptError("nothing to segment: give at least one box, point, scribble or mask")
    if isinstance(rules, str):
        rules = _named_rules(rules, stack)
    with Interaction(stack, engine, window=window, memory=memory, overlap=overlap) as work:
        for object_id, name in (names or {}).items():
            work.rename(object_id, name)
        work.add(*prompts)
        if len(stack) > 1:
            tracked = work.propagate(direction or default_direction(stack), rules=rules)
            _follow(tracked, len(stack), progress, cancel)
        return work.masks()


def _named_rules(name: str, stack: Stack) -> StopRules | None:
    if name != "auto":
        raise UsageError(f'rules are "auto", None or StopRules, got {name!r}')
    return default_rules(stack)


def _follow(
    tracked: Iterable[FrameMask],
    frame_count: int,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Propagate to the end, report progress, and stop when asked to.

    Raises:
        Cancelled: `cancel` returned True.
    """
    done: set[int] = set()
    for frame_mask in tracked:
        done.add(frame_mask.frame)
        if progress is not None:
            progress(len(done), frame_count)
        if cancel is not None and cancel():
            raise Cancelled(
                f"stopped after {len(done)} of {frame_count} frames; nothing was written"
            )
