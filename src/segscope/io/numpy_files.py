"""NPY and NPZ: arrays (frame, row, column[, channel]), and cases with `imgs`, `gts` and `spacing`
as MedSAM has them.

`spacing` in an NPZ is (x, y, frame) in millimetres, as SimpleITK's GetSpacing gives it to those who
make such files.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.geometry import Geometry
from segscope.io.base import FitsAll, ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import check_file, choose, plain, reading, refuse_options
from segscope.io.label_frames import (
    label_frames,
    label_type,
    masks_from_frames,
    names_of,
    note_of,
    on_grid_of,
    one_bit,
)
from segscope.masks import Masks
from segscope.stack import Stack

SUFFIXES = (".npy", ".npz")
IMAGE_NAMES = ("imgs", "img", "image", "images", "data", "volume", "arr_0")
MASK_NAMES = ("gts", "segs", "labels", "label", "masks", "mask", "gt", "seg", "arr_0")
_WHAT = "a numpy file"


class NumpyFile:
    """`.npy` is mapped, not loaded; of `.npz` only the image is inflated. Nothing is ever
    unpickled.
    """

    name = "numpy"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            check_file(path)
            if suffix_of(path, SUFFIXES) == ".npy":
                return _stack(path, _mapped(path), options, None)
            with zipfile.ZipFile(path) as archive:
                array = _member(path, archive, _choose(path, archive, IMAGE_NAMES))
                return _stack(path, array, options, _geometry(path, archive))


def _stack(
    path: Path, array: NDArray[Any], options: ReadOptions, geometry: Geometry | None
) -> Stack:
    several = array.ndim == 4 and array.shape[-1] > 4
    refuse_options(path, options, *(["volume"] if several else []))
    if (
        several
    ):  # four axes without colours: time points of a volume, or somebody's channels; let them say
        array = array[
            choose(path, options.volume, array.shape[0], "volumes (first axis)", "volume")
        ]
    if array.ndim not in (2, 3, 4):
        raise ReadError(
            f"{path} holds an array of shape {array.shape}; wanted (frame, row, column[, channel])"
        )
    stack = Stack.from_array(array if array.dtype != np.float16 else array.astype(np.float32))
    return replace(stack, path=path, geometry=geometry)


def _read_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type, after checks against what this program takes."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, columns_first, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ReadError(
            f"{path} is of version {version} of the numpy format; wanted 1.0 or 2.0. Save it again."
        )
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ReadError(
            f"{path} holds values of type {dtype}; wanted whole or real numbers (objects are never loaded)"
        )
    frame = (1,) * (3 - len(shape)) + shape
    check_declared(path, frame if len(shape) > 1 else (1, 1, *shape), dtype.itemsize)
    return shape, columns_first, dtype


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        shape, _, dtype = _read_header(path, file)
        plain(path, file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [
        entry.filename.removesuffix(".npy")
        for entry in archive.infolist()
        if entry.filename.endswith(".npy")
    ]


def _choose(path: Path, archive: zipfile.ZipFile, wanted: Sequence[str]) -> str:
    names = _names(archive)
    for name in wanted:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise ReadError(
        f"{path} holds the arrays {', '.join(names[:10]) or '(none)'}; wanted one called {wanted[0]}"
    )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    entry = archive.getinfo(name + ".npy")
    if entry.flag_bits & 1:
        raise ReadError(f"{path} is encrypted; store it without a password")
    with archive.open(entry) as file:
        shape, columns_first, dtype = _read_header(path, file)
        count = int(np.prod(shape, dtype=np.int64))
        stated = entry.file_size - file.tell()
        if stated != count * dtype.itemsize or entry.file_size > 1100 * (entry.compress_size + 1):
            raise ReadError(
                f"{path} declares {shape} values of {dtype} for {name!r}, which its {entry.compress_size} stored bytes "
                f"({entry.file_size} inflated) cannot be; it is damaged or made to mislead"
            )
        flat = np.empty(count, dtype)
        _fill(path, file, flat)
    array = flat.reshape(shape, order="F" if columns_first else "C")
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _fill(path: Path, file: IO[bytes], flat: NDArray[Any]) -> None:
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


def _geometry(path: Path, archive: zipfile.ZipFile) -> Geometry | None:
    names = _names(archive)
    if "affine" in names:
        return Geometry(_member(path, archive, "affine"))
    if "spacing" not in names:
        return None
    spacing = [float(value) for value in _member(path, archive, "spacing").ravel()]
    if len(spacing) != 3 or not all(np.isfinite(value) and value > 0 for value in spacing):
        raise ReadError(
            f"{path} has the spacing {spacing}; wanted three positive millimetres (x, y, frame)"
        )
    return Geometry.from_spacing((spacing[2], spacing[1], spacing[0]))


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label array (`gts`, `segs`, `labels` ...). Where 255 is the only label it becomes
    object 1.
    """
    with reading(path, "a numpy file with masks"):
        check_file(path)
        if suffix_of(path, SUFFIXES) == ".npy":
            return on_grid_of(one_bit(_labels(path, _mapped(path), None)), like, path)
        with zipfile.ZipFile(path) as archive:
            name = _choose(path, archive, MASK_NAMES)
            if archive.comment:
                names = names_of(archive.comment.decode("utf-8", "replace"))
            else:
                names = {}
            masks = _labels(path, _member(path, archive, name), _geometry(path, archive))
            if names:
                masks = replace(masks, names=dict(sorted({**masks.names, **names}.items())))
            # `spacing` alone is no place in the world: compare by shape then
            if "affine" in _names(archive) or like is None:
                placed = masks
            else:
                placed = replace(masks, geometry=None)
            return on_grid_of(placed if names else one_bit(placed), like, path)


def _labels(path: Path, array: NDArray[Any], geometry: Geometry | None) -> Masks:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise ReadError(
            f"{path} holds an array of shape {array.shape}; masks are (frame, row, column)"
        )
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return masks_from_frames(path, array, shape, geometry=geometry)


class NpzMasks(FitsAll):
    """Labels as `gts` (frame, row, column), `spacing` (x, y, frame) and `affine`; names in the
    archive's comment.
    """

    name = "NPZ labels"
    suffixes = (".npz",)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        masks = masks.on_stored_grid()
        note = note_of(masks.names).encode()
        if len(note) > 65535:
            raise UsageError(
                f"the names of {len(masks.names)} objects do not fit into {path}; write .json instead"
            )
        kind = label_type(masks)
        with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = note
            with _new_member(archive, "gts") as file:
                head = {
                    "descr": np.lib.format.dtype_to_descr(kind),
                    "fortran_order": False,
                    "shape": masks.shape_zyx,
                }
                np.lib.format.write_array_header_1_0(file, head)
                for frame in label_frames(masks, path):
                    file.write(frame.tobytes())
            if masks.geometry is not None:
                for name, value in (
                    ("spacing", np.array(masks.geometry.spacing_zyx_mm[::-1])),
                    ("affine", masks.geometry.affine),
                ):
                    with _new_member(archive, name) as file:
                        np.lib.format.write_array(
                            file, np.ascontiguousarray(value), allow_pickle=False
                        )


def _new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    entry = zipfile.ZipInfo(f"{name}.npy")  # without a date: equal masks make equal files
    entry.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(entry, "w", force_zip64=True)


FORMATS = (NumpyFile(),)
MASK_FORMATS = (NpzMasks(),)
