"""Label stacks as TIFF, and label TIFFs of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.tiff_files import RANDOM

from segscope import io
from segscope.geometry import Geometry
from segscope.masks import Masks


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


@pytest.mark.parametrize("shape", [(1, 9, 1), (3, 9, 1), (1, 1, 9), (1, 1, 1), (4, 1, 1)])
def test_masks_of_one_column_come_back(shape: tuple[int, int, int], tmp_path: Path) -> None:
    labels = np.zeros(shape, np.uint8)
    labels.flat[::2] = 1
    io.write(Masks.from_labels(labels), tmp_path / "a.tif")
    np.testing.assert_array_equal(io.read_masks(tmp_path / "a.tif").labels, labels)
