"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr with .img): volumes and clips in, label volumes out.

(x, y, frame) are the file's voxel indices (i, j, k); nothing is turned, the affine travels.
"""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, SegscopeError, WriteError
from segscope.files import atomic
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
from segscope.io.byte_sources import ByteSource, InflatedBytes, PlainBytes, RawFrames, RawLayout
from segscope.io.label_frames import (
    iter_label_frames,
    label_type,
    masks_from_stack,
    place_on_grid,
    warn_of_unit,
)
from segscope.io.nifti_header import (
    GZIP_MAGIC,
    Header,
    read_geometry,
    read_header,
    read_lengths,
    read_scaling,
    read_times,
    read_voxel_type,
)
from segscope.io.nifti_labels import read_label_names
from segscope.masks import Masks
from segscope.stack import Kind, Stack

SUFFIXES = (".nii", ".nii.gz")
_PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
_WHAT = "a NIfTI file"
_INTENT_LABEL = 1002
_MAX_NIFTI1_LENGTH = 32767
_GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "toffset",
)  # fmt: skip


class Nifti(FileFormat):
    """Reads lazily: a frame of `.nii` costs its bytes, of `.nii.gz` one inflation up to it."""

    name = "NIfTI"
    suffixes = (*SUFFIXES, *_PAIR)

    def recognises(self, path: Path) -> bool:
        """By its suffix; a file that is merely called .gz by what is inside."""
        return super().recognises(path) or (path.is_file() and _is_gzipped_nifti(path))

    def read(self, path: Path, options: ReadOptions) -> Stack:
        refuse_options(path, options, "volume")
        with reading(path, _WHAT):
            return _read_stack(path, options)


# --- reading -------------------------------------------------------------------------------------


def _is_gzipped_nifti(path: Path) -> bool:
    if path.suffix.lower() != ".gz":
        return False
    try:
        read_header(path)
    except (SegscopeError, OSError):
        return False
    return True


def _read_stack(path: Path, options: ReadOptions) -> Stack:
    header_path, data_path = _header_and_data(path)
    header = read_header(header_path)
    lengths = read_lengths(path, header)
    x, y, z, t = lengths
    dtype, channels = read_voxel_type(path, header)
    check_declared(path, (z * t, y, x, channels), dtype.itemsize)
    is_clip = z == 1 < t and options.volume is None
    volume = 0
    frame_count = t
    if not is_clip:
        volume = choose_part(path, options.volume, t, "time points", "volume")
        frame_count = z
    frame_bytes = x * y * channels * dtype.itemsize
    data = _open_data(data_path, header, frame_bytes * z * t, single=header_path == data_path)
    shape: tuple[int, ...] = (frame_count, y, x)
    if channels > 1:
        shape = (*shape, channels)
    notes: list[str] = []
    slope, intercept = read_scaling(path, header, notes)
    layout = RawLayout(
        dtype, shape, start=volume * z * frame_bytes, slope=slope, intercept=intercept
    )
    frames = RawFrames(path, data, layout)
    geometry = read_geometry(header, lengths, notes)
    meta = _meta_of(header, notes)
    if is_clip:
        return Stack(frames, "video", None, geometry, read_times(header, t), path, meta=meta)
    kind: Kind = "image" if z == 1 else "volume"
    return Stack(frames, kind, None, geometry, None, path, meta=meta)


def _meta_of(header: Header, notes: list[str]) -> dict[str, object]:
    meta: dict[str, object] = {"source_header": header}
    low = float(header["cal_min"])
    high = float(header["cal_max"])
    if -np.inf < low < high < np.inf:
        meta["window"] = (low, high)
    if notes:
        meta["notes"] = tuple(notes)
    return meta


def _header_and_data(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the data."""
    if not suffix_of(path, _PAIR):
        return path, path
    stem = path
    compression = ""
    if path.name.lower().endswith(".gz"):
        compression = path.suffix
        stem = path.with_suffix("")
    endings = (".hdr", ".img")
    if stem.suffix.isupper():
        endings = (".HDR", ".IMG")
    header, data = (stem.with_suffix(ending + compression) for ending in endings)
    check_file(header)
    check_file(data)
    return header, data


def _open_data(path: Path, header: Header, total: int, *, single: bool) -> ByteSource:
    """The voxels.

    Args:
        path: the file that holds them.
        header: says where they start.
        total: their number of bytes, for all time points.
        single: whether the header lies in the same file.
    """
    size = check_file(path)
    offset = float(header["vox_offset"])
    smallest_offset = int(header["sizeof_hdr"]) if single else 0
    if not smallest_offset <= offset < 2**31:
        raise ReadError(
            f"{path} places its data at byte {offset}; expected at least {smallest_offset}. "
            "The header is damaged."
        )
    with path.open("rb") as file:
        is_compressed = file.read(2) == GZIP_MAGIC
        file.seek(-min(4, size), io.SEEK_END)
        trailer = file.read(4)
    start = int(offset)
    if is_compressed:
        data = InflatedBytes(path, 0, start, total)
        if trailer != struct.pack("<I", (start + total) % 2**32):
            # cut off, or several streams: report it now, not on the last frame
            data.read(total, 0)
        return data
    if size < start + total:
        raise ReadError(
            f"{path} is cut off: its header declares {total} bytes of voxels from byte {start} on, "
            f"but the file has {size}. Copy or export it again."
        )
    return PlainBytes(path, start)


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label volume, on the grid of `like`, with the names of its label table."""
    stack = Nifti().read(path, ReadOptions())
    with reading(path, "a NIfTI file with masks"):
        masks = masks_from_stack(stack)
        header_path, _ = _header_and_data(path)
        table = read_label_names(header_path, stack.meta["source_header"])
        names = {label: table.get(label, name) for label, name in masks.names.items()}
        return place_on_grid(replace(masks, names=names), like, path)


# --- writing -------------------------------------------------------------------------------------


class NiftiMasks:
    """Label volume on the grid of the stack. A NIfTI source lends its header, so that the geometry
    is bit-identical.
    """

    name = "NIfTI label volume"
    suffixes = SUFFIXES

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        """Make the header."""
        _label_header(masks.on_stored_grid(), source)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        warn_of_unit(path, source)
        masks = masks.on_stored_grid()
        header = _label_header(masks, source)
        with atomic(path) as part, part.open("wb") as file:
            if not path.name.lower().endswith(".gz"):
                _write_voxels(file, header, masks, path)
                return
            # without name and time: equal masks make equal files
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as deflated:
                _write_voxels(deflated, header, masks, path)


def _write_voxels(
    file: IO[bytes] | gzip.GzipFile, header: Header, masks: Masks, path: Path
) -> None:
    file.write(header.binaryblock)
    file.write(bytes(int(header["vox_offset"]) - int(header["sizeof_hdr"])))
    for frame in iter_label_frames(masks, path):
        file.write(frame.astype(frame.dtype.newbyteorder("<")).tobytes())


def _label_header(masks: Masks, source: Stack | None) -> Header:
    source_header = None
    if source is not None:
        source_header = source.meta.get("source_header")
    header = _new_header(masks, source_header)
    if source_header is not None and _is_grid_of(source_header, masks, source):
        _copy_grid(header, source_header, masks)
    elif masks.geometry is not None:
        if masks.geometry.has_place:
            _set_affine(header, masks.geometry.affine)
        else:
            header.set_zooms(masks.geometry.spacing_zyx_mm[::-1])
        header.set_xyzt_units("mm", "sec" if masks.times_s is not None else None)
    return header


def _new_header(masks: Masks, source_header: Header | None) -> Header:
    import nibabel

    needs_nifti2 = max(masks.shape_zyx) > _MAX_NIFTI1_LENGTH
    if needs_nifti2 or isinstance(source_header, nibabel.Nifti2Header):
        header: Header = nibabel.Nifti2Header(endianness="<")  # type: ignore[no-untyped-call]
        header["magic"] = b"n+2"
        header["vox_offset"] = 544
    else:
        header = nibabel.Nifti1Header(endianness="<")  # type: ignore[no-untyped-call]
        header["magic"] = b"n+1"
        header["vox_offset"] = 352
    header.set_data_dtype(label_type(masks))
    header.set_data_shape(masks.shape_zyx[::-1])
    header["scl_slope"] = 1
    header["scl_inter"] = 0
    header["intent_code"] = _INTENT_LABEL
    header["descrip"] = b"segscope labels"
    return header


def _copy_grid(header: Header, source_header: Header, masks: Masks) -> None:
    lengths = list(map(int, source_header["dim"][1 : int(source_header["dim"][0]) + 1]))
    if np.prod(lengths) == np.prod(masks.shape_zyx):
        header.set_data_shape(lengths)  # an image keeps its two axes, a clip its four
    for name in _GEOMETRY_FIELDS:
        header[name] = source_header[name]


def _set_affine(header: Header, affine: NDArray[np.float64]) -> None:
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1, strip_shears=True)
    if not np.allclose(header.get_qform(), affine, atol=1e-3):
        # sheared or stretched beyond float32: only the sform tells the truth
        header["qform_code"] = 0
    if not np.allclose(header.get_sform(), affine, rtol=1e-4, atol=1e-3):
        raise WriteError(
            "the geometry of these masks does not fit into a NIfTI header; write .nrrd or .mha"
        )


def _is_grid_of(source_header: Header, masks: Masks, source: Stack | None) -> bool:
    """Whether the header of the source describes the grid of these masks."""
    axes = int(source_header["dim"][0])
    lengths = list(map(int, source_header["dim"][1 : axes + 1])) + [1] * 7
    frames = lengths[2]
    if source is not None and source.kind == "video":
        frames = lengths[3]
    if (frames, lengths[1], lengths[0]) != masks.shape_zyx:
        return False
    geometry = read_geometry(source_header, tuple(lengths[:4]), [])
    if geometry is None or masks.geometry is None:
        return True
    return geometry.same_grid(masks.geometry)


FORMATS = (Nifti(),)
MASK_FORMATS = (NiftiMasks(),)
