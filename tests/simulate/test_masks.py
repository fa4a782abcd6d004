"""Masks as prompts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.masks import OBJECTS

from segscope.prompts import MaskPrompt, Prompt
from segscope.simulate import SIMULATORS, AnnotationTarget
from segscope.simulate.frames import FrameRule


def target(
    truth: NDArray[np.bool_], found: NDArray[np.bool_] | None = None, given: tuple[Prompt, ...] = ()
) -> AnnotationTarget:
    return AnnotationTarget(truth, found, FrameRule("largest").choose(truth)[0], 7, given)


def test_masks_are_hints_on_images_and_answers_on_stacks() -> None:
    for name in ("mask.gt", "mask.morph"):
        for truth in (OBJECTS["ring"], OBJECTS["volume"]):
            (prompt,) = SIMULATORS[name].make(target(truth), np.random.default_rng(0))
            assert isinstance(prompt, MaskPrompt)
            assert prompt.refine == (len(truth) == 1)
            assert prompt.mask.any()


def test_morph_erodes_and_dilates_by_pixels() -> None:
    truth = OBJECTS["corner"]
    make = SIMULATORS["mask.morph"].make
    (less,) = make(target(truth), np.random.default_rng(0), iterations=2, way="erode")
    (more,) = make(target(truth), np.random.default_rng(0), iterations=2, way="dilate")
    assert (less.mask < truth[0]).any()
    assert (less.mask <= truth[0]).all()
    assert (more.mask >= truth[0]).all()
    assert make(target(OBJECTS["pixel"]), np.random.default_rng(0), way="erode")[0].mask.sum() == 1


@pytest.mark.parametrize("object_", ["corner", "parts", "whole frame", "ring"])
def test_a_lasso_goes_round_the_object(object_: str) -> None:
    from scipy import ndimage

    truth = ndimage.binary_fill_holes(OBJECTS[object_][0])
    for seed in range(5):
        (prompt,) = SIMULATORS["lasso"].make(target(OBJECTS[object_]), np.random.default_rng(seed))
        assert prompt.refine
        assert (prompt.mask & truth).sum() / (prompt.mask | truth).sum() > 0.75
