"""Masks as ASAP's XML of polygons, which pathology viewers read and write."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import ReadError
from segscope.io.polygons import (
    Points,
    fill_even_odd,
    from_corner_origin,
    to_corner_origin,
    trace_borders,
)
from segscope.masks import Masks, Runs, encode_runs

_COLOUR = "#2c7bb6"
Offset = tuple[float, float]


def asap_annotations(
    label: str, mask: NDArray[np.bool_], *, offset_xy: Offset, min_pixels: int
) -> bytes:
    """One polygon per connected component of a mask, with holes filled.

    Args:
        label: name of the annotations.
        mask: (row, column).
        offset_xy: position of the first pixel in the slide, in pixels of the slide.
        min_pixels: smaller components are left out.
    """
    root = ET.Element("ASAP_Annotations")
    annotations = ET.SubElement(root, "Annotations")
    groups = ET.SubElement(root, "AnnotationGroups")
    for polygon in _trace_components(mask, max(min_pixels, 1)):
        attributes = {"Name": label, "Type": "Polygon", "PartOfGroup": label, "Color": _COLOUR}
        annotation = ET.SubElement(annotations, "Annotation", attributes)
        _add_coordinates(annotation, polygon + np.asarray(offset_xy))
    attributes = {"Name": label, "PartOfGroup": "None", "Color": _COLOUR}
    group = ET.SubElement(groups, "Group", attributes)
    ET.SubElement(group, "Attributes")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _trace_components(mask: NDArray[np.bool_], min_pixels: int) -> Iterator[Points]:
    """Outlines of the components of a mask, from the corner of the first pixel."""
    components, count = ndimage.label(ndimage.binary_fill_holes(mask))
    for number in range(1, count + 1):
        component = components == number
        if component.sum() >= min_pixels:
            for border in trace_borders(component):
                yield to_corner_origin(border)


def _add_coordinates(annotation: ET.Element, polygon: Points) -> None:
    coordinates = ET.SubElement(annotation, "Coordinates")
    for order, (x, y) in enumerate(polygon.tolist()):
        attributes = {"Order": str(order), "X": f"{x:g}", "Y": f"{y:g}"}
        ET.SubElement(coordinates, "Coordinate", attributes)


def read_asap(path: Path, shape_zyx: tuple[int, int, int]) -> Masks:
    """The masks of a file of polygons; each annotation is an object, named by its class.

    Args:
        path: the file.
        shape_zyx: of the image, which has one frame.

    Raises:
        ReadError: not such a file, or polygons for an image with several frames.
    """
    frames, *size_hw = shape_zyx
    if frames != 1:
        raise ReadError(
            f"{path} holds polygons of a single image; its image has {frames} frames. Save the "
            "label as a volume"
        )
    try:
        annotations = ET.parse(path).getroot().findall("./Annotations/Annotation")
    except ET.ParseError as error:
        raise ReadError(f"{path} is no XML file of annotations: {error}") from None
    if not annotations:
        raise ReadError(f"{path} holds no annotations")
    runs: dict[tuple[int, int], Runs] = {}
    names: dict[int, str] = {}
    for object_id, annotation in enumerate(annotations, start=1):
        polygon = from_corner_origin(_read_coordinates(annotation, path))
        mask = fill_even_odd([polygon], (size_hw[0], size_hw[1]))
        runs[0, object_id] = encode_runs(mask)
        names[object_id] = annotation.get("PartOfGroup") or annotation.get("Name") or ""
    return Masks(shape_zyx, runs, names)


def _read_coordinates(annotation: ET.Element, path: Path) -> Points:
    """The points of an annotation, in pixels from the corner of the first one."""
    coordinates = annotation.findall("./Coordinates/Coordinate")
    try:
        points = [(float(item.attrib["X"]), float(item.attrib["Y"])) for item in coordinates]
    except (KeyError, ValueError):
        raise ReadError(f"{path} holds a coordinate without numbers X and Y") from None
    array = np.array(points, np.float64).reshape(-1, 2)
    if len(array) < 3 or not np.isfinite(array).all():
        raise ReadError(f"{path} holds a polygon without three points")
    return array
