"""Masks in NRRD: plain label volumes, and 3D Slicer's .seg.nrrd with names, colours and layers for
overlaps.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import ReadError
from segscope.files import atomic
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, reading, suffix_of
from segscope.io.byte_sources import RawFrames, RawLayout
from segscope.io.dicom.snomed import find_codes
from segscope.io.label_frames import (
    default_name,
    iter_label_frames,
    label_type,
    masks_from_stack,
    place_on_grid,
)
from segscope.io.nrrd.header import Header, read_axes, read_geometry, read_header, unit_name
from segscope.io.nrrd.reader import Nrrd, open_data
from segscope.masks import MAX_OBJECT_ID, Masks, Runs, encode_runs
from segscope.overlay import chosen_colour
from segscope.stack import Stack

Layers = Sequence[Sequence[int]]
"""Object ids by layer."""

_TYPE = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int"}


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    name: str
    layer: int
    value: int


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label volume, or of the segments of a .seg.nrrd with their names, on the grid of
    `like`.

    An object has the label value of its segment; where layers use one value twice, objects are
    numbered from 1.
    """
    with reading(path, "an NRRD file with masks"):
        header = read_header(path)
        segments = _read_segments(path, header)
        if segments:
            masks = _read_layers(path, header, segments)
        else:
            masks = masks_from_stack(Nrrd().read(path, ReadOptions()))
        return place_on_grid(masks, like, path)


def _read_segments(path: Path, header: Header) -> list[_Segment]:
    matches = re.findall(r"^Segment(\d+)_", "\n".join(header.pairs), re.MULTILINE)
    numbers = sorted(set(map(int, matches)))
    segments = []
    for position, number in enumerate(numbers):
        prefix = f"Segment{number}_"
        # files from before Slicer 4.11 hold one segment per layer, with the value 1
        layer = int(header.pairs.get(f"{prefix}Layer", position))
        value = int(header.pairs.get(f"{prefix}LabelValue", 1))
        if not 1 <= value <= MAX_OBJECT_ID:
            raise ReadError(
                f"{path} gives a segment the label {value}; expected 1 to {MAX_OBJECT_ID}"
            )
        name = header.pairs.get(f"{prefix}Name") or header.pairs.get(f"{prefix}ID") or ""
        if name == default_name(value):
            name = ""
        segments.append(_Segment(name, layer, value))
    return segments


def _read_layers(path: Path, header: Header, segments: Sequence[_Segment]) -> Masks:
    layout = read_axes(path, header)
    if layout.outer > 1:
        raise ReadError(
            f"{path} stores its layers after the axes of space; expected them first, as 3D Slicer "
            "writes them"
        )
    if any(not 0 <= segment.layer < layout.inner for segment in segments):
        raise ReadError(
            f"{path} names a segment in a layer that it does not have (it has {layout.inner})"
        )
    data, stored = open_data(path, header, layout)
    frames = RawFrames(path, data, RawLayout(stored, (*layout.shape_zyx, layout.inner)))
    by_id = _number_segments(segments)
    runs: dict[tuple[int, int], Runs] = {}
    for index in range(len(frames)):
        frame = frames[index]
        for object_id, segment in by_id.items():
            mask = frame[..., segment.layer] == segment.value
            if mask.any():
                runs[index, object_id] = encode_runs(mask)
    names = {object_id: by_id[object_id].name for object_id in sorted(by_id)}
    return Masks(layout.shape_zyx, runs, names, geometry=read_geometry(header, layout, []))


def _number_segments(segments: Sequence[_Segment]) -> dict[int, _Segment]:
    """Segments by their label values, or from 1 where layers use one value twice."""
    by_value = {segment.value: segment for segment in segments}
    if len(by_value) == len(segments):
        return by_value
    return dict(enumerate(segments, 1))


# --- writing -------------------------------------------------------------------------------------


class NrrdMasks:
    """Label volume in .nrrd; in .seg.nrrd segments with names as 3D Slicer reads them, in layers
    where they overlap.
    """

    name = "NRRD label volume"
    suffixes = (".seg.nrrd", ".nrrd")

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Make the header."""
        layers = self._choose_layers(masks, path)
        _make_header(masks.on_stored_grid(), layers, _unit_of(source))

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        masks = masks.on_stored_grid()
        layers = self._choose_layers(masks, path)
        frames = iter_label_frames(masks, path)
        if len(layers) > 1:
            frames = _iter_layered_frames(masks, layers)
        header = _make_header(masks, layers, _unit_of(source))
        with atomic(path) as part, part.open("wb") as file:
            file.write(header)
            # without name and time: equal masks make equal files
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as deflated:
                for frame in frames:
                    deflated.write(frame.astype(frame.dtype.newbyteorder("<")).tobytes())

    def _choose_layers(self, masks: Masks, path: Path) -> Layers:
        """The layers of a segmentation; none for a plain label volume."""
        if suffix_of(path, self.suffixes) == ".seg.nrrd":
            return _assign_layers(masks)
        return []


def _unit_of(source: Stack | None) -> float:
    """Millimetres of the scan's unit of length."""
    if source is None:
        return 1.0
    return float(source.meta.get("length_unit_mm", 1.0))


def _make_header(masks: Masks, layers: Layers, unit_mm: float) -> bytes:
    lines = _format_header(masks, len(layers), unit_mm)
    if layers:
        lines += _format_segments(masks, layers)
    return ("\n".join(lines) + "\n\n").encode()


def _assign_layers(masks: Masks) -> list[list[int]]:
    """Objects in as few layers as a greedy choice finds, so that none overlap within a layer."""
    overlapping = _find_overlaps(masks)
    layers: list[list[int]] = []
    for object_id in masks.object_ids:
        free = [layer for layer in layers if not overlapping[object_id] & set(layer)]
        if free:
            free[0].append(object_id)
        else:
            layers.append([object_id])
    return layers or [[]]


def _find_overlaps(masks: Masks) -> dict[int, set[int]]:
    """The objects that share a pixel with each object."""
    overlapping: dict[int, set[int]] = {object_id: set() for object_id in masks.object_ids}
    for frame in range(masks.shape_zyx[0]):
        if not masks.overlaps_on(frame):
            continue
        present = [object_id for other, object_id in masks.runs if other == frame]
        pixels = {object_id: masks.mask(frame, object_id) for object_id in present}
        for first, second in combinations(present, 2):
            is_known = second in overlapping[first]
            if not is_known and (pixels[first] & pixels[second]).any():
                overlapping[first].add(second)
                overlapping[second].add(first)
    return overlapping


def _iter_layered_frames(masks: Masks, layers: Layers) -> Iterator[Pixels]:
    """Frames (row, column, layer)."""
    dtype = label_type(masks)
    layer_of = _number_layers(layers)
    for index in range(masks.shape_zyx[0]):
        frame = np.zeros((*masks.shape_zyx[1:], len(layers)), dtype)
        for object_id, number in layer_of.items():
            if (index, object_id) in masks.runs:
                frame[masks.mask(index, object_id), number] = object_id
        yield frame


def _number_layers(layers: Layers) -> dict[int, int]:
    """The number of the layer of each object."""
    return {object_id: number for number, ids in enumerate(layers) for object_id in ids}


def _format_header(masks: Masks, layer_count: int, unit_mm: float) -> list[str]:
    """Lines of the header, with lengths in the unit of the scan: many programs ignore units."""
    z, y, x = masks.shape_zyx
    dimension = 3
    sizes = f"{x} {y} {z}"
    kinds = "domain domain domain"
    layer_direction = ""
    if layer_count > 1:
        dimension = 4
        sizes = f"{layer_count} {sizes}"
        kinds = f"list {kinds}"
        layer_direction = "none "
    lines = [
        "NRRD0004",
        f"type: {_TYPE[label_type(masks).itemsize]}",
        f"dimension: {dimension}",
        f"sizes: {sizes}",
        f"kinds: {kinds}",
        "endian: little",
        "encoding: gzip",
    ]
    if masks.geometry is not None:
        directions, origin = _format_affine(masks.geometry, unit_mm)
        lines.insert(3, "space: left-posterior-superior")
        lines.insert(5, f"space directions: {layer_direction}{directions}")
        lines.append(f"space origin: {origin}")
        if unit_mm != 1:
            lines.append("space units:" + f' "{unit_name(unit_mm)}"' * 3)
    return lines


def _format_affine(geometry: Geometry, unit_mm: float) -> tuple[str, str]:
    """The directions of the three axes, and the origin."""
    columns = []
    for column in geometry.lps_affine[:3].T / unit_mm:
        numbers = ",".join(repr(float(value)) for value in column)
        columns.append(f"({numbers})")
    return " ".join(columns[:3]), columns[3]


def _format_segments(masks: Masks, layers: Layers) -> list[str]:
    z, y, x = masks.shape_zyx
    layer_of = _number_layers(layers)
    lines = []
    for number, object_id in enumerate(masks.object_ids):
        red, green, blue = (value / 255 for value in chosen_colour(masks, object_id))
        name = masks.names[object_id]
        about = masks.about.get(object_id, {})
        prefix = f"Segment{number}_"
        lines += [
            f"{prefix}ID:=Segment_{object_id}",
            f"{prefix}Name:={_escape(name or default_name(object_id))}",
            f"{prefix}Color:={red:.6g} {green:.6g} {blue:.6g}",
            f"{prefix}LabelValue:={object_id}",
            f"{prefix}Layer:={layer_of[object_id]}",
            f"{prefix}Extent:=0 {x - 1} 0 {y - 1} 0 {z - 1}",
            f"{prefix}NameAutoGenerated:={int(not name)}",
            f"{prefix}ColorAutoGenerated:={int(not about.get('colour'))}",
            f"{prefix}Tags:={_format_terminology(name, about.get('code'))}",
        ]
    return [
        *lines,
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _format_terminology(label: str, code: Mapping[str, str] | None) -> str:
    """What an object is, as 3D Slicer writes it: category, type, and no modifier or region."""
    concepts = ["^".join(map(_escape, concept)) for concept in find_codes(label, code)]
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    return (
        f"TerminologyEntry:{context}~{'~'.join(concepts)}"
        "~^^~Anatomic codes - DICOM master list~^^~^^|"
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


MASK_FORMATS = (NrrdMasks(),)
