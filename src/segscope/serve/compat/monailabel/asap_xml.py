"""Masks as ASAP's XML of polygons, which pathology viewers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.io.outlines import outlines

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
    for polygon in _polygons(mask, max(min_pixels, 1)):
        attributes = {"Name": label, "Type": "Polygon", "PartOfGroup": label, "Color": _COLOUR}
        annotation = ET.SubElement(annotations, "Annotation", attributes)
        _add_coordinates(annotation, polygon, offset_xy)
    attributes = {"Name": label, "PartOfGroup": "None", "Color": _COLOUR}
    group = ET.SubElement(groups, "Group", attributes)
    ET.SubElement(group, "Attributes")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _polygons(mask: NDArray[np.bool_], min_pixels: int) -> Iterator[Sequence[float]]:
    """Outlines of the components of a mask, x and y alternating."""
    components, count = ndimage.label(ndimage.binary_fill_holes(mask))
    for number in range(1, count + 1):
        component = components == number
        if component.sum() >= min_pixels:
            yield from outlines(component) or ()


def _add_coordinates(annotation: ET.Element, polygon: Sequence[float], offset_xy: Offset) -> None:
    coordinates = ET.SubElement(annotation, "Coordinates")
    for order, (x, y) in enumerate(zip(polygon[::2], polygon[1::2], strict=True)):
        attributes = {
            "Order": str(order),
            "X": f"{offset_xy[0] + x:g}",
            "Y": f"{offset_xy[1] + y:g}",
        }
        ET.SubElement(coordinates, "Coordinate", attributes)
