"""Scores of one case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.evaluate.case_runner import split_dice
from segscope.evaluate.rollout import Round


def test_frames_with_nothing_to_find_have_no_figure() -> None:
    """Else a model that leaks there would have one, and one that does not would have none: no fair
    pair.
    """
    truth, found = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool)
    truth[1, 2:6, 2:6] = found[1, 2:6, 2:6] = found[2, 2:6, 2:6] = True
    row = split_dice(Round(1, found, frozenset({1}), 1.0, 1.0, 1, 0.0), truth)
    assert row["dice@prompted"] == 1
    assert math.isnan(row["dice@propagated"])
    truth[2, 2:6, 2:4] = True
    assert split_dice(Round(1, found, frozenset({1}), 1.0, 1.0, 1, 0.0), truth)[
        "dice@propagated"
    ] == pytest.approx(2 / 3)
