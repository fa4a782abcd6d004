"""COCO: run lengths and polygons that other programs read, and theirs read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.coco import (
    compress_counts,
    decode_segmentation,
    expand_counts,
    mask_to_rings,
    mask_to_rle,
    write_coco,
)
from segscope.masks import Masks
from segscope.stack import Stack


@st.composite
def small_masks(draw: st.DrawFn) -> np.ndarray:
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    return random.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.8, 1.0]))


class TestRunLengths:
    @given(small_masks())
    def test_masks_come_back(self, mask: np.ndarray) -> None:
        np.testing.assert_array_equal(decode_segmentation(mask_to_rle(mask), mask.shape), mask)

    @given(st.lists(st.integers(0, 2**31), max_size=30))
    def test_counts_come_back(self, counts: list[int]) -> None:
        assert expand_counts(compress_counts(counts)) == counts

    def test_the_text_is_cocos(self) -> None:
        """By hand: counts run down the columns, and from the fourth on they are differences."""
        mask = np.zeros((3, 4), bool)
        mask[1, 1] = mask[2, 1] = mask[0, 3] = True
        assert mask_to_rle(mask) == {"size": [3, 4], "counts": "423OO"}
        assert expand_counts("423OO") == [4, 2, 3, 1, 2]

    @pytest.mark.parametrize("text", ["o", "\x00", "423", "999999", "é"])
    def test_damaged_text_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="run lengths"):
            decode_segmentation({"size": [3, 4], "counts": text}, (3, 4))


class TestPolygons:
    @given(small_masks())
    @settings(max_examples=200, deadline=None)
    def test_outlines_give_the_pixels_back(self, mask: np.ndarray) -> None:
        rings = mask_to_rings(mask)
        if rings is not None:
            np.testing.assert_array_equal(decode_segmentation(rings, mask.shape), mask)
        else:
            assert mask.size > 8  # only what has a hole has no outline

    def test_a_ring_has_no_outline(self) -> None:
        mask = np.ones((5, 5), bool)
        mask[2, 2] = False
        assert mask_to_rings(mask) is None

    def test_a_square_has_four_corners(self) -> None:
        mask = np.zeros((6, 7), bool)
        mask[1:4, 2:6] = True
        (ring,) = mask_to_rings(mask) or []
        assert sorted(zip(ring[::2], ring[1::2], strict=True)) == [(2, 1), (2, 4), (6, 1), (6, 4)]

    def test_polygons_may_reach_beyond_the_frame(self) -> None:
        assert decode_segmentation([[-5, -5, 30, -5, 30, 30, -5, 30]], (4, 5)).all()
        assert not decode_segmentation([[10, 10, 20, 10, 20, 20]], (4, 5)).any()

    @pytest.mark.parametrize(
        "ring", [[], [1, 2, 3, 4], [0, 0, 1, 1, float("nan"), 2], [0, 0, 1, 1, 2]]
    )
    def test_what_is_no_ring_is_refused(self, ring: list[float]) -> None:
        with pytest.raises(ValueError, match="polygon"):
            decode_segmentation([ring], (4, 5))


LABELS = np.random.default_rng(0).integers(0, 3, (3, 8, 9))


def foreign(path: Path, **changes: Any) -> Path:
    document = {
        "images": [
            {"id": 7, "file_name": "x/a.png", "width": 9, "height": 8},
            {"id": 8, "file_name": "b.png", "width": 4, "height": 4},
        ],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 3,
                "iscrowd": 0,
                "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 3,
                "iscrowd": 1,
                "segmentation": {"size": [8, 9], "counts": [70, 2]},
            },
            {
                "id": 3,
                "image_id": 8,
                "category_id": 3,
                "iscrowd": 0,
                "segmentation": [[0, 0, 4, 0, 4, 4]],
            },
        ],
        **changes,
    }
    path.write_text(json.dumps(document))
    return path


class TestFiles:
    @pytest.mark.parametrize("polygons", [False, True])
    def test_frames_and_objects_come_back(self, polygons: bool, tmp_path: Path) -> None:
        masks = Masks.from_labels(LABELS, names={1: "cell", 2: "cell", 5: "none seen"})
        write_coco(masks, tmp_path / "m.json", polygons=polygons)
        back = io.read_masks(tmp_path / "m.json", Stack.from_array(LABELS, channels=False))
        np.testing.assert_array_equal(back.labels, LABELS)
        assert back.names == {1: "cell", 2: "cell", 5: "none seen"}

    def test_fields_that_coco_demands(self, tmp_path: Path) -> None:
        labels = np.zeros((1, 8, 9), int)
        labels[0, 2:5, 3:7] = 1
        io.write(Masks.from_labels(labels, names={1: "cell"}), tmp_path / "m.json")
        document = json.loads((tmp_path / "m.json").read_text())
        (image,), (category,), (entry,) = (
            document[key] for key in ("images", "categories", "annotations")
        )
        assert (image["width"], image["height"], image["file_name"]) == (9, 8, "m")
        assert (entry["bbox"], entry["area"], entry["iscrowd"]) == ([3, 2, 4, 3], 12, 0)
        assert (entry["image_id"], entry["category_id"]) == (image["id"], category["id"])
        assert category["name"] == "cell"

    def test_files_of_others(self, tmp_path: Path) -> None:
        path = foreign(tmp_path / "c.json")
        with pytest.raises(UsageError, match="2 images"):
            io.read_masks(path)
        like = Stack(np.zeros((1, 8, 9)), "image", path=Path("somewhere/a.png"))
        masks = io.read_masks(path, like)
        assert masks.names == {1: "cell", 2: "cell"}
        expected = np.zeros((8, 9), bool)
        expected[1:3, 1:4] = True
        np.testing.assert_array_equal(masks.of(1)[0], expected)
        assert masks.area(0, 2) == 2

    @pytest.mark.parametrize(
        "changes",
        [
            {"images": None},
            {"annotations": [{"image_id": 7}]},
            {"annotations": [{"image_id": 7, "segmentation": {"size": [1, 1], "counts": "1"}}]},
            {"annotations": ["x"]},
            {"images": [{"id": 7, "file_name": "a.png", "width": 10**9, "height": 10**9}]},
            {"images": [{"id": 7, "file_name": "a.png", "width": -1, "height": 3}]},
            {"images": ["x"]},
        ],
    )
    def test_damaged_documents_are_refused(self, changes: dict[str, Any], tmp_path: Path) -> None:
        like = Stack(np.zeros((1, 8, 9)), "image", path=Path("a.png"))
        with pytest.raises(ReadError):
            io.read_masks(foreign(tmp_path / "c.json", **changes), like)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "[" * 100000, '{"version": 1, "objects": []}', "\ufeff{}"]
    )
    def test_other_json_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ReadError):
            io.read_masks(tmp_path / "c.json")
