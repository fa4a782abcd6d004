"""NRRD (.nrrd, .nhdr): volumes in.

(x, y, frame) are the first, second and third spatial axis of the file; nothing is turned, the
affine travels. Masks, also those of 3D Slicer's .seg.nrrd, are in `segmentation.py`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from segscope.arrays import PixelType
from segscope.errors import ReadError
from segscope.io.base import (
    NO_SPACING,
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    choose_part,
    reading,
    refuse_options,
)
from segscope.io.byte_sources import (
    ByteSource,
    Codec,
    InflatedBytes,
    MemoryBytes,
    RawFrames,
    RawLayout,
    measure_inflated,
    open_last_bytes,
    open_plain_bytes,
)
from segscope.io.data_files import (
    JoinedBytes,
    expand_pattern,
    is_pattern,
    resolve_data_file,
    share_bytes,
)
from segscope.io.nrrd.header import (
    AxisLayout,
    Header,
    read_axes,
    read_geometry,
    read_header,
    read_unit,
)
from segscope.stack import Kind, Stack

SUFFIXES = (".nrrd", ".nhdr")
_WHAT = "an NRRD file"
_MAX_HEADER = 2**22
_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_BY_NAME = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_CODECS: dict[str, Codec] = {
    "gz": "deflate",
    "gzip": "deflate",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
_TEXT_ENCODINGS = ("ascii", "text", "txt")
_COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color")


class Nrrd(FileFormat):
    """Reads lazily: a frame of raw data costs its bytes, of compressed data the inflation up to it,
    once.
    """

    name = "NRRD"
    suffixes = SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            header = read_header(path)
            layout = read_axes(path, header)
            is_colour = layout.inner > 1 and _is_colour(header, layout)
            volumes = layout.outer
            if not is_colour:
                volumes *= layout.inner
            supported = ["volume"] if volumes > 1 else []
            refuse_options(path, options, *supported)
            volume = choose_part(path, options.volume, volumes, "volumes", "volume")
            return _read_stack(path, header, layout, volume, is_colour=is_colour)


def _read_stack(
    path: Path,
    header: Header,
    layout: AxisLayout,
    volume: int,
    *,
    is_colour: bool,
) -> Stack:
    data, stored = open_data(path, header, layout)
    shape = layout.voxel_shape
    component = None
    if layout.inner > 1 and not is_colour:
        volume, component = divmod(volume, layout.inner)
    start = volume * int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    frames = RawFrames(path, data, RawLayout(stored, shape, start, component))
    notes: list[str] = []
    meta: dict[str, object] = {
        "length_unit_mm": read_unit(header, notes),
        "data_files": data.files,
    }
    geometry = read_geometry(header, layout, notes)
    if geometry is None:
        notes.append(NO_SPACING)
    if notes:
        meta["notes"] = tuple(notes)
    kind: Kind = "image" if shape[0] == 1 else "volume"
    return Stack(frames, kind, None, geometry, path=path, meta=meta)


def _is_colour(header: Header, layout: AxisLayout) -> bool:
    if layout.inner_kind in _COLOURS:
        return True
    is_bytes = _BY_NAME.get(header.fields["type"].lower()) == "u1"
    return layout.inner_kind == "vector" and layout.inner in (3, 4) and is_bytes


# --- data ----------------------------------------------------------------------------------------


def open_data(path: Path, header: Header, layout: AxisLayout) -> tuple[ByteSource, PixelType]:
    """Decoded bytes and their type."""
    fields = header.fields
    stored = _stored_type(path, fields)
    frames, rows, columns = layout.shape_zyx
    shape = (layout.outer * frames, rows, columns, layout.inner)
    check_declared(path, shape, stored.itemsize)
    total = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    name = fields.get("datafile")
    if name is None:
        return _open_file(path, header.end, header, total, stored), stored
    if header.lists_files or is_pattern(name):
        return _open_files(path, header, total, stored), stored
    file = resolve_data_file(path, name)
    return _open_file(file, 0, header, total, stored), stored


def _open_files(path: Path, header: Header, total: int, stored: PixelType) -> ByteSource:
    """Data of several files: each holds a slice, or as many axes as the field says at its end."""
    text = header.fields["datafile"]
    names = header.files
    if not header.lists_files:
        names = expand_pattern(path, text)
    sizes = list(map(int, header.fields["sizes"].split()))
    words = text.split()
    place = 1 if header.lists_files else 4
    axes = len(sizes) - 1
    if len(words) > place:
        axes = int(words[place])
    expected = None
    if 0 < axes < len(sizes):
        expected = math.prod(sizes[axes:])
    part_bytes = share_bytes(path, names, total, expected)
    parts = []
    for name in names:
        file = resolve_data_file(path, name)
        parts.append(_open_file(file, 0, header, part_bytes, stored))
    return JoinedBytes(parts, part_bytes)


def _stored_type(path: Path, fields: dict[str, str]) -> PixelType:
    code = _BY_NAME.get(" ".join(fields["type"].lower().split()))
    if code is None:
        raise ReadError(
            f"{path} holds values of type {fields['type']!r}; expected integers or real numbers"
        )
    byte_order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    needs_order = code not in ("i1", "u1") and fields["encoding"].lower() not in _TEXT_ENCODINGS
    if byte_order is None and needs_order:
        raise ReadError(f"{path} does not state its byte order (field 'endian'); save it again")
    return np.dtype((byte_order or "<") + code)


def _skip_lines(path: Path, offset: int, count: int) -> int:
    """The position behind `count` lines."""
    size = check_file(path)
    with path.open("rb") as file:
        file.seek(offset)
        for _ in range(count):
            offset += len(file.readline(_MAX_HEADER))
            if offset >= size:
                raise ReadError(
                    f"{path} ends within the lines that its header skips; it is damaged"
                )
    return offset


def _open_file(
    path: Path,
    offset: int,
    header: Header,
    total: int,
    stored: PixelType,
) -> ByteSource:
    """Decoded bytes of one file, from `offset` and the lines and bytes to skip on."""
    encoding = header.fields["encoding"].lower()
    offset = _skip_lines(path, offset, header.whole_number(path, "line skip", 0))
    skip = header.whole_number(path, "byte skip", -1)
    if encoding == "raw":
        if skip == -1:
            return open_last_bytes(path, total)
        return open_plain_bytes(path, offset + skip, total)
    codec = _CODECS.get(encoding)
    if codec is not None:
        if skip == -1:  # the data are the last bytes of what is inflated
            skip = measure_inflated(path, offset, codec) - total
        if skip < 0:
            raise ReadError(
                f"{path} is cut off: it inflates to {total + skip} bytes of {total} declared. "
                "Copy or export it again."
            )
        return InflatedBytes(path, offset, skip, total, codec)
    if encoding not in _TEXT_ENCODINGS and encoding != "hex":
        raise ReadError(
            f"{path} is encoded as {encoding!r}; expected raw, gzip, bzip2, hex or ascii. "
            "Save it again."
        )
    if skip == -1:
        raise ReadError(
            f"{path} has the field 'byte skip: -1', which text has no use for; save it as raw data"
        )
    with path.open("rb") as file:
        file.seek(offset + skip)
        text = file.read(64 * total)
    if encoding == "hex":
        return MemoryBytes(path, bytes.fromhex(text.decode("ascii"))[:total])
    words = text.split()[: total // stored.itemsize]
    values = np.array(list(map(float, words)))
    return MemoryBytes(path, values.astype(stored).tobytes())


FORMATS = (Nrrd(),)
