"""Masks as prompts: exact, eroded or dilated, or encircled by hand; and no prompt at all."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segscope.prompts import MaskPrompt, Prompt
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.regions import Mask, depth, smooth


def exact(target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """The true mask."""
    return [_prompt(target, target.mask)]


def morph(
    target: AnnotationTarget, rng: Rng, *, iterations: int | None = None, way: str = "either"
) -> list[Prompt]:
    """The true mask, eroded or dilated by `iterations` pixels (by default 1 to 5, drawn); it never
    becomes empty.
    """
    times = iterations
    if times is None:
        times = int(rng.integers(1, 6))
    erode = way == "erode" or (way == "either" and rng.random() < 0.5)
    if not erode:
        return [_prompt(target, ndimage.binary_dilation(target.mask, iterations=times))]
    mask = target.mask
    for _ in range(times):
        eroded = ndimage.binary_erosion(mask)
        if not eroded.any():
            break
        mask = eroded
    return [_prompt(target, mask)]


def lasso(target: AnnotationTarget, rng: Rng, *, wobble: float = 0.05) -> list[Prompt]:
    """A region encircled by hand: slightly outside the object, its outline wavering by `wobble` of
    the object's size.

    The size is the root of the area. The mask is to be refined, in any stack.
    """
    mask = target.mask
    size = float(np.sqrt(mask.sum()))
    inside = depth(mask) - ndimage.distance_transform_edt(~mask)  # signed distance in pixels
    waves = smooth(rng, mask.shape, cells=4 * max(mask.shape) / max(size, 4.0))
    region = ndimage.binary_fill_holes(inside + wobble * size * (0.5 + waves) > 0)
    if not region.any():
        region = mask
    return [MaskPrompt(region, target.frame, target.object_id, refine=True)]


def _prompt(target: AnnotationTarget, mask: Mask) -> MaskPrompt:
    """A mask: final on a frame of a stack (SAM 2's rule), to be refined on an image (SAM's)."""
    return MaskPrompt(mask, target.frame, target.object_id, refine=len(target.truth) == 1)


def everything(_target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """No prompt: marks a plan that segments everything."""
    return []
