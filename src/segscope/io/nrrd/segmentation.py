"""Masks in NRRD: plain label volumes, and 3D Slicer's .seg.nrrd with names, colours and layers for
overlaps.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.files import atomic
from segscope.geometry import LPS_TO_RAS
from segscope.io.base import FitsAll, ReadOptions, suffix_of
from segscope.io.byte_sources import RawFrames, reading
from segscope.io.dicom.snomed import coded
from segscope.io.label_frames import label_frames, label_type, masks_of_stack, on_grid_of
from segscope.io.nrrd.reader import Header, Nrrd, data_of, geometry_of, layout_of, read_header
from segscope.masks import Masks, Runs, encode_runs
from segscope.overlay import chosen_colour
from segscope.stack import Stack

_TYPE = {1: "unsigned char", 2: "unsigned short"}


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
        segments = _segments(path, header)
        if not segments:
            return on_grid_of(masks_of_stack(Nrrd().read(path, ReadOptions())), like, path)
        return on_grid_of(_masks(path, header, segments), like, path)


def _segments(path: Path, header: Header) -> list[_Segment]:
    numbers = {int(found[1]) for key in header.pairs if (found := re.match(r"Segment(\d+)_", key))}
    segments = []
    for position, number in enumerate(sorted(numbers)):
        pairs = {
            name: header.pairs.get(f"Segment{number}_{name}")
            for name in ("Name", "ID", "Layer", "LabelValue")
        }
        # files from before Slicer 4.11 hold one segment a layer, with the value 1
        if pairs["Layer"] is None:
            layer = position
        else:
            layer = int(pairs["Layer"])
        if pairs["LabelValue"] is None:
            value = 1
        else:
            value = int(pairs["LabelValue"])
        if not 1 <= value <= 65535:
            raise ReadError(f"{path} gives a segment the label {value}; wanted 1 to 65535")
        name = pairs["Name"] or pairs["ID"] or ""
        segments.append(_Segment("" if name == unnamed(value) else name, layer, value))
    return segments


def _masks(path: Path, header: Header, segments: Sequence[_Segment]) -> Masks:
    layout = layout_of(path, header)
    if layout.outer > 1:
        raise ReadError(
            f"{path} keeps its layers behind the axes of space; wanted them first, as 3D Slicer has them"
        )
    data, stored = data_of(path, header, layout)
    frames = RawFrames(path, data, stored, (*layout.shape_zyx, layout.inner))
    if any(not 0 <= segment.layer < layout.inner for segment in segments):
        raise ReadError(
            f"{path} names a segment in a layer that it does not hold ({layout.inner} layers)"
        )
    unique = len({segment.value for segment in segments}) == len(segments)
    ids = [segment.value if unique else number for number, segment in enumerate(segments, 1)]
    runs: dict[tuple[int, int], Runs] = {}
    for index in range(len(frames)):
        frame = frames[index]
        for object_id, segment in zip(ids, segments, strict=True):
            mask = frame[..., segment.layer] == segment.value
            if mask.any():
                runs[index, object_id] = encode_runs(mask)
    names = {object_id: segment.name for object_id, segment in zip(ids, segments, strict=True)}
    return Masks(
        layout.shape_zyx,
        runs,
        dict(sorted(names.items())),
        geometry=geometry_of(header, layout, []),
    )


class NrrdMasks(FitsAll):
    """Label volume in .nrrd; in .seg.nrrd segments with names as 3D Slicer reads them, in layers
    where they overlap.
    """

    name = "NRRD label volume"
    suffixes = (".seg.nrrd", ".nrrd")

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        masks = masks.on_stored_grid()
        if suffix_of(path, self.suffixes) == ".seg.nrrd":
            layers = _layers(masks)
        else:
            layers = []
        if len(layers) > 1:
            frames = _layered(masks, layers)
        else:
            frames = label_frames(masks, path)
        with atomic(path) as part, part.open("wb") as file:
            file.write(
                _header(masks, layers, segmented=path.name.lower().endswith(".seg.nrrd")).encode()
            )
            with gzip.GzipFile(
                filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0
            ) as packed:
                for frame in frames:
                    packed.write(frame.astype(frame.dtype.newbyteorder("<")).tobytes())


def _layers(masks: Masks) -> list[list[int]]:
    """Objects in as few layers as a greedy choice finds, such that none overlap within a layer."""
    clashes: dict[int, set[int]] = {object_id: set() for object_id in masks.object_ids}
    for frame in range(masks.shape_zyx[0]):
        present = [object_id for object_id in masks.object_ids if masks.area(frame, object_id)]
        if sum(masks.area(frame, object_id) for object_id in present) == np.count_nonzero(
            masks.frame_labels(frame)
        ):
            continue
        shown = {object_id: masks.mask(frame, object_id) for object_id in present}
        for position, first in enumerate(present):
            for second in present[position + 1 :]:
                if second not in clashes[first] and (shown[first] & shown[second]).any():
                    clashes[first].add(second)
                    clashes[second].add(first)
    layers: list[list[int]] = []
    for object_id in masks.object_ids:
        free = next((layer for layer in layers if not clashes[object_id] & set(layer)), None)
        if free is None:
            layers.append([object_id])
        else:
            free.append(object_id)
    return layers or [[]]


def _layered(masks: Masks, layers: Sequence[Sequence[int]]) -> Iterator[NDArray[Any]]:
    """Frames (row, column, layer)."""
    kind = label_type(masks)
    for index in range(masks.shape_zyx[0]):
        frame = np.zeros((*masks.shape_zyx[1:], len(layers)), kind)
        for number, layer in enumerate(layers):
            for object_id in layer:
                if (index, object_id) in masks.runs:
                    frame[masks.mask(index, object_id), number] = object_id
        yield frame


def _header(masks: Masks, layers: Sequence[Sequence[int]], *, segmented: bool) -> str:
    z, y, x = masks.shape_zyx
    listed = len(layers) > 1
    lines = [
        "NRRD0004",
        f"type: {_TYPE[label_type(masks).itemsize]}",
        f"dimension: {4 if listed else 3}",
        *(["space: left-posterior-superior"] if masks.geometry is not None else []),
        f"sizes: {f'{len(layers)} ' if listed else ''}{x} {y} {z}",
        f"kinds: {'list ' if listed else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
    ]
    if masks.geometry is not None:
        affine = LPS_TO_RAS @ masks.geometry.affine
        columns = [
            f"({','.join(repr(float(value)) for value in affine[:3, column])})"
            for column in range(4)
        ]
        lines.insert(5, f"space directions: {'none ' if listed else ''}{' '.join(columns[:3])}")
        lines.append(f"space origin: {columns[3]}")
    if segmented:
        lines += _segment_lines(masks, layers)
    return "\n".join(lines) + "\n\n"


def _segment_lines(masks: Masks, layers: Sequence[Sequence[int]]) -> list[str]:
    z, y, x = masks.shape_zyx
    lines = []
    for number, object_id in enumerate(masks.object_ids):
        layer = next(index for index, ids in enumerate(layers) if object_id in ids)
        red, green, blue = (value / 255 for value in chosen_colour(masks, object_id))
        about = masks.about.get(object_id, {})
        prefix = f"Segment{number}_"
        lines += [
            f"{prefix}ID:=Segment_{object_id}",
            f"{prefix}Name:={_escaped(masks.names[object_id] or unnamed(object_id))}",
            f"{prefix}Color:={red:.6g} {green:.6g} {blue:.6g}",
            f"{prefix}LabelValue:={object_id}",
            f"{prefix}Layer:={layer}",
            f"{prefix}Extent:=0 {x - 1} 0 {y - 1} 0 {z - 1}",
            f"{prefix}NameAutoGenerated:={int(not masks.names[object_id])}",
            f"{prefix}ColorAutoGenerated:={int(not about.get('colour'))}",
            f"{prefix}Tags:={_terminology(masks.names[object_id], about.get('code'))}",
        ]
    return [
        *lines,
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _terminology(label: str, code: Mapping[str, str] | None) -> str:
    """What an object is, as 3D Slicer writes it: category, type, and no modifier or region."""
    category, kind = coded(label, code)
    said = "~".join("^".join(_escaped(part) for part in concept) for concept in (category, kind))
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    return f"TerminologyEntry:{context}~{said}~^^~Anatomic codes - DICOM master list~^^~^^|"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


def unnamed(object_id: int) -> str:
    """What an object without a name is called where a format wants one."""
    return f"object {object_id}"


MASK_FORMATS = (NrrdMasks(),)
