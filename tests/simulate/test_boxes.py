from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.masks import OBJECTS, disc

from segscope.prompts import Box, MaskPrompt
from segscope.simulate import SIMULATORS, AnnotationTarget
from segscope.simulate.boxes import JITTERS, moved


def make(name: str, truth: np.ndarray, seed: int = 0, frame: int = 0, **options: object) -> list:
    return SIMULATORS[name].make(
        AnnotationTarget(truth, frame=frame), np.random.default_rng(seed), **options
    )


@pytest.mark.parametrize("object_", OBJECTS)
def test_the_tight_box_is_that_of_the_mask(object_: str) -> None:
    truth = OBJECTS[object_]
    frame = len(truth) - 1
    assert make("box.tight", truth, frame=frame) == [Box.around(truth[frame], frame)]


def test_each_part_has_its_box_largest_first() -> None:
    truth = np.zeros((1, 20, 20), bool)
    truth[0, 2:4, 3:5] = truth[0, 4, 5] = True  # a corner is enough to belong together
    truth[0, 10:18, 1:9] = True
    assert [box.xyxy for box in make("box.multi", truth)] == [(1, 10, 9, 18), (3, 2, 6, 5)]


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({"kind": "a"}, -2, 2),  # 10 % of a short side of 20
        ({"kind": "a", "share": 0.2}, -4, 4),
        ({"kind": "b"}, 0, 20),
        ({"kind": "b", "pixels": 7.0}, 0, 7),
        ({"kind": "c"}, 0, 10),  # 5 pixels at 256, on a frame of 512
        ({"kind": "d", "pixels": 2.0}, -8, 8),  # at 128
        ({"kind": "e"}, -6, 6),  # 10 % of each side, the long one of 60
        ({"kind": "e", "share": 0.5}, -20, 20),  # no farther than 20 at 512
    ],
)
def test_edges_move_as_far_as_each_kind_says(options: dict, least: float, most: float) -> None:
    truth = np.zeros((1, 300, 512), bool)
    truth[0, 140:160, 200:260] = True
    out = []
    for seed in range(200):
        ((x0, y0, x1, y1),) = (box.xyxy for box in make("box.jitter", truth, seed, **options))
        out += [200 - x0, 140 - y0, x1 - 260, y1 - 160]
    assert least <= min(out) < least + 0.2 * (most - least)
    assert most - 0.2 * (most - least) < max(out) <= most
    assert set(JITTERS) == set("abcde")


@given(st.tuples(*[st.floats(0, 30)] * 4), st.tuples(*[st.floats(-60, 60)] * 4))
def test_moved_boxes_stay_boxes_on_the_frame(
    corners: tuple[float, ...], by: tuple[float, ...]
) -> None:
    x, y, wide, high = corners
    box = moved(Box((x, y, x + wide + 1, y + high + 1), 2, 3), np.array(by), (40, 50))
    x0, y0, x1, y1 = box.xyxy
    assert 0 <= x0 <= x1 - 1 + 1e-9 <= 49 + 1e-9
    assert 0 <= y0 <= y1 - 1 + 1e-9 <= 39 + 1e-9
    assert (box.frame, box.object_id) == (2, 3)


def test_the_box_of_a_volume_is_that_of_the_middle_slice_with_both_ends() -> None:
    truth = np.zeros((9, 20, 20), bool)
    truth[2:7] = disc((20, 20), 9, 9, 4)
    truth[4] = disc((20, 20), 9, 9, 6)
    box, before, after = make("box3d.mid", truth)
    assert box == Box.around(truth[4], 4)
    assert isinstance(before, MaskPrompt)
    assert [(end.frame, bool(end.mask.any())) for end in (before, after)] == [
        (1, False),
        (7, False),
    ]
    assert [prompt.frame for prompt in make("box3d.mid", truth[2:7])] == [2]
