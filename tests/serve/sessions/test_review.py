"""What a person should review, and in which order."""

from __future__ import annotations

import numpy as np

from segscope.inference.crop import Crop
from segscope.masks import encode_runs
from segscope.predict.state import FrameResult, ObjectState
from segscope.prompts import MaskPrompt, Point
from segscope.serve.sessions.review import count_reviewed, is_reviewed, list_doubts

SIZE = (20, 20)


def result(width: int, score: float = 0.9, object_score: float | None = None) -> FrameResult:
    mask = np.zeros(SIZE, bool)
    mask[:10, :width] = True
    runs = encode_runs(mask)
    return FrameResult(runs, int(mask.sum()), None, Crop.whole(SIZE), score, object_score, None)


def test_masks_of_a_person_are_reviewed() -> None:
    mask = np.ones(SIZE, bool)
    obj = ObjectState(
        prompts={
            0: (Point(1, 1),),
            1: (MaskPrompt(mask, 1),),
            2: (MaskPrompt(mask, 2, score=0.7),),
        },
        answers={frame: result(5) for frame in range(5)},
        accepted=frozenset({3}),
    )
    assert [is_reviewed(obj, frame) for frame in range(5)] == [True, True, False, True, False]
    assert count_reviewed({1: obj}) == (3, 5)
    obj.about = {"locked": True}
    assert count_reviewed({1: obj}) == (5, 5)
    assert list_doubts({1: obj}, SIZE, 10) == []


def test_the_most_doubtful_comes_first_with_its_reason() -> None:
    objects = {
        1: ObjectState(answers={0: result(5, score=0.2)}),
        2: ObjectState(answers={0: result(5, score=0.95), 1: result(18, score=0.95)}),
        3: ObjectState(answers={0: result(5, score=0.95, object_score=0.1)}),
    }
    doubts = list_doubts(objects, SIZE, 10)
    assert [item.doubt for item in doubts] == sorted((item.doubt for item in doubts), reverse=True)
    reasons = {(item.object_id, item.frame): item.why for item in doubts}
    assert reasons[1, 0] == "predicted IoU 0.20"
    assert reasons[2, 1] == "area changes 3.6-fold"
    assert reasons[3, 0] == "object presence 0.52"
    assert list_doubts(objects, SIZE, 2) == doubts[:2]
