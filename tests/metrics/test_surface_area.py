"""Areas of cells by hand; test_monai.py compares all of them with MONAI."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.metrics.surface_area import measures

SPACING = (3.0, 2.0, 0.5)


def test_a_cell_without_a_surface_has_no_area() -> None:
    for spacing in (SPACING, (1.0, 2.5)):
        areas = measures(spacing)
        assert areas[0] == areas[-1] == 0
        assert (areas[1:-1] > 0).all()


def test_a_plane_across_a_cell_has_the_area_of_its_face() -> None:
    # bit i belongs to corner i in (z, y, x) order; the four corners with z = 0
    assert measures(SPACING)[0b00001111] == pytest.approx(2.0 * 0.5)
    assert measures((1.0, 2.5))[0b0011] == pytest.approx(2.5)


def test_a_corner_is_cut_off_through_the_middles_of_its_edges() -> None:
    a, b, c = (np.eye(3)[axis] * SPACING[axis] / 2 for axis in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a)) / 2
    assert measures(SPACING)[0b00000001] == pytest.approx(area)
    assert measures((3.0, 4.0))[0b0001] == pytest.approx(2.5)


def test_inside_and_outside_have_the_same_surface() -> None:
    areas = measures(SPACING)
    np.testing.assert_allclose(areas, areas[::-1])
