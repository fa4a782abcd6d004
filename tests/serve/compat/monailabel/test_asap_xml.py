"""Polygons of a mask as ASAP reads them."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from segscope.serve.compat.monailabel.asap_xml import asap_annotations


def test_each_component_is_a_polygon_in_the_place_of_the_slide() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:8, 3:9] = True
    mask[4, 5] = False  # a hole, which is filled
    mask[12:18, 20:28] = True
    mask[0, 0] = True  # too small
    content = asap_annotations("liver", mask, offset_xy=(100, 200), min_pixels=4)
    root = ElementTree.fromstring(content)
    polygons = root.findall("./Annotations/Annotation")
    assert [polygon.get("PartOfGroup") for polygon in polygons] == ["liver", "liver"]
    corners = polygons[0].findall("./Coordinates/Coordinate")
    assert min(float(corner.get("X", "")) for corner in corners) == 103
    assert max(float(corner.get("Y", "")) for corner in corners) == 208
    assert [group.get("Name") for group in root.findall("./AnnotationGroups/Group")] == ["liver"]
