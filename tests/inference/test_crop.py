from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from segscope.inference.constants import OUTSIDE
from segscope.inference.crop import LEAST_SIDE, Crop, union
from segscope.models.engine import DecoderPrompt

FRAMES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@st.composite
def boxes_on_frames(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    height, width = draw(FRAMES)
    x = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    y = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    return (x[0], y[0], x[1], y[1]), (height, width)


class TestCrop:
    @given(case=boxes_on_frames(), factor=st.floats(1.2, 4))
    def test_a_window_lies_inside_the_frame_and_holds_its_box(
        self, case: tuple, factor: float
    ) -> None:
        box, frame_hw = case
        view = Crop.around(box, frame_hw, factor=factor)
        assert 0 <= view.x0 < view.x1 <= frame_hw[1]
        assert 0 <= view.y0 < view.y1 <= frame_hw[0]
        assert view.holds(box)

    @given(case=boxes_on_frames(), share=st.floats(0.01, 1))
    def test_a_share_of_the_frame_lies_inside_it(self, case: tuple, share: float) -> None:
        box, frame_hw = case
        view = Crop.share(box, frame_hw, share)
        assert 0 <= view.x0 < view.x1 <= frame_hw[1]
        assert 0 <= view.y0 < view.y1 <= frame_hw[0]

    @given(case=boxes_on_frames())
    def test_cut_and_paste_are_inverse(self, case: tuple) -> None:
        box, frame_hw = case
        view = Crop.around(box, frame_hw)
        frame = np.arange(frame_hw[0] * frame_hw[1], dtype=np.float32).reshape(frame_hw)
        pasted = view.paste(torch.from_numpy(view.cut(frame).copy())).numpy()
        assert np.array_equal(view.cut(pasted), view.cut(frame))
        assert (pasted == OUTSIDE).sum() == frame.size - view.cut(frame).size

    def test_prompts_move_with_the_window(self) -> None:
        view = Crop(10, 20, 50, 60, (100, 100))
        prompt = view.shift(
            DecoderPrompt(np.array([[12.5, 21.5]]), np.ones(1, bool), (5, 25, 30, 70))
        )
        assert prompt.points.tolist() == [[2.5, 1.5]]
        assert prompt.box == (0, 5, 20, 40)

    @given(case=boxes_on_frames(), factor=st.floats(1.2, 4))
    def test_a_window_around_a_box_is_square_where_the_frame_allows_it(
        self, case: tuple, factor: float
    ) -> None:
        box, frame_hw = case
        view = Crop.around(box, frame_hw, factor=factor)
        side = math.ceil(max(factor * max(box[2] - box[0], box[3] - box[1]), LEAST_SIDE))
        assert view.size_hw == (min(side, frame_hw[0]), min(side, frame_hw[1]))

    def test_mirrored_prompts_and_pixels_stay_together(self) -> None:
        view = Crop(10, 0, 30, 20, (20, 40), mirrored=True)
        frame = np.zeros((20, 40), np.float32)
        frame[5, 12] = 1
        prompt = view.shift(
            DecoderPrompt(np.array([[12.5, 5.5]]), np.ones(1, bool), (11, 4, 14, 7))
        )
        row, column = np.argwhere(view.cut(frame))[0]
        assert prompt.points.tolist() == [[column + 0.5, row + 0.5]]
        assert prompt.box == (16, 4, 19, 7)


def test_the_union_of_boxes_holds_them_all() -> None:
    assert union([(3, 4, 5, 6), (1, 5, 4, 9)]) == (1, 4, 5, 9)
