"""Prompts: clicks, boxes, scribbles and masks by which a user, or the simulator, marks an object.

x runs right along columns, y runs down along rows, in pixels of the stored frame; pixel i covers
[i, i + 1) and the centre of the first pixel is (0.5, 0.5). Frames are numbered from 0, objects from
1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError


def _check_place(frame: int, object_id: int) -> None:
    if frame < 0:
        raise PromptError(f"frames are numbered from 0, got {frame}")
    if not 1 <= object_id <= 65535:
        raise PromptError(f"object ids are 1 to 65535 (0 is background), got {object_id}")


def _check_finite(values: Iterable[float], what: str) -> None:
    if not all(map(math.isfinite, values)):
        raise PromptError(f"{what} has a coordinate that is not a finite number: {tuple(values)}")


@dataclass(frozen=True, slots=True)
class Point:
    """One click on the object (`positive`) or on something else."""

    x: float
    y: float
    frame: int = 0
    object_id: int = 1
    positive: bool = True

    def __post_init__(self) -> None:
        _check_place(self.frame, self.object_id)
        object.__setattr__(self, "x", float(self.x))
        object.__setattr__(self, "y", float(self.y))
        _check_finite((self.x, self.y), "a point")

    def check_inside(self, size_hw: tuple[int, int]) -> None:
        """Raise PromptError unless the point lies on a frame of `size_hw`."""
        height, width = size_hw
        if not (0 <= self.x <= width and 0 <= self.y <= height):
            raise PromptError(
                f"point ({self.x:g}, {self.y:g}) lies outside frame {self.frame} of {width} x "
                f"{height} pixels (x runs right along columns, y down along rows)"
            )


@dataclass(frozen=True, slots=True)
class Box:
    """A box `xyxy` = (x0, y0, x1, y1), half-open: the tight box of a mask is (xmin, ymin, xmax + 1,
    ymax + 1).
    """

    xyxy: tuple[float, float, float, float]
    frame: int = 0
    object_id: int = 1

    def __post_init__(self) -> None:
        _check_place(self.frame, self.object_id)
        if len(self.xyxy) != 4:
            raise PromptError(f"a box is x0, y0, x1, y1, got {len(self.xyxy)} numbers")
        object.__setattr__(self, "xyxy", tuple(map(float, self.xyxy)))
        _check_finite(self.xyxy, "a box")
        x0, y0, x1, y1 = self.xyxy
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {self.xyxy}")

    def check_inside(self, size_hw: tuple[int, int]) -> None:
        """Raise PromptError unless a part of the box lies on a frame of `size_hw`."""
        height, width = size_hw
        x0, y0, x1, y1 = self.xyxy
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise PromptError(
                f"box {self.xyxy} lies outside frame {self.frame} of {width} x {height} pixels"
            )

    @classmethod
    def around(cls, mask: NDArray[np.bool_], frame: int = 0, object_id: int = 1) -> Box:
        """The tight box of a mask (row, column).

        Raises:
            PromptError: the mask is empty.
        """
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise PromptError("an empty mask has no box")
        return cls((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), frame, object_id)


@dataclass(frozen=True, slots=True)
class Scribble:
    """A stroke through `xy` = ((x, y), ...), `width` pixels wide, on the object or (not positive)
    beside it.
    """

    xy: tuple[tuple[float, float], ...]
    frame: int = 0
    object_id: int = 1
    positive: bool = True
    width: float = 3.0

    def __post_init__(self) -> None:
        _check_place(self.frame, self.object_id)
        xy = tuple((float(x), float(y)) for x, y in self.xy)
        if not xy:
            raise PromptError("a scribble must have at least one point")
        _check_finite(chain.from_iterable(xy), "a scribble")
        if not 0 < self.width < math.inf:
            raise PromptError(
                f"the width of a scribble must be a positive number of pixels, got {self.width}"
            )
        object.__setattr__(self, "xy", xy)

    def check_inside(self, size_hw: tuple[int, int]) -> None:
        """Raise PromptError unless every vertex lies on a frame of `size_hw`."""
        for point in self.points():
            point.check_inside(size_hw)

    def points(self, at_most: int | None = None) -> tuple[Point, ...]:
        """The stroke as clicks: its vertices, or `at_most` points at even distances along it."""
        xy = np.asarray(self.xy)
        if at_most is not None:
            xy = _resample(xy, at_most)
        points = []
        for x, y in xy.tolist():
            points.append(Point(x, y, self.frame, self.object_id, self.positive))
        return tuple(points)


def _resample(xy: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """`count` points evenly spaced along a stroke (n, 2); a single point stays as it is."""
    if len(xy) == 1:
        return xy
    steps = np.hypot(*np.diff(xy, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    places = (np.arange(count) + 0.5) / count * along[-1]
    x = np.interp(places, along, xy[:, 0])
    y = np.interp(places, along, xy[:, 1])
    return np.column_stack([x, y])


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """A mask (row, column) of the frame's size.

    It is final on its frame and stored in memory (SAM 2's rule for videos); with `refine` the
    network may improve it (SAM's rule for images).

    Attributes:
        score: confidence of its author, 0 to 1: 1 for a person; less if a network made it and
            nobody has reviewed it.
    """

    mask: NDArray[np.bool_]
    frame: int = 0
    object_id: int = 1
    refine: bool = False
    score: float = 1.0

    def __post_init__(self) -> None:
        _check_place(self.frame, self.object_id)
        if not 0 <= self.score <= 1:
            raise PromptError(f"the score of a mask prompt must be 0 to 1, got {self.score}")
        mask = np.asarray(self.mask)
        if mask.ndim != 2:
            raise PromptError(f"a mask prompt must be (row, column), got shape {mask.shape}")
        if mask.dtype.kind == "f" and not np.isfinite(mask).all():
            raise PromptError("a mask prompt must not have values that are not finite")
        mask = np.ascontiguousarray(mask > 0)
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskPrompt) or self._key() != other._key():
            return False
        return np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self._key(), self.mask.tobytes()))

    def _key(self) -> tuple[int, int, bool, float]:
        return self.frame, self.object_id, self.refine, self.score

    def check_inside(self, size_hw: tuple[int, int]) -> None:
        """Raise PromptError unless the mask has the size of the frame."""
        if self.mask.shape != tuple(size_hw):
            raise PromptError(
                f"a mask prompt must have the size of its frame: frame {self.frame} has "
                f"{size_hw[0]} rows x {size_hw[1]} columns, the mask {self.mask.shape[0]} x "
                f"{self.mask.shape[1]}"
            )


Prompt = Point | Box | Scribble | MaskPrompt


def is_by_person(prompt: Prompt) -> bool:
    """Whether a person made a prompt: masks that a network computed have a score below 1."""
    return not isinstance(prompt, MaskPrompt) or prompt.score == 1


def check_prompts(prompts: Iterable[Prompt], shape_zyx: tuple[int, int, int]) -> None:
    """Raise PromptError unless every prompt lies on the stack of `shape_zyx`."""
    for prompt in prompts:
        if prompt.frame >= shape_zyx[0]:
            raise PromptError(
                f"a prompt is on frame {prompt.frame}; the stack has frames 0 to {shape_zyx[0] - 1}"
            )
        prompt.check_inside(shape_zyx[1:])
