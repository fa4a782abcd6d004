from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.engines import make_engine

from segscope.inference.crop import OUTSIDE, Crop
from segscope.masks import FrameMask
from segscope.models.engine import DecoderPrompt
from segscope.predict import StopRules
from segscope.inference.prompted_masks import MaskCandidate, rank_candidates
from segscope.predict.stop_rules import StopWatch
from segscope.prompts import Box, MaskPrompt, Point
from segscope.session import Interaction
from segscope.stack import Stack

FRAMES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@st.composite
def boxes_on_frames(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    height, width = draw(FRAMES)
    x = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    y = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    return (x[0], y[0], x[1], y[1]), (height, width)


class TestView:
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

    def test_hints_move_with_the_window(self) -> None:
        view = Crop(10, 20, 50, 60, (100, 100))
        hint = view.shift(
            DecoderPrompt(np.array([[12.5, 21.5]]), np.ones(1, bool), (5, 25, 30, 70))
        )
        assert hint.points.tolist() == [[2.5, 1.5]]
        assert hint.box == (0, 5, 20, 40)


def disc(x: float, size: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - 100) ** 2 < 12**2


def test_tracking_looks_through_a_window_that_grows_when_needed() -> None:
    frames = np.stack([np.where(disc(40 + 8 * i), 200, 50).astype(np.uint8) for i in range(6)])
    with Interaction(Stack.from_array(frames, times_s=np.arange(6)), make_engine("mini")) as work:
        work.add(MaskPrompt(disc(40)))
        next(iter(work.propagate("forward")))
        first = memory_view(work, 1, 0)
        assert first.holds(Box.around(disc(40)).xyxy)
        assert max(first.size_hw) < 150
        work.add(MaskPrompt(disc(180), frame=5))
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0).holds((28, 88, 192, 112))


def memory_view(work: Interaction, object_id: int, frame: int) -> Crop:
    """The window that tracking of an object looked through."""
    memory = work.tracks[object_id].answers[frame].memory
    assert memory is not None
    return memory.view


def test_objects_far_apart_have_windows_of_their_own_and_are_tracked_as_if_alone() -> None:
    frames = np.stack(
        [np.where(disc(20 + i) | disc(180 - i), 200, 50).astype(np.uint8) for i in range(4)]
    )
    stack = Stack.from_array(frames, times_s=np.arange(4))
    left, right = MaskPrompt(disc(20)), MaskPrompt(disc(180), object_id=2)
    found = {}
    for prompts in ((left, right), (left,), (right,)):
        with Interaction(stack, make_engine("mini"), overlap="keep") as work:
            work.add(*prompts)
            answers = [(one.frame, one.object_id, one.mask) for one in work.propagate("forward")]
            assert [frame for frame, _, _ in answers] == sorted(frame for frame, _, _ in answers)
            found[prompts] = {(frame, object_id): mask for frame, object_id, mask in answers}
    with Interaction(stack, make_engine("mini")) as work:
        work.add(left, right)
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0) != memory_view(work, 2, 0)
    alone = found[left,] | found[right,]
    assert found[left, right].keys() == alone.keys()
    assert all(np.array_equal(mask, alone[key]) for key, mask in found[left, right].items())


def test_objects_that_overlap_share_a_window() -> None:
    frames = np.stack([np.where(disc(95) | disc(105), 200, 50).astype(np.uint8)] * 2)
    with Interaction(Stack.from_array(frames, times_s=np.arange(2)), make_engine("mini")) as work:
        work.add(MaskPrompt(disc(95)), MaskPrompt(disc(105), object_id=2))
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0) == memory_view(work, 2, 0)


def test_zoom_answers_in_frame_pixels() -> None:
    image = Stack.from_array(np.where(disc(150), 220, 30).astype(np.uint8))
    with Interaction(image, make_engine("mini")) as work:
        found = work.add(Point(150, 100))
        assert found.logits.shape == (200, 200)
        assert len(found.candidates) == 3
        assert all(logits.shape == (200, 200) for logits, _ in found.candidates)


def frame_mask(area: int, presence: float = 5.0, score: float = 0.9) -> FrameMask:
    mask = np.zeros(1000, bool)
    mask[:area] = True
    return FrameMask(0, 1, mask.reshape(20, 50), np.zeros((20, 50), np.float32), score, presence)


class TestStopRules:
    def test_two_frames_without_the_object(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert [watch.see(frame_mask(a)) != "" for a in (500, 0, 400, 0, 0)] == [
            False,
            False,
            False,
            False,
            True,
        ]

    def test_the_distance_counts_where_slices_are_thin(self) -> None:
        watch = StopWatch(StopRules(), 0.5)
        reasons = [watch.see(frame_mask(300, presence=-1)) for _ in range(6)]
        assert [bool(reason) for reason in reasons] == [False] * 5 + [True]

    def test_an_answer_that_is_doubted_for_two_frames(self) -> None:
        watch = StopWatch(StopRules(), None)
        scores = (0.95, 0.7, 0.44, 0.6, 0.44, 0.4)  # the prompted frame, then tracked ones
        reasons = [watch.see(frame_mask(500, score=score)) for score in scores]
        assert [bool(reason) for reason in reasons] == [False] * 5 + [True]
        assert "from 0.70 to 0.40" in reasons[-1]

    def test_an_object_that_shrinks_to_nothing(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert not watch.see(frame_mask(900))
        assert not watch.see(frame_mask(20))
        assert "largest area" in watch.see(frame_mask(10))

    def test_a_small_object_that_grows_is_kept(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert not any(watch.see(frame_mask(a)) for a in (5, 10, 400, 900))


def _candidate(box: tuple[int, int, int, int], view: Crop, score: float) -> MaskCandidate:
    """A filled box, in pixels of a 64 x 64 frame, as logits of a view."""
    full = torch.full((64, 64), -5.0)
    full[box[1] : box[3], box[0] : box[2]] = 5.0
    return MaskCandidate(full[view.y0 : view.y1, view.x0 : view.x1], view, score, None)


def test_windows_that_agree_outvote_one_that_is_surer() -> None:
    whole, half, quarter = (
        Crop.whole((64, 64)),
        Crop(16, 16, 48, 48, (64, 64)),
        Crop(24, 24, 40, 40, (64, 64)),
    )
    agreeing = [_candidate((26, 26, 38, 38), view, 0.7) for view in (whole, half, quarter)]
    surer = _candidate((2, 2, 62, 62), whole, 0.75)
    assert rank_candidates([surer, *agreeing], (64, 64))[0] is not surer
    assert (
        rank_candidates([surer, agreeing[0]], (64, 64))[0] is surer
    )  # one window: the predicted IoU alone


def test_a_mask_that_its_window_cuts_comes_after_one_that_lies_inside() -> None:
    whole, quarter = Crop.whole((64, 64)), Crop(24, 24, 40, 40, (64, 64))
    cut, inside = (
        _candidate((10, 10, 54, 54), quarter, 0.8),
        _candidate((10, 10, 54, 54), whole, 0.8),
    )
    assert [item.crop for item in rank_candidates([cut, inside], (64, 64))] == [whole, quarter]
