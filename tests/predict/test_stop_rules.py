from __future__ import annotations

import numpy as np

from segscope.masks import FrameMask
from segscope.predict import StopRules
from segscope.predict.propagation import default_direction
from segscope.predict.stop_rules import StopWatch, default_rules
from segscope.stack import Stack


def frame_mask(area: int, presence: float = 5.0, score: float = 0.9) -> FrameMask:
    mask = np.zeros(1000, bool)
    mask[:area] = True
    return FrameMask(0, 1, mask.reshape(20, 50), np.zeros((20, 50), np.float32), score, presence)


class TestStopRules:
    def test_two_frames_without_the_object(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert [watch.check(frame_mask(a)) != "" for a in (500, 0, 400, 0, 0)] == [
            False,
            False,
            False,
            False,
            True,
        ]

    def test_the_distance_counts_where_slices_are_thin(self) -> None:
        watch = StopWatch(StopRules(), 0.5)
        reasons = [watch.check(frame_mask(300, presence=-1)) for _ in range(6)]
        assert [bool(reason) for reason in reasons] == [False] * 5 + [True]

    def test_an_answer_that_is_doubted_for_two_frames(self) -> None:
        watch = StopWatch(StopRules(), None)
        scores = (0.95, 0.7, 0.44, 0.6, 0.44, 0.4)  # the prompted frame, then tracked ones
        reasons = [watch.check(frame_mask(500, score=score)) for score in scores]
        assert [bool(reason) for reason in reasons] == [False] * 5 + [True]
        assert "from 0.70 to 0.40" in reasons[-1]

    def test_an_object_that_shrinks_to_nothing(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert not watch.check(frame_mask(900))
        assert not watch.check(frame_mask(20))
        assert "largest area" in watch.check(frame_mask(10))

    def test_a_small_object_that_grows_is_kept(self) -> None:
        watch = StopWatch(StopRules(), None)
        assert not any(watch.check(frame_mask(a)) for a in (5, 10, 400, 900))


def test_defaults_follow_the_kind_of_the_stack() -> None:
    frames = np.zeros((3, 8, 8), np.uint8)
    volume = Stack.from_array(frames)
    video = Stack.from_array(frames, times_s=np.arange(3))
    assert (default_rules(volume), default_direction(volume)) == (StopRules(), "both")
    assert (default_rules(video), default_direction(video)) == (None, "forward")
