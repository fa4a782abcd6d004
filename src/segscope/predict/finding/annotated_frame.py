"""Annotated frames: where examples come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.prompts import Box
from segscope.stack import Stack


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMask:
    """An object that a person marked.

    Attributes:
        label: of the object, or "".
        mask: (row, column) bool of its frame.
    """

    label: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedFrame:
    """A frame on which some objects are marked: of the stack that is searched, or another image.

    Attributes:
        objects: accepted masks.
        rejected: masks that are not objects of their label.
        frame: its number in the stack that is searched; None for another image.
        rgb: (row, column, 3) uint8 of another image, as the network sees it; else None.
        complete: every object of the labels is marked, so that the rest is background.
        id: opaque id of the image, for the record. It must not name a patient or a file.
    """

    objects: tuple[LabelledMask, ...]
    rejected: tuple[LabelledMask, ...] = ()
    frame: int | None = None
    rgb: NDArray[np.uint8] | None = None
    complete: bool = False
    id: str = ""


def check_examples(stack: Stack, examples: Sequence[AnnotatedFrame]) -> None:
    if not any(each.objects for each in examples):
        raise UsageError("there is no example; mark an object that the others are like")
    for each in examples:
        if (each.frame is None) == (each.rgb is None):
            raise UsageError("an annotated frame is one of the stack, or another image; not both")
        size_hw = stack.size_hw if each.rgb is None else each.rgb.shape[:2]
        if each.frame is not None and not 0 <= each.frame < len(stack):
            raise UsageError(
                f"examples lie on frame {each.frame}, but the stack has frames 0 to "
                f"{len(stack) - 1}"
            )
        for marked in (*each.objects, *each.rejected):
            if marked.mask.shape != size_hw:
                raise UsageError(
                    f"the mask of an example has {marked.mask.shape} rows and columns, its frame "
                    f"{size_hw}"
                )
            if not marked.mask.any():
                raise UsageError(f'an example of "{marked.label}" is empty; leave it out')


def describe_example(example: AnnotatedFrame) -> dict[str, object]:
    """An annotated frame as part of the record."""
    return {
        "id": example.id,
        "frame": example.frame,
        "objects": _count_labels(example.objects),
        "rejected": _count_labels(example.rejected),
        "complete": example.complete,
    }


def _count_labels(marked: Sequence[LabelledMask]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in marked:
        counts[each.label] = counts.get(each.label, 0) + 1
    return counts


def measure_longer_side(mask: NDArray[np.bool_]) -> float:
    """Longer side in pixels of the box around a mask."""
    x0, y0, x1, y1 = Box.around(mask).xyxy
    return max(x1 - x0, y1 - y0)
