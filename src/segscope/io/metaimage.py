"""MetaImage (.mha, .mhd with its data file): volumes in, label volumes in and out.

(x, y, frame) are the first three axes of the file; its world is LPS and becomes RAS here.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import (
    Bytes,
    InflatedBytes,
    RawFrames,
    beside,
    check_file,
    choose,
    plain,
    reading,
    refuse_options,
)
from segscope.io.label_frames import label_frames, label_type, masks_of_stack, on_grid_of
from segscope.masks import Masks
from segscope.stack import Kind, Stack

SUFFIXES = (".mha", ".mhd")
_WHAT = "a MetaImage file"
_MAX_HEADER = 2**16
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip


class MetaImage:
    """Reads lazily: frames of raw data cost their bytes, of compressed data the inflation up to
    them, once.
    """

    name = "MetaImage"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            fields, end = _fields(path)
            return _stack(path, fields, end, options)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Header fields by lower-case name, and the byte behind them."""
    check_file(path)
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "elementdatafile" not in fields:
            line = file.readline(_MAX_HEADER)
            name, equals, value = line.decode("utf-8", "replace").partition("=")
            if not line or file.tell() > _MAX_HEADER or (not equals and line.strip()):
                raise ReadError(
                    f"{path} has no complete MetaImage header; it is cut off, damaged or not MetaImage"
                )
            if equals:
                fields[name.strip().lower()] = value.strip()
        end = file.tell()
    for name in ("ndims", "dimsize", "elementtype"):
        if name not in fields:
            raise ReadError(f"{path} has a header without {name}; it is damaged")
    return fields, end


def _yes(fields: dict[str, str], *names: str) -> bool:
    return any(fields.get(name, "false").lower() in ("true", "1", "yes") for name in names)


def _stack(path: Path, fields: dict[str, str], end: int, options: ReadOptions) -> Stack:
    sizes = [int(value) for value in fields["dimsize"].split()]
    if len(sizes) != int(fields["ndims"]) or not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise ReadError(
            f"{path} declares the sizes {sizes} in {fields['ndims']} dimensions; wanted 2 to 4 that agree"
        )
    x, y, z, volumes = (*sizes, *[1] * (4 - len(sizes)))
    channels = int(fields.get("elementnumberofchannels", "1"))
    code = _TYPES.get(fields["elementtype"].upper().removesuffix("_ARRAY"))
    if code is None or not 1 <= channels <= 64:
        raise ReadError(
            f"{path} holds {channels} values of type {fields['elementtype']}; wanted plain numbers"
        )
    stored = np.dtype(
        (">" if _yes(fields, "binarydatabyteordermsb", "elementbyteordermsb") else "<") + code
    )
    check_declared(path, (volumes * z, y, x, channels), stored.itemsize)
    refuse_options(path, options, *(["volume"] if volumes > 1 else []))
    volume = choose(path, options.volume, volumes, "volumes", "volume")
    shape = (z, y, x) if channels == 1 else (z, y, x, channels)
    one = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    frames = RawFrames(
        path, _data(path, fields, end, one * volumes), stored, shape, start=volume * one
    )
    kind: Kind = "image" if z == 1 else "volume"
    modality = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_US": "US"}.get(
        fields.get("modality", "").upper()
    )
    return Stack(frames, kind, modality, _geometry(path, fields, len(sizes)), path=path)


def _data(path: Path, fields: dict[str, str], end: int, total: int) -> Bytes:
    name = fields["elementdatafile"]
    if not _yes({"binarydata": "True", **fields}, "binarydata"):
        raise ReadError(f"{path} holds its values as text; save it as binary data first")
    if name.upper().startswith("LIST") or "%" in name:
        raise ReadError(f"{path} keeps its data in several files; save it as one .mha file first")
    local = name.upper() == "LOCAL"
    file = path if local else beside(path, name)
    skip = int(fields.get("headersize", "0"))
    if _yes(fields, "compresseddata"):
        return InflatedBytes(file, end if local else max(0, skip), 0, total)
    if skip == -1:
        return plain(file, max(0, check_file(file) - total), total)
    return plain(file, end if local else skip, total)


def _numbers(fields: dict[str, str], *names: str) -> list[float]:
    for name in names:
        if name in fields:
            return [float(value) for value in fields[name].split()]
    return []


def _geometry(path: Path, fields: dict[str, str], dims: int) -> Geometry | None:
    """Affine from spacing, directions (one triple an axis) and offset; None when no spacing is
    stated.
    """
    spacing = _numbers(fields, "elementspacing", "elementsize")
    matrix = (
        _numbers(fields, "transformmatrix", "orientation", "rotation")
        or np.eye(dims).ravel().tolist()
    )
    offset = _numbers(fields, "offset", "position", "origin") or [0.0] * dims
    if not spacing and "offset" not in fields:
        return None
    spacing = spacing or [1.0] * dims
    if (
        len(matrix) != dims * dims
        or len(offset) != dims
        or len(spacing) != dims
        or min(spacing) <= 0
    ):
        raise ReadError(
            f"{path} has a spacing, offset or matrix that does not fit {dims} dimensions; it is damaged"
        )
    space = min(3, dims)
    affine = np.eye(4)
    affine[:space, :space] = (
        np.reshape(matrix, (dims, dims))[:space, :space] * np.array(spacing[:space])[:, None]
    ).T
    affine[:space, 3] = offset[:space]
    return Geometry(LPS_TO_RAS @ affine)


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label volume, on the grid of `like`."""
    with reading(path, "a MetaImage file with masks"):
        return on_grid_of(masks_of_stack(MetaImage().read(path, ReadOptions())), like, path)


class MetaImageMasks:
    """Label volume, deflated; `.mhd` puts the voxels into a `.zraw` file beside it."""

    name = "MetaImage label volume"
    suffixes = SUFFIXES

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        if suffix_of(path, SUFFIXES) == ".mhd":
            _check_replaceable(path, path.with_suffix(".zraw"))

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        self.check(masks, path, source)
        masks = masks.on_stored_grid()
        if suffix_of(path, SUFFIXES) == ".mha":
            with atomic(path) as part, part.open("wb") as file:
                head = _header(masks, "LOCAL")
                file.write(head)
                size = _deflate(masks, path, file)
                file.seek(0)
                file.write(_header(masks, "LOCAL", size))
            return
        data = path.with_suffix(".zraw")
        with atomic(data) as part, part.open("wb") as file:
            size = _deflate(masks, path, file)
        with atomic(path) as part:  # the header last: without it nobody opens the data
            part.write_bytes(_header(masks, data.name, size))


def _check_replaceable(path: Path, data: Path) -> None:
    """A data file is replaced together with the header that names it, and never that of another
    header.
    """
    if data.exists() and not (path.exists() and _fields(path)[0]["elementdatafile"] == data.name):
        raise UsageError(
            f"{data} exists already and may hold the voxels of another file; name the masks differently, or write .mha"
        )


def _deflate(masks: Masks, path: Path, file: IO[bytes]) -> int:
    deflater = zlib.compressobj(6)
    size = 0
    for frame in label_frames(masks, path):
        size += file.write(deflater.compress(frame.astype(frame.dtype.newbyteorder("<")).tobytes()))
    return size + file.write(deflater.flush())


def _header(masks: Masks, data: str, size: int = 0) -> bytes:
    z, y, x = masks.shape_zyx
    place: dict[str, str] = {}
    if masks.geometry is not None:
        affine = LPS_TO_RAS @ masks.geometry.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        place["TransformMatrix"] = _joined((affine[:3, :3] / spacing).T.ravel())
        place["Offset"] = _joined(affine[:3, 3])
        place["CenterOfRotation"] = "0 0 0"
        place["ElementSpacing"] = _joined(spacing)
    lines: dict[str, Any] = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": f"{size:<20d}",  # of fixed width: filled in when it is known
        **place,
        "DimSize": f"{x} {y} {z}",
        "ElementType": "MET_UCHAR" if label_type(masks).itemsize == 1 else "MET_USHORT",
        "ElementDataFile": data,
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()


def _joined(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)


FORMATS = (MetaImage(),)
MASK_FORMATS = (MetaImageMasks(),)
