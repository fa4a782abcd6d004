from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cells import CellImage, draw_cells

from segscope.errors import Cancelled, UsageError
from segscope.load import load
from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.predict.find_all import AnnotatedFrame, FindSettings, LabelledMask, find_all
from segscope.stack import Stack

ALL = FindSettings(least_confidence=0.0)


@pytest.fixture(scope="module")
def mini() -> Engine:
    network = load("mini")
    assert not hasattr(network, "segment")
    return network  # type: ignore[return-value]


@pytest.fixture(scope="module")
def cells() -> CellImage:
    return draw_cells()


def mark(image: CellImage, numbers: Sequence[int], label: str) -> tuple[LabelledMask, ...]:
    return tuple(LabelledMask(label, image.mask(number)) for number in numbers)


def count_hits(masks: Masks, image: CellImage, numbers: Sequence[int], label: str) -> int:
    """Cells that a mask of the label overlaps by IoU above 0.5."""
    of_label = [masks.of(i)[0] for i in masks.object_ids if masks.names[i] == label]
    return sum(any(iou(mask, image.mask(number)) > 0.5 for mask in of_label) for number in numbers)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_other_cells_are_found(mini: Engine, cells: CellImage) -> None:
    marked = AnnotatedFrame(mark(cells, cells.round_cells[:4], "round"), frame=0)
    masks = find_all(Stack.from_array(cells.rgb), mini, [marked])
    others = cells.round_cells[4:]
    hits = count_hits(masks, cells, others, "round")
    f1 = 2 * hits / (len(others) + len(masks.object_ids))
    assert f1 > 0.8, (hits, len(others), len(masks.object_ids))
    assert all(0.5 <= score <= 1 for score in masks.scores.values())


def test_marked_cells_are_not_found_again(mini: Engine, cells: CellImage) -> None:
    known = cells.round_cells[:4]
    marked = AnnotatedFrame(mark(cells, known, "round"), frame=0)
    masks = find_all(Stack.from_array(cells.rgb), mini, [marked], settings=ALL)
    covered = np.isin(cells.labels, known)
    assert not (masks.labels[0][covered] > 0).any()


def test_examples_of_another_image_teach(mini: Engine, cells: CellImage) -> None:
    other = draw_cells(seed=1)
    marked = AnnotatedFrame(mark(other, other.round_cells[:6], "round"), rgb=other.rgb, id="a1")
    masks = find_all(Stack.from_array(cells.rgb), mini, [marked])
    hits = count_hits(masks, cells, cells.round_cells, "round")
    assert 2 * hits / (len(cells.round_cells) + len(masks.object_ids)) > 0.8
    (example,) = masks.record["examples"]
    assert example["id"] == "a1"
    assert example["objects"] == {"round": 6}


def test_many_annotated_images_are_read_in_part(
    mini: Engine, cells: CellImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[find_all.__module__]
    monkeypatch.setattr(module, "MOST_TILES", 4)
    monkeypatch.setattr(module, "FEWEST_TILES", 2)
    images = [draw_cells(seed) for seed in (1, 2)]
    examples = [
        AnnotatedFrame(mark(image, image.round_cells[:6], "round"), rgb=image.rgb)
        for image in images
    ]
    masks = find_all(Stack.from_array(cells.rgb), mini, examples)
    hits = count_hits(masks, cells, cells.round_cells, "round")
    assert 2 * hits / (len(cells.round_cells) + len(masks.object_ids)) > 0.7


def test_labels_exclude_each_other(mini: Engine, cells: CellImage) -> None:
    objects = mark(cells, cells.round_cells[:4], "round")
    objects += mark(cells, cells.oblong_cells[:3], "oblong")
    masks = find_all(Stack.from_array(cells.rgb), mini, [AnnotatedFrame(objects, frame=0)])
    rest = {"round": cells.round_cells[4:], "oblong": cells.oblong_cells[3:]}
    for label, other in (("round", "oblong"), ("oblong", "round")):
        right = count_hits(masks, cells, rest[label], label)
        wrong = count_hits(masks, cells, rest[other], label)
        assert right > 0.6 * len(rest[label]), (label, right)
        assert wrong <= 1


def test_rejected_masks_teach_what_a_label_is_not(mini: Engine, cells: CellImage) -> None:
    objects = mark(cells, cells.round_cells[:3], "cell")
    objects += mark(cells, cells.oblong_cells[:2], "cell")
    image = Stack.from_array(cells.rgb)
    before = find_all(image, mini, [AnnotatedFrame(objects, frame=0)])
    rejected = mark(cells, cells.oblong_cells[2:5], "cell")
    only_round = mark(cells, cells.round_cells[:3], "cell")
    after = find_all(image, mini, [AnnotatedFrame(only_round, rejected, frame=0)])
    rest = cells.oblong_cells[5:]
    assert count_hits(after, cells, cells.oblong_cells[2:5], "cell") == 0
    assert count_hits(after, cells, rest, "cell") < count_hits(before, cells, rest, "cell")


def test_every_frame_is_searched(mini: Engine) -> None:
    images = [draw_cells(seed, side=96) for seed in (2, 3)]
    stack = Stack.from_array(np.stack([image.rgb[..., 0] for image in images]))
    marked = AnnotatedFrame(mark(images[0], images[0].round_cells[:3], ""), frame=0)
    steps: list[tuple[int, int]] = []
    masks = find_all(stack, mini, [marked], progress=lambda *at: steps.append(at))
    assert {frame for frame, _ in masks.runs} == {0, 1}
    assert masks.object_ids == tuple(range(1, len(masks.object_ids) + 1))
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))


def test_equal_examples_give_equal_masks(mini: Engine) -> None:
    image = draw_cells(4, side=96)
    marked = AnnotatedFrame(mark(image, image.round_cells[:3], "a"), frame=0)
    one, other = (find_all(Stack.from_array(image.rgb), mini, [marked]) for _ in range(2))
    assert np.array_equal(one.labels, other.labels)
    assert one.scores == other.scores


def test_every_engine_searches(engine: Engine) -> None:
    """With random weights the masks mean nothing, but they are masks."""
    image = draw_cells(5, side=64)
    marked = AnnotatedFrame(mark(image, image.round_cells[:2], "cell"), frame=0)
    masks = find_all(Stack.from_array(image.rgb), engine, [marked], settings=ALL)
    total = sum(int(masks.of(i).sum()) for i in masks.object_ids)
    assert total == (masks.labels > 0).sum() > 0
    assert set(masks.names.values()) == {"cell"}


def test_it_can_be_stopped(sam2: Engine, cells: CellImage) -> None:
    calls = iter([False] * 3 + [True])
    marked = AnnotatedFrame(mark(cells, cells.round_cells[:2], "a"), frame=0)
    with pytest.raises(Cancelled):
        find_all(Stack.from_array(cells.rgb), sam2, [marked], cancel=lambda: next(calls))


def test_examples_that_do_not_fit_are_refused(sam2: Engine, cells: CellImage) -> None:
    image = Stack.from_array(cells.rgb)
    with pytest.raises(UsageError, match="there is no example"):
        find_all(image, sam2, [AnnotatedFrame((), frame=0)])
    small = LabelledMask("a", np.ones((4, 4), bool))
    with pytest.raises(UsageError, match=r"\(4, 4\) rows and columns"):
        find_all(image, sam2, [AnnotatedFrame((small,), frame=0)])
    one = mark(cells, cells.round_cells[:1], "a")
    with pytest.raises(UsageError, match="frames 0 to 0"):
        find_all(image, sam2, [AnnotatedFrame(one, frame=3)])
    with pytest.raises(UsageError, match="not both"):
        find_all(image, sam2, [AnnotatedFrame(one)])
    empty = LabelledMask("a", np.zeros(image.size_hw, bool))
    with pytest.raises(UsageError, match='example of "a" is empty'):
        find_all(image, sam2, [AnnotatedFrame((empty,), frame=0)])
