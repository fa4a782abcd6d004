"""Sheets of key frames, and the frames of a video."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segscope.contact_sheet import frame_text, key_frames, sheet, size_text, video
from segscope.geometry import Geometry
from segscope.masks import Masks
from segscope.prompts import Box, Point


def grey(rows: int = 40, columns: int = 50) -> np.ndarray:
    return np.full((rows, columns, 3), 90, np.uint8)


def disc(rows: int = 40, columns: int = 50) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (y - 20) ** 2 + (x - 25) ** 2 < 100


def volume(frames: int = 30, held: range = range(5, 21)) -> Masks:
    labels = np.zeros((frames, 40, 50), np.uint16)
    for frame in held:
        labels[frame][disc()] = 1
    return Masks.from_labels(labels, names={1: "liver"}, geometry=Geometry.from_spacing((3, 1, 1)))


def test_key_frames_hold_prompted_first_and_last() -> None:
    shown = key_frames(volume(), [Point(3, 3, frame=28)], at_most=8)
    assert len(shown) == 8
    assert {5, 20, 28} <= set(shown)
    assert shown == sorted(shown)


def test_key_frames_of_nothing() -> None:
    assert key_frames(Masks((4, 5, 5), {}, {1: ""})) == [0]


def test_a_sheet_shows_a_volume() -> None:
    masks = volume()
    frames = np.broadcast_to(grey(), (30, 40, 50, 3))
    page = sheet(
        frames, masks, [Box((10, 10, 40, 30), 12)], note="window: lung", anatomical=True, at_most=6
    )
    assert page.dtype == np.uint8
    assert page.shape[1] > 3 * 300
    assert not np.array_equal(page, sheet(frames, masks, at_most=6))


def test_a_sheet_of_many_objects_keeps_a_short_legend() -> None:
    labels = np.arange(40 * 50).reshape(40, 50) // 20 + 1
    page = sheet(grey()[None], Masks.from_labels(labels))
    assert page.shape[0] < 1.5 * page.shape[1]


def test_a_wide_strip_and_a_huge_image() -> None:
    assert sheet(grey(2, 300)[None], Masks((1, 2, 300), {}, {1: "x"})).size
    assert max(sheet(grey(3000, 2000)[None], Masks((1, 3000, 2000), {}, {})).shape) < 1700


def test_a_video_has_every_frame_in_even_size() -> None:
    masks = Masks.from_labels(
        np.stack([disc(41, 51)] * 3).astype(np.uint8), times_s=np.arange(3) / 25
    )
    drawn = list(video(np.stack([grey(41, 51)] * 3), masks, [Point(25, 20, frame=1)]))
    assert len(drawn) == 3
    assert all(
        frame.shape == drawn[0].shape and not any(side % 2 for side in frame.shape[:2])
        for frame in drawn
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [({}, "frame 2"), ({"times_s": np.arange(4) / 4}, "frame 2  0.50 s"),
     ({"geometry": Geometry.from_spacing((1, 1, 1))}, "slice 2")],
)  # fmt: skip
def test_only_what_has_millimetres_is_called_a_slice(place: dict[str, Any], said: str) -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[2, 2:5, 2:5] = 1
    masks = Masks.from_labels(labels, **place)
    assert frame_text(masks, 2, prompted=False) == said
    if "geometry" not in place:
        assert size_text(masks, 1) == "on 1 frame"
