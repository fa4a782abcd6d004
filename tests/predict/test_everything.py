from __future__ import annotations

import numpy as np
import pytest

from segscope.errors import Cancelled, UsageError
from segscope.masks import encode_runs
from segscope.models.engine import Engine
from segscope.predict import Grid, everything
from segscope.predict.everything import _distinct, _flatten, _Found, _views
from segscope.prompts import Box
from segscope.stack import Stack

ALL = Grid(points=6, least_iou=-1e9, least_stability=0.0, least_pixels=4, most_share=1.0)


def found(mask: np.ndarray, iou: float = 0.9, touches: bool = False) -> _Found:
    return _Found(encode_runs(mask), Box.around(mask).xyxy, int(mask.sum()), iou, touches)


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_instances_do_not_overlap(engine: Engine, clip: Stack) -> None:
    masks = everything(Stack.from_array(clip[0]), engine, grid=ALL)
    total = sum(masks.of(i).sum() for i in masks.object_ids)
    assert total == (masks.labels > 0).sum()
    assert masks.object_ids == tuple(range(1, len(masks.object_ids) + 1))
    assert all(np.isfinite(score) for score in masks.scores.values())


def test_the_same_picture_gives_the_same_masks_in_any_batch(sam2: Engine, clip: Stack) -> None:
    picture = Stack.from_array(clip[0])
    one = everything(picture, sam2, grid=ALL)
    other = everything(picture, sam2, grid=Grid(**{**_fields(ALL), "batch": 5}))
    assert (one.labels != other.labels).mean() < 0.02  # equal but for rounding at the threshold


def _fields(grid: Grid) -> dict[str, object]:
    return {name: getattr(grid, name) for name in grid.__slots__}


def test_duplicates_go_and_whole_objects_stay() -> None:
    kept = _distinct(
        [found(square(10, 10, 12), 0.8), found(square(10, 11, 12), 0.95), found(square(40, 5, 9), 0.5)], 0.5
    )
    assert [item.iou for item in kept] == [0.95, 0.5]
    kept = _distinct([found(square(10, 10, 12), 0.99, touches=True), found(square(10, 11, 12), 0.6)], 0.5)
    assert [item.iou for item in kept] == [0.6]


def test_small_objects_lie_over_large_ones() -> None:
    large, small = square(5, 5, 30), square(10, 10, 6)
    (_, first), (_, second) = _flatten([found(large), found(small)], (40, 60), 4)
    assert np.array_equal(second, small)
    assert np.array_equal(first, large & ~small)


def test_windows_cover_the_frame() -> None:
    seen = np.zeros((37, 91), int)
    for view in _views((37, 91), 3)[1:]:
        seen[view.y0 : view.y1, view.x0 : view.x1] += 1
    assert seen.min() >= 1


def test_it_can_be_cancelled(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(Cancelled):
        everything(Stack.from_array(clip[0]), sam2, grid=ALL, cancel=lambda: True)


def test_a_grid_without_points_is_refused(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(UsageError, match="at least one point"):
        everything(Stack.from_array(clip[0]), sam2, grid=Grid(points=0))
