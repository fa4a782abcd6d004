"""Volumes and videos of other programs read like independent readers read them."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import av
import nibabel
import nrrd
import numpy as np
import pytest
from support.tiff_files import whole
from support.video_files import KINDS, make, set_display_matrix

from segscope import io
from segscope.errors import SegscopeError
from segscope.geometry import LPS_TO_RAS
from segscope.masks import Masks
from segscope.stack import Stack

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(2)
TURN, _ = np.linalg.qr(RANDOM.normal(size=(3, 3)))
SHAPE_XYZ = (7, 6, 5)


def voxels(dtype: str, shape: tuple[int, ...] = SHAPE_XYZ) -> np.ndarray:
    values = RANDOM.normal(0, 90, shape)
    if dtype.startswith("u"):
        values = np.abs(values)
    return values.astype(dtype)


# --- NIfTI ---------------------------------------------------------------------------------------


def list_bundled_nifti() -> list[Path]:
    """Images that nibabel carries inside its package."""
    from nibabel.testing import data_path

    files = []
    for pattern in ("*.nii", "*.nii.gz", "*.hdr"):
        files += sorted(Path(data_path).rglob(pattern))
    return files


def test_files_that_nibabel_carries() -> None:
    compared = 0
    for path in list_bundled_nifti():
        try:
            image: Any = nibabel.load(path)
            values = np.asanyarray(image.dataobj)
        except (FileNotFoundError, nibabel.filebasedimages.ImageFileError):
            continue
        if values.ndim > 4 or not isinstance(image, nibabel.Nifti1Pair):
            with pytest.raises(SegscopeError):
                io.read(path)
            continue
        for volume in range(values.shape[3]) if values.ndim == 4 else [None]:
            stack = io.read(path, volume=volume)
            expected = values if volume is None else values[..., volume]
            np.testing.assert_allclose(whole(stack), expected.T, rtol=1e-6, err_msg=path.name)
            assert stack.geometry is not None
            np.testing.assert_allclose(stack.geometry.affine, image.affine, atol=1e-6)
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("forms", list(product([0, 1, 4], [0, 1])))
@pytest.mark.parametrize("extension", [0, 100, 5000])
def test_forms_and_extensions_of_nibabel(
    kind: Any, forms: tuple[int, int], extension: int, tmp_path: Path
) -> None:
    affine = np.eye(4)
    affine[:3] = np.c_[TURN * [0.7, 0.8, 2.5], [-20, 30, 40]]
    image = kind(voxels("f4"), affine)
    image.set_sform(affine, forms[0])
    image.set_qform(affine, forms[1])
    if extension:
        content = nibabel.nifti1.Nifti1Extension("comment", b"x" * extension)
        image.header.extensions.append(content)
    path = tmp_path / "a.nii.gz"
    nibabel.save(image, path)
    stack = io.read(path)
    stored: Any = nibabel.load(path)
    np.testing.assert_array_equal(whole(stack), np.asanyarray(stored.dataobj).T)
    assert stack.geometry is not None
    np.testing.assert_allclose(stack.geometry.affine, stored.affine, atol=1e-5)
    assert stack.geometry.has_place == (forms != (0, 0))


# --- NRRD and MetaImage --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_types_and_encodings_of_pynrrd(
    dtype: str, encoding: str, endian: str, ending: str, tmp_path: Path
) -> None:
    if encoding == "ascii" and ending == ".nhdr":
        pytest.skip("pynrrd leaves the file open when it reads it")
    path = tmp_path / f"a{ending}"
    nrrd.write(str(path), voxels(dtype), {"encoding": encoding, "endian": endian})
    stored, _ = nrrd.read(str(path))
    np.testing.assert_array_equal(whole(io.read(path)), stored.T)


@pytest.mark.parametrize("space", ["LPS", "RAS", "LAS", "left-posterior-superior"])
@pytest.mark.parametrize("skip", [0, 7, -1])
def test_spaces_of_pynrrd_against_itk(space: str, skip: int, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "a.nrrd"
    header = {
        "space": space,
        "space directions": (TURN * [0.7, 0.8, 2.5]).T,
        "space origin": [1.0, 2.0, 3.0],
        "encoding": "raw",
    }
    values = voxels("i2")
    nrrd.write(str(path), values, header)
    if skip:
        head, data = path.read_bytes().split(b"\n\n", 1)
        path.write_bytes(head + f"\nbyte skip: {skip}\n\n".encode() + b"x" * 7 + data)
    stack = io.read(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(whole(stack), sitk.GetArrayFromImage(image))
    assert_same_place(stack, image)


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("compressed", [False, True])
def test_volumes_of_simpleitk(dtype: str, compressed: bool, ending: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(voxels(dtype))
    image.SetDirection(TURN.ravel().tolist())
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1, -2, 3))
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(path), compressed)
    stack = io.read(path)
    np.testing.assert_array_equal(whole(stack), sitk.GetArrayFromImage(image))
    assert_same_place(stack, image)


@pytest.mark.parametrize("scan_ending", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("mask_ending", [".nrrd", ".seg.nrrd", ".mha", ".mhd", ".nii.gz"])
def test_masks_lie_on_volumes_of_simpleitk(
    scan_ending: str, mask_ending: str, tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(voxels("i2"))
    image.SetDirection(TURN.ravel().tolist())
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1, -2, 3))
    sitk.WriteImage(image, str(tmp_path / f"a{scan_ending}"))
    stack = io.read(tmp_path / f"a{scan_ending}")
    labels = (whole(stack) > 0).astype(np.uint8)
    io.write(Masks.from_labels(labels), tmp_path / f"m{mask_ending}", stack)
    masks = sitk.ReadImage(str(tmp_path / f"m{mask_ending}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(masks), labels)
    for index in product(*[(0, length - 1) for length in image.GetSize()]):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert masks.TransformIndexToPhysicalPoint(index) == pytest.approx(expected, abs=1e-4)


def assert_same_place(stack: Stack, image: Any) -> None:
    """Whether all corners lie where ITK places them."""
    assert stack.geometry is not None
    lps_affine = LPS_TO_RAS @ stack.geometry.affine
    for index in product(*[(0, length - 1) for length in image.GetSize()]):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert (lps_affine @ [*index, 1])[:3] == pytest.approx(expected, abs=1e-4)


# --- zarr ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8"])
@pytest.mark.parametrize("chunks", [(1, 6, 5), (3, 4, 4), (7, 6, 5)])
def test_arrays_of_zarr(
    version: int, dtype: str, chunks: tuple[int, int, int], tmp_path: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    values = voxels(dtype)
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        str(path), shape=values.shape, dtype=values.dtype, chunks=chunks, zarr_format=version
    )
    array[...] = values
    np.testing.assert_array_equal(whole(io.read(path)), zarr.open(str(path), mode="r")[...])


# --- video ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_videos_of_many_codecs(name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, **KINDS[name])
    stack = io.read(path)
    demuxer = "mjpeg" if name.endswith(".mjpeg") else None
    with av.open(str(path), format=demuxer) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == len(stack)
    for index in (0, 1, 40, len(stack) - 1, 17):
        np.testing.assert_array_equal(stack[index], decoded[index])


MATRICES = [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["b_frames.mp4", "variable_rate.mp4", "hevc.mp4"])
def test_turned_videos_against_ffmpeg(
    name: str, matrix: tuple[int, int, int, int], tmp_path: Path
) -> None:
    path = make(tmp_path / name, **KINDS[name])
    set_display_matrix(path, matrix)
    stack = io.read(path)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    shown = np.frombuffer(raw, np.uint8).reshape(-1, *stack.size_hw, 3)
    assert len(shown) == len(stack)
    for index in (0, 31, len(stack) - 1):
        assert np.abs(stack[index].astype(int) - shown[index]).mean() < 4
