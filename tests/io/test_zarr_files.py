"""OME-Zarr 0.4 and 0.5: axes, units, choices, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segscope import io
from segscope.errors import MissingExtra, ReadError, UsageError

zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")

SHAPE = {"t": 3, "c": 2, "z": 4, "y": 10, "x": 12}
UNITS = {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "millisecond"}
TYPES = {"t": "time", "c": "channel"}


def pixels_of(axes: str) -> np.ndarray:
    return np.arange(np.prod([SHAPE[axis] for axis in axes]), dtype=np.uint16).reshape(
        [SHAPE[axis] for axis in axes]
    )


def make(path: Path, axes: str, version: str = "0.5", units: dict[str, str] | None = None) -> Path:
    """Two levels; spacing 2.0, 0.5, 0.25 of z, y, x, time step 40, and a shift of 10 along x."""
    units = UNITS if units is None else units
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    pixels = pixels_of(axes)
    group.create_array("0", data=pixels, chunks=(1,) * (len(axes) - 2) + (5, 6))
    group.create_array("1", data=pixels[..., ::2, ::2], chunks=(1,) * (len(axes) - 2) + (5, 6))
    scale = {"t": 40.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    described = {
        "axes": [
            {
                "name": axis,
                "type": TYPES.get(axis, "space"),
                **({"unit": units[axis]} if axis in units else {}),
            }
            for axis in axes
        ],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [scale[axis] * (2**level if axis in "xy" else 1) for axis in axes],
                    },
                    {
                        "type": "translation",
                        "translation": [10.0 if axis == "x" else 0.0 for axis in axes],
                    },
                ],
            }
            for level in range(2)
        ],
    }
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": [described]}}
        if version == "0.5"
        else {"multiscales": [{**described, "version": "0.4"}]}
    )
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
class TestVersions:
    def test_a_volume_has_its_values_and_place(self, tmp_path: Path, version: str) -> None:
        stack = io.read(make(tmp_path / "a.zarr", "zyx", version))
        assert (stack.kind, stack.source.shape, stack.source.dtype) == (
            "volume",
            (4, 10, 12),
            np.uint16,
        )
        for index in range(4):
            assert np.array_equal(stack[index], pixels_of("zyx")[index])
        assert stack.spacing_zyx_mm == pytest.approx((2e-3, 5e-4, 2.5e-4))
        assert stack.geometry is not None
        assert stack.geometry.affine[:3, 3] == pytest.approx((1e-2, 0, 0))

    def test_channels_come_last_or_one_is_chosen(self, tmp_path: Path, version: str) -> None:
        path = make(tmp_path / "a.zarr", "czyx", version)
        stack = io.read(path)
        assert stack.source.shape == (4, 10, 12, 2)
        assert np.array_equal(stack[3], np.moveaxis(pixels_of("czyx")[:, 3], 0, -1))
        assert np.array_equal(io.read(path, channel=1)[2], pixels_of("czyx")[1, 2])
        with pytest.raises(UsageError, match="no channel 2"):
            io.read(path, channel=2)

    def test_time_points_of_volumes_are_chosen(self, tmp_path: Path, version: str) -> None:
        path = make(tmp_path / "a.zarr", "tczyx", version)
        with pytest.raises(UsageError, match="3 time points"):
            io.read(path)
        assert np.array_equal(io.read(path, volume=2, channel=0)[1], pixels_of("tczyx")[2, 0, 1])

    def test_planes_over_time_are_a_video(self, tmp_path: Path, version: str) -> None:
        stack = io.read(make(tmp_path / "a.zarr", "tyx", version))
        assert stack.kind == "video"
        assert stack.times_s == pytest.approx([0, 0.04, 0.08])
        assert np.array_equal(stack[2], pixels_of("tyx")[2])


def test_nanometres_are_a_geometry_too(tmp_path: Path) -> None:
    stack = io.read(make(tmp_path / "em.zarr", "zyx", units=dict.fromkeys("zyx", "nanometer")))
    assert stack.spacing_zyx_mm == pytest.approx((2e-6, 5e-7, 2.5e-7))


def test_without_units_there_is_no_geometry(tmp_path: Path) -> None:
    stack = io.read(make(tmp_path / "a.zarr", "zyx", units={}))
    assert stack.geometry is None
    assert "unit" in stack.meta["notes"][0]


def test_a_plain_array_is_read(tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "a.zarr"), pixels_of("zyx"))
    assert np.array_equal(io.read(tmp_path / "a.zarr")[1], pixels_of("zyx")[1])


def test_a_group_without_an_image_names_what_is_inside(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w")
    group.create_group("A").create_group("1")
    with pytest.raises(UsageError, match="name one inside it \\(A\\)"):
        io.read(tmp_path / "plate.zarr")


def _damage(path: Path, change: dict[str, Any]) -> None:
    file = path / "0" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**6, 10**6, 10**6]},
        {"shape": [0, 10, 12]},
        {"data_type": "string"},
        {"codecs": []},
        {
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [10**5, 10**5, 10**5]},
            }
        },
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = make(tmp_path / "a.zarr", "zyx")
    _damage(path, change)
    with pytest.raises(ReadError, match=r"a\.zarr"):
        io.read(path)[0]


def test_a_level_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zarr", "zyx")
    file = path / "zarr.json"
    file.write_text(file.read_text().replace('"path": "0"', '"path": "../b.zarr/0"'))
    with pytest.raises(ReadError, match="outside itself"):
        io.read(path)


def test_a_damaged_chunk_is_one_paragraph(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zarr", "zyx")
    stack = io.read(path)
    for chunk in (path / "0" / "c" / "1").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"garbage")
    assert np.array_equal(stack[0], pixels_of("zyx")[0])
    with pytest.raises(ReadError, match=r"a\.zarr"):
        stack[1]


def test_without_zarr_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.zarr", "zyx")
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(MissingExtra, match=r"segscope\[zarr\]"):
        io.read(path)


def describe(path: Path, change: dict[str, Any]) -> None:
    """Change the OME metadata of a group of version 0.5."""
    group = zarr.open_group(str(path), mode="r+")
    ome = dict(group.attrs["ome"])
    ome["multiscales"] = [{**ome["multiscales"][0], **change.pop("multiscale", {})}]
    group.attrs["ome"] = {**ome, **change}


class TestLevels:
    def test_the_most_detailed_level_within_the_limits_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make(tmp_path / "a.zarr", "zyx")
        monkeypatch.setattr("segscope.io.zarr_metadata.MAX_FRAME_PIXELS", 100)
        stack = io.read(path)
        np.testing.assert_array_equal(stack[3], pixels_of("zyx")[3, ::2, ::2])
        assert stack.spacing_zyx_mm == pytest.approx((2e-3, 1e-3, 5e-4))
        assert stack.geometry is not None
        assert stack.geometry.affine[:3, 3] == pytest.approx((1e-2, 0, 0))
        assert "level 1 of 2 is read" in stack.meta["notes"][0]

    def test_transformations_apply_in_their_order(self, tmp_path: Path) -> None:
        """A scale behind a translation scales the place, too; those of the pyramid come last."""
        path = make(tmp_path / "a.zarr", "zyx")
        scale = {"type": "scale", "scale": [3.0, 3.0, 3.0]}
        shift = {"type": "translation", "translation": [1.0, 2.0, 3.0]}
        describe(path, {"multiscale": {"coordinateTransformations": [scale, shift]}})
        stack = io.read(path)
        assert stack.spacing_zyx_mm == pytest.approx((6e-3, 1.5e-3, 7.5e-4))
        assert stack.geometry is not None
        assert stack.geometry.affine[:3, 3] == pytest.approx((3.3e-2, 2e-3, 1e-3))

    @pytest.mark.parametrize(
        "transform",
        [
            {"type": "affine", "affine": [[1, 0, 0, 0]]},
            {"type": "scale", "scale": [2.0, 2.0]},
            {"type": "scale", "path": "matrix"},
        ],
    )
    def test_others_leave_no_millimetres_and_a_note(
        self, transform: dict[str, Any], tmp_path: Path
    ) -> None:
        path = make(tmp_path / "a.zarr", "zyx")
        describe(path, {"multiscale": {"coordinateTransformations": [transform]}})
        stack = io.read(path)
        assert stack.geometry is None
        assert len(stack.meta["notes"]) == 1
        assert f"by a {transform['type']} that is not read" in stack.meta["notes"][0]

    def test_a_scale_without_a_shift_is_no_place(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.zarr", "zyx")
        scale = {"type": "scale", "scale": [2.0, 0.5, 0.25]}
        datasets = [{"path": "0", "coordinateTransformations": [scale]}]
        describe(path, {"multiscale": {"datasets": datasets}})
        geometry = io.read(path).geometry
        assert geometry is not None
        assert not geometry.has_place

    def test_a_single_image_of_bioformats2raw_is_entered(self, tmp_path: Path) -> None:
        zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
        make(tmp_path / "a.zarr" / "0", "zyx")
        np.testing.assert_array_equal(io.read(tmp_path / "a.zarr")[2], pixels_of("zyx")[2])
        make(tmp_path / "a.zarr" / "1", "zyx")
        with pytest.raises(UsageError, match=r"name one inside it \(0, 1\)"):
            io.read(tmp_path / "a.zarr")


class TestChannels:
    def test_their_names_and_the_option_are_noted(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.zarr", "czyx")
        describe(path, {"omero": {"channels": [{"label": "DAPI"}, {"color": "00FF00"}]}})
        stack = io.read(path)
        assert stack.meta["channel_names"] == ("DAPI", "")
        assert stack.meta["notes"] == (
            "2 channels (0 DAPI, 1): all are read; the option channel chooses one",
        )
        assert io.read(path, channel=1).meta["notes"] == ()

    def test_axes_are_recognised_by_their_types(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.zarr", "czyx")
        axes = [{"name": "Fluorescence", "type": "channel"}]
        axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "ZYX"]
        describe(path, {"multiscale": {"axes": axes}})
        assert io.read(path).source.shape == (4, 10, 12, 2)


class TestLabels:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        path = make(tmp_path / "a.zarr", "zyx")
        self.add_labels(path, "cells")
        return path

    def add_labels(self, path: Path, name: str) -> np.ndarray:
        """Label images of two levels, with one named object."""
        labels = (pixels_of("zyx") // 40).astype(np.uint8) % 3
        inner = make(path / "labels" / name, "zyx")
        group = zarr.open_group(str(inner), mode="r+")
        for level, pixels in enumerate((labels, labels[:, ::2, ::2])):
            del group[str(level)]
            group.create_array(str(level), data=pixels, chunks=(1, 5, 6))
        properties = [{"label-value": 1, "name": "nucleus"}, {"label-value": 7, "class": "none"}]
        describe(inner, {"image-label": {"version": "0.5", "properties": properties}})
        names = [entry.name for entry in (path / "labels").iterdir() if entry.is_dir()]
        parent = zarr.open_group(str(path / "labels"), mode="a", zarr_format=3)
        parent.attrs["ome"] = {"version": "0.5", "labels": sorted(names)}
        return labels

    @pytest.mark.parametrize("inner", ["", "labels", "labels/cells"])
    def test_they_are_masks_of_the_image(self, inner: str, image: Path) -> None:
        labels = self.add_labels(image, "cells")
        masks = io.read_masks(image / inner, io.read(image))
        np.testing.assert_array_equal(masks.labels, labels)
        assert masks.names == {1: "nucleus", 2: ""}

    def test_of_several_one_is_named(self, image: Path) -> None:
        labels = self.add_labels(image, "nuclei")
        with pytest.raises(UsageError, match=r"holds the label images cells, nuclei; name one"):
            io.read_masks(image, io.read(image))
        masks = io.read_masks(image / "labels/nuclei", io.read(image))
        np.testing.assert_array_equal(masks.labels, labels)

    def test_the_level_is_that_of_the_image(
        self, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labels = self.add_labels(image, "cells")
        monkeypatch.setattr("segscope.io.zarr_metadata.MAX_FRAME_PIXELS", 100)
        masks = io.read_masks(image, io.read(image))
        np.testing.assert_array_equal(masks.labels, labels[:, ::2, ::2])

    def test_a_plain_array_may_be_labels(self, tmp_path: Path) -> None:
        labels = (pixels_of("zyx") % 4).astype(np.uint8)
        zarr.save_array(str(tmp_path / "m.zarr"), labels)
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.zarr").labels, labels)
