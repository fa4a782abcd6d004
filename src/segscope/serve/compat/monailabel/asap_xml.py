"""Masks as ASAP's XML of polygons, which pathology viewers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.io.outlines import outlines


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
            rings = None
            if part.sum() >= max(least, 1):
                rings = outlines(part)
            for ring in rings or ():
                attributes = {
                    "Name": label,
                    "Type": "Polygon",
                    "PartOfGroup": label,
                    "Color": "#2c7bb6",
                }
                inside = ET.SubElement(
                    ET.SubElement(annotations, "Annotation", attributes), "Coordinates"
                )
                for order, (x, y) in enumerate(zip(ring[::2], ring[1::2], strict=True)):
                    place = {
                        "X": f"{offset_xy[0] + x * scale:g}",
                        "Y": f"{offset_xy[1] + y * scale:g}",
                    }
                    ET.SubElement(inside, "Coordinate", {"Order": str(order), **place})
        attributes = {"Name": label, "PartOfGroup": "None", "Color": "#2c7bb6"}
        ET.SubElement(ET.SubElement(groups, "Group", attributes), "Attributes")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
