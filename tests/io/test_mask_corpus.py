"""Masks that other programs' writers make, against the arrays that they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from support.dicom_files import AXIAL, along, normal_of, oblique, write_enhanced, write_series

from segscope import io
from segscope.geometry import LPS_TO_RAS
from segscope.masks import Masks
from segscope.stack import Stack

pytestmark = pytest.mark.slow

SIZE = (6, 9)  # of the slices that the helpers write
COUNT = 7
SEEDS = range(4)


def blobs(seed: int, count: int, shape: tuple[int, int, int] = (COUNT, *SIZE)) -> np.ndarray:
    """Labels 0 to `count`, with empty frames and single pixels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, count + 1, shape)
    labels[random.random(shape) < 0.5] = 0
    labels[random.integers(0, shape[0])] = 0
    return labels


def check(path: Path, labels: np.ndarray, like: Stack | None = None) -> Masks:
    masks = io.read_masks(path, like)
    np.testing.assert_array_equal(masks.labels, labels)
    return masks


# --- highdicom -----------------------------------------------------------------------------------


def make_scan(folder: Path, kind: str) -> tuple[Stack, list[pydicom.Dataset]]:
    """A scan, and the data sets of its images in the order of its frames."""
    if kind == "multi-frame":
        path = write_enhanced(folder / "scan.dcm", along((0, 0, 2.5), COUNT))
        return io.read(path), [pydicom.dcmread(path)]
    orientation = oblique() if kind == "oblique" else AXIAL
    step = normal_of(orientation) * 2.5
    if kind == "tilted":
        step = np.array([0.0, 0.9, 2.5])
    stack = io.read(write_series(folder / "scan", along(step, COUNT), orientation))
    return stack, [pydicom.dcmread(file) for file in stack.meta["dicom_files"]]


def make_seg(
    sources: list[pydicom.Dataset], pixels: np.ndarray, kind: str, count: int, **options: Any
) -> pydicom.Dataset:
    highdicom = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="made", version="1", family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        highdicom.seg.SegmentDescription(
            number,
            f"segment {number}",
            codes.SCT.Tissue,
            codes.SCT.Liver,
            highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number in range(1, count + 1)
    ]
    segmentation: pydicom.Dataset = highdicom.seg.Segmentation(
        sources,
        pixels,
        highdicom.seg.SegmentationTypeValues[kind],
        segments,
        generate_uid(),
        2,
        generate_uid(),
        1,
        "made",
        "made",
        "1",
        "1",
        **options,
    )
    return segmentation


@pytest.mark.filterwarnings("ignore")
class TestHighdicom:
    @pytest.mark.parametrize("scan", ["axial", "oblique", "tilted", "multi-frame"])
    @pytest.mark.parametrize("omit_empty", [False, True])
    @pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
    @pytest.mark.parametrize("seed", SEEDS)
    def test_segments(
        self, scan: str, omit_empty: bool, kind: str, seed: int, tmp_path: Path
    ) -> None:
        stack, sources = make_scan(tmp_path, scan)
        labels = blobs(seed, 3)
        seg = make_seg(sources, labels.astype(np.uint8), kind, 3, omit_empty_frames=omit_empty)
        seg.save_as(tmp_path / "seg.dcm")
        masks = check(tmp_path / "seg.dcm", labels, stack)
        assert masks.names == {number: f"segment {number}" for number in (1, 2, 3)}

    @pytest.mark.parametrize(
        ("kind", "syntax"),
        [
            ("BINARY", ImplicitVRLittleEndian),
            ("BINARY", ExplicitVRLittleEndian),
            ("FRACTIONAL", RLELossless),
            ("FRACTIONAL", JPEGLSLossless),
            ("LABELMAP", RLELossless),
            ("LABELMAP", JPEGLSLossless),
        ],
    )
    def test_transfer_syntaxes(self, kind: str, syntax: str, tmp_path: Path) -> None:
        stack, sources = make_scan(tmp_path, "axial")
        labels = blobs(0, 3)
        pixels = labels.astype(np.uint8)
        seg = make_seg(sources, pixels, kind, 3, transfer_syntax_uid=syntax)
        seg.save_as(tmp_path / "seg.dcm")
        check(tmp_path / "seg.dcm", labels, stack)

    def test_overlapping_segments(self, tmp_path: Path) -> None:
        stack, sources = make_scan(tmp_path, "axial")
        pixels = np.random.default_rng(0).random((COUNT, *SIZE, 4)) < 0.4
        seg = make_seg(sources, pixels.astype(np.uint8), "BINARY", 4)
        seg.save_as(tmp_path / "seg.dcm")
        masks = io.read_masks(tmp_path / "seg.dcm", stack)
        for number in range(4):
            np.testing.assert_array_equal(masks.of(number + 1), pixels[..., number])

    def test_many_segments(self, tmp_path: Path) -> None:
        stack, sources = make_scan(tmp_path, "axial")
        labels = np.arange(COUNT * 54).reshape(COUNT, *SIZE)
        seg = make_seg(sources, labels.astype(np.uint16), "LABELMAP", COUNT * 54 - 1)
        seg.save_as(tmp_path / "seg.dcm")
        check(tmp_path / "seg.dcm", labels, stack)


# --- label volumes -------------------------------------------------------------------------------

VALUES = {"uint8": 255, "uint16": 60000, "int16": 30000, "uint32": 70000, "float32": 300}


class TestSimpleITK:
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
    @pytest.mark.parametrize("dtype", VALUES)
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("seed", SEEDS)
    def test_label_volumes(
        self, suffix: str, dtype: str, compressed: bool, seed: int, tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        random = np.random.default_rng(seed)
        labels = blobs(seed, 3, (4, 8, 11)) * (VALUES[dtype] // 3)
        image = sitk.GetImageFromArray(labels.astype(dtype))
        direction, _ = np.linalg.qr(random.normal(size=(3, 3)))
        image.SetDirection(direction.ravel().tolist())
        image.SetSpacing(random.uniform(0.3, 4, 3).tolist())
        image.SetOrigin(random.uniform(-200, 200, 3).tolist())
        path = tmp_path / f"m{suffix}"
        sitk.WriteImage(image, str(path), compressed)
        masks = check(path, labels)
        assert masks.geometry is not None
        for index in ((0, 0, 0), (10, 7, 3), (2, 5, 1)):
            expected = LPS_TO_RAS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
            found = (masks.geometry.affine @ (*index, 1))[:3]
            np.testing.assert_allclose(found, expected, atol=0.01)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_tiff_stacks(self, dtype: str, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        labels = blobs(1, 200, (4, 8, 11))
        sitk.WriteImage(sitk.GetImageFromArray(labels.astype(dtype)), str(tmp_path / "m.tif"))
        check(tmp_path / "m.tif", labels)


class TestNibabel:
    @pytest.mark.parametrize("image_class", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("dtype", VALUES)
    def test_label_volumes(self, image_class: Any, dtype: str, tmp_path: Path) -> None:
        labels = blobs(2, 3, (4, 8, 11)) * (VALUES[dtype] // 3)
        affine = np.diag([-0.7, -0.8, 2.5, 1])
        image_class(labels.T.astype(dtype), affine).to_filename(tmp_path / "m.nii.gz")
        masks = check(tmp_path / "m.nii.gz", labels)
        assert masks.geometry is not None
        np.testing.assert_allclose(masks.geometry.affine, affine, atol=1e-6)


class TestTifffile:
    @pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}, {"tile": (16, 16)}])
    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_label_stacks(
        self, options: dict[str, Any], dtype: str, compression: str | None, tmp_path: Path
    ) -> None:
        labels = blobs(3, 200, (4, 20, 23))
        tifffile.imwrite(
            tmp_path / "m.tif",
            labels.astype(dtype),
            compression=compression,
            photometric="minisblack",
            metadata={"axes": "ZYX"},
            **options,
        )
        check(tmp_path / "m.tif", labels)


# --- segmentations with names --------------------------------------------------------------------


class TestPynrrd:
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
    @pytest.mark.parametrize("layers", [1, 3])
    @pytest.mark.parametrize("seed", SEEDS)
    def test_segmentations(self, encoding: str, layers: int, seed: int, tmp_path: Path) -> None:
        data = np.stack([blobs(seed + layer, 2, (4, 8, 11)) for layer in range(layers)])
        header: dict[str, Any] = {
            "space": "left-posterior-superior",
            "space directions": [[np.nan] * 3, [0.7, 0, 0], [0, 0.8, 0], [0, 0, 2.5]],
            "space origin": [1.0, -2.0, 3.0],
            "kinds": ["list", "domain", "domain", "domain"],
            "encoding": encoding,
        }
        expected = {}
        for layer in range(layers):
            for value in (1, 2):
                number = 2 * layer + value - 1
                expected[f"part {number}"] = data[layer] == value
                header |= {
                    f"Segment{number}_ID": f"Segment_{number}",
                    f"Segment{number}_Name": f"part {number}",
                    f"Segment{number}_LabelValue": str(value),
                    f"Segment{number}_Layer": str(layer),
                }
        pixels = data.transpose(0, 3, 2, 1).astype(np.uint8)
        if layers == 1:
            header["space directions"] = header["space directions"][1:]
            header["kinds"] = header["kinds"][1:]
            pixels = pixels[0]
        nrrd.write(str(tmp_path / "m.seg.nrrd"), pixels, header)
        masks = io.read_masks(tmp_path / "m.seg.nrrd")
        found = {name: masks.of(number) for number, name in masks.names.items()}
        assert found.keys() == expected.keys()
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name], mask)


# --- COCO ----------------------------------------------------------------------------------------


def _runs(mask: np.ndarray, encode: Any) -> dict[str, Any]:
    runs: dict[str, Any] = encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


class TestPycocotools:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_run_lengths(self, seed: int, tmp_path: Path) -> None:
        coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
        labels = blobs(seed, 4, (1, 40, 55))
        document = {
            "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 55}],
            "categories": [{"id": 1, "name": "cell"}],
            "annotations": [
                {
                    "id": number,
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": _runs(labels[0] == number, coco.encode),
                }
                for number in range(1, 5)
            ],
        }
        (tmp_path / "m.json").write_text(json.dumps(document))
        check(tmp_path / "m.json", labels)
