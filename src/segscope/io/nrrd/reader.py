"""NRRD (.nrrd, .nhdr): volumes in, label volumes in and out.

(x, y, frame) are the first, second and third spatial axis of the file; nothing is turned, the
affine travels. Segment names and layers of 3D Slicer's .seg.nrrd are in `seg_nrrd.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import (
    Bytes,
    HeldBytes,
    InflatedBytes,
    RawFrames,
    beside,
    check_file,
    choose,
    plain,
    reading,
    refuse_options,
)
from segscope.stack import Kind, Stack

SUFFIXES = (".nrrd", ".nhdr")
_WHAT = "an NRRD file"
_MAX_HEADER = 2**22
_TYPES = {
    "i1": "signed char|int8|int8_t", "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t", "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float", "f8": "double",
}  # fmt: skip
_BY_NAME = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color")
_MM = {
    "mm": 1.0,
    "um": 1e-3,
    "µm": 1e-3,
    "microns": 1e-3,
    "micron": 1e-3,
    "cm": 10.0,
    "m": 1000.0,
    "nm": 1e-6,
}


@dataclass
class Header:
    """Fields and key/value pairs of an NRRD header, and the byte behind it."""

    fields: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    end: int = 0


@dataclass(frozen=True)
class Layout:
    """What the axes mean: values of one voxel (`inner`), the image, further volumes (`outer`)."""

    shape_zyx: tuple[int, int, int]
    spatial: tuple[int, ...]
    inner: int = 1
    inner_kind: str = ""
    outer: int = 1


class Nrrd:
    """Reads lazily: frames of raw data cost their bytes, of compressed data the inflation up to
    them, once.
    """

    name = "NRRD"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            header = read_header(path)
            layout = layout_of(path, header)
            colour = layout.inner > 1 and _is_colour(header, layout)
            volumes = layout.outer * (1 if colour else layout.inner)
            refuse_options(path, options, *(["volume"] if volumes > 1 else []))
            return _stack(
                path,
                header,
                layout,
                colour,
                choose(path, options.volume, volumes, "volumes", "volume"),
            )


def _stack(path: Path, header: Header, layout: Layout, colour: bool, volume: int) -> Stack:
    data, stored = data_of(path, header, layout)
    shape: tuple[int, ...] = (
        layout.shape_zyx if layout.inner == 1 else (*layout.shape_zyx, layout.inner)
    )
    pick = None
    if layout.inner > 1 and not colour:
        volume, pick = volume // layout.inner, volume % layout.inner
    start = volume * int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    frames = RawFrames(path, data, stored, shape, start=start, pick=pick)
    notes: list[str] = []
    kind: Kind = "image" if shape[0] == 1 else "volume"
    geometry = geometry_of(header, layout, notes)
    return Stack(
        frames, kind, None, geometry, path=path, meta={"notes": tuple(notes)} if notes else {}
    )


def read_header(path: Path) -> Header:
    """Header of a file, whose text may be UTF-8 (segment names)."""
    check_file(path)
    header = Header()
    with path.open("rb") as file:
        if not re.match(rb"NRRD000[1-5]\s*$", file.readline(64)):
            raise ReadError(
                f"{path} does not start with NRRD0001 to NRRD0005; it is not an NRRD file"
            )
        while line := file.readline(_MAX_HEADER):
            header.end = file.tell()
            if header.end > _MAX_HEADER:
                raise ReadError(
                    f"{path} has a header of more than {_MAX_HEADER // 2**20} MiB; it is damaged"
                )
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not text.strip():
                break
            if not text.startswith("#"):
                _add(path, header, text)
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in header.fields:
            raise ReadError(f"{path} has a header without {name!r}; it is cut off or damaged")
    return header


def _add(path: Path, header: Header, text: str) -> None:
    name, colon, value = text.partition(":")
    if not colon:
        raise ReadError(
            f"{path} has the header line {text[:80]!r}, which is no field; it is damaged"
        )
    if value.startswith("="):
        header.pairs[name] = re.sub(
            r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value[1:]
        )
    else:
        header.fields[name.strip().lower().replace(" ", "")] = value.strip()


def layout_of(path: Path, header: Header) -> Layout:
    """Meaning of the axes by their kinds and directions; refuses what has no single meaning."""
    sizes = [int(value) for value in header.fields["sizes"].split()]
    if len(sizes) != int(header.fields["dimension"]) or not sizes or min(sizes) < 1:
        raise ReadError(
            f"{path} declares the sizes {sizes} in {header.fields['dimension']} dimensions; it is damaged"
        )
    kinds = [kind.lower() for kind in header.fields.get("kinds", "").split()] or ["domain"] * len(
        sizes
    )
    directions = _directions(header)
    if len(kinds) != len(sizes) or len(directions or sizes) != len(sizes):
        raise ReadError(
            f"{path} has {len(sizes)} axes and another number of kinds or directions; it is damaged"
        )
    placed = [directions[axis] is not None if directions else kinds[axis] in ("domain", "space", "???", "none")
              for axis in range(len(sizes))]  # fmt: skip
    spatial = [axis for axis in range(len(sizes)) if placed[axis]][:3]
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] > 1]
    inner = [axis for axis in others if spatial and axis < spatial[0]]
    outer = [axis for axis in others if spatial and axis > spatial[-1]]
    if (
        len(spatial) < 2
        or len(inner) > 1
        or len(outer) > 1
        or len(inner) + len(outer) != len(others)
    ):
        raise ReadError(
            f"{path} has the axes {', '.join(f'{kind} {size}' for kind, size in zip(kinds, sizes, strict=True))}; "
            "wanted two or three axes of space, with values before them or further volumes behind them"
        )
    lengths = [sizes[axis] for axis in spatial] + [1] * (3 - len(spatial))
    return Layout(
        (lengths[2], lengths[1], lengths[0]),
        tuple(spatial),
        sizes[inner[0]] if inner else 1,
        kinds[inner[0]] if inner else "",
        sizes[outer[0]] if outer else 1,
    )


def _is_colour(header: Header, layout: Layout) -> bool:
    bytes_of_three = layout.inner in (3, 4) and _BY_NAME.get(header.fields["type"].lower()) == "u1"
    return layout.inner_kind in _COLOURS or (layout.inner_kind == "vector" and bytes_of_three)


def data_of(path: Path, header: Header, layout: Layout) -> tuple[Bytes, np.dtype[Any]]:
    """Decoded bytes and their type."""
    fields = header.fields
    code = _BY_NAME.get(" ".join(fields["type"].lower().split()))
    if code is None:
        raise ReadError(
            f"{path} holds values of type {fields['type']!r}; wanted whole or real numbers"
        )
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if (
        order is None
        and code not in ("i1", "u1")
        and fields["encoding"].lower() not in ("ascii", "text", "txt")
    ):
        raise ReadError(f"{path} does not say its byte order (field 'endian'); write it again")
    stored = np.dtype((order or "<") + code)
    check_declared(
        path,
        (layout.outer * layout.shape_zyx[0], *layout.shape_zyx[1:], layout.inner),
        stored.itemsize,
    )
    total = (
        int(np.prod((layout.outer, *layout.shape_zyx, layout.inner), dtype=np.int64))
        * stored.itemsize
    )
    name = fields.get("datafile")
    if name is not None and (name.upper().startswith("LIST") or "%" in name):
        raise ReadError(f"{path} keeps its data in several files; save it as one .nrrd file first")
    file, offset = (path, header.end) if name is None else (beside(path, name), 0)
    return _decoded(file, offset, total, fields, stored), stored


def _decoded(
    path: Path, offset: int, total: int, fields: dict[str, str], stored: np.dtype[Any]
) -> Bytes:
    encoding = fields["encoding"].lower()
    skip = int(fields.get("byteskip", "0"))
    size = check_file(path)
    for _ in range(int(fields.get("lineskip", "0"))):
        with path.open("rb") as file:
            file.seek(offset)
            offset += len(file.readline(_MAX_HEADER))
            if offset >= size:
                raise ReadError(
                    f"{path} ends within the lines that its header skips; it is damaged"
                )
    if encoding == "raw":
        return plain(path, size - total if skip == -1 else offset + max(0, skip), total)
    if encoding in ("gz", "gzip", "bz2", "bzip2"):
        return InflatedBytes(
            path, offset, max(0, skip), total, "bzip2" if encoding[0] == "b" else "deflate"
        )
    if encoding in ("ascii", "text", "txt"):
        with path.open("rb") as file:
            file.seek(offset)
            words = file.read(64 * total).split()[: total // stored.itemsize]
        return HeldBytes(path, np.array([float(word) for word in words]).astype(stored).tobytes())
    raise ReadError(
        f"{path} is encoded as {encoding!r}; wanted raw, gzip, bzip2 or ascii. Save it again."
    )


def _vector(text: str) -> NDArray[np.float64] | None:
    """The numbers of a vector; None for "none", and for the nan that some programs write in its
    place.
    """
    if text.strip().lower() == "none":
        return None
    values = np.array([float(value) for value in text.strip(" ()").split(",")])
    if np.isnan(values).all():
        return None
    return values


def _directions(header: Header) -> list[NDArray[np.float64] | None] | None:
    text = header.fields.get("spacedirections")
    if text is None:
        return None
    return [_vector(part) for part in re.findall(r"none|\([^)]*\)", text, re.IGNORECASE)]


def geometry_of(header: Header, layout: Layout, notes: list[str]) -> Geometry | None:
    """Affine to RAS millimetres by directions and origin, or by spacings alone; None when there are
    neither.
    """
    fields = header.fields
    affine = np.eye(4)
    directions = _directions(header)
    units = {
        unit.lower()
        for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", fields.get("units", "")))
    }
    known = units & set(_MM)
    scale = 1.0
    if len(known) == 1:
        scale = _MM[known.pop()]
    if directions is None:
        return _by_spacings(fields, layout, scale, notes)
    for column, axis in enumerate(layout.spatial):
        vector = directions[axis]
        assert vector is not None
        affine[: min(3, len(vector)), column] = vector[:3]
    if len(layout.spatial) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / np.linalg.norm(normal) / scale
    origin = _vector(fields.get("spaceorigin", "none"))
    if origin is not None:
        affine[: min(3, len(origin)), 3] = origin[:3]
    affine[:3] *= scale
    return Geometry(_flips(fields.get("space", ""), notes) @ affine)


def _by_spacings(
    fields: dict[str, str], layout: Layout, scale: float, notes: list[str]
) -> Geometry | None:
    """Axes along those of the world, which lies as ITK takes it, so that other programs find masks
    on their scan.
    """
    spacings = fields.get("spacings", "").split()
    starts = fields.get("axismins", "").split()
    centers = fields.get("centers", fields.get("centerings", "")).lower().split()
    affine = np.eye(4)
    for column, axis in enumerate(layout.spatial):
        if spacings:
            step = float(spacings[axis])
        else:
            step = float("nan")
        if not (np.isfinite(step) and step > 0):
            return None
        if starts:
            start = float(starts[axis])
        else:
            start = float("nan")
        edge = (
            0.0 if centers and centers[axis] == "node" else step / 2
        )  # a minimum is the edge of a cell
        affine[column, [column, 3]] = (
            step * scale,
            (start + edge) * scale if np.isfinite(start) else 0.0,
        )
    return Geometry(_flips(fields.get("space", ""), notes) @ affine)


def _flips(space: str, notes: list[str]) -> NDArray[np.float64]:
    words = space.lower().removesuffix("-time")
    if words in ("right-anterior-superior", "ras", "rast"):
        return np.eye(4)
    if words in ("left-anterior-superior", "las", "last"):
        return np.diag([-1.0, 1.0, 1.0, 1.0])
    if words not in ("left-posterior-superior", "lps", "lpst"):
        notes.append(
            "the file does not say which way its space points; taken as left-posterior-superior, as ITK does"
        )
    return LPS_TO_RAS


FORMATS = (Nrrd(),)
