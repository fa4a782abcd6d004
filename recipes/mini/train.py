"""Train `mini`: stage `image` (encoder, prompts, decoder), then stage `memory` (see memory.py).

    python recipes/mini/train.py image --data DIR --out DIR --minutes 70
    python recipes/mini/train.py memory --data DIR --out DIR --minutes 25

Two processes of one thread average their gradients. A run stops at its time and can be resumed: weights, average,
optimiser, steps and spent time are in OUT/state_*.pt.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import tomllib
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from data import training_scenes
from losses import box_and_click_loss
from sampler import Prepared, Sampler, add_clicks, first_prompts, synthetic
from safetensors.torch import save_file
from torch import Tensor, nn

from segscope.models.mini import build_mini, normalise

log = logging.getLogger("mini")


@dataclass
class Settings:
    """What a run is; read from settings.toml, changed on the command line."""

    data: Path = Path(".")
    out: Path = Path("mini-run")
    minutes: float = 70
    workers: int = 2
    seed: int = 1
    made_up: int = 6000
    share_real: float = 0.65
    share_box: float = 0.55
    rate: float = 1.2e-3
    decay: float = 0.02
    warm_up: int = 100
    flat: float = 0.35
    average: float = 0.999
    rounds: tuple[float, ...] = (0.4, 0.3, 0.18, 0.12)
    #: share of the time at which each input size begins, and pictures a process and step at it
    sizes: tuple[tuple[float, int, int], ...] = ((0.0, 128, 10), (0.58, 192, 5), (0.88, 256, 3))
    save_every: float = 150.0
    bf16: bool = True
    resume: bool = False
    extra: dict = field(default_factory=dict)


def upsample(logits: Tensor) -> Tensor:
    return F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)


def image_loss(model: nn.Module, sampler: Sampler, settings: Settings, size: int, count: int, notes: dict) -> Tensor:
    """One batch: a first prompt, then up to three corrections with earlier logits."""
    rng = sampler.rng
    batch = sampler.batch(count, size)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
        maps = model.encode(normalise(batch.images))
    each = len(batch.truth) // count
    features = [m.float().repeat_interleave(each, 0) for m in maps]
    points, labels, boxes, has_box = first_prompts(rng, batch, settings.share_box)
    rounds = 1 + int(rng.choice(len(settings.rounds), p=settings.rounds))
    ellipse = torch.from_numpy(rng.random(len(boxes)) > 0.15)
    previous, loss = None, torch.zeros(())
    for k in range(rounds):
        keep = torch.from_numpy(rng.random(len(boxes)) < 0.9) if previous is not None else None
        logits, iou, score = model.decode(
            features, points, labels, boxes, previous, has_box=has_box, has_previous=keep, ellipse=ellipse
        )
        fine = upsample(logits)
        lone = ~has_box if k == 0 else torch.zeros_like(has_box)
        part, best, dice = box_and_click_loss(fine, iou, batch.truth, batch.outside * (~has_box), lone)
        loss = loss + part / rounds + 0.02 * F.softplus(-score).mean() / rounds
        with torch.no_grad():
            notes.setdefault(f"dice{k}", []).append(float(dice.mean()))
            if k == 0:
                notes.setdefault("box", []).append(float(dice[has_box].mean()))
                notes.setdefault("click", []).append(float(dice[~has_box].mean()))
            if k + 1 < rounds:
                rows = torch.arange(len(best))
                previous = logits.detach()[rows, best][:, None]
                points, labels = add_clicks(points, labels, fine[rows, best] > 0, batch.truth)
    return loss


class Average:
    """Running average of weights and batch statistics."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        rate = min(self.rate, self.steps / (self.steps + 10))
        for k, v in model.state_dict().items():
            if v.is_floating_point():
                self.values[k].lerp_(v, 1 - rate)
            else:
                self.values[k].copy_(v)


def write_weights(values: dict[str, Tensor], path: Path, notes: dict[str, str]) -> None:
    """fp16 safetensors, replaced in one move."""
    half = {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in values.items()}
    half = {k: v for k, v in half.items() if not k.endswith("num_batches_tracked")}
    save_file(half, str(path) + ".part", metadata=notes)
    os.replace(str(path) + ".part", path)


def average_gradients(parameters: list[Tensor], workers: int) -> None:
    if workers < 2:
        return
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= workers
    at = 0
    for p in parameters:
        p.grad = flat[at : at + p.numel()].view_as(p)
        at += p.numel()


def rate_at(settings: Settings, step: int, share: float) -> float:
    warm = min(1.0, (step + 1) / settings.warm_up)
    if share < settings.flat:
        return settings.rate * warm
    return settings.rate * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(1, (share - settings.flat) / (1 - settings.flat)))))


def image_worker(rank: int, settings: Settings, real: list[Prepared], made: list[Prepared], port: int) -> None:
    torch.set_num_threads(1)
    logging.basicConfig(filename=settings.out / f"image_{rank}.log", level=logging.INFO, format="%(asctime)s %(message)s")
    if settings.workers > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=settings.workers)
    torch.manual_seed(settings.seed)
    models = {size: build_mini(size) for _, size, _ in settings.sizes}
    first = next(iter(models.values()))
    # one set of weights for all input sizes
    for other in models.values():
        other.load_state_dict(first.state_dict(), assign=False)
        for (name, p), q in zip(list(other.named_parameters()), first.parameters(), strict=True):
            owner = other.get_submodule(name.rpartition(".")[0]) if "." in name else other
            setattr(owner, name.rpartition(".")[2], q)
        for (name, b), c in zip(list(other.named_buffers()), first.buffers(), strict=True):
            if b.shape == c.shape:
                owner = other.get_submodule(name.rpartition(".")[0]) if "." in name else other
                owner._buffers[name.rpartition(".")[2]] = c
    first.train()
    parts = (first.vision_encoder, first.prompt_encoder.point_embed, first.prompt_encoder.not_a_point_embed,
             first.prompt_encoder.no_mask_embed, first.mask_decoder, first.dense_branch)
    parameters = [p for part in parts for p in part.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.decay}, {"params": plain, "weight_decay": 0.0}], lr=settings.rate
    )
    average = Average(first, settings.average)
    step, images, spent = 0, 0, 0.0
    state = settings.out / "state_image.pt"
    if settings.resume and state.exists():
        saved = torch.load(state, weights_only=True)
        first.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average.values, average.steps = saved["average"], saved["step"]
        step, images, spent = saved["step"], saved["images"], saved["spent"]
    sampler = Sampler(real, made, settings.share_real, settings.seed * 1000 + rank + 7919 * step)
    begin, saved_at, notes = time.time() - spent, time.time(), {}
    while True:
        share = torch.tensor((time.time() - begin) / (60 * settings.minutes))
        if settings.workers > 1:
            dist.broadcast(share, 0)
        share = float(share)
        if share >= 1:
            break
        _, size, count = [s for s in settings.sizes if s[0] <= share][-1]
        model = models[size].train()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(settings, step, share)
        optimizer.zero_grad()
        loss = image_loss(model, sampler, settings, size, count, notes)
        loss.backward()
        average_gradients(parameters, settings.workers)
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            optimizer.step()
            average.update(first)
        step, images = step + 1, images + count * settings.workers
        notes.setdefault("loss", []).append(float(loss.detach()))
        if step % 50 == 0:
            log.info("%d images %d share %.3f size %d lr %.2e norm %.2f %s", step, images, share, size,
                     optimizer.param_groups[0]["lr"], float(norm),
                     " ".join(f"{k} {np.nanmean(v):.3f}" for k, v in sorted(notes.items())))
            notes.clear()
        if rank == 0 and time.time() - saved_at > settings.save_every:
            save_state(settings, first, optimizer, average, step, images, time.time() - begin)
            saved_at = time.time()
    if rank == 0:
        save_state(settings, first, optimizer, average, step, images, time.time() - begin)
        log.info("done: %d steps, %d images", step, images)


def save_state(settings: Settings, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, step: int, images: int, spent: float) -> None:
    state = {"model": model.state_dict(), "average": average.values, "optimizer": optimizer.state_dict(),
             "step": step, "images": images, "spent": spent}
    torch.save(state, settings.out / "state_image.part")
    os.replace(settings.out / "state_image.part", settings.out / "state_image.pt")
    write_weights(average.values, settings.out / "mini_image.safetensors", {"step": str(step), "images": str(images)})


def run_image(settings: Settings) -> None:
    settings.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began = time.time()
    with Pool(settings.workers) as pool:
        made = pool.map(synthetic, range(settings.made_up), chunksize=50)
    made = [p for p in map(Prepared, made) if p.objects]
    real = [p for p in map(Prepared, training_scenes(settings.data)) if p.objects]
    print(f"{len(real)} real and {len(made)} made-up scenes in {time.time() - began:.0f} s", flush=True)
    port = 29500 + os.getpid() % 1000
    processes = [mp.get_context("fork").Process(target=image_worker, args=(r, settings, real, made, port)) for r in range(settings.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def settings_from(arguments: list[str] | None = None) -> tuple[str, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("image", "memory"))
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--made-up", type=int)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(arguments)
    values = tomllib.loads(given.settings.read_text()).get(given.stage, {}) if given.settings.exists() else {}
    values = {k: tuple(tuple(x) if isinstance(x, list) else x for x in v) if isinstance(v, list) else v for k, v in values.items()}
    values |= {k: v for k, v in vars(given).items() if k not in ("stage", "settings") and v is not None}
    return given.stage, Settings(**values)


if __name__ == "__main__":
    stage, chosen = settings_from()
    if stage == "image":
        run_image(chosen)
    else:
        from memory import run_memory

        run_memory(chosen)
