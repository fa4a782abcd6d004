"""SAM2-UNet: the acceptance checks of its specification, on small random networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.adaptation import BOX, ellipse, sampler, trainer
from support.engines import make_engine
from support.sam2_unet import make_unet, unet_of

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.sam2_unet.method import (
    Sam2Unet,
    sod_scores,
    structure_loss,
)
from segscope.adapt.networks import encoder_trunk
from segscope.errors import UsageError
from segscope.models.build import build

FAMILIES = ("sam2", "edgetam", "mini", "sam")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [96, 160])
@torch.no_grad()
def test_three_outputs_cover_the_input(family: str, side: int) -> None:
    found = unet_of(make_unet(family, ("a", "b"), side=side))
    values, _ = found.pixels(ellipse(np.random.default_rng(0))[0])
    assert [item.shape for item in found.net(found.maps(values))] == [(1, 3, side, side)] * 3


@pytest.mark.parametrize(
    ("size", "trained", "frozen"),
    [
        ("tiny", 2_587_395, 26_849_472),
        ("small", 2_687_363, 33_947_328),
        ("base+", 3_050_419, 68_675_712),
        ("large", 4_269_747, 212_149_296),
    ],
)
def test_full_size_has_the_parameters_of_the_paper(size: str, trained: int, frozen: int) -> None:
    model = build("sam2", size, meta=True)
    engine: Any = SimpleNamespace(model=model, card=SimpleNamespace(family="sam2", name=size))
    assert Sam2Unet().parameters(engine, ("polyp",)) == trained
    assert sum(item.numel() for item in model.vision_encoder.backbone.parameters()) == frozen  # type: ignore[union-attr]


def test_frozen_tensors_get_no_gradient(data: Data) -> None:
    adapted = make_unet()
    adapted.method.loss(adapted, [sampler(adapted, data).example(0, place) for place in range(2)])[
        "loss"
    ].backward()
    assert all(item.grad is None for item in adapted.engine.model.parameters())  # type: ignore[attr-defined]
    silent = [
        name
        for name, item in adapted.trained.items()
        if item.grad is None or not item.grad.abs().max()
    ]
    # behind a zero layer there is nothing to learn yet
    assert all(".down." in name for name in silent), silent


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_adapters_begin_as_nothing(family: str) -> None:
    engine = make_engine(family)
    values = encoder_trunk.pixels(engine, ellipse(np.random.default_rng(0))[0], 128)[0]
    found = unet_of(make_unet(family, side=128))
    assert len(found.net.adapters) == len(found.trunk.blocks)
    for plain, adapted in zip(
        encoder_trunk.trunk(engine).maps(values), found.maps(values), strict=True
    ):
        assert float((plain - adapted).abs().max()) < 1e-5


def test_weights_towards_edges_count_unless_plain() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(2, 1, 64, 64)
    truth[..., 20:40, 10:50] = 1
    # wrong along one edge
    logits = torch.randn(2, 1, 64, 64, generator=generator) + 8 * truth.roll(4, -1) - 4
    mean = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((-2, -1))
    iou = structure_loss(logits, truth, plain=True) - mean
    assert torch.allclose(structure_loss(logits, truth, plain=True) - iou, mean)
    assert float((structure_loss(logits, truth) - iou - mean).abs().min()) > 1e-3
    # by definition, pixel by pixel
    padded = F.pad(truth, (15, 15, 15, 15))
    means = padded.unfold(2, 31, 1).unfold(3, 31, 1).mean((-2, -1))
    weight, inside = 1 + 5 * (means - truth).abs(), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    first = (weight * cross).sum((-2, -1)) / weight.sum((-2, -1))
    both, sizes = (weight * inside * truth).sum((-2, -1)), (weight * (inside + truth)).sum((-2, -1))
    assert torch.allclose(
        structure_loss(logits, truth), first + 1 - (both + 1) / (sizes - both + 1), atol=1e-6
    )


@pytest.mark.slow
def test_it_learns_eight_ellipses(data: Data) -> None:
    adapted = make_unet()
    settings = replace(BOX, steps=120, batch=8, rate=1e-3, decay=5e-4, validate_every=40)
    outcome = trainer(adapted, data, settings).run()
    assert outcome.progress.best["dice"] > 0.95, [
        row.get("val dice") for row in outcome.progress.rows
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"output": "sigmoid", "edges": "soft"},
        {"bce": "plain", "init": "default"},
        {"fit": "letterbox", "init": "trunc_normal"},
        {"adapters": 0},
        {"tiles": 2},
    ],
    ids=str,
)
def test_every_setting_trains(settings: dict[str, Any], data: Data) -> None:
    adapted = make_unet("sam2", ("large body", "bright spot"), width=16, **settings)
    assert adapted.method.frozen_encoder is (settings.get("adapters") == 0)
    wide = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    before = unet_of(adapted).predict(wide)
    assert before.shape == (3, 60, 100)
    outcome = trainer(adapted, data).run()
    assert np.isfinite(outcome.progress.best["dice"])
    assert not torch.equal(before, unet_of(adapted).predict(wide))


def test_images_keep_their_shape_in_a_letterbox() -> None:
    values, inner = encoder_trunk.pixels(
        make_engine("sam2"), np.full((50, 100, 3), 200, np.uint8), 96, "letterbox"
    )
    assert inner == (48, 96)
    assert not values[:, :, 48:].any()
    assert bool(values[:, :, :48].all())
    method = Sam2Unet(side=96, fit="letterbox", output="sigmoid")
    truth = method.make_truth((50, 100), np.ones((25, 50), np.int64), torch.zeros(1, 1, 96, 96))
    assert truth.shape == (1, 1, 96, 96)
    assert truth[0, 0].sum() == 48 * 96


def test_the_preset_is_that_of_the_public_code() -> None:
    method = Sam2Unet.from_preset("code", side=96)
    assert (method.init, method.bce, method.edges) == ("default", "plain", "soft")
    assert (method.output, method.protocol, method.side) == ("sigmoid", "sod", 96)
    assert Sam2Unet().with_settings({"preset": "code", "bce": "weighted"}).bce == "weighted"
    with pytest.raises(UsageError, match="preset"):
        Sam2Unet(preset="paper")


def test_the_published_evaluation_by_hand() -> None:
    values = np.array([[0.2, 0.25], [0.4, 0.4]])
    truth = np.array([[False, False], [True, True]])
    # stretched to 0, 64, 255, 255: threshold 0 keeps 4 pixels, 1 to 64 keep 3, 65 to 255 keep 2
    dice = (1 * 4 / 6 + 64 * 4 / 5 + 191 * 1.0) / 256
    iou = (1 * 2 / 4 + 64 * 2 / 3 + 191 * 1.0) / 256
    assert sod_scores(values, truth) == pytest.approx((dice, iou))


def test_sod_figures_stand_beside_dice(data: Data) -> None:
    adapted = make_unet(protocol="sod", classes=("large body",))
    assert {"dice", "sod dice", "sod iou"} <= set(
        adapted.method.validate(adapted, data.val).as_dict()
    )
