"""Boxes: tight, one for each part, loosened as people draw them, and the box of a volume."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segscope.prompts import Box, MaskPrompt, Prompt
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.regions import parts


@dataclass(frozen=True, slots=True)
class Jitter:
    """How far each edge may move.

    Attributes:
        share: part of the box's short side.
        pixels: added to it.
        at: `pixels` and `most` apply to frames whose longer side has this length, and scale with
            the frame; None: they do not scale.
        outward: whether edges move outward only.
        most: limit in pixels.
        own: whether the share is of the side that the edge moves along.
    """

    share: float = 0.0
    pixels: float = 0.0
    at: int | None = None
    outward: bool = True
    most: float = math.inf
    own: bool = False


JITTERS = {
    "a": Jitter(share=0.1, outward=False),  # the benchmark of context-dependent concepts
    "b": Jitter(pixels=20),  # MedSAM2
    "c": Jitter(pixels=5, at=256),  # CVPR 2025 challenge
    "d": Jitter(pixels=20, at=128, outward=False),  # ScribblePrompt
    # training of MedSAM2 (Toronto)
    "e": Jitter(share=0.1, at=512, outward=False, most=20, own=True),
}


def tight(target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """The tight box of the whole object."""
    return [Box.around(target.mask, target.frame, target.object_id)]


def multi(target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """The tight box of each 8-connected part, largest first; the union of their masks is the
    answer.
    """
    return [
        Box((columns.start, rows.start, columns.stop, rows.stop), target.frame, target.object_id)
        for (rows, columns), _ in parts(target.mask)
    ]


def jitter(
    target: AnnotationTarget,
    rng: Rng,
    *,
    kind: str = "a",
    pixels: float | None = None,
    share: float | None = None,
) -> list[Prompt]:
    """The tight box with its edges moved; `pixels` or `share` replace the limits of `kind`."""
    rule = JITTERS[kind]
    if pixels is not None or share is not None:
        rule = replace(rule, share=share or 0.0, pixels=pixels or 0.0)
    box = Box.around(target.mask, target.frame, target.object_id)
    size_hw = target.truth.shape[1:]
    scale = 1.0
    if rule.at:
        scale = max(size_hw) / rule.at
    x0, y0, x1, y1 = box.xyxy
    sides = np.full(4, short_side(box))
    if rule.own:
        sides = np.tile((x1 - x0, y1 - y0), 2)
    reach = np.minimum(rule.share * sides + rule.pixels * scale, rule.most * scale)
    low = -1.0
    if rule.outward:
        low = 0.0
    by = rng.uniform(low, 1.0, 4) * reach
    return [moved(box, by * (-1, -1, 1, 1), size_hw)]


def short_side(box: Box) -> float:
    x0, y0, x1, y1 = box.xyxy
    return min(x1 - x0, y1 - y0)


def moved(box: Box, by_xyxy: NDArray[np.float64], size_hw: tuple[int, ...]) -> Box:
    """A box with its edges moved, kept inside the frame and at least one pixel wide and high."""
    edges = np.asarray(box.xyxy) + by_xyxy
    for axis, side in ((0, size_hw[1]), (1, size_hw[0])):
        low, high = np.clip(edges[[axis, axis + 2]], 0, side)
        if high - low < 1:
            middle = np.clip((low + high) / 2, 0.5, side - 0.5)
            low = middle - 0.5
            high = middle + 0.5
        edges[[axis, axis + 2]] = low, high
    x0, y0, x1, y1 = edges.tolist()
    return Box((x0, y0, x1, y1), box.frame, box.object_id)


def middle(target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """A 3D box: the 2D box of the middle slice of the object, and the ends of its extent.

    The ends are empty masks on the slices just outside, if these exist: propagation stops there.
    """
    labelled = np.flatnonzero(target.truth.any(axis=(1, 2)))
    if not len(labelled):
        return []
    frame = int(labelled[len(labelled) // 2])
    beyond = [int(labelled[0]) - 1, int(labelled[-1]) + 1]
    nothing = np.zeros(target.truth.shape[1:], bool)
    ends = [
        MaskPrompt(nothing, end, target.object_id) for end in beyond if 0 <= end < len(target.truth)
    ]
    return [Box.around(target.truth[frame], frame, target.object_id), *ends]
