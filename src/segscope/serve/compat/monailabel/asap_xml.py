"""Masks as ASAP's XML of polygons, which pathology viewers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.io.polygons import Points, to_corner_origin, trace_borders

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
