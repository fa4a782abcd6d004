"""What every simulator promises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.masks import OBJECTS

from segscope.errors import UnknownName
from segscope.prompts import Point, Prompt, Scribble, check_prompts
from segscope.simulate import SHORT, SIMULATORS, AnnotationTarget, Simulator, simulator
from segscope.simulate.frames import FrameRule
from segscope.simulate.options import OPTIONS

DRAWS = {
    name
    for name in SIMULATORS
    if name.startswith("scribble") or name in ("lasso", "mask.morph", "box.jitter")
}
DRAWS |= {"click.cc3d", "click.center", "click.random", "click.border"}


def target(
    truth: NDArray[np.bool_], found: NDArray[np.bool_] | None = None, given: tuple[Prompt, ...] = ()
) -> AnnotationTarget:
    return AnnotationTarget(truth, found, FrameRule("largest").choose(truth)[0], 7, given)


def spoilt(truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An answer with something missed and something surplus, where there is room."""
    return np.roll(truth, (3, 4), (1, 2)) ^ (np.random.default_rng(3).random(truth.shape) < 0.05)


@pytest.mark.parametrize("object_", OBJECTS)
@pytest.mark.parametrize("name", SIMULATORS)
class TestSimulator:
    @pytest.fixture
    def truth(self, object_: str) -> NDArray[np.bool_]:
        return OBJECTS[object_]

    @pytest.fixture
    def row(self, name: str) -> Simulator:
        return SIMULATORS[name]

    def test_first_prompts_lie_on_the_object(
        self, row: Simulator, truth: NDArray[np.bool_], name: str
    ) -> None:
        at = target(truth)
        for seed in range(5):
            prompts = row.make(at, np.random.default_rng(seed))
            assert bool(prompts) == (name != "everything")
            check_prompts(prompts, truth.shape)
            assert {prompt.object_id for prompt in prompts} <= {7}
            if not row.whole:
                assert {prompt.frame for prompt in prompts} <= {at.frame}
            assert_signs(prompts, truth)

    def test_same_seed_same_prompts(
        self, row: Simulator, truth: NDArray[np.bool_], name: str, object_: str
    ) -> None:
        made = [
            row.make(target(truth), np.random.default_rng(seed)) for seed in (1, 1, *range(2, 12))
        ]
        assert made[0] == made[1]
        if object_ == "parts" and name in DRAWS:
            assert any(made[0] != other for other in made)

    def test_inputs_are_left_as_they_are(self, row: Simulator, truth: NDArray[np.bool_]) -> None:
        before, found = truth.copy(), spoilt(truth)
        kept = found.copy()
        row.make(target(truth, found if row.corrects else None), np.random.default_rng(0))
        assert (truth == before).all()
        assert (found == kept).all()


@pytest.mark.parametrize("object_", OBJECTS)
@pytest.mark.parametrize("name", [name for name, row in SIMULATORS.items() if row.corrects])
def test_corrections_lie_on_errors(name: str, object_: str) -> None:
    truth, row = OBJECTS[object_], SIMULATORS[name]
    found = spoilt(truth)
    for seed in range(5):
        prompts = row.make(target(truth, found), np.random.default_rng(seed))
        assert prompts
        check_prompts(prompts, truth.shape)
        assert_signs(prompts, truth)
        for prompt in prompts:
            for y, x in pixels(prompt):
                assert truth[prompt.frame, y, x] != found[prompt.frame, y, x]
    if name.startswith(("click", "scribble")):
        assert row.make(target(truth, truth), np.random.default_rng(0)) == []


def pixels(prompt: Prompt) -> list[tuple[int, int]]:
    points = (
        prompt.points()
        if isinstance(prompt, Scribble)
        else [prompt]
        if isinstance(prompt, Point)
        else []
    )
    return [(int(point.y), int(point.x)) for point in points]


def assert_signs(prompts: list[Prompt], truth: NDArray[np.bool_]) -> None:
    for prompt in prompts:
        for y, x in pixels(prompt):
            assert isinstance(prompt, Point | Scribble)
            assert truth[prompt.frame, y, x] == prompt.positive


def test_the_table_tells_everything() -> None:
    for name, row in SIMULATORS.items():
        assert row.about, name
        assert row.origin, name
        assert set(row.options) <= set(OPTIONS), name
        assert row.number is None or row.number in row.options
    assert set(SHORT.values()) <= set(SIMULATORS)


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"scribble\.center"):
        simulator("scribble.centre")
