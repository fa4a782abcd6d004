"""Polygons of a mask as ASAP reads them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from segscope.errors import ReadError
from segscope.serve.compat.monailabel.asap_xml import asap_annotations, read_asap


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


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "label.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_polygons_come_back_as_masks(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:8, 3:9] = True
    mask[12:18, 20:28] = True
    content = asap_annotations("liver", mask, offset_xy=(0, 0), min_pixels=0)
    masks = read_asap(write(tmp_path, content), (1, 20, 30))
    assert dict(masks.names) == {1: "liver", 2: "liver"}
    assert np.array_equal(masks.labels[0] > 0, mask)
    assert masks.area(0, 1) == 36


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("junk", "no XML"),
        ("<ASAP_Annotations/>", "no annotations"),
        ("<A><Annotations><Annotation/></Annotations></A>", "three points"),
        (
            "<A><Annotations><Annotation><Coordinates><Coordinate X='a' Y='1'/></Coordinates>"
            "</Annotation></Annotations></A>",
            "without numbers",
        ),
    ],
)
def test_what_is_no_annotation(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_asap(write(tmp_path, text), (1, 20, 30))


def test_polygons_are_for_single_images(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="7 frames"):
        read_asap(write(tmp_path, "<A/>"), (7, 20, 30))
