"""TIFF pages: colours, compressions, and one page at a time."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.tiff_files import RGB, YX, ZYX, make, whole

from segscope import io
from segscope.errors import MissingExtra
from segscope.io.orientation import turn_upright
from segscope.io.tiff import frames

WEBP = 50001
ZSTD = 50000


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
        stack = io.read(path)
        np.testing.assert_array_equal(stack[0], RGB)
        assert "transparency" in stack.meta["notes"][0]

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

    def test_pillow_gives_separate_planes_interleaved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
        options = {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}
        path = make(tmp_path / "a.tif", planes, **options)
        np.testing.assert_array_equal(io.read(path)[0], RGB)
        # as for LZW, which tifffile cannot decode by itself
        monkeypatch.setattr(frames, "needs_pillow", lambda path, page: True)
        np.testing.assert_array_equal(io.read(path)[0], RGB)
        np.testing.assert_array_equal(io.read(path, channel=2)[0], RGB[..., 2])

    @pytest.mark.parametrize(
        ("tag", "value"),
        [("Compression", WEBP), ("Compression", ZSTD), ("BitsPerSample", 12)],
    )
    def test_what_nobody_here_can_decode_names_the_extra(
        self, tag: str, value: int, tmp_path: Path
    ) -> None:
        if importlib.util.find_spec("imagecodecs"):
            pytest.skip("imagecodecs is installed")
        path = make(tmp_path / "a.tif", YX)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[0].tags[tag].overwrite(value)
        with pytest.raises(MissingExtra, match=r"segscope\[tiff-codecs\]"):
            io.read(path)


class TestOrientation:
    """Pillow turns what it decodes upright by itself, tifffile does not."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("mode", "compression"),
        [
            ("RGB", "raw"),
            ("RGB", "tiff_lzw"),
            ("RGB", "tiff_adobe_deflate"),
            ("L", "tiff_lzw"),
            ("1", "group4"),
            ("CMYK", "tiff_lzw"),
            ("P", "tiff_lzw"),
        ],
    )
    def test_every_codec_is_shown_upright_once(
        self, mode: str, compression: str, orientation: int, tmp_path: Path
    ) -> None:
        image = Image.fromarray(RGB).convert(mode)
        path = tmp_path / "a.tif"
        image.save(path, compression=compression, tiffinfo={274: orientation})
        shown_mode = "L" if mode in ("L", "1") else "RGB"
        expected = turn_upright(np.asarray(image.convert(shown_mode)), orientation)
        np.testing.assert_array_equal(io.read(path)[0], expected)


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
