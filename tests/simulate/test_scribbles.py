from __future__ import annotations

import numpy as np
import pytest
from support.masks import OBJECTS, disc

from segscope.prompts import Scribble
from segscope.simulate import SIMULATORS, AnnotationTarget


@pytest.mark.parametrize("object_", OBJECTS)
@pytest.mark.parametrize("name", ["scribble.line", "scribble.center", "scribble.contour"])
def test_strokes_stay_inside_all_along(name: str, object_: str) -> None:
    truth = OBJECTS[object_]
    frame = len(truth) // 2
    for seed in range(10):
        strokes = SIMULATORS[name].make(
            AnnotationTarget(truth, frame=frame), np.random.default_rng(seed)
        )
        assert 1 <= len(strokes) <= 3
        for stroke in strokes:
            assert isinstance(stroke, Scribble)
            for point in stroke.points():
                assert truth[frame, int(point.y), int(point.x)]
            for point in stroke.points(
                40
            ):  # between the vertices too, but for a corner that is cut
                y, x = int(point.y), int(point.x)
                assert truth[frame, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()


def test_strokes_along_the_middle_are_long_also_in_large_objects() -> None:
    truth = (
        disc((300, 500), 150, 250, 500)[None] & (np.abs(np.arange(300) - 150) < 80)[None, :, None]
    )
    strokes = SIMULATORS["scribble.center"].make(AnnotationTarget(truth), np.random.default_rng(0))
    xs = [x for stroke in strokes for x, _ in stroke.xy]
    assert max(xs) - min(xs) > 200


def test_strokes_on_thin_objects_are_thin() -> None:
    (stroke, *_) = SIMULATORS["scribble.center"].make(
        AnnotationTarget(OBJECTS["line"]), np.random.default_rng(0)
    )
    assert stroke.width == 1
    (stroke, *_) = SIMULATORS["scribble.line"].make(
        AnnotationTarget(OBJECTS["whole frame"]), np.random.default_rng(0)
    )
    assert stroke.width <= 3


def test_a_correcting_stroke_goes_to_the_largest_error() -> None:
    truth, found = np.zeros((2, 1, 40, 40), bool)
    truth[0, 5:10, 5:10] = True
    found[0, 20:35, 20:35] = found[0, 2:4, 30:32] = True
    for name in ("scribble.line", "scribble.center", "scribble.contour"):
        for stroke in SIMULATORS[name].make(
            AnnotationTarget(truth, found), np.random.default_rng(0)
        ):
            assert not stroke.positive
            assert all(20 <= value < 35 for pair in stroke.xy for value in pair)
