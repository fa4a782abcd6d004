"""Files of `--mask`: the mask that one has for a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import PromptError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.masks import Masks
    from segscope.stack import Stack


def read_mask_prompt(path: Path, frame: int | None, stack: Stack) -> tuple[NDArray[np.bool_], int]:
    """The mask that a file has for one frame, and that frame.

    A single image serves any frame. A file as deep as the stack gives its own frame, which must be
    named unless only one has a mask.
    """
    from segscope import io

    needs_scan = io.needs_scan(path)
    masks = io.read_masks(path, like=stack if needs_scan else None)
    if masks.shape_zyx[0] > 1:
        if not needs_scan:
            masks = io.read_masks(path, like=stack)
        if frame is None:
            frame = _only_frame(masks, path)
        index = frame
    else:
        if frame is None and stack.kind == "volume" and len(stack) > 1:
            raise PromptError(f"the mask {path} needs a slice: {path}@SLICE, counted from 0")
        frame = frame or 0
        index = 0
    if index >= masks.shape_zyx[0]:
        raise PromptError(
            f"frame {frame} is outside the stack, whose frames are 0 to {len(stack) - 1}"
        )
    mask = masks.frame_labels(index) > 0
    if not mask.any():
        raise PromptError(f"{path} is empty on frame {frame}; a mask prompt must show the object")
    return mask, frame


def _only_frame(masks: Masks, path: Path) -> int:
    """The frame with a mask, if there is exactly one."""
    frames = sorted({index for (index, _), runs in masks.runs.items() if runs[1::2].sum()})
    if len(frames) != 1:
        raise PromptError(f"{path} has masks on {len(frames)} frames; name one: {path}@FRAME")
    return frames[0]
