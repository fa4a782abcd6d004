"""What engines of every family take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.adaptation import draw_slices
from support.engines import FAMILIES, make_engine

from segscope.adapt.networks import encoder_trunk
from segscope.models.engine import AnswerRule, image_tensor


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_read_only_images_are_encoded(family: str) -> None:
    image = draw_slices(1)[0]
    engine = make_engine(family)
    expected = engine.encode(image).maps
    image.setflags(write=False)
    assert all(map(torch.equal, engine.encode(image).maps, expected))
    if family != "sam3":
        encoder_trunk.pixels(engine, image, 64)


def test_an_image_that_can_be_shared_is_not_copied() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image_tensor(image)[0, 0, 0] = 7
    assert image[0, 0, 0] == 7


@pytest.mark.parametrize(
    ("candidates", "usual", "tracking", "several"),
    [
        (0, True, False, True),
        (0, False, False, False),
        (1, True, False, False),
        (1, True, True, False),
        (3, False, False, True),
        (3, False, True, False),
    ],
)
def test_the_answer_rule_decides_between_one_mask_and_three(
    candidates: int, usual: bool, tracking: bool, several: bool
) -> None:
    rule = AnswerRule(candidates)  # type: ignore[arg-type]
    assert rule.multimask(usual, tracking=tracking) is several
