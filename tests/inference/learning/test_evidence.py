from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segscope.inference.learning.evidence import fits_box
from segscope.inference.learning.window import GRID, HeadWindow

BOX = (20.0, 20.0, 60.0, 60.0)
FRAME_HW = (100, 100)


@pytest.fixture
def window() -> HeadWindow:
    return HeadWindow.around(BOX, FRAME_HW)


def draw(window: HeadWindow, box: tuple[float, float, float, float]) -> Tensor:
    """Cells (SIDE, SIDE) inside a box of the frame."""
    return HeadWindow(window.crop, box).in_box().view(GRID)


def test_a_mask_that_fills_the_box_fits(window: HeadWindow) -> None:
    assert fits_box(window, draw(window, BOX), draw(window, BOX))


def test_a_ring_fits(window: HeadWindow) -> None:
    """Only the extent counts: what lies inside is what there is to learn."""
    ring = draw(window, BOX) & ~draw(window, (28, 28, 52, 52))
    assert fits_box(window, ring, draw(window, BOX))


def test_half_of_the_box_does_not_fit(window: HeadWindow) -> None:
    assert not fits_box(window, draw(window, (20, 20, 40, 60)), draw(window, BOX))


def test_in_a_loose_box_the_masks_of_network_and_head_may_be_small(window: HeadWindow) -> None:
    small = draw(window, (30, 30, 50, 50))
    assert fits_box(window, small, small)


def test_a_mask_that_goes_on_outside_the_box_does_not_fit(window: HeadWindow) -> None:
    longer = draw(window, (20, 20, 68, 60))
    assert fits_box(window, draw(window, (20, 20, 64, 60)), draw(window, BOX))
    assert not fits_box(window, longer | draw(window, (12, 20, 68, 60)), draw(window, BOX))


def test_nothing_does_not_fit(window: HeadWindow) -> None:
    assert not fits_box(window, torch.zeros(GRID, dtype=torch.bool), draw(window, BOX))
