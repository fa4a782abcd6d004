from __future__ import annotations

import numpy as np
import pytest

from segscope.predict.finding.candidates import ObjectCandidate
from segscope.predict.finding.confidence import compare, suppress

SHAPE = (30, 30)


def square(top: int, left: int, side: int) -> ObjectCandidate:
    return ObjectCandidate(top, left, np.ones((side, side), np.float32))


def test_overlaps_are_those_of_the_masks() -> None:
    overlaps = compare([square(0, 0, 4), square(0, 2, 4), square(20, 20, 4)], SHAPE)
    assert overlaps.first.tolist() == [0, 1]
    assert overlaps.second.tolist() == [1, 0]
    assert overlaps.iou == pytest.approx([8 / 24] * 2)
    assert overlaps.covered == pytest.approx([0.5] * 2)


def test_of_overlapping_candidates_the_most_confident_one_stays() -> None:
    candidates = [square(0, 0, 8), square(1, 1, 8), square(3, 3, 3), square(20, 20, 4)]
    overlaps = compare(candidates, SHAPE)
    confidences = np.array([0.7, 0.9, 0.8, 0.6])
    assert suppress(confidences, overlaps, 0.5) == [1, 3]
    assert suppress(confidences, overlaps, 0.65) == [1]


def test_a_single_candidate_has_no_overlaps() -> None:
    overlaps = compare([square(0, 0, 3)], SHAPE)
    assert len(overlaps.iou) == 0
    assert suppress(np.array([0.9]), overlaps, 0.5) == [0]
