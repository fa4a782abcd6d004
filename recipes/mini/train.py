"""Train `mini`: stage `image` (encoder, prompts, decoder), then stage `memory` (see memory.py).

Stage `decoder` is stage `image` with the encoder left as it is, so that what memory learned stays
good.

    python recipes/mini/train.py image --data DIR --out DIR [--device cuda --workers 15 --seconds
    600] python recipes/mini/train.py decoder --data DIR --out DIR --start mini.safetensors
    python recipes/mini/train.py memory --data DIR --out DIR --start OUT/mini_image.safetensors

Each step draws from a generator of its own, so that a run which was interrupted and resumed
(`--resume`) ends with the same weights as one that was not: weights, their average, optimiser and
step are in OUT/state_*.pt. (With `--workers` made-up scenes come as fast as processes make them,
and with `--seconds` rates follow the clock; then two runs differ.) `--start` begins from the
weights of an earlier run.
"""

from __future__ import annotations

import argparse
import os
import time
import tomllib
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import numpy as np
import torch
import torch.nn.functional as F
from data import Scene, training_scenes
from loop import Loop, Settings, log, start_from
from losses import round_loss
from pool import OBJECTS, Batch, Pool, Ring
from prompting import add_clicks, corrective_clicks, first_prompts
from supply import Stream, Supply
from torch import Generator, Tensor

from segscope.models.mini import MiniModel, normalise
from segscope.models.mini_layers import MiniPrompts


def upsample(logits: Tensor) -> Tensor:
    return F.interpolate(logits.float(), scale_factor=2.0, mode="bilinear", align_corners=False)


def image_loss(loop: Loop, model: MiniModel, rng: Generator, batch: Batch) -> Tensor:
    """A first prompt on every object, then corrections with earlier logits."""
    settings = loop.settings
    device = batch.truth.device
    frozen = settings.stage == "decoder"
    with settings.half(), torch.set_grad_enabled(not frozen):
        maps = model.encode(normalise(batch.images.permute(0, 2, 3, 1)))
    features = [m.repeat_interleave(OBJECTS, 0) for m in maps]
    first = first_prompts(rng, batch, settings.share_box)
    points = first.points
    labels = first.labels
    boxes = first.boxes
    has_box = first.has_box
    # the same in all processes and after resuming, and known without waiting for the device
    rounds = 1 + int(
        np.random.default_rng((settings.seed, loop.step)).choice(
            len(settings.rounds), p=settings.rounds
        )
    )
    chance = lambda share: torch.rand(len(boxes), generator=rng, device=device) < share  # noqa: E731
    ellipse = chance(0.85)
    previous = first.hints
    loss = torch.zeros((), device=device)
    for k in range(rounds):
        keep = chance(0.9) if k else first.has_hint
        with settings.half():
            prompts = MiniPrompts(points, labels, boxes, previous, has_box, keep, ellipse)
            logits, iou, score = model.decode(features, prompts)
        fine = upsample(logits)
        iou = iou.float()
        lone = first.lone if k == 0 else torch.zeros_like(has_box)
        judged = has_box & batch.vague if k == 0 else torch.zeros_like(has_box)
        part, best, dice = round_loss(
            fine, iou, batch.truth, batch.outside * ~has_box, lone, judged
        )
        loss = loss + (part + 0.02 * F.softplus(-score.float()).mean()) / rounds
        loop.note(f"dice{k}", dice.mean())
        if k == 0:
            for name, rows in (
                ("box", has_box & ~batch.vague),
                ("click", first.lone),
                ("mask", first.has_hint),
            ):
                loop.note(name, (dice * rows).sum() / rows.sum())
        if k + 1 < rounds:
            rows = torch.arange(len(best), device=device)
            answer = fine.detach()[rows, best] > 0
            previous = logits.detach().float()[rows, best][:, None]
            spot, sign = corrective_clicks(rng, answer, batch.truth)
            points, labels = add_clicks(points, labels, 2 * spot + 1, sign)
    return loss


def _decoder_parameters(model: MiniModel) -> list[Tensor]:
    prompts = model.prompt_encoder
    parts = (prompts.point_embed, prompts.not_a_point_embed, prompts.no_mask_embed)
    return [
        p for part in (*parts, model.mask_decoder, model.dense_branch) for p in part.parameters()
    ]


def _image_parameters(model: MiniModel) -> list[Tensor]:
    return [*model.vision_encoder.parameters(), *_decoder_parameters(model)]


def run_image(settings: Settings, scenes: list[Scene]) -> None:
    """Real scenes and made-up ones, in proportion `share_real`."""
    frozen = settings.stage == "decoder"
    device = torch.device(settings.device)
    began = time.time()
    stream = Stream(settings.seed, [s.image for s in scenes])
    ring = Ring(settings.made_up, device)
    supply = Supply(
        ring, stream, settings.workers
    )  # processes begin before anything large lies in memory
    real = Pool.of(scenes, device)
    supply.take(wait=True)
    made = ring.view()
    loop = Loop(
        settings, _decoder_parameters if frozen else _image_parameters, start_from(settings)
    )
    log.info(
        "%d real scenes with %d objects ready in %.0f s",
        len(scenes),
        len(real.objects),
        time.time() - began,
    )
    for size, count, _ in loop.steps():
        if loop.step % 10 == 0 and supply.take():
            made = ring.view()
        model = loop.models[size].train()
        model.vision_encoder.train(not frozen)
        rng = loop.rng()
        share = round(count * settings.share_real)
        parts = [pool.draw(rng, n, size) for pool, n in ((real, share), (made, count - share)) if n]
        batch = Batch(
            *(torch.cat([getattr(p, name) for p in parts]) for name in Batch.__dataclass_fields__)
        )
        loss = image_loss(loop, model, rng, batch)
        loss.backward()
        loop.note("loss", loss)
    log.info("%d made-up scenes", supply.made)


def settings_from(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("image", "decoder", "memory"))
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--start", type=Path, help="weights to begin with; stage memory needs those of stage image"
    )
    parser.add_argument("--device", help="cpu, cuda")
    parser.add_argument("--workers", type=int, help="processes that make scenes meanwhile")
    parser.add_argument("--seconds", type=float, help="end after so long")
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
        from clips import training_stacks
        from memory import run_memory

        run_memory(chosen, training_stacks(chosen.data), training_scenes(chosen.data))
    else:
        run_image(chosen, training_scenes(chosen.data))
