"""MedSAM2 (Toronto): clips, what is said in them, gradients through memory, checkpoints of its layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.conftest import to_official
from support.adaptation import attached, sampler
from support.engines import make_engine
from torch import Tensor

from segscope.adapt.data.sampler import Example, Sampler
from segscope.adapt.data.training_set import Data
from segscope.adapt.losses.clip_memory import ClipMemory
from segscope.adapt.method import Adapted
from segscope.adapt.methods.medsam2.clips import ClipPlan, ClipRun, answer_losses, draw_clip
from segscope.adapt.methods.medsam2.method import MIX, PARTS, MedSam2
from segscope.adapt.saved import attach
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import Trainer
from segscope.errors import CheckpointError, UsageError
from segscope.load import load
from segscope.models.build import build
from segscope.models.checkpoint import Checkpoint, network, read
from segscope.models.engine import Decoded, Engine
from segscope.prompts import Box, Point
from segscope.session import Interaction
from segscope.simulate.plan import Plan
from segscope.stack import Stack

FAMILIES = ("sam2", "edgetam", "mini")


def example(
    frames: int = 8,
    seed: int = 0,
    plan: str = "mask",
    at: int = 0,
    side: int = 128,
    gone: tuple[int, ...] = (),
) -> Example:
    """Two bright ellipses that drift; the second one is not there on the frames `gone`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    starts, moves = rng.uniform(0.3, 0.7, (2, 2)), rng.uniform(-0.02, 0.02, (2, 2))
    truth = np.zeros((2, frames, side, side), bool)
    for k in range(2):
        for frame in range(frames):
            cx, cy = (starts[k] + frame * moves[k]) * side
            body = ((x - cx) / (0.14 * side)) ** 2 + ((y - cy) / (0.1 * side)) ** 2 < 1
            truth[k, frame] = body & (k == 0 or frame not in gone)
    grey = 60 + 90 * truth[0] + 40 * truth[1] + rng.normal(0, 5, truth.shape[1:])
    rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)
    parsed = Plan.parse(plan)
    classes = np.zeros(truth.shape[1:], np.int64)
    return Example(
        rgb,
        truth,
        ("a", "b"),
        classes,
        (parsed, parsed),
        ((), ()),
        at,
        np.random.default_rng(seed),
        None,
        True,
        "drawn",
    )


def alive(family: str) -> Engine:
    """A small engine in which nothing is silenced by its start: no scale is zero, no object absent."""
    engine = make_engine(family)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, item in engine.model.named_parameters():  # type: ignore[attr-defined]
            if not item.any() or name.endswith("scale"):
                item.normal_(std=0.2)
            if name.endswith("pred_obj_score_head.proj_out.bias"):
                item.fill_(5.0)
    return engine


# --- gradients through memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_tensor_of_memory(family: str) -> None:
    adapted = attach(MedSam2(parts=("memory",), second=0.0), alive(family), ())
    # one clip in which an object leaves, so that the codes for absence count; its presence is told by hand
    batch = [example(8, plan="mask"), example(3, seed=1, plan="box")]
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
    adapted.method.loss(adapted, [example(4, plan="box")])["loss"].backward()
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
        loss = adapted.method.loss(adapted, [example(6, plan="mask")])["loss"]
        loss.backward()
        losses.append(float(loss.detach()))
        grads.append(adapted.trained["object_pointer_proj.proj_in.weight"].grad)
    assert losses[0] == losses[1]
    assert not torch.equal(grads[0], grads[1])


def test_computing_twice_gives_the_same_gradients() -> None:
    grads = []
    for thrifty in (False, True):
        adapted = attach(MedSam2(second=0.0, thrifty=thrifty), alive("sam2"), ())
        adapted.method.loss(adapted, [example(3, plan="box.jitter:kind=e+click.random:2,most=1")])[
            "loss"
        ].backward()
        grads.append({name: item.grad for name, item in adapted.trained.items()})
    for name, grad in grads[0].items():
        other = grads[1][name]
        assert (grad is None) == (other is None)
        assert grad is None or torch.allclose(grad, other, atol=1e-5, rtol=1e-4), name


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


# --- what is said in a clip -----------------------------------------------------------------------------------------


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
    found = example(2, plan="box+click.random:3,most=1")
    adapted.method.loss(adapted, [found])
    assert len(shown) == 6
    assert not any(shown)


def test_a_clip_may_start_at_its_first_frame() -> None:
    found = example(6, at=3, gone=(0, 1))
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
    terms = adapted.method.loss(adapted, [example(frames, plan=plan, at=frames - 1)])
    assert set(terms) == {"loss", "dice", "prompted"}
    assert math.isfinite(float(terms["loss"].detach()))
    terms["loss"].backward()
    assert any(item.grad is not None and bool(item.grad.any()) for item in adapted.trained.values())


# --- the loss -------------------------------------------------------------------------------------------------------


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
    found = example(3, plan="mask")
    walk = ClipRun(adapted, adapted.method.clips, found, draw_clip(found, adapted.method.clips))  # type: ignore[arg-type]
    walk.loss()
    assert len(walk.losses) == 2
    assert min(walk.prompted_dice) > 0.95  # the mask itself, at the decoder's resolution


# --- as prediction does it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sam2", "edgetam"])
def test_a_clip_is_carried_as_prediction_carries_it(family: str) -> None:
    """The same masks as `predict` gives; so what is trained is what is used."""
    engine = make_engine(family)
    found = example(5, plan="box", at=2)
    adapted = attach(MedSam2(second=0.0), engine, ())
    walk = ClipRun(adapted, adapted.method.clips, found, draw_clip(found, adapted.method.clips))  # type: ignore[arg-type]
    with torch.no_grad():
        walk.loss()
    stack = Stack.from_array(found.rgb)
    with Interaction(stack, engine) as work:
        for k in range(2):
            work.add(replace(Plan.parse("box").first(found.truth[k], np.random.default_rng(0), frames=[2])[0],
                             object_id=k + 1))  # fmt: skip
        for one in work.propagate(direction="both"):
            mine = engine.to_frame(
                walk.recall.answers[one.frame].logits[one.object_id - 1, 0], (128, 128)
            )
            assert torch.allclose(mine, torch.from_numpy(one.logits), atol=2e-3, rtol=1e-3), (
                one.frame
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ways_is_forward_on_the_stack_and_on_its_mirror(family: str) -> None:
    engine = make_engine(family)
    rgb = example(6).rgb
    answers: dict[str, dict[int, Any]] = {}
    for name, frames, at, direction in (
        ("both", rgb, 2, "both"),
        ("forward", rgb, 2, "forward"),
        ("mirror", rgb[::-1].copy(), 3, "forward"),
    ):
        with Interaction(Stack.from_array(frames), engine) as work:
            work.add(Box((30, 30, 80, 80), frame=at))
            answers[name] = {one.frame: one.logits for one in work.propagate(direction=direction)}
    assert sorted(answers["both"]) == list(range(6))
    for frame, logits in answers["both"].items():
        other = answers["forward"][frame] if frame >= 2 else answers["mirror"][5 - frame]
        assert np.allclose(logits, other, atol=1e-3, rtol=1e-4), frame


# --- learning -------------------------------------------------------------------------------------------------------


def _moving(seed: int, side: int = 96, frames: int = 6) -> Example:
    """A target and a distractor that look the same and move; only the first frame tells which is which."""
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
        figures = adapted.method.validate(adapted, clips.val)
        assert set(figures) == {"dice", "prompted"}
        assert all(0 <= value <= 1 for value in figures.values())


def test_validation_of_images_is_the_usual_one(data: Data) -> None:
    adapted = attached(MedSam2, "sam2")
    assert set(adapted.method.validate(adapted, data.val)) == {"dice"}


def test_a_run_on_volumes(clips: Data, tmp_path: Path) -> None:
    adapted = attached(MedSam2, "mini")
    settings = TrainingSettings(steps=2, batch=2, workers=0, prompts=MIX)
    trainer = Trainer(adapted, clips, sampler(adapted, clips, settings), tmp_path)
    outcome = trainer.run()
    assert outcome.progress.step == 2
    assert "val prompted" in outcome.progress.rows[0]


# --- checkpoints ----------------------------------------------------------------------------------------------------


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
    """The network of a checkpoint gives what the one does that it was written from: memory and features."""
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


def test_plans_are_values() -> None:
    one, other = (draw_clip(example(5, seed=4, plan="box"), MedSam2().clips) for _ in range(2))
    assert isinstance(one, ClipPlan)
    assert one == other
