"""Series of a folder: what belongs together, and the listing to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from support.dicom_files import along, write_series

from segscope import io
from segscope.errors import UsageError


class TestSeveralSeries:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        both = tmp_path / "both"
        write_series(
            both / "a", along((0, 0, 2.0), 4), SeriesDescription="Abdomen thick", SeriesNumber=7
        )
        write_series(
            both / "b",
            along((0, 0, 1.0), 6),
            SeriesDescription="Abdomen thin",
            SeriesNumber=3,
            SeriesInstanceUID="1.2.3.99",
        )
        return both

    def test_are_refused_with_a_listing_and_no_patient(self, folder: Path) -> None:
        with pytest.raises(UsageError) as refusal:
            io.read(folder)
        message = str(refusal.value)
        assert "1: series 3, CT, 'Abdomen thin', 6 frames of 6 x 9, axial" in message
        assert "2: series 7, CT, 'Abdomen thick', 4 frames" in message
        assert "series=" in message
        assert "Test" not in message

    @pytest.mark.parametrize(
        ("choice", "count"), [("1", 6), ("2", 4), ("THICK", 4), ("1.2.3.99", 6)]
    )
    def test_are_chosen_by_number_description_or_uid(
        self, folder: Path, choice: str, count: int
    ) -> None:
        assert len(io.read(folder, series=choice)) == count

    @pytest.mark.parametrize("choice", ["abdomen", "3", "liver", ""])
    def test_a_choice_that_fits_none_or_both_is_refused(self, folder: Path, choice: str) -> None:
        with pytest.raises(UsageError, match="1: series 3"):
            io.read(folder, series=choice)

    def test_localizers_of_one_series_are_parts_to_choose_from(self, tmp_path: Path) -> None:
        folder = tmp_path / "scout"
        write_series(folder / "a", along((0, 0, 2.0), 3))
        write_series(folder / "b", along((2.0, 0, 0), 4), (0, 1, 0, 0, 0, -1))
        with pytest.raises(
            UsageError, match=r"3 frames of 6 x 9, axial; 2: .*4 frames of 6 x 9, sagittal"
        ):
            io.read(folder)
        assert len(io.read(folder, series="2")) == 4

    def test_slices_of_another_size_are_a_part_of_their_own(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        large = np.zeros((1, 12, 12), np.int16)
        write_series(folder / "more", along((0, 0, 2.0), 1, (0, 0, 50)), pixels=large)
        with pytest.raises(UsageError, match=r"6 x 9.*12 x 12"):
            io.read(folder)


class TestMixedFiles:
    """Slices that adjoin and share a SeriesInstanceUID, as careless exports leave them."""

    @pytest.mark.parametrize(
        ("tags", "difference"),
        [
            ({"PatientID": "T2"}, "another patient"),
            ({"StudyInstanceUID": "1.2.3.77"}, "another study"),
            ({"FrameOfReferenceUID": "1.2.3.78"}, "another frame of reference"),
            ({"Modality": "PT"}, "another modality"),
            ({"PhotometricInterpretation": "MONOCHROME1"}, "another photometric interpretation"),
        ],
    )
    def test_are_no_volume(self, tmp_path: Path, tags: dict[str, Any], difference: str) -> None:
        positions = along((0, 0, 2.0), 6)
        write_series(tmp_path / "s" / "a", positions[:3])
        write_series(tmp_path / "s" / "b", positions[3:], **tags)
        with pytest.raises(UsageError, match=rf"2: .*3 frames.*{difference}") as refusal:
            io.read(tmp_path / "s")
        assert "T1" not in str(refusal.value)
        assert "T2" not in str(refusal.value)
        assert len(io.read(tmp_path / "s", series="2")) == 3

    def test_two_ways_to_code_colours_are_alike(self, tmp_path: Path) -> None:
        """Decoders give RGB for both."""
        tags = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsAllocated": 8,
                "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}  # fmt: skip
        for name, colours in (("a", "RGB"), ("b", "YBR_FULL")):
            positions = along((0, 0, 2.0), 1, (0, 0, 2.0 * (name == "b")))
            pixels = np.zeros((1, 6, 27), np.uint8)
            folder = tmp_path / "s" / name
            write_series(
                folder, positions, pixels=pixels, PhotometricInterpretation=colours, **tags
            )
            _set_columns(folder / "000.dcm", 9)
        assert io.read(tmp_path / "s").source.shape == (2, 6, 9, 3)


def _set_columns(path: Path, columns: int) -> None:
    data = pydicom.dcmread(path)
    data.Columns = columns
    data.save_as(path)
