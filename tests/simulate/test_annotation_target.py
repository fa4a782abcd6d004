"""What a simulated annotator works on."""

from __future__ import annotations

import numpy as np

from segscope.prompts import Point
from segscope.simulate.annotation_target import AnnotationTarget

TRUTH = np.zeros((2, 8, 8), bool)
TRUTH[1, 2:5, 2:5] = True


def test_at_first_the_whole_object_is_missed() -> None:
    target = AnnotationTarget(TRUTH, frame=1)
    missed, surplus = target.errors()
    assert (missed == TRUTH[1]).all()
    assert not surplus.any()
    region, positive = target.region()
    assert positive
    assert (region == TRUTH[1]).all()


def test_the_larger_error_decides_the_sign_of_a_stroke() -> None:
    predicted = TRUTH.copy()
    predicted[1, 2, 2] = False
    predicted[1, 6, :] = True
    region, positive = AnnotationTarget(TRUTH, predicted, frame=1).region()
    assert not positive
    assert region.sum() == 8


def test_earlier_clicks_are_those_of_the_frame_and_the_object() -> None:
    prompts = (Point(3.5, 2.5, 1), Point(8.0, 8.0, 1), Point(3.5, 2.5, 0), Point(4.5, 4.5, 1, 2))
    target = AnnotationTarget(TRUTH, frame=1, prompts=prompts)
    assert target.clicked() == [(2, 3), (7, 7)]
    assert target.clicked(0) == [(2, 3)]


def test_a_click_lies_on_the_centre_of_a_pixel() -> None:
    click = AnnotationTarget(TRUTH, frame=1, object_id=4).click(2, 3, positive=False)
    assert click == Point(3.5, 2.5, 1, 4, positive=False)
