"""MetaImage (.mha, .mhd with its data file): volumes in, label volumes in and out.

(x, y, frame) are the first three axes of the file; its world is LPS and becomes RAS here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from segscope.arrays import PixelType
from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import (
    NO_SPACING,
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    choose_part,
    reading,
    refuse_options,
    suffix_of,
)
from segscope.io.byte_sources import (
    ByteSource,
    InflatedBytes,
    RawFrames,
    RawLayout,
    open_last_bytes,
    open_plain_bytes,
)
from segscope.io.data_files import (
    JoinedBytes,
    expand_pattern,
    is_pattern,
    names_list,
    resolve_data_file,
    share_bytes,
)
from segscope.io.label_frames import (
    iter_label_frames,
    label_type,
    masks_from_stack,
    place_on_grid,
    warn_of_unit,
)
from segscope.masks import Masks
from segscope.stack import Kind, Stack

SUFFIXES = (".mha", ".mhd")
_WHAT = "a MetaImage file"
_MAX_HEADER = 2**16
_MAX_LIST = 2**24
_MAX_CHANNELS = 64
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_LONG": "i4",
    "MET_ULONG": "u4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LABEL_TYPES = {1: "MET_UCHAR", 2: "MET_USHORT", 4: "MET_UINT"}
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_US": "US"}


class MetaImage(FileFormat):
    """Reads lazily: a frame of raw data costs its bytes, of compressed data the inflation up to it,
    once.
    """

    name = "MetaImage"
    suffixes = SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            return _read_stack(path, _read_header(path), options)


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """What a MetaImage header states.

    Attributes:
        fields: by name in lower case.
        end: the byte behind them.
        files: names of the data files, where the header ends with their list.
    """

    fields: dict[str, str]
    end: int
    files: Sequence[str] = ()

    @property
    def lists_files(self) -> bool:
        return names_list(self.fields["elementdatafile"])

    def flag(self, *names: str, default: str = "false") -> bool:
        """Whether any of these fields is set."""
        values = {self.fields.get(name, default).lower() for name in names}
        return not values.isdisjoint(("true", "1", "yes"))

    def numbers(self, *names: str) -> list[float]:
        """The numbers of the first of these fields that is there."""
        for name in names:
            if name in self.fields:
                return list(map(float, self.fields[name].split()))
        return []


def _read_header(path: Path) -> _Header:
    check_file(path)
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "elementdatafile" not in fields:
            line = file.readline(_MAX_HEADER)
            name, equals, value = line.decode("utf-8", "replace").partition("=")
            is_junk = not equals and line.strip()
            if not line or file.tell() > _MAX_HEADER or is_junk:
                raise ReadError(
                    f"{path} has no complete MetaImage header; it is cut off, damaged or not "
                    "a MetaImage file"
                )
            if equals:
                fields[name.strip().lower()] = value.strip()
        end = file.tell()
        files: list[str] = []
        if names_list(fields["elementdatafile"]):
            files = file.read(_MAX_LIST).decode("utf-8", "replace").split("\n")
    for name in ("ndims", "dimsize", "elementtype"):
        if name not in fields:
            raise ReadError(f"{path} has a header without {name}; it is damaged")
    return _Header(fields, end, [name.strip() for name in files if name.strip()])


def _read_stack(path: Path, header: _Header, options: ReadOptions) -> Stack:
    fields = header.fields
    sizes = list(map(int, fields["dimsize"].split()))
    if len(sizes) != int(fields["ndims"]) or not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise ReadError(
            f"{path} declares the sizes {sizes} in {fields['ndims']} dimensions; "
            "expected 2 to 4 positive sizes, one for each dimension"
        )
    x, y, z, volumes = (*sizes, *[1] * (4 - len(sizes)))
    channels = int(fields.get("elementnumberofchannels", "1"))
    stored = _stored_type(path, header, channels)
    check_declared(path, (volumes * z, y, x, channels), stored.itemsize)
    supported = ["volume"] if volumes > 1 else []
    refuse_options(path, options, *supported)
    volume = choose_part(path, options.volume, volumes, "volumes", "volume")
    shape: tuple[int, ...] = (z, y, x)
    if channels > 1:
        shape = (z, y, x, channels)
    volume_bytes = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    data = _open_data(path, header, volume_bytes * volumes)
    frames = RawFrames(path, data, RawLayout(stored, shape, start=volume * volume_bytes))
    kind: Kind = "image" if z == 1 else "volume"
    modality = _MODALITIES.get(fields.get("modality", "").upper())
    geometry = _read_geometry(path, header, len(sizes))
    notes = _describe_unused(fields)
    if geometry is None:
        notes.append(NO_SPACING)
    meta = {"notes": tuple(notes), "data_files": data.files}
    return Stack(frames, kind, modality, geometry, path=path, meta=meta)


def _describe_unused(fields: dict[str, str]) -> list[str]:
    """Notes on what a header states and no common reader, ITK first, applies."""
    notes = []
    unit = fields.get("distanceunits", "mm")
    if unit not in ("mm", "?"):
        notes.append(f"the file states DistanceUnits = {unit}; millimetres are assumed, as in ITK")
    slope = fields.get("elementtointensityfunctionslope", "1")
    offset = fields.get("elementtointensityfunctionoffset", "0")
    if not (_is_number(slope, 1) and _is_number(offset, 0)):
        notes.append(
            f"the file states an intensity of {slope} x value + {offset}, which is not applied, "
            "as in ITK"
        )
    return notes


def _is_number(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False


def _stored_type(path: Path, header: _Header, channels: int) -> PixelType:
    element_type = header.fields["elementtype"]
    code = _TYPES.get(element_type.upper().removesuffix("_ARRAY"))
    if code is None or not 1 <= channels <= _MAX_CHANNELS:
        raise ReadError(
            f"{path} holds {channels} values of type {element_type} per voxel; "
            "expected plain numbers"
        )
    byte_order = "<"
    if header.flag("binarydatabyteordermsb", "elementbyteordermsb"):
        byte_order = ">"
    return np.dtype(byte_order + code)


def _open_data(path: Path, header: _Header, total: int) -> ByteSource:
    name = header.fields["elementdatafile"]
    if not header.flag("binarydata", default="true"):
        raise ReadError(f"{path} stores its values as text; save it as binary data first")
    if name.upper() == "LOCAL":
        return _open_file(path, header, header.end, total)
    skip = int(header.fields.get("headersize", "0"))
    if skip < -1:
        raise ReadError(f"{path} has the field HeaderSize = {skip}; expected -1, 0 or more")
    if not header.lists_files and not is_pattern(name):
        return _open_file(resolve_data_file(path, name), header, skip, total)
    names = header.files
    if is_pattern(name):
        names = expand_pattern(path, name)
    part_bytes = share_bytes(path, names, total, None)
    files = [resolve_data_file(path, name) for name in names]
    return JoinedBytes([_open_file(file, header, skip, part_bytes) for file in files], part_bytes)


def _open_file(path: Path, header: _Header, start: int, total: int) -> ByteSource:
    """Data of one file from a byte on; -1 stands for its last bytes."""
    if header.flag("compresseddata"):
        return InflatedBytes(path, max(0, start), 0, total)
    if start == -1:
        return open_last_bytes(path, total)
    return open_plain_bytes(path, start, total)


def _read_geometry(path: Path, header: _Header, dims: int) -> Geometry | None:
    """Affine from spacing, directions (one triple per axis) and offset; None when no spacing is
    stated.
    """
    spacing = header.numbers("elementspacing", "elementsize")
    if not spacing and "offset" not in header.fields:
        return None
    matrix = header.numbers("transformmatrix", "orientation", "rotation")
    offset = header.numbers("offset", "position", "origin")
    has_place = bool(matrix or offset)
    matrix = matrix or np.eye(dims).ravel().tolist()
    offset = offset or [0.0] * dims
    spacing = spacing or [1.0] * dims
    lengths = (len(matrix), len(offset), len(spacing))
    if lengths != (dims * dims, dims, dims) or min(spacing) <= 0:
        raise ReadError(
            f"{path} has a spacing, offset or matrix that does not fit {dims} dimensions; "
            "it is damaged"
        )
    space = min(3, dims)
    directions = np.reshape(matrix, (dims, dims))[:space, :space]
    affine = np.eye(4)
    affine[:space, :space] = (directions * np.array(spacing[:space])[:, None]).T
    affine[:space, 3] = offset[:space]
    return Geometry(LPS_TO_RAS @ affine, has_place)


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label volume, on the grid of `like`."""
    with reading(path, "a MetaImage file with masks"):
        stack = MetaImage().read(path, ReadOptions())
        return place_on_grid(masks_from_stack(stack), like, path)


# --- writing -------------------------------------------------------------------------------------


class MetaImageMasks:
    """Label volume, deflated; `.mhd` puts the voxels into a `.zraw` file beside it."""

    name = "MetaImage label volume"
    suffixes = SUFFIXES

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        """Make the header."""
        _format_header(masks.on_stored_grid(), path.name)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        warn_of_unit(path, source)
        masks = masks.on_stored_grid()
        if suffix_of(path, SUFFIXES) == ".mha":
            with atomic(path) as part, part.open("wb") as file:
                file.write(_format_header(masks, "LOCAL"))
                size = _write_deflated(masks, path, file)
                file.seek(0)
                file.write(_format_header(masks, "LOCAL", size))
            return
        _write_pair(masks, path)


def _write_pair(masks: Masks, path: Path) -> None:
    """Write header and data file. The header comes last and names a new data file each time, so
    that there is always a pair that fits, whenever this stops.
    """
    old = _named_data(path)
    new = _choose_data(path)
    try:
        with atomic(new) as part, part.open("wb") as file:
            size = _write_deflated(masks, path, file)
        with atomic(path) as part:
            part.write_bytes(_format_header(masks, new.name, size))
    finally:
        current = _named_data(path)
        for data in (old, new):
            if data is not None and data != current:
                data.unlink(missing_ok=True)


def _choose_data(path: Path) -> Path:
    """A name for a data file that does not exist yet."""
    data = path.with_suffix(".zraw")
    number = 0
    while data.exists():
        number += 1
        data = path.with_suffix(f".{number}.zraw")
    return data


def _named_data(path: Path) -> Path | None:
    """The data file that a header names, if it is called as we call ours; None without one."""
    try:
        name = _read_header(path).fields["elementdatafile"]
    except (ReadError, UsageError):
        return None
    if re.fullmatch(re.escape(path.stem) + r"(\.\d+)?\.zraw", name):
        return path.with_name(name)
    return None


def _write_deflated(masks: Masks, path: Path, file: IO[bytes]) -> int:
    """Write the label frames; the number of bytes written."""
    deflater = zlib.compressobj(6)
    size = 0
    for frame in iter_label_frames(masks, path):
        voxels = frame.astype(frame.dtype.newbyteorder("<")).tobytes()
        size += file.write(deflater.compress(voxels))
    return size + file.write(deflater.flush())


def _format_header(masks: Masks, data: str, size: int = 0) -> bytes:
    z, y, x = masks.shape_zyx
    place: dict[str, str] = {}
    if masks.geometry is not None:
        affine = masks.geometry.lps_affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        place["TransformMatrix"] = _join_numbers((affine[:3, :3] / spacing).T.ravel())
        place["Offset"] = _join_numbers(affine[:3, 3])
        place["CenterOfRotation"] = "0 0 0"
        place["ElementSpacing"] = _join_numbers(spacing)
    fields: dict[str, object] = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": f"{size:<20d}",  # of fixed width: filled in once it is known
        **place,
        "DimSize": f"{x} {y} {z}",
        "ElementType": _LABEL_TYPES[label_type(masks).itemsize],
        "ElementDataFile": data,
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()


def _join_numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


FORMATS = (MetaImage(),)
MASK_FORMATS = (MetaImageMasks(),)
