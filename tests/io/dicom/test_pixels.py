"""DICOM pixels: every compression, and values after the modality transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from support.dicom_files import (
    MR,
    along,
    header,
    sample,
    save,
    set_pixels,
    slice_pixels,
    whole,
    write_series,
)

from segscope import io
from segscope.errors import MissingExtra, ReadError
from segscope.io.dicom import pixels as dicom_pixels
from segscope.stack import Stack


class TestValues:
    def read_one(self, tmp_path: Path, pixels: np.ndarray, **tags: Any) -> Stack:
        data = header(MR, "MR", **tags)
        return io.read(save(set_pixels(data, pixels), tmp_path / "one.dcm"))

    def test_slope_and_intercept_of_each_slice_are_applied(self, tmp_path: Path) -> None:
        each = [{"RescaleSlope": 1 + number / 2, "RescaleIntercept": -1000} for number in range(3)]
        stack = io.read(write_series(tmp_path / "pet", along((0, 0, 2.0), 3), each=each))
        assert stack.source.dtype == np.float32
        for number in range(3):
            wanted = slice_pixels(number) * (1 + number / 2) - 1000
            assert np.array_equal(stack[number], wanted.astype(np.float32))

    @pytest.mark.parametrize(
        ("bits", "signed", "slope", "intercept", "dtype"),
        [
            (12, 0, 1, -1024, np.int16),
            (16, 1, 1, -1024, np.float32),
            (16, 0, 1, 0, np.uint16),
            (16, 1, 1, 0, np.int16),
            (12, 0, 0.5, 0, np.float32),
            (15, 0, 2, -8192, np.float32),
        ],
    )
    def test_values_are_held_by_the_smallest_exact_type(
        self, tmp_path: Path, bits: int, signed: int, slope: float, intercept: float, dtype: type
    ) -> None:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        pixels = np.array([[low, high], [0, 1]]).astype(np.int16 if signed else np.uint16)
        stack = self.read_one(
            tmp_path,
            pixels,
            BitsStored=bits,
            HighBit=bits - 1,
            PixelRepresentation=signed,
            RescaleSlope=slope,
            RescaleIntercept=intercept,
        )
        assert stack.source.dtype == dtype
        assert np.array_equal(stack[0], pixels.astype(np.float64) * slope + intercept)

    def test_a_modality_table_is_looked_up(self, tmp_path: Path) -> None:
        table = Dataset()
        table.LUTDescriptor, table.LUTData, table.ModalityLUTType = (
            [4, 0, 16],
            [10, 200, 3000, 40000],
            "US",
        )
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        pixels = np.array([[0, 1], [2, 3]], np.uint16)
        stack = self.read_one(tmp_path, pixels, PixelRepresentation=0, ModalityLUTSequence=[table])
        assert stack[0].tolist() == [[10, 200], [3000, 40000]]

    @pytest.mark.parametrize("high_bit", [15, 13])
    @pytest.mark.parametrize("signed", [0, 1])
    def test_values_end_at_their_highest_bit(
        self, tmp_path: Path, high_bit: int, signed: int
    ) -> None:
        values = np.array([[0, 1, 2047], [-1 * signed, -2048 * signed, 7]], np.int16)
        words = (values.view(np.uint16) & 0xFFF) << (high_bit - 11)
        stack = self.read_one(
            tmp_path, words, BitsStored=12, HighBit=high_bit, PixelRepresentation=signed
        )
        assert np.array_equal(stack[0], values)

    def test_what_lies_above_the_highest_bit_is_no_part_of_the_value(self, tmp_path: Path) -> None:
        values = np.arange(12, dtype=np.uint16).reshape(3, 4)
        words = (values << 2) | 0x8000
        stack = self.read_one(tmp_path, words, BitsStored=12, HighBit=13, PixelRepresentation=0)
        assert np.array_equal(stack[0], values)

    def test_values_are_ambiguous_if_something_lies_below_them(self, tmp_path: Path) -> None:
        words = np.arange(12, dtype=np.uint16).reshape(3, 4)
        with pytest.raises(ReadError, match="ambiguous"):
            self.read_one(tmp_path, words, BitsStored=12, HighBit=15, PixelRepresentation=0)

    @pytest.mark.parametrize("high_bit", [3, 20])
    def test_an_impossible_highest_bit_is_ignored_with_a_note(
        self, tmp_path: Path, high_bit: int
    ) -> None:
        values = np.arange(12, dtype=np.uint16).reshape(3, 4)
        stack = self.read_one(
            tmp_path, values, BitsStored=12, HighBit=high_bit, PixelRepresentation=0
        )
        assert np.array_equal(stack[0], values)
        assert any(f"HighBit {high_bit}" in note for note in stack.meta["notes"])

    def test_more_bits_than_a_word_has_are_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"20 stored bits.*16 allocated"):
            self.read_one(tmp_path, np.zeros((4, 4), np.int16), BitsStored=20)

    def test_an_empty_modality_table_is_none(self, tmp_path: Path) -> None:
        table = Dataset()
        table.add_new(0x00283002, "US", None)
        table.add_new(0x00283006, "US", None)
        pixels = np.arange(16, dtype=np.int16).reshape(4, 4)
        tags = {"RescaleSlope": 2, "RescaleIntercept": -1}
        stack = self.read_one(tmp_path, pixels, ModalityLUTSequence=[table], **tags)
        assert np.array_equal(stack[0], pixels * 2 - 1)


class TestColours:
    RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)

    def colour_image(self, photometric: str) -> Dataset:
        data = header(
            "1.2.840.10008.5.1.4.1.1.7",
            "OT",
            SamplesPerPixel=3,
            PhotometricInterpretation=photometric,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
        )
        data.Rows, data.Columns = self.RGB.shape[:2]
        data.PixelData = self.RGB.tobytes()
        data["PixelData"].VR = "OB"
        return data

    def test_samples_without_a_planar_configuration_are_interleaved(self, tmp_path: Path) -> None:
        path = save(self.colour_image("RGB"), tmp_path / "a.dcm")
        assert np.array_equal(io.read(path)[0], self.RGB)

    @pytest.mark.parametrize("photometric", ["HSV", "CMYK", "ARGB"])
    def test_retired_colours_are_refused_at_once(self, tmp_path: Path, photometric: str) -> None:
        path = save(self.colour_image(photometric), tmp_path / "a.dcm")
        with pytest.raises(ReadError, match=photometric):
            io.read(path)


GREY = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_expb.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "JPEG-lossy.dcm",
    "693_J2KI.dcm",
    "image_dfl.dcm",
    "examples_overlay.dcm",
    "JPEGLSNearLossless_16.dcm",
    "J2K_pixelrep_mismatch.dcm",
]


COLOUR = [
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "examples_palette.dcm",
    "SC_rgb_small_odd.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "SC_rgb_rle_2frame.dcm",
]


class TestSamplesOfPydicom:
    @pytest.mark.parametrize("name", GREY)
    def test_grey_images_of_all_compressions_decode(self, name: str) -> None:
        stack = io.read(sample(name))
        assert whole(stack).shape == stack.source.shape
        assert whole(stack).dtype == stack.source.dtype

    @pytest.mark.parametrize("name", COLOUR)
    def test_colours_are_rgb_bytes(self, name: str) -> None:
        stack = io.read(sample(name))
        assert stack.source.shape[-1] == 3
        assert whole(stack).dtype == np.uint8

    def test_the_same_image_is_the_same_in_each_lossless_form(self) -> None:
        plain = io.read(sample("MR_small.dcm"))[0]
        for form in ("bigendian", "RLE", "jp2klossless", "implicit", "jpeg_ls_lossless", "expb"):
            assert np.array_equal(io.read(sample(f"MR_small_{form}.dcm"))[0], plain), form

    def test_a_cut_off_sample_is_refused(self) -> None:
        with pytest.raises(ReadError, match="cut off"):
            io.read(sample("MR_truncated.dcm"))

    @pytest.mark.parametrize(
        "name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm"]
    )
    def test_compressed_pixels_that_are_cut_off_are_refused(
        self, tmp_path: Path, name: str
    ) -> None:
        data = sample(name).read_bytes()
        (tmp_path / "cut.dcm").write_bytes(data[: len(data) * 3 // 4])
        with pytest.raises(ReadError, match="cut off"):
            io.read(tmp_path / "cut.dcm")


class TestOtherDecoder:
    def refuse(self, *_: object, **__: object) -> None:
        raise RuntimeError("no decoder is available")

    @pytest.mark.parametrize(
        "name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"]
    )
    def test_simpleitk_decodes_the_same_values(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("SimpleITK")
        wanted = io.read(sample(name))[0]
        monkeypatch.setattr("pydicom.pixels.pixel_array", self.refuse)
        assert np.array_equal(io.read(sample(name))[0], wanted)

    def test_jpeg_lossless_is_decoded_and_rescaled_once(self, tmp_path: Path) -> None:
        """pydicom has no decoder of its own for it."""
        itk = pytest.importorskip("SimpleITK")
        pixels = np.random.default_rng(0).integers(0, 4000, (16, 16)).astype(np.uint16)
        image = itk.GetImageFromArray(pixels[None])
        image.SetMetaData("0028|1052", "-1000")
        image.SetMetaData("0028|1053", "1")
        writer = itk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "a.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(image)
        data = pydicom.dcmread(tmp_path / "a.dcm")
        assert data.file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.")
        data.RescaleSlope, data.RescaleIntercept = 1, -1000
        data.save_as(tmp_path / "a.dcm")
        found = io.read(tmp_path / "a.dcm")[0].astype(int)
        source: Any = io.read(tmp_path / "a.dcm").source
        stored = dicom_pixels.decode_frame(source.frames[0].file, 0)
        assert np.array_equal(found, stored.astype(int) - 1000)

    def test_without_any_decoder_the_syntax_and_the_extra_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pydicom.pixels.pixel_array", self.refuse)
        monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
        with pytest.raises(MissingExtra, match=r"JPEG 2000.*segscope\[itk\]"):
            io.read(sample("MR_small_jp2klossless.dcm"))[0]
