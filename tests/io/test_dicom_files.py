"""DICOM in: damaged files, the samples of pydicom, other decoders, real series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.data import data_folder
from support.dicom_files import along, sample, whole, write_series

from segscope import io
from segscope.errors import MissingExtra, ReadError, SegscopeError, UsageError
from segscope.io.dicom import pixels as dicom_pixels


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 60])


def _cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(2000))


def _text(path: Path) -> None:
    path.write_text("this is no DICOM file at all, only text\n" * 30)


def _huge(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 2000000
    data.save_as(path)


def _no_size(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.Rows = 0
    data.save_as(path)


class TestDamaged:
    @pytest.mark.parametrize(
        "damage", [_cut, _cut_header, _empty, _garbage, _text, _huge, _no_size]
    )
    def test_a_damaged_file_is_one_paragraph(
        self, tmp_path: Path, damage: Callable[[Path], None]
    ) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        damage(folder / "001.dcm")
        for path in (folder, folder / "001.dcm"):
            with pytest.raises(ReadError) as refusal:
                io.read(path)
            assert "001.dcm" in str(refusal.value)
            assert len(str(refusal.value)) < 700

    def test_any_byte_may_be_wrong(self, tmp_path: Path) -> None:
        """A flipped byte gives a stack or an error of ours, and no other one."""
        good = sample("CT_small.dcm").read_bytes()
        rng = np.random.default_rng(5)
        for _ in range(60):
            bad = bytearray(good)
            for place in rng.integers(0, 6500, 4):
                bad[place] = rng.integers(256)
            path = tmp_path / "flipped.dcm"
            path.write_bytes(bad)
            try:
                whole(io.read(path))
            except SegscopeError:
                continue


GREY = ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm",
        "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm",
        "JPGExtended.dcm", "JPEG-lossy.dcm", "693_J2KI.dcm", "image_dfl.dcm", "examples_overlay.dcm",
        "JPEGLSNearLossless_16.dcm", "J2K_pixelrep_mismatch.dcm"]  # fmt: skip
COLOUR = ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_rgb_color.dcm",
          "examples_ybr_color.dcm", "examples_palette.dcm", "SC_rgb_small_odd.dcm", "GDCMJ2K_TextGBR.dcm",
          "SC_rgb_rle_2frame.dcm"]  # fmt: skip


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
        "name", ["rtplan.dcm", "test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm"]
    )
    def test_files_without_images_say_so(self, name: str) -> None:
        with pytest.raises(ReadError, match="not an image"):
            io.read(sample(name))

    def test_a_segmentation_is_not_read_as_a_image(self) -> None:
        with pytest.raises(UsageError, match="read it as masks"):
            io.read(sample("liver_1frame.dcm"))

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

    def test_a_file_without_preamble_and_file_header_is_read(self, tmp_path: Path) -> None:
        data = pydicom.dcmread(sample("CT_small.dcm"))
        pixels = data.pixel_array
        del data.file_meta
        pydicom.dcmwrite(tmp_path / "bare", data, implicit_vr=True, little_endian=True)
        slope = float(data.RescaleSlope), float(data.RescaleIntercept)
        assert np.array_equal(io.read(tmp_path / "bare")[0], pixels * slope[0] + slope[1])


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
        stored = dicom_pixels.decode_frame(io.read(tmp_path / "a.dcm").source.frames[0].file, 0)  # type: ignore[attr-defined]
        assert np.array_equal(found, stored.astype(int) - 1000)

    def test_without_any_decoder_the_syntax_and_the_extra_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pydicom.pixels.pixel_array", self.refuse)
        monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
        with pytest.raises(MissingExtra, match=r"JPEG 2000.*segscope\[itk\]"):
            io.read(sample("MR_small_jp2klossless.dcm"))[0]


class TestRealData:
    def test_series_agree_with_simpleitk_in_world_coordinates(self) -> None:
        itk = pytest.importorskip("SimpleITK")
        for name in (
            "dicom_ct_liver/ct",
            "dicom_ct_pet_mr_rtstruct/CT",
            "dicom_ct_pet_mr_rtstruct/PET",
        ):
            folder = data_folder(name)
            stack = io.read(folder)
            reader = itk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            image = reader.Execute()
            array, mine = itk.GetArrayFromImage(image), whole(stack)
            assert stack.geometry is not None
            for index in ((0, 0, 0), (5, 9, 1), (20, 3, 2)):
                world = stack.geometry.affine @ (*index, 1)
                x, y, z = image.TransformPhysicalPointToIndex((-world[0], -world[1], world[2]))
                assert array[z, y, x] == pytest.approx(mine[index[2], index[1], index[0]], rel=1e-5)

    def test_a_real_clip_has_its_times(self) -> None:
        stack = io.read(data_folder("us_heart_cine_unlabelled/patient0500_2CH.dcm"))
        assert stack.kind == "video"
        assert stack.times_s is not None
        assert stack.times_s[-1] == pytest.approx(14 * 0.0667)

    def test_three_series_in_one_folder_are_listed(self) -> None:
        with pytest.raises(UsageError, match=r"PT.*CT.*MR"):
            io.read(data_folder("dicom_ct_pet_mr_rtstruct"))
        assert len(io.read(data_folder("dicom_ct_pet_mr_rtstruct"), series="MR_T1")) == 25
