"""Errors of the hand: prompts beside the intended place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from segscope.simulate.annotation_target import Rng
from segscope.simulate.boxes import moved, short_side
from segscope.simulate.regions import Mask

JITTERS = (0.0, 0.05, 0.1, 0.2)  # shares of the object's size for which robustness is reported


@dataclass(frozen=True, slots=True)
class Noise:
    """Errors of a simulated annotator.

    Attributes:
        jitter: share of the object's size by which coordinates are off, each way. The size is the
            short side of its box.
        jitter_px: the same in pixels, added to it.
        wrong: probability that a click lands on the wrong side of the object's outline.
        late: frames by which a correction comes late; without effect on images.
    """

    jitter: float = 0.0
    jitter_px: float = 0.0
    wrong: float = 0.0
    late: int = 0

    def __post_init__(self) -> None:
        shares = (self.jitter, self.wrong)
        are_shares = 0 <= min(shares) <= max(shares) <= 1
        if not are_shares or not 0 <= self.jitter_px <= 1000 or self.late < 0:
            raise UsageError(
                "jitter and wrong must be 0 to 1, jitter_px 0 to 1000, late a number of frames; "
                f"got {self}"
            )

    def apply(self, prompts: Sequence[Prompt], truth: NDArray[np.bool_], rng: Rng) -> list[Prompt]:
        """The prompts with errors; without errors nothing is drawn from the generator.

        Boxes move by edge, strokes and masks as a whole. Everything stays inside the frame.

        Args:
            truth: (frame, row, column) the intended object.
        """
        noisy = list(prompts)
        if self.jitter or self.jitter_px:
            noisy = [self._shake(prompt, truth[prompt.frame], rng) for prompt in noisy]
        if self.wrong:
            noisy = [self._misplace(prompt, truth[prompt.frame], rng) for prompt in noisy]
        return noisy

    def _shake(self, prompt: Prompt, mask: Mask, rng: Rng) -> Prompt:
        size = 0.0
        if self.jitter and mask.any():
            size = short_side(Box.around(mask))
        return _shift(prompt, self.jitter * size + self.jitter_px, mask.shape, rng)

    def _misplace(self, prompt: Prompt, mask: Mask, rng: Rng) -> Prompt:
        if isinstance(prompt, Point) and rng.random() < self.wrong:
            return _move_across(prompt, mask)
        return prompt


def _shift(prompt: Prompt, reach: float, size_hw: tuple[int, ...], rng: Rng) -> Prompt:
    if isinstance(prompt, Box):
        return moved(prompt, rng.uniform(-reach, reach, 4), size_hw)
    by = rng.uniform(-reach, reach, 2)
    last = np.array(size_hw[::-1]) - 0.5
    match prompt:
        case Point():
            x, y = np.clip(np.add((prompt.x, prompt.y), by), 0.5, last).tolist()
            return replace(prompt, x=x, y=y)
        case Scribble():
            xy = np.clip(np.add(prompt.xy, by), 0.5, last)
            return replace(prompt, xy=tuple(map(tuple, xy.tolist())))
        case MaskPrompt():
            return replace(prompt, mask=_shift_mask(prompt.mask, round(by[1]), round(by[0])))


def _shift_mask(mask: Mask, rows: int, columns: int) -> Mask:
    """A mask shifted within the frame; unchanged if nothing would be left, since an empty mask
    means that the object is absent.
    """
    ys, xs = np.nonzero(mask)
    ys = ys + rows
    xs = xs + columns
    inside = (ys >= 0) & (ys < mask.shape[0]) & (xs >= 0) & (xs < mask.shape[1])
    if not inside.any():
        return mask
    shifted = np.zeros_like(mask)
    shifted[ys[inside], xs[inside]] = True
    return shifted


def _move_across(point: Point, mask: Mask) -> Point:
    """A click moved to the nearest pixel on the wrong side of the outline; unchanged if there is
    none.
    """
    wrong = np.argwhere(mask != point.positive)
    if not len(wrong):
        return point
    row, column = wrong[np.argmin(((wrong + 0.5 - (point.y, point.x)) ** 2).sum(axis=1))]
    return replace(point, x=float(column) + 0.5, y=float(row) + 0.5)
