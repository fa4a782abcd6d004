"""The teacher of KnowSAM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import ellipse
from support.engines import make_engine
from support.knowsam import count_parameters, make_knowsam

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.knowsam.method import KnowSam
from segscope.adapt.methods.knowsam.teacher import Teacher, make_modules
from segscope.models.build import build
from segscope.models.engine import Features

FAMILIES = ("sam2", "edgetam", "mini", "sam")


def test_the_teacher_at_full_size_has_the_parameters_of_its_parts() -> None:
    engine: Any = SimpleNamespace(
        model=build("sam", "vit-b", meta=True), card=SimpleNamespace(family="sam", name="sam-vit-b")
    )
    with torch.device("meta"):
        parts = make_modules(engine, 2, 0.25, 256)
    encoder = 12 * 2 * (2 * 768 * 192 + 192 + 768)
    decoder = 5 * (2 * 256 * 64 + 64 + 256)
    assert sum(map(count_parameters, parts.values())) == encoder + decoder + 2 * 5_578_496
    # the public code counts 22.0 million, of them 3.55 million in adapters that nothing uses
    assert round((encoder + decoder + 2 * 5_578_496 + encoder / 2) / 1e6, 1) == 22.0
    whole = KnowSam(prompt_width=256).parameters(engine, ("polyp",))
    assert whole == encoder + decoder + 2 * 5_578_496 + 1_944_322 + 3_265_986 + 40_546


@pytest.mark.parametrize("family", FAMILIES)
def test_the_teacher_answers_for_every_class_and_changes_nothing_at_first(
    family: str, data: Data
) -> None:
    adapted, fresh = make_knowsam(family, ("a", "b", "c")), make_engine(family)
    rgb = ellipse(np.random.default_rng(0), side=fresh.input_size)[0]
    for grown, plain in zip(adapted.engine.encode(rgb).maps, fresh.encode(rgb).maps, strict=True):
        assert torch.allclose(grown, plain, atol=1e-5)
    features = [adapted.engine.encode(rgb)] * 2
    masks = torch.randn(2, 4, 64, 64, requires_grad=True)
    logits = Teacher(adapted.engine)(features, masks)
    assert logits.shape == (2, 4, 64, 64)
    logits.square().sum().backward()
    assert masks.grad is None
    silent = [
        name
        for name, item in adapted.trained.items()
        if not name.startswith("students.") and item.grad is None
    ]
    assert not silent


@torch.no_grad()
def test_the_teacher_sees_prompts_and_masks() -> None:
    for family in FAMILIES:
        adapted = make_knowsam(family)
        features: list[Features] = [adapted.engine.encode(ellipse(np.random.default_rng(0))[0])]
        teacher, masks = Teacher(adapted.engine), torch.randn(1, 2, 64, 64)
        first = teacher(features, masks)
        assert not torch.allclose(first, teacher(features, -masks))
        teacher.heads[0].out.bias += 1
        second = teacher(features, masks)
        assert not torch.allclose(first[:, 0], second[:, 0])
        assert torch.equal(first[:, 1], second[:, 1])
