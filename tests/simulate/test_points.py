"""Points without earlier prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from support.masks import OBJECTS

from segscope.prompts import Prompt
from segscope.simulate import SIMULATORS, AnnotationTarget
from segscope.simulate.frames import FrameRule


def target(
    truth: NDArray[np.bool_], found: NDArray[np.bool_] | None = None, given: tuple[Prompt, ...] = ()
) -> AnnotationTarget:
    return AnnotationTarget(truth, found, FrameRule("largest").choose(truth)[0], 7, given)


class TestPoints:
    def test_the_first_is_near_the_centroid_and_all_differ(self) -> None:
        clicks = SIMULATORS["points.k"].make(
            target(OBJECTS["corner"]), np.random.default_rng(0), k=10
        )
        ys, xs = np.nonzero(OBJECTS["corner"][0])
        assert len({(click.x, click.y) for click in clicks}) == 10
        assert np.hypot(clicks[0].x - 0.5 - xs.mean(), clicks[0].y - 0.5 - ys.mean()) < 1

    def test_small_objects_give_fewer(self) -> None:
        clicks = SIMULATORS["points.k"].make(
            target(OBJECTS["pixel"]), np.random.default_rng(0), k=10, negatives=2
        )
        assert [click.positive for click in clicks] == [True, False, False]

    def test_negatives_are_far(self) -> None:
        truth = OBJECTS["corner"]
        one, *two = SIMULATORS["points.k"].make(
            target(truth), np.random.default_rng(0), negatives=2
        )
        gaps = [
            np.hypot(a.x - b.x, a.y - b.y)
            for a, b in ((one, two[0]), (one, two[1]), (two[0], two[1]))
        ]
        assert min(gaps) > 15
        assert not [
            p
            for p in SIMULATORS["points.k"].make(
                target(OBJECTS["whole frame"]), np.random.default_rng(0), negatives=2
            )
            if not p.positive
        ]

    def test_top_takes_the_largest_parts(self) -> None:
        make = SIMULATORS["points.top"].make
        clicks = [
            (click.x, click.y)
            for click in make(target(OBJECTS["parts"]), np.random.default_rng(0), k=3)
        ]
        assert clicks == [(35.5, 25.5), (8.5, 8.5), (5.5, 34.5)]
        assert len(make(target(OBJECTS["parts"]), np.random.default_rng(0))) == 1
