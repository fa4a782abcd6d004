"""MedSAM2 (Toronto): clips, what is said in them, gradients through memory, checkpoints of its
layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.conftest import to_official
from support.adaptation import attached, sampler
from support.clips import draw_example
from support.engines import make_engine
from support.numerics import FullMemories, assert_same_run
from torch import Tensor

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted
from segscope.adapt.methods.medsam2.clips import ClipRun, draw_clip
from segscope.adapt.methods.medsam2.method import MIX, PARTS, MedSam2
from segscope.adapt.saved import attach
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import Trainer
from segscope.errors import CheckpointError, UsageError
from segscope.load import load
from segscope.models.build import build
from segscope.models.checkpoint import Checkpoint, network, read
from segscope.prompts import Box
from segscope.session import Interaction
from segscope.simulate.plan import Plan
from segscope.stack import Stack

FAMILIES = ("sam2", "edgetam", "mini")


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_what_they_say(family: str) -> None:
    counts = {part: MedSam2(parts=(part,)).parameters(make_engine(family)) for part in PARTS}
    assert all(counts.values())
    assert MedSam2().parameters(make_engine(family)) == sum(counts.values())
    adapted = attached(MedSam2, family)
    encoder = [name for name in adapted.trained if name.startswith("vision_encoder.")]
    assert bool(encoder) is (family != "mini")


def test_parts_at_full_size_have_the_sizes_of_the_paper() -> None:
    from types import SimpleNamespace

    model = build("sam2", "tiny", 512, meta=True)
    engine: Any = SimpleNamespace(model=model, card=SimpleNamespace(family="sam2"), slots=7)
    whole = sum(item.numel() for item in model.parameters())
    assert whole == 38_962_498
    unused = model.no_memory_positional_encoding.numel()  # type: ignore[union-attr]
    assert MedSam2().parameters(engine) == whole - unused  # type: ignore[operator]


def test_layers_learn_slower_the_deeper_they_lie() -> None:
    adapted = attached(MedSam2, "sam2")
    rates = [
        adapted.rate(f"vision_encoder.backbone.blocks.{k}.mlp.proj_in.weight") for k in range(5)
    ]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.6)
    assert rates[0] == pytest.approx(0.6 * 0.9**4)
    assert adapted.rate("vision_encoder.backbone.pos_embed") == 0.6
    assert adapted.rate("memory_attention.layers.0.linear1.weight") == 1.0


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"parts": ()},
        {"parts": ("head",)},
        {"start": "last"},
        {"clip": 0},
        {"second": 2.0},
    ):
        with pytest.raises(UsageError):
            MedSam2(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="clips of 2"):
        MedSam2(parts=("memory",), clip=1)


@pytest.mark.parametrize("family", ["sam2", "edgetam"])
def test_a_clip_is_carried_as_prediction_carries_it(family: str) -> None:
    """The same masks as `predict` gives; so what is trained is what is used."""
    engine = make_engine(family)
    found = draw_example(5, plan="box", at=2)
    adapted = attach(MedSam2(second=0.0), engine, ())
    walk = ClipRun(adapted, adapted.method.clips, found, draw_clip(found, adapted.method.clips))  # type: ignore[arg-type]
    with torch.no_grad(), FullMemories():
        walk.loss()
    stack = Stack.from_array(found.rgb)
    with FullMemories(), Interaction(stack, engine) as work:
        for k in range(2):
            work.add(
                replace(
                    Plan.parse("box").first(found.truth[k], np.random.default_rng(0), frames=[2])[
                        0
                    ],
                    object_id=k + 1,
                )
            )
        for one in work.propagate(direction="both"):
            mine = engine.to_frame(
                walk.recall.answers[one.frame].logits[one.object_id - 1, 0], (128, 128)
            )
            assert_same_run(mine, torch.from_numpy(one.logits))


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ways_is_forward_on_the_stack_and_on_its_mirror(family: str) -> None:
    engine = make_engine(family)
    rgb = draw_example(6).rgb
    answers: dict[str, dict[int, Any]] = {}
    for name, frames, at, direction in (
        ("both", rgb, 2, "both"),
        ("forward", rgb, 2, "forward"),
        ("mirror", rgb[::-1].copy(), 3, "forward"),
    ):
        with FullMemories(), Interaction(Stack.from_array(frames), engine) as work:
            work.add(Box((30, 30, 80, 80), frame=at))
            answers[name] = {one.frame: one.logits for one in work.propagate(direction=direction)}
    assert sorted(answers["both"]) == list(range(6))
    for frame, logits in answers["both"].items():
        other = answers["forward"][frame] if frame >= 2 else answers["mirror"][5 - frame]
        assert_same_run(torch.from_numpy(logits), torch.from_numpy(other))


def _moving(seed: int, side: int = 96, frames: int = 6) -> Example:
    """A target and a distractor that look the same and move; only the first frame tells which is
    which.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    left = rng.permutation([0.3, 0.7])
    truth = np.zeros((1, frames, side, side), bool)
    both = np.zeros((frames, side, side), bool)
    for k in range(2):
        path = np.cumsum(rng.uniform(-0.03, 0.03, (frames, 2)), 0)
        for frame in range(frames):
            cx, cy = (left[k] + path[frame, 0]) * side, (0.5 + path[frame, 1]) * side
            body = ((x - cx) / (0.13 * side)) ** 2 + ((y - cy) / (0.17 * side)) ** 2 < 1
            both[frame] |= body
            if k == 0:
                truth[0, frame] = body
    grey = 60 + 100 * both + rng.normal(0, 5, both.shape)
    rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)
    plan = Plan.parse("mask")
    return Example(
        rgb,
        truth,
        ("a",),
        np.zeros(both.shape, np.int64),
        (plan,),
        ((),),
        0,
        np.random.default_rng(0),
        None,
        True,
        "",
    )


@pytest.mark.slow
def test_eight_clips_are_learned_by_heart_and_by_memory() -> None:
    """With the weights of `mini`: from nothing, memory takes hours to learn what to look at."""
    engine: Any = load("mini", device="cpu", dtype=torch.float32, input_size=128)
    adapted = attach(MedSam2(parts=PARTS[1:], second=0.0), engine, ())
    batch = [_moving(seed) for seed in range(8)]
    before = _dice(adapted, batch)
    optimizer = torch.optim.AdamW(list(adapted.trained.values()), lr=5e-4, weight_decay=0.0)
    for step in range(24):
        adapted.method.loss(adapted, [batch[(2 * step + k) % 8] for k in range(2)])[
            "loss"
        ].backward()
        torch.nn.utils.clip_grad_norm_(list(adapted.trained.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    after = _dice(adapted, batch)
    engine.attend = _forgetful(engine)
    ablated = _dice(adapted, batch)
    assert after > 0.97, (before, after, ablated)
    assert after > before, (before, after, ablated)
    assert after > ablated + 0.2, (before, after, ablated)


@torch.no_grad()
def _dice(adapted: Adapted, batch: list[Example]) -> float:
    return float(adapted.method.loss(adapted, batch)["dice"])


def _forgetful(engine: Any) -> Callable[..., Tensor]:
    return lambda features, banks: engine.unconditioned(features).expand(len(banks), -1, -1, -1)


def test_validation_tells_prompted_and_tracked_frames_apart(clips: Data) -> None:
    for family in FAMILIES:
        adapted = attached(MedSam2, family)
        figures = adapted.method.validate(adapted, clips.val).as_dict()
        assert set(figures) == {"dice", "prompted"}
        assert all(0 <= value <= 1 for value in figures.values())


def test_validation_of_images_is_the_usual_one(data: Data) -> None:
    adapted = attached(MedSam2, "sam2")
    assert set(adapted.method.validate(adapted, data.val).as_dict()) == {"dice"}


def test_a_run_on_volumes(clips: Data, tmp_path: Path) -> None:
    adapted = attached(MedSam2, "mini")
    settings = TrainingSettings(steps=2, batch=2, workers=0, prompts=MIX)
    trainer = Trainer(adapted, clips, sampler(adapted, clips, settings), tmp_path)
    outcome = trainer.run()
    assert outcome.progress.step == 2
    assert "val prompted" in outcome.progress.rows[0]


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("trainer", [False, True])
def test_published_layouts_are_read(version: str, trainer: bool, tmp_path: Path) -> None:
    model = build("sam2", "test", version=version)
    path = tmp_path / "MedSAM2_2411.pt"
    torch.save(
        {"model": to_official("sam2", model.state_dict()), **(BESIDE if trainer else {})}, path
    )
    found = read(path)
    assert found.version == version
    assert len(found.dropped) == (len(BESIDE) if trainer else 0)
    _alike(found, model, 128)


@pytest.mark.slow
def test_the_published_size_is_read(tmp_path: Path) -> None:
    model = build("sam2", "tiny", 512)
    path = tmp_path / "MedSAM2_latest.pt"
    torch.save({"model": to_official("sam2", model.state_dict()), **BESIDE}, path)
    found = read(path)
    assert (found.card.name, found.version, found.card.input_size) == ("medsam2", "2.1", 512)
    _alike(found, model, 512)


BESIDE = {
    "optimizer": {},
    "epoch": 3,
    "loss": {},
    "steps": {},
    "time_elapsed": 1,
    "best_meter_values": {},
    "scaler": {},
}


@torch.no_grad()
def _alike(found: Checkpoint, model: Any, side: int) -> None:
    """The network of a checkpoint gives what the one does that it was written from: memory and
    features.
    """
    assert set(found.tensors) == set(model.state_dict())
    rebuilt: Any = network(found)
    pixels = torch.randn(1, 3, side, side)
    ours, theirs = (each.get_image_features(pixels, return_dict=True) for each in (rebuilt, model))
    for a, b in zip(ours.fpn_hidden_states, theirs.fpn_hidden_states, strict=True):
        assert float((a - b).abs().max()) < 1e-4
    width, grid = model.config.memory_encoder_hidden_size, side // 16
    maps, masks = torch.randn(1, width, grid, grid), torch.randn(1, 1, side, side)
    for a, b in zip(
        rebuilt.memory_encoder(maps, masks), model.memory_encoder(maps, masks), strict=True
    ):
        assert float((a - b).abs().max()) < 1e-4


def test_a_wrong_size_of_the_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "MedSAM2_latest.pt"
    torch.save({"model": to_official("sam2", build("sam2", "tiny", 512).state_dict())}, path)
    with pytest.raises(CheckpointError, match="multiple of 32"):
        read(path, input_size=500)
