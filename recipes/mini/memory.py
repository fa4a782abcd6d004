"""Stage `memory`: the image part stays as it is; what remembers, attends and hands on learns on
short clips.

A bank is handled as in SAM 2: prompted frames at temporal position 0, up to six recent ones at 1 to
6, object pointers with temporal codes, masks as sigmoid * 20 - 10 (binarised where prompted), a
code for "absent".
"""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import Pool

import numpy as np
import torch
import torch.nn.functional as F
from clips import Clips, ClipSampler, ClipStream, Stack, made_up_stacks
from data import Scene
from loop import Average, Loop, Settings, log, start_from
from losses import mask_loss, true_iou
from pool import tight_boxes
from prompting import corrective_clicks, interior_points
from safetensors import safe_open
from sampler import Prepared, synthetic
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader
from train import upsample

from segscope.models.mini import POINTERS, WIDTH, MiniModel, normalise
from segscope.models.mini_layers import MiniPrompts

PARTS = (
    "memory_attention", "memory_encoder", "object_pointer_proj",
    "temporal_positional_encoding_projection_layer", "track_prior", "track_branch", "track_decoder",
    "track_presence",
)  # fmt: skip
ABSENT = -32.0
SINGLE = (
    "memory_temporal_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)


@dataclass(eq=False)
class Remembered:
    """One frame of O objects in the bank.

    Attributes:
        frame: its number.
        prompted: whether it stands at temporal position 0.
        map: (O, channel, row, column); pointer: (O, WIDTH).
    """

    frame: int
    prompted: bool
    map: Tensor
    pointer: Tensor


def start_near_identity(model: MiniModel, coarse: Tensor) -> None:
    """Let memory attention begin as (almost) the identity on (N, WIDTH, row, column) maps
    `coarse`.
    """
    for layer, sharp in zip(model.memory_attention.layers, (3.5, 2.5), strict=True):
        for part in (layer.self_attn.o_proj, layer.cross_attn_image.o_proj, layer.linear2):
            nn.init.normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
        # equal query and key biases make rotary attention look at the same place (one to two tokens
        # wide) at first
        nn.init.constant_(layer.cross_attn_image.q_proj.bias, sharp)
        nn.init.constant_(layer.cross_attn_image.k_proj.bias, sharp)
    tokens = coarse.flatten(2).transpose(1, 2).reshape(-1, WIDTH)
    plain = F.layer_norm(tokens, (WIDTH,))
    spread = plain.var(0) + 1e-6
    slope = ((plain - plain.mean(0)) * (tokens - tokens.mean(0))).mean(0) / spread
    model.memory_attention.layer_norm.weight.data.copy_(slope)
    model.memory_attention.layer_norm.bias.data.copy_(tokens.mean(0) - slope * plain.mean(0))
    nn.init.normal_(model.memory_temporal_positional_encoding, std=0.02)
    nn.init.normal_(model.no_object_pointer, std=0.02)
    nn.init.normal_(model.occlusion_spatial_embedding_parameter, std=0.02)
    nn.init.constant_(model.track_prior.bias, -2.0)
    model.track_decoder.load_state_dict(model.mask_decoder.state_dict())
    score = (
        model.track_decoder.pred_obj_score_head.proj_out
    )  # prompted objects are there, tracked ones may not be
    score.weight.data.mul_(0.2)
    nn.init.zeros_(score.bias)
    # the neighbouring frame's answer and the prior are read at first as an earlier answer is
    branch = model.track_branch
    known = model.dense_branch
    branch.load_state_dict(known.state_dict() | {
        "first.weight": known.first.weight[:, 4:].repeat(1, 2, 1, 1) / 2,
        "flags.weight": known.flags.weight[:, 1:2],
    })  # fmt: skip


def pointer_positions(model: MiniModel, distances: list[int], longest: int) -> Tensor:
    half = WIDTH // 2
    device = model.no_memory_embedding.device
    rate = 10000 ** (2 * (torch.arange(half, device=device).float() // 2) / half)
    angle = torch.tensor(distances, device=device).float()[:, None] / max(longest - 1, 1) / rate
    place = model.temporal_positional_encoding_projection_layer(
        torch.cat([angle.sin(), angle.cos()], -1)
    )
    return place.repeat_interleave(WIDTH // model.mem_dim, 0)


def attend(
    model: MiniModel, coarse: Tensor, bank: list[Remembered], frame: int, longest: int
) -> Tensor:
    """(O, WIDTH, row, column) map of `frame` (1 or O maps), conditioned on the bank."""
    objects = bank[0].map.shape[0]
    shape = bank[0].map.shape
    device = bank[0].map.device
    place = model.memory_encoder.position_encoding(shape, device, torch.float32)[0].flatten(1).T
    ages = model.memory_temporal_positional_encoding.flatten(1)
    tokens = []
    places = []
    for item in bank:
        age = 0 if item.prompted else frame - item.frame
        if 0 <= age < model.num_maskmem:
            tokens.append(item.map.flatten(2).permute(2, 0, 1))
            places.append((place + ages[age - 1])[:, None].expand(-1, objects, -1))
    distances = [
        frame - item.frame for item in bank if item.prompted or frame - item.frame < longest
    ]
    pointers = [item.pointer for item in bank if item.prompted or frame - item.frame < longest]
    split = (
        torch.stack(pointers)
        .reshape(len(pointers), objects, -1, model.mem_dim)
        .permute(0, 2, 1, 3)
        .flatten(0, 1)
    )
    tokens.append(split)
    places.append(pointer_positions(model, distances, longest)[:, None].expand(-1, objects, -1))
    flat = coarse.flatten(2).permute(2, 0, 1).expand(-1, objects, -1)
    out = model.memory_attention(
        current_vision_features=flat,
        current_vision_position_embeddings=model.position()
        .flatten(2)
        .permute(2, 0, 1)
        .expand(-1, objects, -1),
        memory=torch.cat(tokens),
        memory_posision_embeddings=torch.cat(places),
        num_object_pointer_tokens=len(split),
    )
    return (
        out.reshape(objects, -1, WIDTH).transpose(1, 2).reshape(objects, WIDTH, *coarse.shape[-2:])
    )


def remember(
    model: MiniModel,
    coarse: Tensor,
    frame: int,
    logits: Tensor,
    token: Tensor,
    here: Tensor,
    prompted: bool,
) -> Remembered:
    """Memory of a frame from (O, row, column) low-resolution logits, mask tokens and presence
    (O,).
    """
    full = F.interpolate(
        logits[:, None], (model.image_size,) * 2, mode="bilinear", align_corners=False
    )
    mask = (full > 0).float() if prompted else torch.sigmoid(full)
    here = here.float()[:, None]
    mask = mask * here[..., None, None] * 20 - 10
    maps, _ = model.memory_encoder(coarse.expand(len(logits), -1, -1, -1), mask)
    maps = (
        maps
        + (1 - here[..., None, None]) * model.occlusion_spatial_embedding_parameter[..., None, None]
    )
    pointer = here * model.object_pointer_proj(token) + (1 - here) * model.no_object_pointer
    return Remembered(frame, prompted, maps, pointer)


def first_answer(
    kind: str, rng: Generator, model: MiniModel, features: list[Tensor], masks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Frame 0 by box, click or given mask: chosen logits (O, S/4, S/4), tokens (O, WIDTH), score
    (O, 1).
    """
    size = masks.shape[-1]
    count = len(masks)
    rows = torch.arange(count, device=masks.device)
    if kind == "mask":
        given = F.interpolate(
            masks[:, None].float() * 20 - 10, (size // 4,) * 2, mode="bilinear", antialias=True
        )
        _, _, score, tokens = model.decode_tokens(features, MiniPrompts(previous=given))
        return given[:, 0], tokens[:, 0], score
    if kind == "click":
        points = interior_points(rng, masks)[:, None] + 0.5
        labels = rows.new_ones(count, 1)
        logits, iou, score, tokens = model.decode_tokens(features, MiniPrompts(points, labels))
        best = 1 + iou[:, 1:].argmax(1)
        return logits[rows, best].detach(), tokens[rows, best], score
    logits, _, score, tokens = model.decode_tokens(features, MiniPrompts(boxes=tight_boxes(masks)))
    return logits[:, 0].detach(), tokens[:, 0], score


def clip_loss(loop: Loop, model: MiniModel, clips: Clips, trust: bool) -> Tensor:
    """Prompt frame 0, track the rest; in some batches one later frame is corrected by a click."""
    rng = loop.rng()
    draw = np.random.default_rng((loop.settings.seed, loop.step))
    length = clips.images.shape[1]
    objects = len(clips.masks)
    owner = clips.owner
    with torch.no_grad(), loop.settings.half():
        maps = model.encode(normalise(clips.images.flatten(0, 1)))
    longest = int(draw.integers(min(length, POINTERS), POINTERS + 1))
    frames = [[m.float().unflatten(0, (-1, length))[owner, t] for m in maps] for t in range(length)]
    kind = str(draw.choice(("box", "click", "mask"), p=(0.4, 0.25, 0.35)))
    with loop.settings.half():
        logits, token, score = first_answer(kind, rng, model, frames[0], clips.masks[:, 0])
    yes = torch.ones(objects, dtype=torch.bool, device=loop.device)
    bank = [remember(model, frames[0][2], 0, logits.float(), token.float(), yes, True)]
    low = logits.float()
    loss = 0.1 * F.softplus(-score.float()).mean()
    truth = F.avg_pool2d(clips.masks.float(), 2) >= 0.5
    corrected = int(draw.integers(1, length)) if draw.random() < 0.15 else -1
    for t in range(1, length):
        with loop.settings.half():
            coarse = attend(model, frames[t][2], bank, t, longest).float()
            logits, iou, score, tokens = model.track_tokens(
                [*frames[t][:2], coarse], low[:, None].detach()
            )
            prior = upsample(model.where_tracked(coarse))[:, 0]
        fine = upsample(logits[:, :1])[:, 0]
        iou = iou.float()
        score = score.float()
        tokens = tokens.float()
        here = truth[:, t].flatten(1).any(1)
        present = here.float()
        roughly, _ = mask_loss(prior, truth[:, t])
        main, dice = mask_loss(fine, truth[:, t])
        # where an object is gone the mask has to be empty (Dice says nothing there), and presence
        # counts double
        loss = loss + ((main + 0.5 * roughly) * torch.where(here, 1.0, 0.5)).mean()
        loss = loss + 0.5 * F.binary_cross_entropy_with_logits(score[:, 0], present, 2 - present)
        real = true_iou(fine[:, None], truth[:, t], torch.zeros_like(present))
        loss = loss + 0.5 * (((iou[:, :1] - real) ** 2)[:, 0] * present).mean()
        loop.note("track", (dice * present).sum() / present.sum())
        loop.note("prior", ((1 - roughly) * present).sum() / present.sum())
        loop.note("gone", ((score[:, 0] < 0) * (1 - present)).sum() / (1 - present).sum())
        loop.note("score", ((score[:, 0] > 0) == here).float().mean())
        seen = (score[:, 0] > 0) if trust else here
        low = logits[:, 0].float()
        token = tokens[:, 0]
        prompted = t == corrected
        if prompted:  # objects that are not there get none
            spot, sign = corrective_clicks(rng, fine > 0, truth[:, t])
            with loop.settings.half():
                clicks = MiniPrompts(
                    2 * spot[:, None] + 1, sign[:, None], previous=logits[:, :1].detach().float()
                )
                again, _, _, tokens = model.decode_tokens(frames[t], clicks)
            fixed, better = mask_loss(upsample(again[:, :1])[:, 0], truth[:, t])
            loss = loss + (fixed * present).sum() / present.sum().clamp(min=1)
            loop.note("corrected", (better * present).sum() / present.sum())
            low = torch.where(here[:, None, None], again[:, 0].float(), low)
            token = torch.where(here[:, None], tokens[:, 0].float(), token)
            seen = here
        low = torch.where(seen[:, None, None], low, ABSENT)
        with loop.settings.half():
            bank.append(remember(model, frames[t][2], t, low.detach(), token, seen, prompted))
        bank = [b for b in bank if b.prompted or t + 1 - b.frame < longest]
    return loss / (length - 1)


@dataclass(eq=False)
class Pair:
    """Two frames as memory sees them: last maps (2, WIDTH, row, column), first answers and masks of
    both frames.
    """

    coarse: Tensor
    logits: Tensor
    tokens: Tensor
    truth: Tensor


@torch.no_grad()
def pairs(loop: Loop, model: MiniModel, sampler: ClipSampler, count: int) -> list[Pair]:
    out = []
    for _ in range(count):
        clip = sampler.clip(2, model.image_size, 3)
        masks = clip.masks.to(loop.device)
        maps = model.encode(normalise(clip.images.to(loop.device)))
        first = [m[:1].expand(len(masks), -1, -1, -1) for m in maps]
        logits, tokens, _ = first_answer("mask", loop.rng(), model, first, masks[:, 0])
        truth = F.avg_pool2d(masks[:, 1].float(), 4)[:, None]
        out.append(Pair(maps[2], logits, tokens, truth[:, 0] >= 0.5))
    return out


def warm_up(loop: Loop, model: MiniModel, sampler: ClipSampler, steps: int) -> None:
    """Before clips: carry a mask from one frame to the next by memory alone, without decoder, on
    kept features.

    Ten times as cheap a step as a clip, and what clips need first. Both frames are shifted by whole
    tokens at random.
    """
    kept = pairs(loop, model, sampler, 300)
    optimizer = torch.optim.AdamW(loop.parameters, lr=2e-3, weight_decay=0.01)
    rng = sampler.rng
    total = []
    side = model.image_size // 16
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 30) * (1 - 0.8 * step / steps)
        coarse = []
        later = []
        logits = []
        tokens = []
        truth = []
        for k in rng.integers(len(kept), size=6):
            pair = kept[k]
            objects = len(kept[k].logits)
            shift = rng.integers(-side // 4, side // 4 + 1, 2)
            more = shift + rng.integers(-1, 2, 2) * int(rng.random() < 0.3)
            for out, maps, where in (
                (coarse, pair.coarse[:1], shift),
                (later, pair.coarse[1:], more),
            ):
                out.append(torch.roll(maps, tuple(where), (2, 3)).expand(objects, -1, -1, -1))
            logits.append(torch.roll(pair.logits, tuple(4 * shift), (1, 2)))
            truth.append(torch.roll(pair.truth, tuple(4 * more), (1, 2)))
            tokens.append(pair.tokens)
        here = torch.ones(sum(map(len, logits)), dtype=torch.bool, device=loop.device)
        memory = remember(
            model, torch.cat(coarse), 0, torch.cat(logits), torch.cat(tokens), here, True
        )
        conditioned = attend(model, torch.cat(later), [memory], int(rng.integers(1, 6)), POINTERS)
        wanted = torch.cat(truth)
        present = wanted.flatten(1).any(1).float()
        loss, dice = mask_loss(model.where_tracked(conditioned)[:, 0], wanted)
        optimizer.zero_grad()
        ((loss * present).sum() / present.sum().clamp(min=1)).backward()
        nn.utils.clip_grad_norm_(loop.parameters, 1.0)
        optimizer.step()
        total.append((dice * present).sum().detach() / present.sum())
        if step % 50 == 49:
            log.info("warm-up %d dice %.3f", step + 1, torch.stack(total[-50:]).mean())
    loop.average = Average(model, loop.settings.average)


def _memory_parameters(model: MiniModel) -> list[Tensor]:
    """What the memory stage trains; the rest of the network is frozen."""
    chosen = [getattr(model, name) for name in SINGLE]
    for name in PARTS:
        chosen += list(getattr(model, name).parameters())
    for p in model.parameters():
        p.requires_grad_(False)
    for p in chosen:
        p.requires_grad_(True)
    return chosen


def run_memory(settings: Settings, stacks: list[Stack], scenes: list[Scene]) -> None:
    """Real and made-up stacks, and stills in motion."""
    with Pool(settings.workers or 1) as processes:
        stills = processes.map(synthetic, range(settings.made_up))
        volumes = made_up_stacks(processes.map, settings.made_up)
    real, made = ([p for p in map(Prepared, some) if p.objects] for some in (scenes, stills))
    sampler = ClipSampler(stacks, volumes, real, made, settings.seed * 1000)
    log.info(
        "%d real and %d made-up stacks, %d and %d stills",
        len(stacks),
        len(volumes),
        len(real),
        len(made),
    )

    def prepare(model: MiniModel) -> None:
        start_from(settings)(model)
        with safe_open(settings.start, "pt") as opened:
            if "memory_steps" in (opened.metadata() or {}):
                return  # goes on from an earlier memory stage
        with torch.no_grad():
            some = torch.cat([sampler.clip(2, model.image_size, 1).images for _ in range(16)]).to(
                settings.device
            )
            start_near_identity(model, model.encode(normalise(some))[2])

    stream = ClipStream(sampler, settings)
    ahead = 4 if settings.workers else None
    pinned = settings.device != "cpu"
    loader = DataLoader(
        stream, None, num_workers=settings.workers, prefetch_factor=ahead, pin_memory=pinned
    )
    loop = Loop(settings, _memory_parameters, prepare)
    stream.first = loop.step
    clips = iter(loader)
    if loop.step == 0 and settings.warm_steps:
        warm_up(loop, loop.models[settings.warm_size], sampler, settings.warm_steps)
    for _, _, share in loop.steps():
        batch = next(clips).to(loop.device)
        # first the truth says whether an object is there, later the network itself
        loss = clip_loss(loop, loop.models[batch.images.shape[-2]], batch, share > 0.4)
        loss.backward()
        loop.note("loss", loss)
