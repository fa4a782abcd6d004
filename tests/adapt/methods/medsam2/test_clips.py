"""Clips of MedSAM2: prompts and corrections, gradients through memory, losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import attached
from support.clips import draw_example
from support.engines import make_engine

from segscope.adapt.data.sampler import Sampler
from segscope.adapt.data.training_set import Data
from segscope.adapt.losses.clip_memory import ClipMemory
from segscope.adapt.methods.medsam2.clips import ClipPlan, ClipRun, answer_losses, draw_clip
from segscope.adapt.methods.medsam2.method import MIX, MedSam2
from segscope.adapt.saved import attach
from segscope.adapt.training.settings import TrainingSettings
from segscope.models.engine import Decoded, Engine
from segscope.prompts import Box, Point
from segscope.simulate.plan import Plan

FAMILIES = ("sam2", "edgetam", "mini")


def alive(family: str) -> Engine:
    """A small engine that starts with nothing switched off: no scale is zero, no object absent."""
    engine = make_engine(family)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, item in engine.model.named_parameters():  # type: ignore[attr-defined]
            if not item.any() or name.endswith("scale"):
                item.normal_(std=0.2)
            if name.endswith("pred_obj_score_head.proj_out.bias"):
                item.fill_(5.0)
    return engine


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_tensor_of_memory(family: str) -> None:
    adapted = attach(MedSam2(parts=("memory",), second=0.0), alive(family), ())
    # one clip in which an object leaves, so that the codes for absence count; its presence is set
    # by hand
    batch = [draw_example(8, plan="mask"), draw_example(3, seed=1, plan="box")]
    scores = adapted.engine.decode

    def with_absence(features: Any, hints: Any, **more: Any) -> Decoded:
        found = scores(features, hints, **more)
        score = found.object_score
        assert score is not None
        flip = torch.ones_like(score)
        flip[-1] = -1.0
        return replace(
            found, object_score=score * flip if more.get("conditioned") is not None else score
        )

    adapted.engine.decode = with_absence  # type: ignore[method-assign]
    adapted.method.loss(adapted, batch)["loss"].backward()
    silent = [
        name
        for name, item in adapted.trained.items()
        if item.grad is None or not bool(item.grad.any())
    ]
    assert len(adapted.trained) > 50
    assert not silent


@pytest.mark.parametrize("family", FAMILIES)
def test_detached_memories_teach_the_memory_encoder_nothing(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = attach(MedSam2(parts=("memory",), second=0.0), alive(family), ())
    encoders = {
        name: item for name, item in adapted.trained.items() if name.startswith("memory_encoder.")
    }
    monkeypatch.setattr(ClipMemory, "track", _detaching(ClipMemory.track))
    adapted.method.loss(adapted, [draw_example(4, plan="box")])["loss"].backward()
    assert encoders
    assert all(item.grad is None or not bool(item.grad.any()) for item in encoders.values())


def _detaching(track: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: ClipMemory, *given: Any) -> Any:
        self.detach()
        return track(self, *given)

    return step


def test_truncation_changes_gradients_and_not_answers() -> None:
    grads, losses = [], []
    for truncate in (0, 2):
        adapted = attach(
            MedSam2(parts=("memory",), second=0.0, truncate=truncate), alive("sam2"), ()
        )
        loss = adapted.method.loss(adapted, [draw_example(6, plan="mask")])["loss"]
        loss.backward()
        losses.append(float(loss.detach()))
        grads.append(adapted.trained["object_pointer_proj.proj_in.weight"].grad)
    assert losses[0] == losses[1]
    assert not torch.equal(grads[0], grads[1])


def test_computing_twice_gives_the_same_gradients() -> None:
    grads = []
    for thrifty in (False, True):
        adapted = attach(MedSam2(second=0.0, thrifty=thrifty), alive("sam2"), ())
        adapted.method.loss(
            adapted, [draw_example(3, plan="box.jitter:kind=e+click.random:2,most=1")]
        )["loss"].backward()
        grads.append({name: item.grad for name, item in adapted.trained.items()})
    for name, grad in grads[0].items():
        other = grads[1][name]
        assert (grad is None) == (other is None)
        assert grad is None or torch.allclose(grad, other, atol=1e-5, rtol=1e-4), name


def test_the_mix_of_prompts_is_the_published_one(clips: Data) -> None:
    chosen = TrainingSettings(steps=1, prompts=MIX, augment=0.0)
    made = Sampler(clips.train, clips.unlabelled, chosen, zoom=False, frames=4, grid=128)
    masks, seconds, corrected = [], [], []
    method = MedSam2(clip=4)
    for step in range(500):
        for place in range(4):
            found = made.example(step, place)
            plan = draw_clip(found, method.clips)
            masks.append(plan.plan.opening == "mask.gt")
            seconds.append(len(plan.initial) == 2)
            assert len(plan.initial) in (1, 2)
            assert plan.initial[0] == found.at
            assert not masks[-1] or not plan.corrected
            assert masks[-1] or len(plan.initial) <= len(plan.corrected) <= 2
            assert set(plan.initial) <= set(plan.corrected) or masks[-1]
            corrected.append(len(plan.corrected))
            assert sorted([plan.initial[0], *(frame for frame, _ in plan.order)]) == list(
                range(len(found.rgb))
            )
    assert abs(np.mean(masks) - 0.5) < 0.03
    assert abs(np.mean(seconds) - 0.5) < 0.04
    assert {1, 2} <= set(corrected)


def test_boxes_err_by_a_tenth_and_at_most_20_pixels_of_512() -> None:
    plan = Plan.parse(MIX[1][1])
    truth = np.zeros((1, 512, 512), bool)
    truth[0, 100:160, 50:450] = True  # 400 wide, 60 high
    rng = np.random.default_rng(0)
    edges = np.array([_box(plan, truth, rng) for _ in range(2000)]) - (50, 100, 450, 160)
    assert np.abs(edges[:, [0, 2]]).max() <= 20  # not 40
    assert np.abs(edges[:, [0, 2]]).max() > 19.5
    assert np.abs(edges[:, [1, 3]]).max() <= 6
    assert abs(edges.mean()) < 0.5  # both ways alike
    small = np.zeros((1, 256, 256), bool)
    small[0, 100:160, 20:230] = True
    edges = np.array([_box(plan, small, rng) for _ in range(500)]) - (20, 100, 230, 160)
    assert np.abs(edges[:, [0, 2]]).max() <= 10


def _box(plan: Plan, truth: Any, rng: np.random.Generator) -> tuple[float, ...]:
    prompt = plan.first(truth, rng)[0]
    assert isinstance(prompt, Box)
    return prompt.xyxy


def test_clicks_lie_in_the_error_and_say_the_truth() -> None:
    plan, rng = Plan.parse(MIX[1][1]), np.random.default_rng(0)
    truth, found = np.zeros((1, 64, 64), bool), np.zeros((1, 64, 64), bool)
    truth[0, 10:40, 10:40], found[0, 20:50, 20:50] = True, True
    signs = []
    for _ in range(2000):
        (click,) = plan.correct(truth, found, rng, frame=0)
        assert isinstance(click, Point)
        row, column = int(click.y), int(click.x)
        assert truth[0, row, column] != found[0, row, column]
        assert click.positive == truth[0, row, column]
        signs.append(click.positive)
    assert abs(np.mean(signs) - 0.5) < 0.04  # missed and surplus are of one size


def test_one_click_in_ten_is_made_by_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []
    correct = Plan.correct

    def watch(self: Plan, truth: Any, found: Any, *given: Any, **more: Any) -> Any:
        shown.append(bool(found.any()))
        return correct(self, truth, found, *given, **more)

    monkeypatch.setattr(Plan, "correct", watch)
    adapted = attach(MedSam2(by_truth=1.0, second=0.0, corrected=1), alive("sam2"), ())
    found = draw_example(2, plan="box+click.random:3,most=1")
    adapted.method.loss(adapted, [found])
    assert len(shown) == 6
    assert not any(shown)


def test_a_clip_may_start_at_its_first_frame() -> None:
    found = draw_example(6, at=3, gone=(0, 1))
    plan = draw_clip(found, MedSam2(start="first", second=0.0).clips)
    assert plan.initial == (0,)
    assert plan.objects == (0,)
    assert plan.order == tuple((frame, 1) for frame in range(1, 6))
    both = draw_clip(found, MedSam2(second=0.0).clips)
    assert both.objects == (0, 1)
    assert both.order == ((4, 1), (5, 1), (2, -1), (1, -1), (0, -1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "plan", ["mask", "box+click.random:2,most=1", "clicks:3", "mask.morph+clicks:1"]
)
@pytest.mark.parametrize("frames", [1, 3])
def test_every_prompt_teaches_from_clips_and_images(family: str, plan: str, frames: int) -> None:
    adapted = attached(MedSam2, family)
    terms = adapted.method.loss(adapted, [draw_example(frames, plan=plan, at=frames - 1)])
    assert set(terms) == {"loss", "dice", "prompted"}
    assert math.isfinite(float(terms["loss"].detach()))
    terms["loss"].backward()
    assert any(item.grad is not None and bool(item.grad.any()) for item in adapted.trained.values())


def test_the_best_of_three_masks_is_taught_and_all_scores() -> None:
    engine = make_engine("sam2")
    truth = torch.zeros(1, 32, 32, dtype=torch.bool)
    truth[0, 8:24, 8:24] = True
    good = torch.where(truth[0], 4.0, -4.0)
    logits = torch.stack([-good, good, torch.full((32, 32), -4.0)])[None].requires_grad_(True)
    iou = torch.tensor([[0.5, 0.5, 0.5]], requires_grad=True)
    score = torch.tensor([2.0], requires_grad=True)
    loss = answer_losses(engine, Decoded(logits, iou, score), truth, (32, 32))
    loss.sum().backward()
    assert logits.grad is not None
    assert [bool(logits.grad[0, k].any()) for k in range(3)] == [False, True, False]
    assert iou.grad is not None
    assert torch.allclose(iou.grad, torch.tensor([[1.0, -1.0, 1.0]]) / 3)
    p, t = torch.tensor(4.0).sigmoid(), truth[0].float()
    wrong = 1 - p
    focal = 20 * float(((0.25 * t + 0.75 * (1 - t)) * wrong**2 * -torch.log(p)).mean())
    inside = torch.where(truth[0], p, wrong)
    dice = 1 - float((2 * (inside * t).sum() + 1) / (inside.sum() + t.sum() + 1))
    presence = float(torch.log1p(torch.exp(torch.tensor(-2.0))))
    assert float(loss.detach()) == pytest.approx(focal + dice + 0.5 + presence, rel=1e-4)


def test_where_an_object_is_absent_only_presence_is_judged() -> None:
    engine = make_engine("sam2")
    logits = torch.randn(1, 3, 16, 16, requires_grad=True)
    iou = torch.rand(1, 3, requires_grad=True)
    score = torch.tensor([1.5], requires_grad=True)
    loss = answer_losses(
        engine, Decoded(logits, iou, score), torch.zeros(1, 16, 16, dtype=torch.bool), (16, 16)
    )
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(math.log1p(math.exp(1.5)), rel=1e-5)
    assert logits.grad is not None
    assert not bool(logits.grad.any())
    assert iou.grad is not None
    assert not bool(iou.grad.any())


def test_a_given_mask_is_not_judged() -> None:
    adapted = attach(MedSam2(second=0.0), alive("sam2"), ())
    found = draw_example(3, plan="mask")
    walk = ClipRun(adapted, adapted.method.clips, found, draw_clip(found, adapted.method.clips))  # type: ignore[arg-type]
    walk.loss()
    assert len(walk.losses) == 2
    assert min(walk.prompted_dice) > 0.95  # the mask itself, at the decoder's resolution


def test_plans_are_values() -> None:
    one, other = (draw_clip(draw_example(5, seed=4, plan="box"), MedSam2().clips) for _ in range(2))
    assert isinstance(one, ClipPlan)
    assert one == other
