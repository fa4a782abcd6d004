"""Masks as prompts: the true one, one drawn badly, one encircled by hand; and no prompt at all."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segscope.prompts import MaskPrompt, Prompt
from segscope.simulate.annotation_target import Rng, Target
from segscope.simulate.regions import Mask, depth, smooth


def exact(target: Target, _rng: Rng) -> list[Prompt]:
    """The true mask."""
    return [_prompt(target, target.mask)]


def morph(
    target: Target, rng: Rng, *, iterations: int | None = None, way: str = "either"
) -> list[Prompt]:
    """The true mask eroded or dilated by as many pixels as `iterations` says (1 to 5, drawn); never
    to nothing.
    """
    times = int(rng.integers(1, 6)) if iterations is None else iterations
    erode = way == "erode" or (way == "either" and rng.random() < 0.5)
    if not erode:
        return [_prompt(target, ndimage.binary_dilation(target.mask, iterations=times))]
    mask = target.mask
    for _ in range(times):
        less = ndimage.binary_erosion(mask)
        if not less.any():
            break
        mask = less
    return [_prompt(target, mask)]


def lasso(target: Target, rng: Rng, *, wobble: float = 0.05) -> list[Prompt]:
    """What a hand encircles: the filled outline, somewhat outside and wavering by `wobble` of the
    object's size.

    Size is the root of the area. It is a hint to improve, whatever the stack.
    """
    mask = target.mask
    size = float(np.sqrt(mask.sum()))
    inside = depth(mask) - ndimage.distance_transform_edt(~mask)  # signed distance in pixels
    waves = smooth(rng, mask.shape, cells=4 * max(mask.shape) / max(size, 4.0))
    drawn = ndimage.binary_fill_holes(inside + wobble * size * (0.5 + waves) > 0)
    return [MaskPrompt(drawn if drawn.any() else mask, target.frame, target.object_id, refine=True)]


def _prompt(target: Target, mask: Mask) -> MaskPrompt:
    """A mask as the answer on a frame of a stack (SAM 2's rule), as a hint to improve on a lone
    image (SAM's).
    """
    return MaskPrompt(mask, target.frame, target.object_id, refine=len(target.truth) == 1)


def everything(_target: Target, _rng: Rng) -> list[Prompt]:
    """No prompt: a mark that masks are to be made of everything, without asking."""
    return []
