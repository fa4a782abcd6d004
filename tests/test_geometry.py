"""Geometry: voxels in the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segscope.geometry import Geometry


def oblique() -> Geometry:
    affine = np.array(
        [[0.7, -0.1, 0.3, -20], [0.1, 0.8, -0.2, 5], [0.0, 0.2, 2.5, 40], [0, 0, 0, 1]]
    )
    return Geometry(affine)


def test_spacing_is_that_of_the_axes() -> None:
    assert Geometry.from_spacing((2.5, 0.8, 0.7)).spacing_zyx_mm == pytest.approx((2.5, 0.8, 0.7))


def test_a_geometry_without_a_place_is_compared_by_spacing() -> None:
    spacing = Geometry.from_spacing((2.5, 0.8, 0.7))
    elsewhere = Geometry(np.diag([-0.7, -0.8, 2.5, 1.0]) + np.eye(4, k=3) * 90)
    assert not spacing.has_place
    assert spacing.same_grid(elsewhere)
    assert elsewhere.same_grid(spacing)
    assert not spacing.same_grid(Geometry.from_spacing((2.6, 0.8, 0.7)))
    assert not spacing.transposed(1).has_place


def test_a_geometry_without_a_place_has_the_axes_of_itk() -> None:
    assert np.diag(Geometry.from_spacing((2.5, 0.8, 0.7)).lps_affine) == pytest.approx(
        (0.7, 0.8, 2.5, 1)
    )
    assert oblique().lps_affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ oblique().affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_transposed_geometry_keeps_every_voxel_in_its_place(axis: int) -> None:
    turned = oblique().transposed(axis)
    index = {"z": 3, "y": 5, "x": 7}
    order = ["z", "y", "x"]
    order.insert(0, order.pop(axis))
    there = [index[name] for name in order[::-1]]
    assert turned.affine @ [*there, 1] == pytest.approx(oblique().affine @ [7, 5, 3, 1])


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)])
def test_affines_that_place_nothing_are_refused(affine: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="affine"):
        Geometry(affine)


def test_grids_are_compared_with_a_tolerance() -> None:
    nudged = oblique().affine.copy()
    nudged[0, 3] += 0.005
    assert oblique().same_grid(Geometry(nudged))
    nudged[0, 3] += 0.5
    assert not oblique().same_grid(Geometry(nudged))


def test_the_affine_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="read-only"):
        oblique().affine[0, 0] = 5


class TestSameGrid:
    def test_it_is_relative_to_the_voxel(self) -> None:
        nanometres = Geometry.from_spacing((4e-6, 4e-6, 4e-6))
        assert nanometres.same_grid(Geometry.from_spacing((4e-6, 4e-6, 4e-6)))
        assert not nanometres.same_grid(Geometry.from_spacing((5e-6, 4e-6, 4e-6)))

    def test_a_shift_of_half_a_voxel_is_another_grid(self) -> None:
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        moved = affine.copy()
        moved[0, 3] = 1.0
        assert not Geometry(affine).same_grid(Geometry(moved))

    def test_rounded_headers_are_the_same_grid(self) -> None:
        affine = np.diag([0.703125, 0.703125, 2.5, 1.0])
        assert Geometry(affine).same_grid(
            Geometry(affine.astype(np.float32).round(5).astype(float))
        )


class TestPlace:
    def test_a_spacing_alone_gives_no_place(self) -> None:
        assert oblique().has_place
        assert not Geometry.from_spacing((2.5, 0.8, 0.7)).has_place

    def test_a_transposed_geometry_keeps_what_is_known_of_its_place(self) -> None:
        assert not Geometry.from_spacing((2.5, 0.8, 0.7)).transposed(2).has_place
