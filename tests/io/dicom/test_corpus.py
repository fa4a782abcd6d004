"""DICOM files that others made, compared with independent readers: those that pydicom brings, and
files from the writers of highdicom.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pydicom.data
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid
from support.dicom_files import MR, along, normal_of, oblique, whole, write_series

from segscope import io
from segscope.errors import SegscopeError, UsageError
from segscope.stack import Stack

pytestmark = pytest.mark.slow

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in ("", ".dcm") and path.is_file())
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",
         "1.2.840.10008.1.2.4.91")  # fmt: skip
SIMPLE = ("MONOCHROME1", "MONOCHROME2")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Other libraries warn about these files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def stored_frame(path: Path, header: Dataset, frame: int) -> np.ndarray | None:
    """A frame by pydicom, rescaled by its own group; None where pydicom cannot decode it."""
    if header.get("PhotometricInterpretation") not in (*SIMPLE, "RGB", "YBR_FULL"):
        return None
    try:
        pixels = pixel_array(path, index=frame)
    except Exception:
        return None
    if header.get("SamplesPerPixel", 1) == 3:
        return pixels
    groups = [*header.get("SharedFunctionalGroupsSequence", [])]
    per_frame = header.get("PerFrameFunctionalGroupsSequence", [])
    groups += per_frame[frame : frame + 1]
    transform = header
    for group in groups:
        if "PixelValueTransformationSequence" in group:
            transform = group.PixelValueTransformationSequence[0]
    slope = float(transform.get("RescaleSlope") or 1)
    return pixels * slope + float(transform.get("RescaleIntercept") or 0)


def check_values(stack: Stack) -> int:
    """Compare frames with pydicom; how many were compared."""
    compared = 0
    headers: dict[str, Dataset] = {}
    for index, file in enumerate(stack.meta["dicom_files"]):
        if file not in headers:
            headers[file] = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        expected = stored_frame(Path(file), headers[file], stack.meta["dicom_frames"][index])
        if expected is not None:
            assert stack[index] == pytest.approx(expected, rel=1e-6, abs=1e-3)
            compared += 1
    return compared


def check_against_gdcm(path: Path, stack: Stack, header: Dataset) -> bool:
    """Compare a single grey image with GDCM; whether it was comparable."""
    itk = pytest.importorskip("SimpleITK")
    is_single = len(stack) == 1 and header.get("PhotometricInterpretation") == "MONOCHROME2"
    syntax = header.file_meta.get("TransferSyntaxUID", "") if "file_meta" in dir(header) else ""
    if not is_single or syntax in LOSSY or "FloatPixelData" in header:
        return False
    reader = itk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError:
        return False
    pixels = itk.GetArrayFromImage(image).reshape(stack[0].shape)
    assert stack[0] == pytest.approx(pixels, rel=1e-5, abs=1e-3)
    if stack.geometry is not None and stack.geometry.has_place:
        columns, rows = image.GetSize()[:2]
        corner = image.TransformIndexToPhysicalPoint((columns - 1, rows - 1, 0))
        found = stack.geometry.affine @ (columns - 1, rows - 1, 0, 1)
        assert found[:3] * (-1, -1, 1) == pytest.approx(corner, abs=0.01)
    return True


def test_files_of_pydicom() -> None:
    by_pydicom = by_gdcm = 0
    faults = {}
    for path in FILES:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        try:
            stack = io.read(path)
            frames = whole(stack)
        except SegscopeError as error:
            if str(path) not in str(error):
                faults[path] = str(error)
            continue
        try:
            assert frames.shape == stack.source.shape
            assert frames.dtype == stack.source.dtype
            by_pydicom += check_values(stack) > 0
            by_gdcm += check_against_gdcm(path, stack, header)
        except AssertionError as error:
            faults[path] = str(error)
    assert not faults
    assert by_pydicom >= 70
    assert by_gdcm >= 40


def test_series_of_pydicom_lie_where_itk_puts_them() -> None:
    itk = pytest.importorskip("SimpleITK")
    folder = FOLDER / "dicomdirtests"
    with pytest.raises(UsageError, match=r"holds \d+ series"):
        io.read(folder)
    compared = 0
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        for series in itk.ImageSeriesReader.GetGDCMSeriesIDs(str(place)):
            names = itk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), series)
            uid = pydicom.dcmread(names[0], stop_before_pixels=True).SeriesInstanceUID
            try:
                stack = io.read(place, series=uid)
            except SegscopeError:
                continue
            check_values(stack)
            if stack.kind != "volume" or stack.geometry is None:
                continue
            reader = itk.ImageSeriesReader()
            reader.SetFileNames(names)
            image = reader.Execute()
            for index in ((0, 0, 0), (3, 5, len(stack) - 1)):
                world = stack.geometry.affine @ (*index, 1)
                expected = image.TransformIndexToPhysicalPoint(index)
                assert world[:3] * (-1, -1, 1) == pytest.approx(expected, abs=0.01)
            compared += 1
    assert compared >= 1


class TestHighdicom:
    """Objects that highdicom derives from a series come back on the grid of the series."""

    ORIENTATION = oblique()

    @pytest.fixture
    def series(self, tmp_path: Path) -> Path:
        positions = along(normal_of(self.ORIENTATION) * 2.5, 6)
        tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
        rest = {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": 120, "AcquisitionNumber": 1,
                "BodyPartExamined": "CHEST", "PatientPosition": "HFS"}  # fmt: skip
        return write_series(tmp_path / "ct", positions, self.ORIENTATION, **tags, **rest)

    def sources(self, folder: Path) -> list[Dataset]:
        return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]

    def check_equal(self, stack: Stack, series: Stack) -> None:
        assert np.array_equal(whole(stack), whole(series))
        assert stack.geometry is not None
        assert series.geometry is not None
        assert np.allclose(stack.geometry.affine, series.geometry.affine, atol=1e-3)

    def test_legacy_converted_ct(self, tmp_path: Path, series: Path) -> None:
        uid = generate_uid()
        made = LegacyConvertedEnhancedCTImage(self.sources(series), uid, 1, generate_uid(), 1)
        made.save_as(tmp_path / "enhanced.dcm")
        self.check_equal(io.read(tmp_path / "enhanced.dcm"), io.read(series))

    def test_legacy_converted_mr(self, tmp_path: Path) -> None:
        positions = along(normal_of(self.ORIENTATION) * 2.5, 6)
        tags = {"SOPClassUID": MR, "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
        folder = write_series(tmp_path / "mr", positions, self.ORIENTATION, **tags)
        sources = self.sources(folder)
        made = LegacyConvertedEnhancedMRImage(sources, generate_uid(), 1, generate_uid(), 1)
        made.save_as(tmp_path / "enhanced.dcm")
        self.check_equal(io.read(tmp_path / "enhanced.dcm"), io.read(folder))

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, RLELossless])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_secondary_captures(self, tmp_path: Path, syntax: Any, dtype: Any) -> None:
        bits = 8 * np.dtype(dtype).itemsize
        pixels = np.random.default_rng(bits).integers(0, 2**bits, (24, 30)).astype(dtype)
        made = SCImage(
            pixels,
            "MONOCHROME2",
            bits,
            "PATIENT",
            generate_uid(),
            generate_uid(),
            1,
            generate_uid(),
            1,
            "maker",
            patient_orientation=("L", "P"),
            pixel_spacing=(0.3, 0.2),
            transfer_syntax_uid=syntax,
        )
        made.save_as(tmp_path / "sc.dcm")
        stack = io.read(tmp_path / "sc.dcm")
        assert np.array_equal(stack[0], pixels)
        assert stack.spacing_zyx_mm == pytest.approx((1.0, 0.3, 0.2))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
    def test_parametric_maps(self, tmp_path: Path, series: Path, dtype: Any) -> None:
        sources = self.sources(series)
        values = np.random.default_rng(1).normal(100, 20, (6, 6, 9)).astype(dtype)
        mapping = RealWorldValueMapping(
            "1", "values", codes.UCUM.NoUnits, (0.0, 65535.0), slope=1.0, intercept=0.0
        )
        if dtype == np.uint16:
            mapping = RealWorldValueMapping(
                "1", "values", codes.UCUM.NoUnits, (0, 65535), slope=1.0, intercept=0.0
            )
        made = ParametricMap(
            sources,
            values,
            generate_uid(),
            2,
            generate_uid(),
            1,
            "maker",
            "model",
            "1",
            "1",
            False,
            [mapping],
            window_center=100,
            window_width=50,
        )
        made.save_as(tmp_path / "map.dcm")
        stack = io.read(tmp_path / "map.dcm")
        assert stack.geometry is not None
        for index, source in enumerate(sources):
            place = np.array([*map(float, source.ImagePositionPatient)]) * (-1, -1, 1)
            frame = np.linalg.inv(stack.geometry.affine) @ (*place, 1)
            assert frame == pytest.approx([0, 0, round(frame[2]), 1], abs=1e-3)
            assert np.array_equal(stack[round(frame[2])], values[index])

    def test_volumes_of_highdicom_agree(self, series: Path) -> None:
        volume = highdicom.get_volume_from_series(self.sources(series))
        stack = io.read(series)
        assert stack.geometry is not None
        for index in ((0, 0, 0), (5, 2, 3)):
            expected = volume.map_indices_to_reference(np.array([index]))[0]
            frame, row, column = index
            candidates = [(column, row, frame, 1), (column, row, 5 - frame, 1)]
            places = [(stack.geometry.affine @ item)[:3] * (-1, -1, 1) for item in candidates]
            distances = [float(np.linalg.norm(place - expected)) for place in places]
            number = int(np.argmin(distances))
            assert distances[number] < 0.01
            value = volume.array[index]
            assert stack[candidates[number][2]][row, column] == value
