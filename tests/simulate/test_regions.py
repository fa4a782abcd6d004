"""Parts and depths of masks."""

from __future__ import annotations

import numpy as np

from segscope.simulate.regions import bounds, deepest, depth, parts, smooth


def test_bounds_are_tight_in_any_dimension() -> None:
    mask = np.zeros((4, 8, 9), bool)
    assert bounds(mask) is None
    mask[1, 2:5, 6:8] = True
    assert bounds(mask) == (slice(1, 2), slice(2, 5), slice(6, 8))


def test_parts_come_largest_first_and_touch_at_corners() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    mask[4:6, 4:6] = mask[6, 6] = True
    sizes = [int(part.sum()) for _, part in parts(mask)]
    assert sizes == [5, 1]
    assert len(list(parts(mask, most=1))) == 1


def test_the_border_of_the_frame_is_outside() -> None:
    mask = np.ones((5, 7), bool)
    deep = depth(mask)
    assert deep[0, 0] == 1
    assert deep.max() == deep[2, 2] == 3


def test_the_deepest_pixel_is_not_one_to_avoid() -> None:
    mask = np.ones((5, 5), bool)
    assert deepest(mask) == (3.0, 2, 2)
    assert deepest(mask, [(2, 2)])[0] == 2.0
    assert deepest(mask, at_least=4.0) == (0.0, 0, 0)
    assert deepest(np.zeros((5, 5), bool)) == (0.0, 0, 0)


def test_a_smooth_field_is_within_its_limits_and_seeded() -> None:
    one, other = (smooth(np.random.default_rng(1), (20, 30), cells=4) for _ in range(2))
    assert one.shape == (20, 30)
    assert np.abs(one).max() <= 1
    assert (one == other).all()
    assert np.abs(np.diff(one, axis=1)).max() < 0.6
