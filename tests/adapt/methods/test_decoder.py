"""The method that trains the mask decoder."""

from __future__ import annotations

import pytest
from support.adaptation import attach_method
from support.engines import make_engine

from segscope.adapt.methods.decoder import DecoderOnly


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
def test_only_the_decoder_is_trained(family: str) -> None:
    adapted = attach_method(DecoderOnly(), family)
    assert {name.partition(".")[0] for name in adapted.trained} == {"mask_decoder"}
    assert not any(name.startswith("mask_decoder.conv_s") for name in adapted.trained)
    assert adapted.method.frozen_encoder


def test_the_prompt_encoder_is_trained_where_it_pays() -> None:
    assert DecoderOnly.default_for(make_engine("mini").card).prompts
    assert not DecoderOnly.default_for(make_engine("sam2").card).prompts
    names = attach_method(DecoderOnly(prompts=True), "mini").trained
    assert any(name.startswith("dense_branch.") for name in names)
    assert not any("shared_embedding" in name for name in names)
