"""Prompts as hands make them: beside the place that was meant."""

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

JITTERS = (0.0, 0.05, 0.1, 0.2)  # shares at which robustness is reported


@dataclass(frozen=True, slots=True)
class Noise:
    """How far from perfect a simulated person is.

    Attributes:
        jitter: share of the object's size by which coordinates err, each way. Size is the short
            side of its box.
        jitter_px: the same in pixels, on top of it.
        wrong: probability that a click lands on the wrong side of the object's outline.
        late: frames by which a correction comes late; without effect on images.
    """

    jitter: float = 0.0
    jitter_px: float = 0.0
    wrong: float = 0.0
    late: int = 0

    def __post_init__(self) -> None:
        if not (
            0 <= self.jitter <= 1
            and 0 <= self.wrong <= 1
            and 0 <= self.jitter_px <= 1000
            and self.late >= 0
        ):
            raise UsageError(
                f"jitter and wrong are 0 to 1, jitter_px is 0 to 1000, late counts frames; got {self}"
            )

    def apply(self, prompts: Sequence[Prompt], truth: NDArray[np.bool_], rng: Rng) -> list[Prompt]:
        """The prompts with errors in them; nothing is drawn where no error is asked for.

        Boxes move by edge, strokes and masks as a whole. What moves stays inside the frame.

        Args:
            truth: (frame, row, column) the object that is meant.
        """
        made = list(prompts)
        if self.jitter or self.jitter_px:
            made = [
                _shaken(prompt, self._reach(truth[prompt.frame]), truth.shape[1:], rng)
                for prompt in made
            ]
        if self.wrong:
            made = [
                _across(prompt, truth[prompt.frame])
                if isinstance(prompt, Point) and rng.random() < self.wrong
                else prompt
                for prompt in made
            ]
        return made

    def _reach(self, mask: Mask) -> float:
        size = 0.0
        if self.jitter and mask.any():
            size = short_side(Box.around(mask))
        return self.jitter * size + self.jitter_px


def _shaken(prompt: Prompt, reach: float, size_hw: tuple[int, ...], rng: Rng) -> Prompt:
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
            return replace(prompt, mask=_shifted(prompt.mask, round(by[1]), round(by[0])))


def _shifted(mask: Mask, rows: int, columns: int) -> Mask:
    """A mask moved over the frame; as it was if nothing would be left, which would say that nothing
    is there.
    """
    ys, xs = np.nonzero(mask)
    ys = ys + rows
    xs = xs + columns
    kept = (ys >= 0) & (ys < mask.shape[0]) & (xs >= 0) & (xs < mask.shape[1])
    if not kept.any():
        return mask
    shifted = np.zeros_like(mask)
    shifted[ys[kept], xs[kept]] = True
    return shifted


def _across(point: Point, mask: Mask) -> Point:
    """A click moved to the nearest pixel of the side that it does not mean; as it was if there is
    none.
    """
    wrong = np.argwhere(mask != point.positive)
    if not len(wrong):
        return point
    row, column = wrong[np.argmin(((wrong + 0.5 - (point.y, point.x)) ** 2).sum(axis=1))]
    return replace(point, x=float(column) + 0.5, y=float(row) + 0.5)
