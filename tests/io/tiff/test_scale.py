"""Sizes and times that TIFFs state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.tiff_files import TYX, YX, ZYX, make

from segscope import io


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
