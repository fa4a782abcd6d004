"""The students of KnowSAM and their fusion."""

from __future__ import annotations

import pytest
import torch
from support.knowsam import count_parameters
from torch import nn

from segscope.adapt.methods.knowsam.students import (
    Fusion,
    Prompts,
    Students,
    StudentUnet,
    StudentVnet,
)


def test_networks_have_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        assert count_parameters(StudentUnet(2)) == 1_944_322
        assert count_parameters(StudentVnet(2)) == 3_265_986
        assert count_parameters(Fusion(2, published_head=True)) == 40_548
        assert count_parameters(Prompts(256, 256)) == 5_578_496


@pytest.mark.parametrize("classes", [2, 4, 9])
@torch.no_grad()
def test_students_and_fusion_answer_for_every_class(classes: int) -> None:
    students = Students(classes, ("unet", "vnet"), 4).eval()
    assert [item.shape for item in students(torch.rand(2, 3, 48, 64))] == [(2, classes, 48, 64)] * 3


@torch.no_grad()
def test_the_published_head_squashes_negative_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 2, 32, 32, generator=generator)
    plain, squashed = Fusion(2).eval(), Fusion(2, published_head=True).eval()
    assert float(plain(one, other).min()) < 0
    assert isinstance(squashed.out[-1], nn.LeakyReLU)
