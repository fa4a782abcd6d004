"""Frames of reference: coordinates of two files compare only where they have the same one."""

from __future__ import annotations

from pathlib import Path

from segscope.errors import ReadError
from segscope.stack import Stack


def is_other_frame(frame_of_reference: str, like: Stack) -> bool:
    """Whether a frame of reference is not that of a stack; False where one of them is unknown."""
    known = like.meta.get("frame_of_reference", "")
    return bool(known) and bool(frame_of_reference) and frame_of_reference != known


def refuse_other_frame(path: Path, frame_of_reference: str, like: Stack) -> None:
    """Refuse masks in another frame of reference than the stack they are read for.

    Raises:
        ReadError: both are known and differ.
    """
    if is_other_frame(frame_of_reference, like):
        raise ReadError(
            f"{path} has the frame of reference {frame_of_reference}, but the scan has "
            f"{like.meta['frame_of_reference']}: their millimetres do not compare, and the masks "
            "may be those of another patient. Give the scan that they were drawn on."
        )
