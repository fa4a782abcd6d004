from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from segscope.inference.answers import MaskCandidate
from segscope.inference.crop import Crop
from segscope.inference.learning.parts import find_cell, keep_parts, mask_box

CROP = Crop(10, 20, 50, 40, (100, 100))  # 40 wide, 20 high


def candidate(*blocks: tuple[slice, slice]) -> MaskCandidate:
    logits = torch.full((10, 10), -1.0)
    for block in blocks:
        logits[block] = 1.0
    return MaskCandidate(logits, CROP, 0.8, None)


LEFT = (slice(2, 5), slice(1, 4))
RIGHT = (slice(6, 9), slice(6, 9))
IN_LEFT = (20.0, 26.0)


def mask(logits: Tensor) -> np.ndarray:
    return (logits > 0).numpy()


class TestParts:
    def test_other_objects_of_the_label_go(self) -> None:
        kept = keep_parts(candidate(LEFT, RIGHT), candidate(LEFT).logits, IN_LEFT)
        assert (mask(kept.logits) == mask(candidate(LEFT).logits)).all()

    def test_parts_that_the_network_found_stay(self) -> None:
        learned = candidate(LEFT, RIGHT)
        assert keep_parts(learned, learned.logits, IN_LEFT).logits.equal(learned.logits)

    def test_the_clicked_part_stays(self) -> None:
        kept = keep_parts(candidate(LEFT, RIGHT), candidate(RIGHT).logits, IN_LEFT)
        assert (mask(kept.logits) == mask(candidate(LEFT, RIGHT).logits)).all()

    def test_a_mask_beside_the_click_stays(self) -> None:
        learned = candidate(LEFT, RIGHT)
        kept = keep_parts(learned, candidate().logits, (49.0, 21.0))
        assert kept.logits.equal(learned.logits)


class TestPlaces:
    def test_boxes_are_in_pixels_of_the_frame(self) -> None:
        assert mask_box(candidate(LEFT)) == pytest.approx((14.0, 24.0, 26.0, 30.0))

    def test_an_empty_mask_has_no_box(self) -> None:
        assert mask_box(candidate()) is None

    @pytest.mark.parametrize(
        ("xy", "cell"),
        [((10.5, 20.5), (0, 0)), ((49.5, 39.5), (9, 9)), ((0, 0), (0, 0)), ((99, 99), (9, 9))],
    )
    def test_points_fall_on_cells(self, xy: tuple[float, float], cell: tuple[int, int]) -> None:
        assert find_cell(candidate(), xy) == cell
