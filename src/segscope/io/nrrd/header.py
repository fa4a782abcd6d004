"""Headers of NRRD files: fields, what the axes mean, and where the voxels lie in the world."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import check_file
from segscope.io.data_files import names_list

Vector = NDArray[np.float64]

_MAX_HEADER = 2**22
_SPATIAL_KINDS = ("domain", "space", "???", "none")
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
    """What an NRRD header states.

    Attributes:
        fields: by name, in lower case and without blanks.
        pairs: keys and values.
        files: names of the data files, where the header ends with their list.
        end: the byte behind it.
    """

    fields: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    end: int = 0

    @property
    def lists_files(self) -> bool:
        """Whether the lines that follow are names of data files."""
        return names_list(self.fields.get("datafile", ""))

    def whole_number(self, path: Path, name: str, lowest: int) -> int:
        """The whole number of an optional field; 0 where it is missing.

        Raises:
            ReadError: no whole number, or below `lowest`.
        """
        text = self.fields.get(name.replace(" ", ""), "0")
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise ReadError(
                f"{path} has the field '{name}: {text}'; expected a whole number from {lowest} on"
            )
        return number


@dataclass(frozen=True)
class AxisLayout:
    """What the axes mean: components of one voxel (`inner`), space, further volumes (`outer`)."""

    shape_zyx: tuple[int, int, int]
    spatial: tuple[int, ...]
    inner: int = 1
    inner_kind: str = ""
    outer: int = 1

    @property
    def voxel_shape(self) -> tuple[int, ...]:
        """(frame, row, column[, component]) of one volume."""
        if self.inner == 1:
            return self.shape_zyx
        return (*self.shape_zyx, self.inner)


# --- header --------------------------------------------------------------------------------------


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
                _add_line(path, header, text)
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in header.fields:
            raise ReadError(f"{path} has a header without {name!r}; it is cut off or damaged")
    return header


def _add_line(path: Path, header: Header, text: str) -> None:
    if header.lists_files:
        header.files.append(text.strip())
        return
    name, colon, value = text.partition(":")
    if not colon:
        raise ReadError(
            f"{path} has the header line {text[:80]!r}, which is not a field; it is damaged"
        )
    if value.startswith("="):
        header.pairs[name] = re.sub(r"\\(.)", _unescape, value[1:])
    else:
        header.fields[name.strip().lower().replace(" ", "")] = value.strip()


def _unescape(match: re.Match[str]) -> str:
    if match[1] == "n":
        return "\n"
    return match[1]


# --- axes ----------------------------------------------------------------------------------------


def read_axes(path: Path, header: Header) -> AxisLayout:
    """Meaning of the axes by their kinds and directions.

    Raises:
        ReadError: damaged, or axes without a single meaning.
    """
    sizes = list(map(int, header.fields["sizes"].split()))
    if len(sizes) != int(header.fields["dimension"]) or min(sizes, default=0) < 1:
        raise ReadError(
            f"{path} declares the sizes {sizes} in {header.fields['dimension']} dimensions; "
            "it is damaged"
        )
    kinds = header.fields.get("kinds", "").lower().split() or ["domain"] * len(sizes)
    spatial = _spatial_axes(path, header, kinds, len(sizes))
    inner, between, outer = _group_other_axes(sizes, spatial)
    if len(spatial) < 2 or between or max(len(inner), len(outer)) > 1:
        listing = ", ".join(f"{kind} {size}" for kind, size in zip(kinds, sizes, strict=True))
        raise ReadError(
            f"{path} has the axes {listing}; expected two or three axes of space, with the "
            "components of a voxel before them or further volumes after them"
        )
    x, y, z = [sizes[axis] for axis in spatial] + [1] * (3 - len(spatial))
    return AxisLayout(
        (z, y, x),
        tuple(spatial),
        inner=math.prod(sizes[axis] for axis in inner),
        inner_kind="".join(kinds[axis] for axis in inner),
        outer=math.prod(sizes[axis] for axis in outer),
    )


def _group_other_axes(
    sizes: list[int], spatial: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """Axes longer than 1 before, between and after those of space."""
    groups: tuple[list[int], list[int], list[int]] = ([], [], [])
    for axis, size in enumerate(sizes):
        if size == 1 or axis in spatial:
            continue
        before = sum(axis > other for other in spatial)
        if before == 0:
            groups[0].append(axis)
        elif before < len(spatial):
            groups[1].append(axis)
        else:
            groups[2].append(axis)
    return groups


def _spatial_axes(path: Path, header: Header, kinds: list[str], count: int) -> list[int]:
    """The first three axes with a direction, or with a spatial kind if there are no directions."""
    directions = _read_directions(header)
    counts = {count, len(kinds)}
    if directions:
        counts.add(len(directions))
    if len(counts) > 1:
        raise ReadError(
            f"{path} has {count} axes, but another number of kinds or directions; it is damaged"
        )
    if directions:
        spatial = [axis for axis in range(count) if directions[axis] is not None]
    else:
        spatial = [axis for axis in range(count) if kinds[axis] in _SPATIAL_KINDS]
    return spatial[:3]


# --- geometry ------------------------------------------------------------------------------------


def _parse_vector(text: str) -> Vector | None:
    """The numbers of a vector; None for "none", or the nan that some programs write instead."""
    if text.strip().lower() == "none":
        return None
    values = np.array(list(map(float, text.strip(" ()").split(","))))
    if np.isnan(values).all():
        return None
    return values


def _read_directions(header: Header) -> list[Vector | None] | None:
    text = header.fields.get("spacedirections")
    if text is None:
        return None
    return list(map(_parse_vector, re.findall(r"none|\([^)]*\)", text, re.IGNORECASE)))


def read_geometry(header: Header, layout: AxisLayout, notes: list[str]) -> Geometry | None:
    """Affine to RAS millimetres by directions and origin, else by spacings; None without both."""
    fields = header.fields
    scale = read_unit(header, [])
    directions = _read_directions(header)
    if directions is None:
        return _geometry_by_spacings(fields, layout, scale, notes)
    affine = np.eye(4)
    for column, axis in enumerate(layout.spatial):
        vector = directions[axis]
        assert vector is not None
        affine[: min(3, len(vector)), column] = vector[:3]
    if len(layout.spatial) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / np.linalg.norm(normal) / scale
    origin = _parse_vector(fields.get("spaceorigin", "none"))
    if origin is not None:
        affine[: min(3, len(origin)), 3] = origin[:3]
    affine[:3] *= scale
    return Geometry(_world_to_ras(fields.get("space", ""), notes) @ affine)


def read_unit(header: Header, notes: list[str]) -> float:
    """Millimetres of the file's unit of length; 1 where it states none, several or no length."""
    text = header.fields.get("spaceunits", header.fields.get("units", ""))
    names = set(re.findall(r'"([^"]*)"', text.lower())) - {""}
    known = names & set(_MM)
    if len(known) == 1:
        return _MM[known.pop()]
    if names:
        listing = ", ".join(sorted(names))
        notes.append(f"the file states its lengths in {listing}; millimetres are assumed")
    return 1.0


def unit_name(unit_mm: float) -> str:
    """The name of a unit of length that `read_unit` returns."""
    return {length: name for name, length in reversed(_MM.items())}[unit_mm]


def _geometry_by_spacings(
    fields: dict[str, str], layout: AxisLayout, scale: float, notes: list[str]
) -> Geometry | None:
    """Axes along those of the world, placed as ITK does, so that other programs show masks on
    their scan; no place where the file states neither a space nor an origin.
    """
    spacings = _axis_values(fields.get("spacings", "").split(), layout)
    starts = _axis_values(fields.get("axismins", "").split(), layout)
    centers = fields.get("centers", fields.get("centerings", "")).lower().split()
    affine = np.eye(4)
    has_place = "space" in fields
    for column, axis in enumerate(layout.spatial):
        step = spacings[column]
        if not 0 < step < math.inf:
            return None
        start = starts[column]
        is_node = bool(centers) and centers[axis] == "node"
        if not is_node:
            start += step / 2  # the minimum of a cell is its edge
        affine[column, column] = step * scale
        if np.isfinite(start):
            has_place = True
            affine[column, 3] = start * scale
    return Geometry(_world_to_ras(fields.get("space", ""), notes) @ affine, has_place)


def _axis_values(words: Sequence[str], layout: AxisLayout) -> list[float]:
    """The numbers of the spatial axes; nan where the field is missing."""
    if not words:
        return [float("nan")] * len(layout.spatial)
    return [float(words[axis]) for axis in layout.spatial]


def _world_to_ras(space: str, notes: list[str]) -> NDArray[np.float64]:
    name = space.lower().removesuffix("-time")
    if name in ("right-anterior-superior", "ras", "rast"):
        return np.eye(4)
    if name in ("left-anterior-superior", "las", "last"):
        return np.diag([-1.0, 1.0, 1.0, 1.0])
    if name not in ("left-posterior-superior", "lps", "lpst"):
        notes.append(
            "the file does not state the orientation of its space; "
            "left-posterior-superior is assumed, as in ITK"
        )
    return LPS_TO_RAS
