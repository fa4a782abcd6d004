"""TIFF axes and damage: honoured or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from support.tiff_files import CYX, RGB, TCZYX, TYX, YX, ZYX, make, whole

from segscope import io
from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.masks import Masks


class TestAxes:
    @pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
    def test_slices_are_a_volume_and_time_is_a_video(self, name: str, tmp_path: Path) -> None:
        imagej = {"imagej": True} if name == "a.tif" else {}
        volume = io.read(make(tmp_path / name, ZYX, "ZYX", **imagej))
        assert volume.kind == "volume"
        np.testing.assert_array_equal(whole(volume), ZYX)
        video = io.read(make(tmp_path / name, TYX, "TYX", **imagej))
        assert video.kind == "video"
        np.testing.assert_array_equal(whole(video), TYX)

    def test_channels(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.ome.tif", CYX, "CYX")
        stack = io.read(path)
        assert stack.source.shape == (1, 20, 30, 2)
        np.testing.assert_array_equal(stack[0], np.moveaxis(CYX, 0, -1))
        np.testing.assert_array_equal(io.read(path, channel=1)[0], CYX[1])
        with pytest.raises(UsageError, match="2 channels"):
            io.read(path, channel=2)

    @pytest.mark.parametrize("order", ["TCZYX", "TZCYX", "CTZYX", "ZCTYX"])
    def test_five_axes_in_any_order(self, order: str, tmp_path: Path) -> None:
        data = TCZYX.transpose(["TCZYX".index(axis) for axis in order])
        options = {"imagej": True} if order == "TZCYX" else {}
        path = make(
            tmp_path / ("a.tif" if options else "a.ome.tif"),
            np.ascontiguousarray(data),
            order,
            **options,
        )
        with pytest.raises(UsageError, match=r"3 time points.*volume"):
            io.read(path)
        stack = io.read(path, volume=2)
        np.testing.assert_array_equal(whole(stack), np.moveaxis(TCZYX[2], 0, -1))
        np.testing.assert_array_equal(whole(io.read(path, volume=1, channel=1)), TCZYX[1, 1])

    def test_unnamed_pages_are_slices_with_a_note(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.tif", ZYX))
        assert stack.kind == "volume"
        assert "taken as slices" in stack.meta["notes"][0]
        np.testing.assert_array_equal(whole(stack), ZYX)

    def test_two_unnamed_axes_are_refused(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", TCZYX[0], photometric="minisblack")
        with pytest.raises(ReadError, match=r"Q 2, Q 4.*ImageJ"):
            io.read(tmp_path / "a.tif")

    def test_different_images_are_chosen_by_number(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(YX, metadata=None)
            writer.write(RGB, metadata=None, photometric="rgb")
        with pytest.raises(UsageError, match=r"2 different images.*1: .*2: "):
            io.read(tmp_path / "a.tif")
        np.testing.assert_array_equal(io.read(tmp_path / "a.tif", series="2")[0], RGB)
        with pytest.raises(UsageError, match="no series '3'"):
            io.read(tmp_path / "a.tif", series="3")


class TestColours:
    def test_print_colours_are_shown_as_rgb(self, tmp_path: Path) -> None:
        image = Image.fromarray(RGB).convert("CMYK")
        image.save(tmp_path / "a.tif")
        stack = io.read(tmp_path / "a.tif")
        np.testing.assert_array_equal(stack[0], np.asarray(image.convert("RGB")))
        assert "CMYK" in stack.meta["notes"][0]

    def test_print_colours_are_no_labels(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif")
        with pytest.raises(ReadError, match="SEPARATED"):
            io.read_masks(tmp_path / "a.tif")

    def test_colours_without_a_known_meaning_are_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.tif", RGB, photometric="cielab")
        with pytest.raises(ReadError, match="CIELAB"):
            io.read(path)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_it_is_shown_upright(self, orientation: int, tmp_path: Path) -> None:
        tag = (274, "H", 1, orientation, True)
        resolution = {"resolution": (50.0, 25.0), "resolutionunit": "CENTIMETER"}
        path = make(tmp_path / "a.tif", RGB, photometric="rgb", extratags=[tag], **resolution)
        expected = np.asarray(ImageOps.exif_transpose(_with_orientation(RGB, orientation)))
        stack = io.read(path)
        np.testing.assert_array_equal(stack[0], expected)
        y_mm, x_mm = stack.geometry.spacing_zyx_mm[1:]
        is_sideways = orientation >= 5
        assert (y_mm, x_mm) == pytest.approx((0.2, 0.4) if is_sideways else (0.4, 0.2))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["m.tif", "m.ome.tif"])
    def test_masks_are_stored_like_the_file(
        self, orientation: int, suffix: str, tmp_path: Path
    ) -> None:
        tag = (274, "H", 1, orientation, True)
        resolution = {"resolution": (50.0, 25.0), "resolutionunit": "CENTIMETER"}
        labels = (YX > 3000).astype(np.uint8)
        path = make(tmp_path / "a.tif", labels, extratags=[tag], **resolution)
        stack = io.read(path)
        masks = Masks.from_labels(whole(stack), geometry=stack.geometry)
        io.write(masks, tmp_path / suffix, stack)
        with tifffile.TiffFile(tmp_path / suffix) as file:
            np.testing.assert_array_equal(file.asarray().squeeze(), labels)
        again = io.read_masks(tmp_path / suffix, stack)
        np.testing.assert_array_equal(again.labels, masks.labels)

    def test_pages_of_different_orientations_are_refused(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for orientation in (1, 3):
                tags = [(274, "H", 1, orientation, True)]
                writer.write(YX, metadata=None, contiguous=False, extratags=tags)
        with pytest.raises(ReadError, match="different orientations"):
            io.read(tmp_path / "a.tif")


def _with_orientation(pixels: np.ndarray, orientation: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    return image


class TestDamage:
    def test_pages_that_a_cut_lost_are_not_passed_over(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for step in range(5):
                writer.write(np.roll(YX, step, 0), metadata=None, contiguous=False)
        data = (tmp_path / "a.tif").read_bytes()
        for keep in range(100, len(data) - 1, 97):
            (tmp_path / "cut.tif").write_bytes(data[:keep])
            with pytest.raises(ReadError):
                io.read(tmp_path / "cut.tif")

    def test_part_of_a_set_of_files_is_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.ome.tif", ZYX, "ZYX")
        with tifffile.TiffFile(path) as file:
            text = file.ome_metadata
        parts = "".join(
            f'<TiffData IFD="0" FirstZ="{z}">'
            f'<UUID FileName="part{z}.ome.tif">u{z}</UUID></TiffData>'
            for z in range(4)
        )
        start = text.index("<TiffData")
        text = text[:start] + parts + text[text.index("/>", start) + 2 :]
        tifffile.imwrite(path, YX, description=text.encode(), metadata=None)
        with pytest.raises(ReadError, match="copy the whole set"):
            io.read(path)

    def test_entities_are_not_expanded(self, tmp_path: Path) -> None:
        text = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><OME xmlns="x">&a;</OME>'
        tifffile.imwrite(tmp_path / "a.ome.tif", YX, description=text, metadata=None)
        with pytest.raises(ReadError, match="entities"):
            io.read(tmp_path / "a.ome.tif")

    def test_a_huge_declared_size_is_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.tif", YX)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[0].tags["ImageWidth"].overwrite(60000)
            file.pages[0].tags["ImageLength"].overwrite(60000)
        with pytest.raises(SegscopeError):
            io.read(path)
