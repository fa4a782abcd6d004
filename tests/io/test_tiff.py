"""TIFF: axes, scales, colours and compressions that microscopes and scanners write."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segscope import io
from segscope.errors import MissingExtra, ReadError, SegscopeError, UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks

RANDOM = np.random.default_rng(0)
TCZYX = RANDOM.integers(0, 4000, (3, 2, 4, 20, 30)).astype(np.uint16)
ZYX, TYX, CYX, YX = TCZYX[0, 0], TCZYX[:, 0, 0], TCZYX[0, :, 0], TCZYX[0, 0, 0]
RGB = RANDOM.integers(0, 256, (20, 30, 3)).astype(np.uint8)


def make(path: Path, data: np.ndarray, axes: str | None = None, **options: Any) -> Path:
    metadata = options.pop("metadata", {})
    if axes:
        metadata = {"axes": axes, **metadata}
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, data, metadata=metadata or None, **options)
    return path


def whole(stack: Any) -> np.ndarray:
    return np.stack([stack[index] for index in range(len(stack))])


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
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_rgb(self, planar: str, tmp_path: Path) -> None:
        data = RGB if planar == "contig" else np.moveaxis(RGB, -1, 0)
        path = make(
            tmp_path / "a.tif", np.ascontiguousarray(data), photometric="rgb", planarconfig=planar
        )
        np.testing.assert_array_equal(io.read(path)[0], RGB)
        np.testing.assert_array_equal(io.read(path, channel=2)[0], RGB[..., 2])

    def test_alpha_is_dropped(self, tmp_path: Path) -> None:
        data = np.concatenate([RGB, np.full((20, 30, 1), 255, np.uint8)], -1)
        path = make(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(io.read(path)[0], RGB)

    def test_a_palette_becomes_its_colours(self, tmp_path: Path) -> None:
        image = Image.fromarray(RGB).quantize(16)
        image.save(tmp_path / "a.tif")
        np.testing.assert_array_equal(
            io.read(tmp_path / "a.tif")[0], np.asarray(image.convert("RGB"))
        )

    def test_white_is_zero_is_turned_round(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.tif", 255 - RGB[..., 0], photometric="miniswhite")
        np.testing.assert_array_equal(io.read(path)[0], RGB[..., 0])

    @pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
    def test_one_bit(self, compression: str | None, tmp_path: Path) -> None:
        Image.fromarray(RGB[..., 0] > 99).save(tmp_path / "a.tif", compression=compression)
        np.testing.assert_array_equal(io.read(tmp_path / "a.tif")[0], (RGB[..., 0] > 99) * 255)

    def test_print_colours_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif")
        with pytest.raises(ReadError, match="SEPARATED"):
            io.read(tmp_path / "a.tif")

    def test_turned_files_are_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.tif", YX, extratags=[(274, "H", 1, 6, True)])
        with pytest.raises(ReadError, match="orientation 6"):
            io.read(path)


class TestCompression:
    @pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
    @pytest.mark.parametrize("pixels", [YX, RGB, RGB[..., 0]])
    def test_what_pillow_can_decode_needs_no_extra(
        self, compression: str, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        frames = [Image.fromarray(np.roll(pixels, step, 0)) for step in range(3)]
        frames[0].save(
            tmp_path / "a.tif", compression=compression, save_all=True, append_images=frames[1:]
        )
        np.testing.assert_array_equal(
            whole(io.read(tmp_path / "a.tif")), [np.asarray(frame) for frame in frames]
        )

    def test_jpeg_in_tiff_has_its_colours(self, tmp_path: Path) -> None:
        smooth = np.dstack(
            np.broadcast_arrays(np.arange(64)[:, None], np.arange(64)[None] * 2, 90)
        ).astype(np.uint8)
        Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=95)
        assert np.abs(io.read(tmp_path / "a.tif")[0].astype(int) - smooth).max() < 12

    def test_what_nobody_here_can_decode_names_the_extra(self, tmp_path: Path) -> None:
        if importlib.util.find_spec("imagecodecs"):
            pytest.skip("imagecodecs is installed")
        path = make(tmp_path / "a.tif", YX)
        raw = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as file:
            at = file.pages[0].tags["Compression"].valueoffset
        raw[at : at + 2] = (50001).to_bytes(2, "little")
        path.write_bytes(raw)
        with pytest.raises(MissingExtra, match=r"segscope\[tiff-codecs\]"):
            io.read(path)


class TestScale:
    def test_imagej(self, tmp_path: Path) -> None:
        metadata = {"spacing": 2.5, "unit": "um", "finterval": 0.5}
        path = make(
            tmp_path / "a.tif", ZYX, "ZYX", imagej=True, resolution=(4, 2), metadata=metadata
        )
        np.testing.assert_allclose(io.read(path).spacing_zyx_mm, (0.0025, 0.0005, 0.00025))
        path = make(
            tmp_path / "b.tif", TYX, "TYX", imagej=True, resolution=(4, 2), metadata=metadata
        )
        np.testing.assert_allclose(io.read(path).times_s, [0, 0.5, 1])

    def test_ome(self, tmp_path: Path) -> None:
        sizes = {
            "PhysicalSizeX": 0.3,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 400,
            "PhysicalSizeYUnit": "nm",
        }
        metadata = {**sizes, "PhysicalSizeZ": 1, "PhysicalSizeZUnit": "mm",
                    "TimeIncrement": 20, "TimeIncrementUnit": "ms"}  # fmt: skip
        stack = io.read(make(tmp_path / "a.ome.tif", ZYX, "ZYX", metadata=metadata))
        np.testing.assert_allclose(stack.spacing_zyx_mm, (1, 0.0004, 0.0003))
        times = io.read(make(tmp_path / "b.ome.tif", TYX, "TYX", metadata=metadata)).times_s
        np.testing.assert_allclose(times, [0, 0.02, 0.04])

    def test_ome_stamps_beat_the_interval(self, tmp_path: Path) -> None:
        metadata = {"TimeIncrement": 1, "Plane": {"DeltaT": [0.0, 0.7, 2.1]}}
        stack = io.read(make(tmp_path / "a.ome.tif", TYX, "TYX", metadata=metadata))
        np.testing.assert_allclose(stack.times_s, [0, 0.7, 2.1])

    def test_without_a_slice_distance_there_is_no_geometry(self, tmp_path: Path) -> None:
        path = make(
            tmp_path / "a.tif", ZYX, "ZYX", imagej=True, resolution=(4, 2), metadata={"unit": "um"}
        )
        stack = io.read(path)
        assert stack.geometry is None
        assert stack.meta["pixel_size_yx_mm"] == (0.0005, 0.00025)
        assert "distance of its slices" in stack.meta["notes"][0]

    def test_dots_per_inch_are_not_believed_and_centimetres_are(self, tmp_path: Path) -> None:
        assert (
            io.read(
                make(tmp_path / "a.tif", YX, resolution=(72, 72), resolutionunit="INCH")
            ).geometry
            is None
        )
        stack = io.read(
            make(tmp_path / "b.tif", YX, resolution=(1000, 500), resolutionunit="CENTIMETER")
        )
        np.testing.assert_allclose(stack.spacing_zyx_mm, (1, 0.02, 0.01))


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
        parts = "".join(f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="part{z}.ome.tif">u{z}</UUID></TiffData>'
                        for z in range(4))  # fmt: skip
        start = text.index("<TiffData")
        text = text[:start] + parts + text[text.index("/>", start) + 2 :]
        tifffile.imwrite(path, YX, description=text.encode(), metadata=None)
        with pytest.raises(ReadError, match="several files"):
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


class TestReading:
    def test_pages_are_read_when_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = io.read(make(tmp_path / "a.tif", ZYX, "ZYX", imagej=True, compression="zlib"))
        decoded: list[int] = []
        for kind in (tifffile.TiffPage, tifffile.TiffFrame):
            original = kind.asarray

            def record(page: Any, original: Any = original) -> np.ndarray:
                decoded.append(page.index)
                return original(page)

            monkeypatch.setattr(kind, "asarray", record)
        stack[3]
        assert set(decoded) == {3}, "a page may be recorded by both kinds"

    def test_a_forked_process_opens_the_file_itself(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.tif", ZYX, "ZYX", imagej=True))
        stack[0]
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(whole(stack), ZYX) else 1)
        np.testing.assert_array_equal(whole(stack), ZYX)
        assert os.waitpid(child, 0)[1] == 0


class TestMasks:
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("kind", [bool, np.uint8])
    def test_labels_are_the_stored_numbers_where_0_is_shown_white(
        self, kind: Any, compression: str | None, tmp_path: Path
    ) -> None:
        labels = np.zeros((2, 9, 17), kind)
        labels[1, 2:5, 3:11] = (
            1  # tifffile stores truth values as white is zero; ImageJ does so with its masks
        )
        tifffile.imwrite(
            tmp_path / "m.tif", labels, photometric="miniswhite", compression=compression
        )
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.tif").labels, labels)

    def test_labels_in_a_fax_are_the_stored_bits(self, tmp_path: Path) -> None:
        labels = np.zeros((9, 17), bool)
        labels[2:5, 3:11] = True
        Image.fromarray(~labels).save(tmp_path / "m.tif", compression="group4", tiffinfo={262: 0})
        with tifffile.TiffFile(tmp_path / "m.tif") as tif:
            assert tif.pages[0].photometric == 0
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.tif").labels[0], labels)

    def test_labels_with_a_palette_are_its_numbers(self, tmp_path: Path) -> None:
        labels = np.random.default_rng(0).integers(0, 4, (9, 17)).astype(np.uint8)
        colours = np.random.default_rng(1).integers(0, 65535, (3, 256)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "m.tif", labels, photometric="palette", colormap=colours)
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.tif").labels[0], labels)

    @pytest.mark.parametrize("name", ["m.tif", "m.tiff", "m.ome.tif"])
    @pytest.mark.parametrize("frames", [1, 2, 3, 4, 7])
    def test_axes_and_spacing_are_written(self, name: str, frames: int, tmp_path: Path) -> None:
        labels = RANDOM.integers(0, 3, (frames, 12, 10)).astype(np.uint8)
        io.write(
            Masks.from_labels(labels, geometry=Geometry.from_spacing((2.5, 0.8, 0.7))),
            tmp_path / name,
        )
        with tifffile.TiffFile(tmp_path / name) as file:
            np.testing.assert_array_equal(file.asarray().reshape(labels.shape), labels)
            assert file.series[0].axes == ("ZYX" if frames > 1 else "YX")
        stack = io.read(tmp_path / name)
        np.testing.assert_allclose(stack.spacing_zyx_mm, (2.5, 0.8, 0.7), rtol=1e-5)

    def test_a_video_keeps_its_times(self, tmp_path: Path) -> None:
        labels = RANDOM.integers(0, 300, (4, 12, 10)).astype(np.uint16)
        for name in ("m.tif", "m.ome.tif"):
            io.write(Masks.from_labels(labels, times_s=np.arange(4) * 0.04), tmp_path / name)
            stack = io.read(tmp_path / name)
            assert stack.kind == "video"
            np.testing.assert_allclose(stack.times_s, np.arange(4) * 0.04)

    def test_large_stacks_become_bigtiff(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("segscope.io.tiff.writer._CLASSIC_BYTES", 100)
        io.write(Masks.from_labels(np.ones((3, 12, 10), np.uint8)), tmp_path / "m.tif")
        with tifffile.TiffFile(tmp_path / "m.tif") as file:
            assert file.is_bigtiff
            assert file.is_ome
        assert io.read_masks(tmp_path / "m.tif").labels.all()
