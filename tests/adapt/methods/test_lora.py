"""LoRA: its size, and memory that learns from clips."""

from __future__ import annotations

from typing import Any

import pytest
from support.adaptation import attached, sampler
from support.engines import make_engine

from segscope.adapt import METHODS
from segscope.adapt.data.training_set import Data
from segscope.adapt.saved import attach


@pytest.mark.parametrize("family", ["sam2", "edgetam", "mini"])
def test_lora_in_memory_learns_from_clips(family: str, clips: Data) -> None:
    from segscope.adapt.methods.lora import Lora

    engine = make_engine(family)
    adapted = attach(Lora(where=("memory",), decoder=False, clip=3), engine, ("large body",))
    loss = adapted.method.loss(adapted, [sampler(adapted, clips).example(0, 0)])["loss"]
    loss.backward()
    silent = [
        name
        for name, item in adapted.trained.items()
        if "lora_B" in name and not float(item.grad.abs().max())
    ]
    assert (
        len(adapted.trained) == 2 * len([name for name in adapted.trained if "lora_B" in name]) > 0
    )
    assert not silent


def test_lora_has_the_size_of_its_formula() -> None:
    adapted = attached(METHODS["lora"], "sam")
    width, layers, rank = 32, 2, 8
    low_rank = sum(item.numel() for name, item in adapted.trained.items() if ".lora_" in name)
    assert low_rank == layers * rank * ((width + 3 * width) + (width + width))


def test_lora_at_full_size_has_the_size_of_its_formula() -> None:
    from types import SimpleNamespace

    from segscope.adapt.methods.lora import Lora
    from segscope.models.build import build

    model = build("sam2", "tiny", meta=True)
    engine: Any = SimpleNamespace(
        model=model, card=SimpleNamespace(family="sam2", name="x"), slots=7
    )
    # blocks of widths 96, 192, 384, 768; where a stage begins, attention reads the narrower width
    inside = [96, 96, 192, 192, *[384] * 7, 768]
    outside = [96, 192, 192, 384, *[384] * 6, 768, 768]
    expected = sum(8 * ((a + 3 * b) + (b + b)) for a, b in zip(inside, outside, strict=True))
    assert Lora(decoder=False).parameters(engine) == expected
