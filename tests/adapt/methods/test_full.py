"""The method that trains encoder and decoder."""

from __future__ import annotations

import pytest
from support.adaptation import attach_method

from segscope.adapt.methods.full import FullFinetuning


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
def test_the_encoder_learns_more_slowly(family: str) -> None:
    adapted = attach_method(FullFinetuning(encoder_rate=0.2), family)
    rates = {name.partition(".")[0]: adapted.rate(name) for name in adapted.trained}
    assert rates["vision_encoder"] == 0.2
    assert rates["mask_decoder"] == rates["prompt_encoder"] == 1.0


def test_without_prompts_their_encoder_stays() -> None:
    adapted = attach_method(FullFinetuning(prompts=False), "sam")
    assert not any(name.startswith("prompt_encoder.") for name in adapted.trained)
