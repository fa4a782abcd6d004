"""Masks as ASAP's XML of polygons, which pathology viewers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.io.polygons import Points, to_corner_origin, trace_borders


def asap(
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    offset_xy: tuple[float, float],
    scale: float,
    least: int,
) -> bytes:
    """One polygon a connected part, holes filled.

    Args:
        masks: (row, column) by label.
        offset_xy: where the first pixel lies in the slide.
        scale: slide pixels a pixel.
        least: parts with fewer pixels are left out.
    """
    root = ET.Element("ASAP_Annotations")
    annotations = ET.SubElement(root, "Annotations")
    groups = ET.SubElement(root, "AnnotationGroups")
    for label, mask in masks.items():
        parts, count = ndimage.label(ndimage.binary_fill_holes(mask))
        for number in range(1, count + 1):
            part = parts == number
            if part.sum() < max(least, 1):
                continue
            for border in trace_borders(part):
                _add_polygon(annotations, label, to_corner_origin(border) * scale + offset_xy)
        attributes = {"Name": label, "PartOfGroup": "None", "Color": "#2c7bb6"}
        ET.SubElement(ET.SubElement(groups, "Group", attributes), "Attributes")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _add_polygon(annotations: ET.Element, label: str, points: Points) -> None:
    attributes = {"Name": label, "Type": "Polygon", "PartOfGroup": label, "Color": "#2c7bb6"}
    annotation = ET.SubElement(annotations, "Annotation", attributes)
    coordinates = ET.SubElement(annotation, "Coordinates")
    for order, (x, y) in enumerate(points.tolist()):
        place = {"Order": str(order), "X": f"{x:g}", "Y": f"{y:g}"}
        ET.SubElement(coordinates, "Coordinate", place)
