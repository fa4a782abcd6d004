"""Uneven slices: refused, or interpolated when asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.dicom_files import COLUMNS, ROWS, SPACING, along, oblique, write_series
from support.dicom_masks import labels

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks

HEIGHTS = (0.0, 2.0, 4.0, 6.0, 11.0, 16.0)
"""Of the slices of a CT whose spacing changes."""


def linear_field(places: np.ndarray) -> np.ndarray:
    """Values that linear interpolation keeps, by LPS millimetres."""
    return places @ (3.0, -2.0, 7.0) + 40


def places_of(first: np.ndarray, orientation: tuple[float, ...]) -> np.ndarray:
    """LPS millimetres of all pixels of a slice."""
    row, column = np.indices((ROWS, COLUMNS))
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    return (
        first
        + column[..., None] * SPACING[1] * along_row
        + row[..., None] * SPACING[0] * along_column
    )


def write_uneven(folder: Path, orientation: tuple[float, ...], step: np.ndarray) -> Path:
    positions = [np.array((-12.5, 30.0, 7.25)) + height * step for height in HEIGHTS]
    values = [linear_field(places_of(place, orientation)) for place in positions]
    pixels = np.rint(np.array(values) * 10).astype(np.int16)
    tags = {"RescaleSlope": 0.1, "RescaleIntercept": 0.0}
    return write_series(
        folder, [place.tolist() for place in positions], orientation, pixels=pixels, **tags
    )


@pytest.mark.parametrize(
    ("orientation", "tilt"), [((1.0, 0, 0, 0, 1.0, 0), 0.0), (oblique(), 0.0), (oblique(), 0.3)]
)
def test_even_slices_are_interpolated_where_they_lie(
    tmp_path: Path, orientation: tuple[float, ...], tilt: float
) -> None:
    step = np.cross(orientation[:3], orientation[3:]) + tilt * np.array(orientation[3:])
    folder = write_uneven(tmp_path / "ct", orientation, step)
    with pytest.raises(ReadError, match="resample_slices"):
        io.read(folder)
    stack = io.read(folder, resample_slices=True)
    assert stack.geometry is not None
    assert len(stack) == 9
    assert stack.spacing_zyx_mm == pytest.approx((2 * np.linalg.norm(step), *SPACING), rel=1e-4)
    for frame in range(len(stack)):
        column, row = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
        index = np.stack([column, row, np.full_like(row, frame), np.ones_like(row)], axis=-1)
        places = (index @ stack.geometry.affine.T)[..., :3] * (-1, -1, 1)
        assert stack[frame] == pytest.approx(linear_field(places), abs=0.11)
    assert any("6 slices that lie 2 to 5 mm apart" in note for note in stack.meta["notes"])


def test_slices_at_their_place_keep_their_values(tmp_path: Path) -> None:
    positions = [[0, 0, height] for height in HEIGHTS]
    stack = io.read(write_series(tmp_path / "ct", positions), resample_slices=True)
    assert stack.source.dtype == np.int16
    assert [int(stack[frame][0, 0]) for frame in (0, 1, 2, 3, 8)] == [0, 100, 200, 300, 500]
    assert int(stack[5][0, 0]) == 380


def test_an_even_series_is_left_alone(tmp_path: Path) -> None:
    stack = io.read(write_series(tmp_path / "ct", along((0, 0, 2.0), 4)), resample_slices=True)
    assert len(stack.meta["dicom_files"]) == 4


def test_missing_slices_are_interpolated_as_well(tmp_path: Path) -> None:
    positions = along((0, 0, 2.0), 9)
    del positions[3:5]
    stack = io.read(write_series(tmp_path / "gap", positions), resample_slices=True)
    assert len(stack) == 9
    assert any("2 to 6 mm" in note for note in stack.meta["notes"])


def test_slices_that_are_shifted_sideways_stay_refused(tmp_path: Path) -> None:
    positions = [[5.0 * (height > 5), 0, height] for height in HEIGHTS]
    with pytest.raises(ReadError, match="shifted within their planes"):
        io.read(write_series(tmp_path / "ct", positions), resample_slices=True)


def test_masks_are_no_masks_of_the_stored_slices(tmp_path: Path) -> None:
    positions = [[0, 0, height] for height in (0.0, 2.0, 4.0, 6.0, 10.0, 10.9)]
    folder = write_series(tmp_path / "ct", positions)
    stack = io.read(folder, resample_slices=True)
    assert len(stack) == 6  # of another spacing than the files
    masks = Masks.from_labels(labels(), geometry=stack.geometry)
    with pytest.raises(UsageError, match=r"resampled\. Write .nii.gz or .seg.nrrd instead$"):
        io.write(masks, tmp_path / "seg.dcm", stack)
    with pytest.raises(UsageError, match="overwritten"):
        io.check_output(folder / "000.dcm", stack)


def test_other_formats_refuse_the_option(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.int16))
    with pytest.raises(UsageError, match="resample_slices does not apply"):
        io.read(tmp_path / "a.npy", resample_slices=True)
