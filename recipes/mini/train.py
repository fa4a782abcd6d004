"""Train `mini`: stage `image` (encoder, prompts, decoder), then stage `memory` (see memory.py).

Stage `decoder` is stage `image` with the encoder left as it is, so that what memory learned stays good.

    python recipes/mini/train.py image --data DIR --out DIR
    python recipes/mini/train.py decoder --data DIR --out DIR --start mini.safetensors
    python recipes/mini/train.py memory --data DIR --out DIR --start OUT/mini_image.safetensors

Two processes of one thread average their gradients. Each step draws from a generator of its own, so that a run which
was interrupted and resumed (`--resume`) ends with the same weights as one that was not: weights, their average,
optimiser and step are in OUT/state_*.pt. `--start` begins from the weights of an earlier run.
"""

from __future__ import annotations

import argparse
import os
import time
import tomllib
from multiprocessing import Pool
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # processes are as many as cores; read when numpy is imported

import torch
import torch.nn.functional as F
from data import training_scenes
from loop import Loop, Settings, spread, start_from
from losses import round_loss
from sampler import Batch, Prepared, Sampler, add_clicks, first_prompts, synthetic
from torch import Tensor

from segscope.models.mini import MiniModel, normalise


def upsample(logits: Tensor) -> Tensor:
    return F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)


def image_loss(loop: Loop, model: MiniModel, sampler: Sampler, batch: Batch) -> Tensor:
    """A first prompt on every object, then up to three corrections with earlier logits."""
    rng, settings = sampler.rng, loop.settings
    frozen = settings.stage == "decoder"
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16), torch.set_grad_enabled(not frozen):
        maps = model.encode(normalise(batch.images))
    each = len(batch.truth) // len(batch.images)
    features = [m.float().repeat_interleave(each, 0) for m in maps]
    first = first_prompts(rng, batch, settings.share_box)
    points, labels, boxes, has_box = first.points, first.labels, first.boxes, first.has_box
    rounds = 1 + int(rng.choice(len(settings.rounds), p=settings.rounds))
    given = {"has_box": has_box, "ellipse": torch.from_numpy(rng.random(len(boxes)) > 0.15)}
    previous, loss = first.hints, torch.zeros(())
    for k in range(rounds):
        keep = torch.from_numpy(rng.random(len(boxes)) < 0.9) if k else first.has_hint
        logits, iou, score = model.decode(features, points, labels, boxes, previous, has_previous=keep, **given)
        fine = upsample(logits)
        lone = first.lone if k == 0 else torch.zeros_like(has_box)
        judged = has_box & batch.vague if k == 0 else torch.zeros_like(has_box)
        part, best, dice = round_loss(fine, iou, batch.truth, batch.outside * ~has_box, lone, judged)
        loss = loss + (part + 0.02 * F.softplus(-score).mean()) / rounds
        loop.note(f"dice{k}", float(dice.mean()))
        if k == 0:
            loop.note("box", float(dice[has_box & ~batch.vague].mean()))
            loop.note("click", float(dice[first.lone].mean()))
            loop.note("mask", float(dice[first.has_hint].mean()))
        if k + 1 < rounds:
            rows = torch.arange(len(best))
            previous = logits.detach()[rows, best][:, None]
            points, labels = add_clicks(points, labels, fine.detach()[rows, best] > 0, batch.truth)
    return loss


def _decoder_parameters(model: MiniModel) -> list[Tensor]:
    prompts = model.prompt_encoder
    parts = (prompts.point_embed, prompts.not_a_point_embed, prompts.no_mask_embed)
    return [p for part in (*parts, model.mask_decoder, model.dense_branch) for p in part.parameters()]


def _image_parameters(model: MiniModel) -> list[Tensor]:
    return [*model.vision_encoder.parameters(), *_decoder_parameters(model)]


def image_worker(rank: int, settings: Settings, real: list[Prepared], made: list[Prepared]) -> None:
    frozen = settings.stage == "decoder"
    loop = Loop(rank, settings, _decoder_parameters if frozen else _image_parameters, start_from(settings))
    sampler = Sampler(real, made, settings.share_real, settings.seed * 1000 + rank)
    for size, count, _ in loop.steps():
        sampler.restart(loop.step)
        model = loop.models[size].train()
        model.vision_encoder.train(not frozen)
        loss = image_loss(loop, model, sampler, sampler.batch(count, size))
        loss.backward()
        loop.note("loss", float(loss.detach()))


def run_image(settings: Settings) -> None:
    torch.set_num_threads(1)
    began = time.time()
    with Pool(settings.workers) as pool:
        made = pool.map(synthetic, range(settings.made_up), chunksize=50)
    made = [p for p in map(Prepared, made) if p.objects]
    real = [p for p in map(Prepared, training_scenes(settings.data)) if p.objects]
    print(f"{len(real)} real and {len(made)} made-up scenes in {time.time() - began:.0f} s", flush=True)
    spread(settings, image_worker, real, made)


def settings_from(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("image", "decoder", "memory"))
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to begin with; stage memory needs those of stage image")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--stop-at", type=int, help="leave after this step, to be resumed")
    parser.add_argument("--made-up", type=int)
    parser.add_argument("--resume", action="store_true")
    given = vars(parser.parse_args(arguments))
    values = tomllib.loads(given.pop("settings").read_text()).get(given["stage"], {})
    return Settings(**(values | {k: v for k, v in given.items() if v is not None}))


if __name__ == "__main__":
    chosen = settings_from()
    if chosen.stage == "memory":
        from memory import run_memory

        run_memory(chosen)
    else:
        run_image(chosen)
