"""NRRD (.nrrd, .nhdr): volumes in.

(x, y, frame) are the first, second and third spatial axis of the file; nothing is turned, the
affine travels. Masks, also those of 3D Slicer's .seg.nrrd, are in `segmentation.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segscope.arrays import PixelType
from segscope.errors import ReadError
from segscope.io.base import (
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
    InflatedBytes,
    MemoryBytes,
    RawFrames,
    RawLayout,
    open_plain_bytes,
    resolve_data_file,
)
from segscope.io.nrrd.header import AxisLayout, Header, read_axes, read_geometry, read_header
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
    geometry = read_geometry(header, layout, notes)
    meta = {}
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
    file = path
    offset = header.end
    name = fields.get("datafile")
    if name is not None:
        if name.upper().startswith("LIST") or "%" in name:
            raise ReadError(
                f"{path} spreads its data over several files; save it as one .nrrd file first"
            )
        file = resolve_data_file(path, name)
        offset = 0
    offset = _skip_lines(file, offset, int(fields.get("lineskip", "0")))
    return _decode(file, offset, total, fields, stored), stored


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


def _decode(
    path: Path,
    offset: int,
    total: int,
    fields: dict[str, str],
    stored: PixelType,
) -> ByteSource:
    encoding = fields["encoding"].lower()
    skip = int(fields.get("byteskip", "0"))
    start = max(0, skip)
    if encoding == "raw":
        if skip == -1:  # the data are the last bytes of the file
            return open_plain_bytes(path, check_file(path) - total, total)
        return open_plain_bytes(path, offset + start, total)
    if encoding in ("gz", "gzip"):
        return InflatedBytes(path, offset, start, total)
    if encoding in ("bz2", "bzip2"):
        return InflatedBytes(path, offset, start, total, "bzip2")
    if encoding in _TEXT_ENCODINGS:
        with path.open("rb") as file:
            file.seek(offset)
            words = file.read(64 * total).split()[: total // stored.itemsize]
        values = np.array(list(map(float, words)))
        return MemoryBytes(path, values.astype(stored).tobytes())
    raise ReadError(
        f"{path} is encoded as {encoding!r}; expected raw, gzip, bzip2 or ascii. Save it again."
    )


FORMATS = (Nrrd(),)
