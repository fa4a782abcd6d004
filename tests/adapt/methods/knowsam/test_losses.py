"""Losses of KnowSAM by definition, and the swapping of cells."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from segscope.adapt.methods.knowsam.losses import (
    certain_cells,
    consistency,
    distil,
    mean_entropy,
    ramp_up,
    supervised,
    swap_cells,
)


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_distillation_by_definition(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, other = 5 * torch.randn(2, 3, classes, 8, 8, generator=generator)
    assert float(distil(teacher, teacher).abs().max()) < 1e-5
    soft, to = (item.double().div(10).softmax(1) for item in (teacher, other))
    by_hand = 100 * (soft * (soft / to).log()).sum(1).mean((-2, -1))
    assert torch.allclose(distil(other, teacher).double(), by_hand, rtol=1e-4)
    order = torch.randperm(64, generator=generator)
    mixed = [item.flatten(2)[..., order].view_as(item) for item in (other, teacher)]
    assert torch.allclose(distil(*mixed), distil(other, teacher), rtol=1e-4)
    # a teacher without an opinion teaches nothing once its confidence counts
    assert float(distil(other, torch.zeros_like(teacher), confidence=True).abs().max()) < 1e-5
    assert float(distil(other, torch.zeros_like(teacher)).min()) > 0


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_entropy_and_consistency_hold_for_any_number_of_classes(classes: int) -> None:
    flat = torch.zeros(2, classes, 8, 8)
    assert torch.allclose(mean_entropy(flat), torch.ones(2), atol=1e-5)
    sure = 50 * torch.eye(classes)[torch.arange(64) % classes].T.reshape(1, classes, 8, 8)
    assert float(mean_entropy(sure)) < 1e-4
    assert float(consistency(sure, sure)) < 1e-4
    share = 1 / classes
    expected = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert torch.allclose(consistency(flat, flat), torch.full((2,), expected), atol=1e-5)


def test_consistency_teaches_one_side_only() -> None:
    one, other = torch.randn(2, 1, 3, 8, 8).unbind()
    one.requires_grad_(True), other.requires_grad_(True)
    consistency(one, other).sum().backward()
    assert one.grad is not None
    assert other.grad is None


def test_supervised_loss_by_hand() -> None:
    classes = torch.tensor([[[0, 1], [2, 1]]])
    perfect = 50 * nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    assert float(supervised(perfect, classes)) < 1e-4
    flat = torch.zeros(1, 3, 2, 2)
    # shares 1/3 everywhere: squares sum to 4/9; classes have 1, 2 and 1 pixels
    dice = [2 * n / 3 / (4 / 9 + n) for n in (1, 2, 1)]
    assert float(supervised(flat, classes)) == pytest.approx(
        math.log(3) + 1 - sum(dice) / 3, abs=1e-4
    )


def test_the_weight_of_consistency_rises_as_published() -> None:
    found = [ramp_up(iteration) for iteration in (0, 12_000, 25_000, 50_000, 60_000)]
    assert found == pytest.approx([0.0067, 0.0557, 0.2865, 1.0, 1.0], abs=1e-4)


def test_the_surest_cells_change_places_with_their_labels() -> None:
    doubts = torch.ones(2, 16, 16)
    chosen = [(0, 0), (0, 3), (1, 2), (3, 1), (3, 3)]
    for rank, (row, column) in enumerate(chosen):
        doubts[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.1 * rank
    doubts[1, :4] = 0.2
    doubts[1, 4:8, :4] = 0.3
    inside = certain_cells(doubts)
    assert inside[0, ::4, ::4].nonzero().tolist() == [list(cell) for cell in chosen]
    assert inside[1, ::4, ::4].nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    assert inside.sum().item() == 2 * 5 * 16
    images, others = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
    labels, theirs = torch.zeros(2, 16, 16).long(), torch.full((2, 16, 16), 7)
    shown, truth = swap_cells(inside, images, labels, others, theirs)
    assert torch.equal(shown[:, 0].bool(), inside)
    assert torch.equal(truth, 7 * inside)
