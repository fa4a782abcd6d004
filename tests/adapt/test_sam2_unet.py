"""SAM2-UNet: the acceptance checks of its specification, on small random networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.adaptation import BOX, ellipse, sampler, trainer
from support.engines import make_engine
from torch import Tensor

from segscope.adapt import convert
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted
from segscope.adapt.methods.sam2_unet.method import (
    Sam2Unet,
    UnetSegmenter,
    sod_scores,
    structure_loss,
)
from segscope.adapt.networks import encoder_trunk, sliding_window
from segscope.adapt.saved import attach, load_adaptation
from segscope.errors import CheckpointError, UsageError
from segscope.models.build import build

FAMILIES = ("sam2", "edgetam", "mini", "sam")


def made(family: str = "sam2", classes: tuple[str, ...] = ("body",), **settings: Any) -> Adapted:
    return attach(Sam2Unet(**{"side": 96, **settings}), make_engine(family), classes)


def unet(adapted: Adapted) -> UnetSegmenter:
    assert isinstance(adapted.result, UnetSegmenter)
    return adapted.result


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [96, 160])
@torch.no_grad()
def test_three_outputs_cover_the_input(family: str, side: int) -> None:
    found = unet(made(family, ("a", "b"), side=side))
    values, _ = found.pixels(ellipse(np.random.default_rng(0))[0])
    assert [item.shape for item in found.net(found.maps(values))] == [(1, 3, side, side)] * 3


@pytest.mark.parametrize("side", [100, 80, 16])
def test_other_sides_are_refused(side: int) -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        Sam2Unet(side=side)
    with pytest.raises(UsageError, match="multiple of 32"):
        encoder_trunk.trunk(make_engine("sam2")).maps(torch.zeros(1, 3, side, side))


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
    adapted = made()
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
    found = unet(made(family, side=128))
    assert len(found.net.adapters) == len(found.trunk.blocks)
    for plain, adapted in zip(
        encoder_trunk.trunk(engine).maps(values), found.maps(values), strict=True
    ):
        assert float((plain - adapted).abs().max()) < 1e-5


@torch.no_grad()
def test_the_trunk_is_that_of_the_library() -> None:
    engine: Any = make_engine("sam2")
    values = encoder_trunk.pixels(engine, ellipse(np.random.default_rng(0))[0], 128)[0]
    theirs = engine.model.vision_encoder.backbone(values).intermediate_hidden_states
    for ours, item in zip(encoder_trunk.trunk(engine).maps(values), theirs, strict=True):
        assert torch.equal(ours, item.permute(0, 3, 1, 2))


@pytest.mark.parametrize("family", ["edgetam", "sam"])
@torch.no_grad()
def test_other_trunks_are_those_of_their_engines(family: str) -> None:
    engine: Any = make_engine(family)
    values = encoder_trunk.pixels(engine, ellipse(np.random.default_rng(0))[0], 128)[0]
    ours = encoder_trunk.trunk(engine).maps(values)
    encoder = engine.model.vision_encoder
    theirs = (
        encoder.backbone.timm_model(values)
        if family == "edgetam"
        else [encoder(values).last_hidden_state]
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_those_of_the_engine(family: str) -> None:
    engine: Any = make_engine(family)
    rgb = ellipse(np.random.default_rng(0), side=128)[0]
    own = engine.pixels(rgb) if family == "sam" else engine.pixels(rgb, video=False)
    assert float((encoder_trunk.pixels(engine, rgb, 128)[0] - own).abs().max()) < 1e-4


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
    adapted = made()
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
    adapted = made("sam2", ("large body", "bright spot"), width=16, **settings)
    assert adapted.method.frozen_encoder is (settings.get("adapters") == 0)
    wide = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    before = unet(adapted).predict(wide)
    assert before.shape == (3, 60, 100)
    outcome = trainer(adapted, data).run()
    assert np.isfinite(outcome.progress.best["dice"])
    assert not torch.equal(before, unet(adapted).predict(wide))


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


def test_tiles_cover_a_image_and_agree_with_one_look() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (61, 97, 3), dtype=np.uint8)

    def echo(part: Any) -> Tensor:
        return torch.from_numpy(part).permute(2, 0, 1).float()

    for count in (1, 2, 3):
        assert torch.allclose(sliding_window.blend(rgb, count, echo), echo(rgb), atol=1e-3)


def test_the_published_evaluation_by_hand() -> None:
    values = np.array([[0.2, 0.25], [0.4, 0.4]])
    truth = np.array([[False, False], [True, True]])
    # stretched to 0, 64, 255, 255: threshold 0 keeps 4 pixels, 1 to 64 keep 3, 65 to 255 keep 2
    dice = (1 * 4 / 6 + 64 * 4 / 5 + 191 * 1.0) / 256
    iou = (1 * 2 / 4 + 64 * 2 / 3 + 191 * 1.0) / 256
    assert sod_scores(values, truth) == pytest.approx((dice, iou))


def test_sod_figures_stand_beside_dice(data: Data) -> None:
    adapted = made(protocol="sod", classes=("large body",))
    assert {"dice", "sod dice", "sod iou"} <= set(adapted.method.validate(adapted, data.val))


# --- published files --------------------------------------------------------------------------------------------------


def published_state(adapted: Adapted) -> dict[str, Tensor]:
    """An adaptation's tensors, and its trunk's, named as published files name them."""
    out = {}
    for name, item in adapted.engine.model.state_dict().items():  # type: ignore[attr-defined]
        if name.startswith("vision_encoder.backbone."):
            key = name.removeprefix("vision_encoder.backbone.").replace(
                "patch_embed.projection", "patch_embed.proj"
            )
            key = key.replace("layer_norm", "norm").replace("mlp.proj_in", "mlp.layers.0")
            key = key.replace("mlp.proj_out", "mlp.layers.1")
            parts = key.split(".")
            out[
                "encoder."
                + (".".join([*parts[:2], "block", *parts[2:]]) if parts[0] == "blocks" else key)
            ] = item
    for name, item in adapted.tensors().items():
        part, *rest = name.split(".")
        if part == "adapters":
            out[
                f"encoder.blocks.{rest[0]}.prompt_learn.{'0' if rest[1] == 'down' else '2'}.{rest[2]}"
            ] = item
        elif part == "rfb" and rest[1] == "branches":
            out[f"rfb{int(rest[0]) + 1}.branch{rest[2]}.{'.'.join(rest[3:])}"] = item
        elif part == "rfb":
            own = {"join": "conv_cat", "shortcut": "conv_res"}[rest[1]]
            out[f"rfb{int(rest[0]) + 1}.{own}.{'.'.join(rest[2:])}"] = item
        elif part == "up":
            place = {
                ("first", "conv"): 0,
                ("first", "bn"): 1,
                ("second", "conv"): 3,
                ("second", "bn"): 4,
            }
            out[f"up{int(rest[0]) + 1}.conv.double_conv.{place[rest[1], rest[2]]}.{rest[3]}"] = item
        else:
            out[f"{('side1', 'side2', 'head')[int(rest[0])]}.{rest[1]}"] = item
    out |= {
        key.replace("up3.", "up4."): item for key, item in out.items() if key.startswith("up3.")
    }
    counters = [key for key in out if key.endswith("running_mean")]
    return out | {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(7) for key in counters
    }


@pytest.fixture
def stirred() -> Adapted:
    """A network at which every path is alive, at the side of published files."""
    adapted = made(side=352, init="default", output="sigmoid")
    with torch.no_grad():
        for name, item in adapted.statistics.items():
            item.uniform_(0.5, 1.5) if name.endswith("var") else item.normal_(std=0.1)
    return adapted


def test_published_files_become_adaptations(stirred: Adapted, tmp_path: Path) -> None:
    state = published_state(stirred)
    assert {
        "encoder.pos_embed",
        "encoder.blocks.1.block.proj.weight",
        "rfb4.branch3.3.conv.weight",
    } <= set(state)
    torch.save(state, tmp_path / "SAM2-UNet-20.pth")
    record = convert.convert(
        tmp_path / "SAM2-UNet-20.pth", make_engine("sam2"), "tiny", tmp_path / "out", ["polyp"]
    )
    assert (record.method.name, record.classes) == ("sam2-unet", ("polyp",))
    loaded: Any = load_adaptation(tmp_path / "out", lambda *_: make_engine("sam2"))
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), unet(stirred).predict(rgb))


def test_published_files_that_do_not_fit_are_refused(stirred: Adapted, tmp_path: Path) -> None:
    state = published_state(stirred)
    key = "encoder.blocks.2.block.attn.qkv.weight"
    cases: list[tuple[dict[str, Tensor], str, str]] = [
        ({**state, key: state[key] + 1}, "sam2", "Name the file that it was trained on"),
        (
            {name: item for name, item in state.items() if not name.startswith("rfb2")},
            "sam2",
            "do not fit",
        ),
        ({**state, "rfb9.strange": state["head.bias"]}, "sam2", "do not fit"),
        (
            {name: item for name, item in state.items() if name != key},
            "sam2",
            "in only one of them",
        ),
        (state, "mini", "another network"),
        ({"x": state["head.bias"]}, "sam2", "not a published checkpoint"),
    ]
    for number, (content, family, reason) in enumerate(cases):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(CheckpointError, match=reason):
            convert.convert(
                tmp_path / f"{number}.pth", make_engine(family), "tiny", tmp_path / "out"
            )
    assert not (tmp_path / "out").exists()
