"""Where DICOM slices lie: order, gaps, doubles and the affine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.dicom_checks import check_places
from support.dicom_files import (
    AXIAL,
    COLUMNS,
    ROWS,
    along,
    normal_of,
    oblique,
    write_series,
)

from segscope import io
from segscope.errors import ReadError
from segscope.geometry import Geometry


class TestPlace:
    @pytest.mark.parametrize(
        "orientation", [AXIAL, oblique(), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)]
    )
    @pytest.mark.parametrize("direction", [1, -1])
    def test_slices_are_sorted_along_their_normal_and_lie_where_headers_say(
        self, tmp_path: Path, orientation: tuple[float, ...], direction: int
    ) -> None:
        positions = along(normal_of(orientation) * 2.5 * direction, 5)
        stack = io.read(write_series(tmp_path / "series", positions, orientation))
        assert stack.kind == "volume"
        assert stack.source.shape == (5, ROWS, COLUMNS)
        check_places(stack, positions, orientation)
        assert stack.spacing_zyx_mm == pytest.approx((2.5, 0.7, 0.4))

    def test_gantry_tilt_keeps_the_sheared_affine(self, tmp_path: Path) -> None:
        positions = along((0.0, 1.1, 2.5), 6)
        stack = io.read(write_series(tmp_path / "tilted", positions))
        check_places(stack, positions, AXIAL)
        assert stack.meta["gantry_tilt_deg"] == pytest.approx(np.degrees(np.arctan2(1.1, 2.5)))

    def test_rounded_positions_are_one_even_volume_with_the_deviation_noted(
        self, tmp_path: Path
    ) -> None:
        positions = along((0.0, 0.0, 0.75), 9)
        for place in positions:
            place[2] = round(place[2], 1)
        stack = io.read(write_series(tmp_path / "rounded", positions))
        assert 0 < stack.meta["slice_deviation_mm"] < 0.1
        assert any("off their even places" in note for note in stack.meta["notes"])

    def test_one_slice_is_an_image_with_its_place(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "one", along((0, 0, 1), 1))
        stack = io.read(folder / "000.dcm")
        assert stack.kind == "image"
        check_places(stack, along((0, 0, 1), 1), AXIAL)
        assert stack.spacing_zyx_mm == pytest.approx((2.0, 0.7, 0.4))

    def test_files_and_frames_are_listed_in_frame_order(self, tmp_path: Path) -> None:
        stack = io.read(write_series(tmp_path / "series", along((0, 0, -2.0), 4)))
        for index, path in enumerate(stack.meta["dicom_files"]):
            assert np.array_equal(pydicom.dcmread(path).pixel_array, stack[index])
        assert stack.meta["dicom_frames"] == (0, 0, 0, 0)

    def test_directions_that_are_none_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="perpendicular"):
            io.read(write_series(tmp_path / "skewed", along((0, 0, 2), 3), (1, 0, 0, 0.5, 0.5, 0)))


class TestGapsAndDoubles:
    def test_missing_slices_are_refused_with_their_place(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 9)
        del positions[3:5]
        with pytest.raises(ReadError, match=r"2 missing slices.*between .*dcm at 11\.25 mm"):
            io.read(write_series(tmp_path / "gap", positions))

    def test_uneven_spacing_is_refused(self, tmp_path: Path) -> None:
        positions = [[0, 0, z] for z in (0, 1, 2.4, 3, 5.5, 6.1)]
        with pytest.raises(ReadError, match=r"varies from 0\.600 to 2\.500 mm"):
            io.read(write_series(tmp_path / "uneven", positions))

    def test_a_doubled_position_is_refused_with_its_files(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 5)
        positions.append(list(positions[2]))
        with pytest.raises(ReadError, match=r"1 hold another number: 2 at 11\.25 mm"):
            io.read(write_series(tmp_path / "double", positions))

    def test_slices_side_by_side_in_one_plane_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="side by side"):
            io.read(write_series(tmp_path / "tiles", along((30.0, 0, 0), 4)))


def test_geometry_of_nanometres_is_regular() -> None:
    assert Geometry.from_spacing((4e-5, 4e-6, 4e-6)).spacing_zyx_mm == pytest.approx(
        (4e-5, 4e-6, 4e-6)
    )
