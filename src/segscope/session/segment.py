"""Segment: prompts in, masks out, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segscope.errors import Cancelled, PromptError
from segscope.masks import Masks
from segscope.memory import MemoryPolicy
from segscope.models.engine import Engine
from segscope.predict.overlaps import Overlap
from segscope.predict.propagation import Direction, default_direction
from segscope.predict.stop_rules import StopRules, default_rules
from segscope.prompts import Prompt
from segscope.session.interaction import Interaction
from segscope.stack import Stack

Progress = Callable[[int, int], None]


def segment(
    stack: Stack,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    names: Mapping[int, str] | None = None,
    direction: Direction | None = None,
    memory: str | MemoryPolicy = "fifo",
    window: Any = None,
    overlap: Overlap = "highest",
    rules: StopRules | str | None = "auto",
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Masks:
    """Segment the prompted objects of a image, or carry them through a volume or a video.

    Args:
        stack: from `segscope.read` or `Stack.from_array`.
        engine: from `segscope.load`.
        prompts: of any kind, on any frames, for any objects. Those of one object on one frame are
            answered together.
        names: labels of objects by id.
        direction: None goes both ways through a volume and forward through a video.
        memory: which past frames are attended to: "fifo", "pruned", "gated", or an object of your
            own.
        window: intensities shown, see `segscope.render.Renderer`; None chooses by modality.
        overlap: "highest" gives shared pixels to the object with the highest logit, "keep" to all.
        rules: when tracking of an object ends; "auto" uses `StopRules()` for volumes and none for
            videos.
        progress: called with (frames done, frames to do at most).
        cancel: asked before each frame.

    Returns:
        masks on the frames of the stack, with the record of what made them.

    Raises:
        PromptError: no prompts, or one outside the stack.
        Cancelled: `cancel` said so; nothing is returned then.
    """
    if not prompts:
        raise PromptError("nothing to segment: give at least one box, point, scribble or mask")
    if isinstance(rules, str):
        rules = default_rules(stack)
    way = direction or default_direction(stack)
    with Interaction(stack, engine, window=window, memory=memory, overlap=overlap) as work:
        for object_id, name in (names or {}).items():
            work.rename(object_id, name)
        work.add(*prompts)
        if len(stack) > 1:
            seen: set[int] = set()
            for found in work.propagate(way, rules=rules):
                seen.add(found.frame)
                if progress is not None:
                    progress(len(seen), len(stack))
                if cancel is not None and cancel():
                    raise Cancelled(
                        f"stopped after {len(seen)} of {len(stack)} frames; nothing was written"
                    )
        return work.masks()
