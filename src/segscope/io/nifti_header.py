"""Headers of NIfTI files: size, type, scaling, geometry and times of the voxels."""

from __future__ import annotations

import gzip
import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import PixelType
from segscope.errors import ReadError
from segscope.geometry import Geometry
from segscope.io.base import NO_SPACING, check_file

Header = Any
"""nibabel's Nifti1Header or Nifti2Header, whose type hints do not cover its fields."""

GZIP_MAGIC = b"\x1f\x8b"
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown, metre, millimetre, micrometre
_FORM_TOLERANCE = 0.1  # of a voxel
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}


@contextmanager
def open_inflated(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed where they are gzip."""
    with path.open("rb") as file:
        is_compressed = file.read(2) == GZIP_MAGIC  # whatever the name says
        file.seek(0)
        if not is_compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inflated:
            yield inflated  # type: ignore[misc]


def read_header(path: Path) -> Header:
    check_file(path)
    import nibabel

    try:
        with open_inflated(path) as file:
            raw = file.read(540)
    except (EOFError, zlib.error) as error:
        raise ReadError(
            f"{path} ends inside its header; it is cut off, copy or export it again"
        ) from error
    sizes: list[int] = []
    if len(raw) >= 348:
        sizes = [struct.unpack(byte_order + "i", raw[:4])[0] for byte_order in "<>"]
    # from the fixed part alone: extensions, which may be large, are not needed
    if 348 in sizes and raw[344:347] in (b"n+1", b"ni1"):
        return nibabel.Nifti1Header(raw[:348], check=False)  # type: ignore[no-untyped-call]
    if 540 in sizes and raw[4:7] in (b"n+2", b"ni2") and len(raw) == 540:
        return nibabel.Nifti2Header(raw, check=False)  # type: ignore[no-untyped-call]
    if 348 in sizes:
        raise ReadError(
            f"{path} is an Analyze 7.5 file, which does not tell left from right; "
            "convert it to NIfTI with the program that wrote it"
        )
    raise ReadError(
        f"{path} does not start with a NIfTI header (read {len(raw)} bytes); "
        "it is damaged or not NIfTI"
    )


def read_lengths(path: Path, header: Header) -> tuple[int, int, int, int]:
    """(x, y, z, t); further axes must be 1 long."""
    dim = list(map(int, header["dim"]))
    axes = dim[0]
    declared = dim[1 : axes + 1]
    if not 1 <= axes <= 7 or min(declared) <= 0:
        raise ReadError(
            f"{path} declares the size {dim}; a NIfTI file has 1 to 7 axes of at least 1. "
            "It is damaged."
        )
    lengths = declared + [1] * (7 - axes)
    if max(lengths[4:]) > 1:
        raise ReadError(
            f"{path} holds {' x '.join(map(str, declared))} values: vectors or a fifth axis, not "
            "one image per slice. Split it into scalar volumes first."
        )
    return lengths[0], lengths[1], lengths[2], lengths[3]


def read_voxel_type(path: Path, header: Header) -> tuple[PixelType, int]:
    """Stored type and number of channels."""
    from nibabel.spatialimages import HeaderDataError

    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except HeaderDataError as error:
        raise ReadError(
            f"{path} declares data type {code}, which is unknown; it is damaged"
        ) from error
    if dtype.names:
        return np.dtype(np.uint8), len(dtype.names)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ReadError(
            f"{path} holds values of type {dtype.name or code}; expected integers or real numbers "
            "of up to 8 bytes. Store the magnitude as float32 first."
        )
    return dtype, 1


def read_scaling(path: Path, header: Header, notes: list[str]) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 where the slope is 0 (the standard) or not finite (nibabel).

    Raises:
        ReadError: a slope with an intercept that is not finite: what the values mean is unknown.
    """
    slope = float(header["scl_slope"])
    intercept = float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        if np.isinf(slope):
            notes.append(f"the file states the slope {slope}, which is not usable: not scaled")
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise ReadError(
            f"{path} scales by {slope} with the intercept {intercept}; its header is damaged. "
            "If the intercept is known, set scl_inter to it."
        )
    return slope, intercept


def read_geometry(header: Header, lengths: tuple[int, ...], notes: list[str]) -> Geometry | None:
    """By the sform, else the qform, else voxel sizes; an unusable matrix is skipped and noted."""
    header = _with_usable_lengths(header, lengths)
    millimetres = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    scale = np.diag([millimetres] * 3 + [1.0])
    placed = _read_forms(header, scale, notes)
    if placed:
        _note_difference(placed, lengths, notes)
        return placed[0]
    voxel_sizes = header["pixdim"][1:4]
    if not np.isfinite(voxel_sizes).all() or min(voxel_sizes) <= 0:
        notes.append(NO_SPACING)
        return None
    notes.append("the file states no orientation, only voxel sizes")
    return Geometry(scale @ header.get_base_affine(), has_place=False)


def _read_forms(header: Header, scale: NDArray[np.float64], notes: list[str]) -> list[Geometry]:
    """What the sform and the qform state, as far as their codes say that they are set."""
    placed = []
    forms = {"sform": header.get_sform, "qform": header.get_qform}
    for name, read_form in forms.items():
        if int(header[f"{name}_code"]) <= 0:
            continue
        try:
            placed.append(Geometry(scale @ read_form()))
        # nibabel raises several kinds on a meaningless quaternion or matrix
        except Exception as error:
            notes.append(f"the {name} of the file is not usable ({error})")
    return placed


def _note_difference(placed: list[Geometry], lengths: tuple[int, ...], notes: list[str]) -> None:
    """Note an sform and a qform that place a corner of the volume differently."""
    if len(placed) < 2:
        return
    ends = [(0, length - 1) for length in lengths[:3]]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)])
    offsets = corners @ (placed[0].affine - placed[1].affine).T
    distance_mm = np.linalg.norm(offsets, axis=1).max()
    if distance_mm > _FORM_TOLERANCE * min(placed[0].spacing_zyx_mm):
        notes.append(
            f"sform and qform place voxels up to {distance_mm:.3g} mm apart: the sform is used; "
            "other programs may use the qform"
        )


def _with_usable_lengths(header: Header, lengths: tuple[int, ...]) -> Header:
    """A copy whose axes are as many and as long as nibabel's matrices need."""
    header = header.copy()
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = 1
    for axis in range(1, 4):
        is_usable = 0 < pixdim[axis] < math.inf
        if lengths[axis - 1] == 1 and not is_usable:
            pixdim[axis] = 1  # one voxel: its extent is not used
    header["dim"][0] = max(3, int(header["dim"][0]))
    header["dim"][1:5] = lengths
    return header


def read_times(header: Header, count: int) -> NDArray[np.float64] | None:
    unit = _SECONDS.get(int(header["xyzt_units"]) & 56)
    step = float(header["pixdim"][4])
    first = float(header["toffset"])
    if unit is None or not 0 < step < math.inf:
        return None
    if not np.isfinite(first):
        first = 0.0
    return (first + step * np.arange(count, dtype=np.float64)) * unit
