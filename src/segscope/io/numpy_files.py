"""NPY and NPZ: arrays (frame, row, column[, channel]), and cases with `imgs`, `gts` and `spacing`
in MedSAM's layout.

`spacing` in an NPZ is (x, y, frame) in millimetres, the order of SimpleITK's GetSpacing, with which
such files are made.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.geometry import Geometry
from segscope.io.base import (
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    choose_part,
    reading,
    refuse_options,
    suffix_of,
)
from segscope.io.byte_sources import open_plain_bytes
from segscope.io.label_frames import (
    format_names,
    iter_label_frames,
    label_type,
    masks_from_frames,
    parse_names,
    place_on_grid,
    renumber_binary,
    with_names,
)
from segscope.masks import Masks
from segscope.stack import Stack

SUFFIXES = (".npy", ".npz")
IMAGE_NAMES = ("imgs", "img", "image", "images", "data", "volume", "arr_0")
MASK_NAMES = ("gts", "segs", "labels", "label", "masks", "mask", "gt", "seg", "arr_0")
_WHAT = "a numpy file"
_MAX_INFLATION = 1100  # deflate turns one byte into at most 1032
_MAX_COMMENT = 65535  # bytes, of a zip file


class NumpyFile(FileFormat):
    """`.npy` is memory-mapped; of `.npz` only the image is inflated. Nothing is ever unpickled."""

    name = "numpy"
    suffixes = SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            check_file(path)
            if suffix_of(path, SUFFIXES) == ".npy":
                return _make_stack(path, _map_array(path), options, None)
            with zipfile.ZipFile(path) as archive:
                array = _load_member(path, archive, _select_member(path, archive, IMAGE_NAMES))
                return _make_stack(path, array, options, _read_geometry(path, archive))


def _make_stack(
    path: Path, array: Pixels, options: ReadOptions, geometry: Geometry | None
) -> Stack:
    # four axes without colours: time points of a volume, or channels; the user decides
    is_series = array.ndim == 4 and array.shape[-1] > 4
    supported = ["volume"] if is_series else []
    refuse_options(path, options, *supported)
    if is_series:
        count = array.shape[0]
        array = array[choose_part(path, options.volume, count, "volumes (first axis)", "volume")]
    if array.ndim not in (2, 3, 4):
        raise ReadError(
            f"{path} holds an array of shape {array.shape}; "
            "expected (frame, row, column[, channel])"
        )
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return replace(Stack.from_array(array), path=path, geometry=geometry)


# --- arrays --------------------------------------------------------------------------------------


def _read_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, PixelType]:
    """Shape, whether the array is stored in column order, and type; within our limits."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_column_order, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, is_column_order, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ReadError(
            f"{path} has version {version} of the numpy format; expected 1.0 or 2.0. Save it again."
        )
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ReadError(
            f"{path} holds values of type {dtype}; expected integers or real numbers "
            "(objects are never loaded)"
        )
    padded_shape = (1,) * (3 - len(shape)) + shape
    check_declared(path, padded_shape, dtype.itemsize)
    return shape, is_column_order, dtype


def _map_array(path: Path) -> Pixels:
    with path.open("rb") as file:
        shape, _, dtype = _read_header(path, file)
        open_plain_bytes(path, file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    return _in_native_order(np.load(path, mmap_mode="r", allow_pickle=False))


def _in_native_order(array: Pixels) -> Pixels:
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _member_names(archive: zipfile.ZipFile) -> list[str]:
    files = [entry.filename for entry in archive.infolist()]
    return [file.removesuffix(".npy") for file in files if file.endswith(".npy")]


def _select_member(path: Path, archive: zipfile.ZipFile, candidates: Sequence[str]) -> str:
    """The first candidate that the archive holds, or its only array."""
    names = _member_names(archive)
    for name in candidates:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    listing = ", ".join(names[:10]) or "(none)"
    raise ReadError(f"{path} holds the arrays {listing}; expected one named {candidates[0]}")


def _load_member(path: Path, archive: zipfile.ZipFile, name: str) -> Pixels:
    entry = archive.getinfo(name + ".npy")
    if entry.flag_bits & 1:
        raise ReadError(f"{path} is encrypted; store it without a password")
    with archive.open(entry) as file:
        shape, is_column_order, dtype = _read_header(path, file)
        count = int(np.prod(shape, dtype=np.int64))
        size = entry.file_size - file.tell()
        is_bomb = entry.file_size > _MAX_INFLATION * (entry.compress_size + 1)
        if size != count * dtype.itemsize or is_bomb:
            raise ReadError(
                f"{path} declares {shape} values of {dtype} for {name!r}, which its "
                f"{entry.compress_size} stored bytes ({entry.file_size} inflated) cannot be; "
                "it is damaged or made to mislead"
            )
        flat = np.empty(count, dtype)
        _read_into(path, file, flat)
    array = flat.reshape(shape, order="F" if is_column_order else "C")
    return _in_native_order(array)


def _read_into(path: Path, file: IO[bytes], flat: Pixels) -> None:
    target = flat.view(np.uint8)
    done = 0
    while done < len(target):
        chunk = file.read(min(2**22, len(target) - done))
        if not chunk:
            raise ReadError(
                f"{path} ends early: {done} of {len(target)} bytes; copy or export it again"
            )
        target[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if file.read(1):  # reading to the end also compares the checksum
        raise ReadError(f"{path} holds more data than it declares; it is damaged")


def _read_geometry(path: Path, archive: zipfile.ZipFile) -> Geometry | None:
    names = _member_names(archive)
    if "affine" in names:
        return Geometry(_load_member(path, archive, "affine"))
    if "spacing" not in names:
        return None
    spacing = list(map(float, _load_member(path, archive, "spacing").ravel()))
    is_usable = len(spacing) == 3 and np.isfinite(spacing).all() and min(spacing) > 0
    if not is_usable:
        raise ReadError(
            f"{path} has the spacing {spacing}; expected three positive millimetres (x, y, frame)"
        )
    x, y, frame = spacing
    return Geometry.from_spacing((frame, y, x))


# --- masks ---------------------------------------------------------------------------------------


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label array (`gts`, `segs`, `labels` ...).

    Where 255 is the only label it becomes object 1.
    """
    with reading(path, "a numpy file with masks"):
        check_file(path)
        if suffix_of(path, SUFFIXES) == ".npy":
            masks = _masks_from_array(path, _map_array(path), None)
            return place_on_grid(renumber_binary(masks), like, path)
        with zipfile.ZipFile(path) as archive:
            return place_on_grid(_read_npz_masks(path, archive, like), like, path)


def _read_npz_masks(path: Path, archive: zipfile.ZipFile, like: Stack | None) -> Masks:
    name = _select_member(path, archive, MASK_NAMES)
    array = _load_member(path, archive, name)
    masks = _masks_from_array(path, array, _read_geometry(path, archive))
    if "affine" not in _member_names(archive) and like is not None:
        # `spacing` alone is no place in the world: such masks are compared by their shape
        masks = replace(masks, geometry=None)
    names = parse_names(archive.comment.decode("utf-8", "replace"))
    if names:
        return with_names(masks, names)
    return renumber_binary(masks)


def _masks_from_array(path: Path, array: Pixels, geometry: Geometry | None) -> Masks:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise ReadError(
            f"{path} holds an array of shape {array.shape}; masks are (frame, row, column)"
        )
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return masks_from_frames(path, array, shape, geometry=geometry)


class NpzMasks:
    """Labels as `gts` (frame, row, column), `spacing` (x, y, frame) and `affine`; names in the
    archive's comment.
    """

    name = "NPZ labels"
    suffixes = (".npz",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        _make_note(masks.on_stored_grid(), path)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        masks = masks.on_stored_grid()
        note = _make_note(masks, path)
        with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = note
            _write_labels(archive, masks, path)
            if masks.geometry is not None:
                spacing = np.array(masks.geometry.spacing_zyx_mm[::-1])
                _write_array(archive, "spacing", spacing)
            if masks.geometry is not None and masks.geometry.has_place:
                _write_array(archive, "affine", masks.geometry.affine)


def _make_note(masks: Masks, path: Path) -> bytes:
    note = format_names(masks.names).encode()
    if len(note) > _MAX_COMMENT:
        raise UsageError(
            f"the names of {len(masks.names)} objects do not fit into {path}; write .json instead"
        )
    return note


def _write_labels(archive: zipfile.ZipFile, masks: Masks, path: Path) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(label_type(masks)),
        "fortran_order": False,
        "shape": masks.shape_zyx,
    }
    with _open_member(archive, "gts") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for frame in iter_label_frames(masks, path):
            file.write(frame.tobytes())


def _write_array(archive: zipfile.ZipFile, name: str, array: Pixels) -> None:
    with _open_member(archive, name) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    entry = zipfile.ZipInfo(f"{name}.npy")  # without a date: equal masks make equal files
    entry.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(entry, "w", force_zip64=True)


FORMATS = (NumpyFile(),)
MASK_FORMATS = (NpzMasks(),)
