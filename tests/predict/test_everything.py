from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segscope.errors import Cancelled, UsageError
from segscope.inference.crop import Crop
from segscope.masks import encode_runs
from segscope.models.engine import AnswerRule, Decoded, Engine
from segscope.predict import Grid, everything
from segscope.predict.everything import GridSearch, overlapping_windows, search_crop
from segscope.predict.instances import Instance, flatten, remove_duplicates
from segscope.prompts import Box
from segscope.stack import Stack

ALL = Grid(points=6, least_iou=-1e9, least_stability=0.0, least_pixels=4, most_share=1.0)


def instance(mask: np.ndarray, iou: float = 0.9, cut: bool = False) -> Instance:
    return Instance(encode_runs(mask), Box.around(mask).xyxy, int(mask.sum()), iou, cut)


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


def test_the_same_image_gives_the_same_masks_in_any_batch(sam2: Engine, clip: Stack) -> None:
    image = Stack.from_array(clip[0])
    one = everything(image, sam2, grid=ALL)
    other = everything(image, sam2, grid=Grid(**{**_fields(ALL), "batch": 5}))
    assert (one.labels != other.labels).mean() < 0.02  # equal but for rounding at the threshold


def _fields(grid: Grid) -> dict[str, object]:
    return {name: getattr(grid, name) for name in grid.__slots__}


def test_duplicates_go_and_whole_objects_stay() -> None:
    distinct = remove_duplicates(
        [
            instance(square(10, 10, 12), 0.8),
            instance(square(10, 11, 12), 0.95),
            instance(square(40, 5, 9), 0.5),
        ],
        0.5,
    )
    assert [item.iou for item in distinct] == [0.95, 0.5]
    distinct = remove_duplicates(
        [instance(square(10, 10, 12), 0.99, cut=True), instance(square(10, 11, 12), 0.6)], 0.5
    )
    assert [item.iou for item in distinct] == [0.6]


def test_small_objects_lie_over_large_ones() -> None:
    large, small = square(5, 5, 30), square(10, 10, 6)
    (_, first), (_, second) = flatten([instance(large), instance(small)], (40, 60), 4)
    assert np.array_equal(second, small)
    assert np.array_equal(first, large & ~small)


def test_windows_cover_the_frame() -> None:
    seen = np.zeros((37, 91), int)
    for view in overlapping_windows((37, 91), 3):
        seen[view.y0 : view.y1, view.x0 : view.x1] += 1
    assert seen.min() >= 1


@pytest.mark.parametrize(("side", "spacing", "crops"), [(4, 16, 8), (10, 16, 4), (40, 100, 2)])
def test_windows_become_finer_while_they_show_more(side: int, spacing: int, crops: int) -> None:
    """A network that sees squares only where they fill an eighth of a window, on many of them."""
    size_hw = (400, 400)
    squares = [(x, y) for x in range(8, 400 - side, spacing) for y in range(8, 400 - side, spacing)]
    searched: list[Crop] = []

    def search(_rgb: object, view: Crop, _grid: Grid) -> list[Instance]:
        searched.append(view)
        if side < max(view.size_hw) / 8 - 1e-9 and max(view.size_hw) > 400 / crops * 4 / 3 + 1:
            return []
        inside = [(x, y) for x, y in squares if view.holds((x, y, x + side, y + side))]
        runs = encode_runs(np.zeros((1, 1), bool))
        return [Instance(runs, (x, y, x + side, y + side), side**2, 0.8, False) for x, y in inside]

    reported: list[tuple[int, int]] = []
    grid = Grid(crops=2, finer=1.6, least_window=30)
    grid_search = GridSearch(search, grid, lambda *at: reported.append(at), None)
    items = grid_search.search(np.zeros((*size_hw, 3), np.uint8), 0)
    assert {item.box[:2] for item in items} == set(squares)
    assert len(searched) == len(set(searched))
    finest = max(
        len(overlapping_windows(size_hw, k))
        for k in (2, 4, 8)
        if set(overlapping_windows(size_hw, k)) <= set(searched)
    )
    assert finest == crops**2
    assert reported[-1] == (len(searched), len(searched))
    assert all(done <= total for done, total in reported)


@pytest.mark.parametrize(("candidates", "masks"), [(0, 3), (1, 1)])
def test_networks_of_a_single_mask_give_one_for_each_point(
    candidates: int, masks: int, sam2: Engine, clip: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def decode(*given: Any, **options: Any) -> Decoded:
        decoded.append(original(*given, **options))
        return decoded[-1]

    original = sam2.decode
    monkeypatch.setattr(sam2, "decode", decode)
    monkeypatch.setattr(sam2, "answer_rule", AnswerRule(candidates))  # type: ignore[arg-type]
    rgb = np.repeat(clip[0][..., None], 3, axis=-1)
    search_crop(sam2, rgb, Crop.whole(clip.size_hw), replace(ALL, points=2))
    assert {answer.logits.shape[1] for answer in decoded} == {masks}


def test_it_can_be_cancelled(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(Cancelled):
        everything(Stack.from_array(clip[0]), sam2, grid=ALL, cancel=lambda: True)


def test_a_grid_without_points_is_refused(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(UsageError, match="at least one point"):
        everything(Stack.from_array(clip[0]), sam2, grid=Grid(points=0))
