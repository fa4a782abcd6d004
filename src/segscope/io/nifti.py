"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr with .img): volumes and clips in, label volumes out.

(x, y, frame) are the file's voxel indices (i, j, k); nothing is turned, the affine travels.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, WriteError
from segscope.files import atomic
from segscope.geometry import Geometry
from segscope.io.base import FitsAll, ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import (
    Bytes,
    InflatedBytes,
    PlainBytes,
    RawFrames,
    check_file,
    choose,
    reading,
    refuse_options,
)
from segscope.io.label_frames import label_frames, label_type, masks_of_stack, on_grid_of
from segscope.masks import Masks
from segscope.stack import Kind, Stack

SUFFIXES = (".nii", ".nii.gz")
_PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
_WHAT = "a NIfTI file"
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown, metre, millimetre, micrometre
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
    "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "toffset",
)  # fmt: skip


class Nifti:
    """Reads lazily: a frame of `.nii` costs its bytes, of `.nii.gz` the inflation up to it, once."""

    name = "NIfTI"
    suffixes = (*SUFFIXES, *_PAIR)

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, self.suffixes) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        refuse_options(path, options, "volume")
        with reading(path, _WHAT):
            return _read(path, options)


def _read(path: Path, options: ReadOptions) -> Stack:
    header_path, data_path = _pair_of(path)
    header = _header(header_path)
    notes: list[str] = []
    lengths = _lengths(path, header)
    x, y, z, t = lengths
    dtype, channels = _voxel_type(path, header)
    check_declared(path, (z * t, y, x, channels), dtype.itemsize)
    clip = z == 1 and t > 1 and options.volume is None
    if clip:
        volume = 0
    else:
        volume = choose(path, options.volume, t, "time points", "volume")
    frame_bytes = x * y * channels * dtype.itemsize
    data = _data(data_path, header, frame_bytes * z * t, single=header_path == data_path)
    slope, intercept = _scaling(path, header)
    shape = (t if clip else z, y, x) if channels == 1 else (t if clip else z, y, x, channels)
    frames = RawFrames(
        path, data, dtype, shape, start=volume * z * frame_bytes, slope=slope, intercept=intercept
    )
    kind: Kind = "video" if clip else "image" if z == 1 else "volume"
    geometry = _geometry(header, lengths, notes)
    meta: dict[str, Any] = {"source_header": header}
    low = float(header["cal_min"])
    high = float(header["cal_max"])
    if np.isfinite([low, high]).all() and high > low:
        meta["window"] = (low, high)
    if notes:
        meta["notes"] = tuple(notes)
    return Stack(frames, kind, None, geometry, _times(header, t) if clip else None, path, meta=meta)


def _pair_of(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the data."""
    if suffix_of(path, SUFFIXES):
        return path, path
    packed = ""
    if path.name.lower().endswith(".gz"):
        packed = path.suffix
    stem = path
    if packed:
        stem = path.with_suffix("")
    if stem.suffix.isupper():
        ends = (".HDR", ".IMG")
    else:
        ends = (".hdr", ".img")
    candidates = [stem.with_suffix(suffix + packed) for suffix in ends]
    for candidate in candidates:
        check_file(candidate)
    return candidates[0], candidates[1]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"  # names lie
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inflated:
            yield inflated  # type: ignore[misc]


def _header(path: Path) -> Any:
    check_file(path)
    import nibabel

    try:
        with _opened(path) as file:
            raw = file.read(540)
    except (EOFError, zlib.error) as error:
        raise ReadError(
            f"{path} ends inside its header; it is cut off, copy or export it again"
        ) from error
    if len(raw) >= 348:
        sizes = [struct.unpack(order + "i", raw[:4])[0] for order in "<>"]
    else:
        sizes = []
    if 348 in sizes and raw[344:347] in (b"n+1", b"ni1"):
        return nibabel.Nifti1Header.from_fileobj(  # type: ignore[no-untyped-call]
            io.BytesIO(raw), check=False
        )
    if 540 in sizes and raw[4:7] in (b"n+2", b"ni2") and len(raw) == 540:
        return nibabel.Nifti2Header.from_fileobj(  # type: ignore[no-untyped-call]
            io.BytesIO(raw), check=False
        )
    if 348 in sizes:
        raise ReadError(
            f"{path} is an Analyze 7.5 file, which does not say left from right; convert it to NIfTI with the "
            "program that wrote it"
        )
    raise ReadError(
        f"{path} does not start with a NIfTI header ({len(raw)} bytes seen); it is damaged or not NIfTI"
    )


def _lengths(path: Path, header: Any) -> tuple[int, int, int, int]:
    """(x, y, z, t); further axes must be 1 long."""
    dim = [int(value) for value in header["dim"]]
    axes = dim[0]
    if not 1 <= axes <= 7 or any(length <= 0 for length in dim[1 : axes + 1]):
        raise ReadError(
            f"{path} declares the size {dim}; a NIfTI file has 1 to 7 axes of at least 1. It is damaged."
        )
    lengths = dim[1 : axes + 1] + [1] * (7 - axes)
    if any(length > 1 for length in lengths[4:]):
        raise ReadError(
            f"{path} holds {' x '.join(map(str, dim[1 : axes + 1]))} values: vectors or a fifth axis, not one image "
            "a slice. Split it into scalar volumes first."
        )
    return lengths[0], lengths[1], lengths[2], lengths[3]


def _voxel_type(path: Path, header: Any) -> tuple[np.dtype[Any], int]:
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
            f"{path} holds values of type {dtype.name or code}; wanted whole or real numbers of up to 8 bytes. "
            "Store the magnitude as float32 first."
        )
    return dtype, 1


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    slope = float(header["scl_slope"])
    intercept = float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0  # the standard: no scaling
    if not np.isfinite(intercept):
        raise ReadError(
            f"{path} scales by {slope} with the intercept {intercept}; its header is damaged"
        )
    return slope, intercept


def _data(path: Path, header: Any, total: int, *, single: bool) -> Bytes:
    size = check_file(path)
    offset = float(header["vox_offset"])
    least = 0
    if single:
        least = int(header["sizeof_hdr"])
    if not np.isfinite(offset) or not least <= offset < 2**31:
        raise ReadError(
            f"{path} places its data at byte {offset}; wanted at least {least}. The header is damaged."
        )
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(-min(4, size), io.SEEK_END)
        trailer = file.read(4)
    start = int(offset)
    if packed:
        data = InflatedBytes(path, 0, start, total)
        if trailer != struct.pack("<I", (start + total) % 2**32):
            data.read(total, 0)  # cut off, or several streams: find out now, not on the last frame
        return data
    if size < start + total:
        raise ReadError(
            f"{path} is cut off: its header declares {total} bytes of voxels from byte {start} on, the file has "
            f"{size}. Copy or export it again."
        )
    return PlainBytes(path, start)


def _geometry(header: Any, lengths: tuple[int, ...], notes: list[str]) -> Geometry | None:
    """sform, else qform, else voxel sizes; a form that is not a usable matrix is passed over and
    noted.
    """
    header = header.copy()
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = 1
    for axis in range(1, 4):
        if lengths[axis - 1] == 1 and not (np.isfinite(pixdim[axis]) and pixdim[axis] > 0):
            pixdim[axis] = 1  # one voxel: its extent is not used
    header["dim"][0] = max(3, int(header["dim"][0]))
    header["dim"][1:5] = lengths
    scale = np.diag([_MM.get(int(header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    for form in ("sform", "qform"):
        if codes[form] > 0:
            try:
                affine: NDArray[np.float64] = (
                    header.get_sform() if form == "sform" else header.get_qform()
                )
                return Geometry(scale @ affine)
            except (
                Exception
            ) as error:  # nibabel raises several kinds on a quaternion or matrix of rubbish
                notes.append(f"the {form} of the file is not usable ({error})")
    if not (np.isfinite(pixdim[1:4]).all() and (pixdim[1:4] > 0).all()):
        notes.append("the file states no usable voxel sizes; distances and volumes are unknown")
        return None
    notes.append("the file states no orientation, only voxel sizes")
    return Geometry(scale @ header.get_base_affine())


def _times(header: Any, count: int) -> NDArray[np.float64] | None:
    unit = _SECONDS.get(int(header["xyzt_units"]) & 56)
    step = float(header["pixdim"][4])
    first = float(header["toffset"])
    if unit is None or not np.isfinite(step) or step <= 0:
        return None
    if not (np.isfinite(first)):
        first = 0.0
    return (first + step * np.arange(count, dtype=np.float64)) * unit


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label volume, on the grid of `like`."""
    stack = Nifti().read(path, ReadOptions())
    with reading(path, "a NIfTI file with masks"):
        return on_grid_of(masks_of_stack(stack), like, path)


class NiftiMasks(FitsAll):
    """Label volume on the grid of the stack. A NIfTI source lends its header, so the geometry is
    equal to the bit.
    """

    name = "NIfTI label volume"
    suffixes = SUFFIXES

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        masks = masks.on_stored_grid()
        header = _label_header(masks, source)
        with atomic(path) as part, part.open("wb") as file:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile(
                    filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0
                ) as packed:
                    _write_voxels(packed, header, masks, path)
            else:
                _write_voxels(file, header, masks, path)


def _write_voxels(file: Any, header: Any, masks: Masks, path: Path) -> None:
    file.write(header.binaryblock)
    file.write(bytes(int(header["vox_offset"]) - int(header["sizeof_hdr"])))
    for frame in label_frames(masks, path):
        file.write(frame.astype(frame.dtype.newbyteorder("<")).tobytes())


def _label_header(masks: Masks, source: Stack | None) -> Any:
    import nibabel

    z, y, x = masks.shape_zyx
    like = None
    if source is not None:
        like = source.meta.get("source_header")
    wide = max(masks.shape_zyx) > 32767 or isinstance(like, nibabel.Nifti2Header)
    header: Any = (nibabel.Nifti2Header if wide else nibabel.Nifti1Header)(endianness="<")  # type: ignore[no-untyped-call]
    header.set_data_dtype(label_type(masks))
    header.set_data_shape((x, y, z))
    header["magic"], header["vox_offset"] = (b"n+2", 544) if wide else (b"n+1", 352)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["intent_code"], header["descrip"] = 1002, b"segscope labels"
    if like is not None and _is_grid_of(like, masks, source):
        axes = [int(length) for length in like["dim"][1 : int(like["dim"][0]) + 1]]
        if np.prod(axes) == x * y * z:  # a image of two axes, a clip of four: as it was
            header.set_data_shape(axes)
        for field in _GEOMETRY_FIELDS:
            header[field] = like[field]
    elif masks.geometry is not None:
        affine = masks.geometry.affine
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1, strip_shears=True)
        if not np.allclose(header.get_qform(), affine, atol=1e-3):
            header["qform_code"] = (
                0  # sheared or stretched beyond float32: only the sform tells the truth
            )
        if not np.allclose(header.get_sform(), affine, rtol=1e-4, atol=1e-3):
            raise WriteError(
                "the geometry of these masks does not fit into a NIfTI header; write .nrrd or .mha"
            )
        header.set_xyzt_units("mm", "sec" if masks.times_s is not None else None)
    return header


def _is_grid_of(like: Any, masks: Masks, source: Stack | None) -> bool:
    """Whether the header of the source speaks of the grid of these masks."""
    lengths = [int(value) for value in like["dim"][1 : int(like["dim"][0]) + 1]] + [1] * 7
    if source is not None and source.kind == "video":
        frames = lengths[3]
    else:
        frames = lengths[2]
    geometry = _geometry(like, tuple(lengths[:4]), [])
    same = geometry is None or masks.geometry is None or geometry.same_grid(masks.geometry)
    return (frames, lengths[1], lengths[0]) == masks.shape_zyx and same


FORMATS = (Nifti(),)
MASK_FORMATS = (NiftiMasks(),)
