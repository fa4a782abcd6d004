"""Values of DICOM elements: numbers, vectors and times, or None."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from segscope.io.dicom.values import (
    clean_text,
    functional_group,
    parse_number,
    parse_stamp,
    parse_time,
    parse_vector,
    read_spacing,
)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("2.5", 2.5), ([4, 5], 4.0), (MultiValue(float, [1.5, 2]), 1.5), (None, None),
     ("", None), ("x", None), ("nan", None), ("inf", None), ([], None), (object(), None)],
)  # fmt: skip
def test_numbers(value: object, number: float | None) -> None:
    assert parse_number(value) == number


@pytest.mark.parametrize(
    ("value", "vector"),
    [([1, "2"], (1.0, 2.0)), ([1], None), (None, None), (["a", 1], None), ([1, "nan"], None)],
)
def test_vectors(value: object, vector: tuple[float, ...] | None) -> None:
    assert parse_vector(value, 2) == vector


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("010203.5", 3723.5), ("0102", 3720.0), ("01", 3600.0), ("", None), ("ab", None)],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "day", "seconds"),
    [
        ("20200101010203.5", 737425.0, 3723.5),
        ("20200101010000-0500", 737425.0, 21600.0),
        ("20200101010000.25+0130", 737425.0, -1799.75),
        ("20200101", 737425.0, None),
        ("20209901010000", None, 3600.0),
        ("2020", None, None),
        ("", None, None),
    ],
)
def test_stamps(text: str, day: float | None, seconds: float | None) -> None:
    assert parse_stamp(text) == (day, seconds)


def test_texts_fit_into_a_message() -> None:
    assert clean_text("a\nb\x1b[31m  c") == "a b [31m c"
    assert clean_text(None) == ""
    assert len(clean_text("x" * 100)) == 64


def group(**values: object) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def test_a_group_of_a_frame_beats_the_shared_one() -> None:
    data = Dataset()
    assert functional_group(data, 0, "PixelMeasuresSequence") is data, "a plain file"
    own = group(PixelMeasuresSequence=[group(SliceThickness=1)])
    shared = group(PixelMeasuresSequence=[group(SliceThickness=2)])
    data.PerFrameFunctionalGroupsSequence = [own, Dataset()]
    data.SharedFunctionalGroupsSequence = [shared]
    assert functional_group(data, 0, "PixelMeasuresSequence").SliceThickness == 1
    assert functional_group(data, 1, "PixelMeasuresSequence").SliceThickness == 2
    assert functional_group(data, 1, "PlanePositionSequence").get("ImagePositionPatient") is None


def test_spacing_of_pixels_beats_that_of_the_detector() -> None:
    data = group(ImagerPixelSpacing=[3, 4])
    assert read_spacing(data) == ((3, 4), "ImagerPixelSpacing")
    data.PixelSpacing = [1, 2]
    assert read_spacing(data) == ((1, 2), "PixelSpacing")
    data.PixelSpacing = [0, 2]
    assert read_spacing(data)[1] == "ImagerPixelSpacing"


def test_spacing_of_a_single_ultrasound_region() -> None:
    region = group(
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=0.02,
        PhysicalDeltaY=-0.03,
    )
    data = group(SequenceOfUltrasoundRegions=[region])
    assert read_spacing(data)[0] == pytest.approx((0.3, 0.2))
    data.SequenceOfUltrasoundRegions = [region, region]
    assert read_spacing(data) == (None, "")
