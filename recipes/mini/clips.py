"""Short sequences for the memory stage: slices and frames of real stacks, and stills set in
motion.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import LEFT_OUT, index, stack_items
from loop import Settings
from numpy.typing import NDArray
from sampler import Prepared, _jitter, _sample
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from segscope.phantom import stack as made_up
from segscope.phantom.fields import smooth


@dataclass(eq=False)
class Stack:
    """Frames in order with labels that stay the same from frame to frame.

    Attributes:
        frames: (t, row, column, 3) uint8.
        labels: (t, row, column) int32.
    """

    source: str
    frames: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __post_init__(self) -> None:
        count = int(self.labels.max()) + 1
        self.area = np.stack([np.bincount(frame.ravel(), minlength=count) for frame in self.labels])

    def span(self, rng: np.random.Generator, need: int) -> tuple[int, int]:
        """First frame and direction (1 or -1) of `need` frames; half of them go past the end of
        some object.
        """
        step = int(rng.choice([1, -1]))
        start = int(rng.integers(len(self.frames) - need + 1))
        if rng.random() < 0.5:
            area = self.area[::step, 1:]
            last = (area[:-1] > 0) & (area[1:] == 0)  # an object's last frame before it is gone
            at = np.argwhere(last)
            if len(at):
                start = int(
                    np.clip(
                        at[rng.integers(len(at)), 0] - rng.integers(need - 1),
                        0,
                        len(self.frames) - need,
                    )
                )
                if step < 0:
                    start = len(self.frames) - need - start
        return start, step


@dataclass(eq=False)
class Clip:
    """Input of the memory stage.

    Attributes:
        images: (T, S, S, 3) float, 0 to 255.
        masks: (O, T, S, S) bool; all objects are there on frame 0.
    """

    images: Tensor
    masks: Tensor


@dataclass(eq=False)
class Clips:
    """Clips of one length and size.

    Attributes:
        images: (C, T, S, S, 3) uint8.
        masks: (O, T, S, S) bool.
        owner: (O,) the clip of each object.
    """

    images: Tensor
    masks: Tensor
    owner: Tensor

    @classmethod
    def of(cls, clips: list[Clip]) -> Clips:
        owner = torch.cat([torch.full((len(clip.masks),), k) for k, clip in enumerate(clips)])
        images = torch.stack([clip.images.clamp(0, 255).round().to(torch.uint8) for clip in clips])
        return cls(images, torch.cat([clip.masks for clip in clips]), owner)

    def to(self, device: torch.device) -> Clips:
        return Clips(
            *(part.to(device, non_blocking=True) for part in (self.images, self.masks, self.owner))
        )

    def pin_memory(self) -> Clips:
        return Clips(self.images.pin_memory(), self.masks.pin_memory(), self.owner.pin_memory())


def training_stacks(root: Path) -> list[Stack]:
    """Volumes and videos that may be trained on, as stacks along their coarsest axis."""
    names = [n for n, e in index(root).items() if e["weights"] and n not in LEFT_OUT]
    return [Stack(*found) for name in names for found in stack_items(root, name, "train")]


def _made_up(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    return made_up(np.random.default_rng(seed))


def made_up_stacks(each: Callable[..., Iterable], count: int) -> list[Stack]:
    """Volumes of the phantom room; `each` is a map."""
    found = [(v, k) for v, k in each(_made_up, range(count)) if k.any()]
    return [Stack("made up", np.repeat(v[..., None], 3, -1), k.astype(np.int32)) for v, k in found]


def _resize(images: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )


def from_stack(
    rng: np.random.Generator, stack: Stack, length: int, size: int, objects: int
) -> Clip | None:
    """Consecutive slices or frames, either way round, at a stride of 1 or 2."""
    stride = int(rng.choice([1, 1, 2])) if len(stack.frames) > 2 * length else 1
    need = stride * (length - 1) + 1
    if len(stack.frames) < need:
        return None
    start, step = stack.span(rng, need)
    pick = np.arange(start, start + need)[::step][::stride]
    labels = torch.from_numpy(stack.labels[pick])
    area = torch.bincount(labels[0].flatten().clamp(min=0))
    rows, columns = labels.shape[1:]
    known = [
        k
        for k in area.nonzero()[:, 0].tolist()
        if k and area[k] >= max(30, 0.0008 * rows * columns)
    ]
    if not known:
        return None
    ending = [k for k in known if (labels[-1] != k).all()]
    chosen = [known[i] for i in rng.permutation(len(known))]
    if ending and rng.random() < 0.7:
        chosen = sorted(chosen, key=lambda k: k not in ending)
    chosen = chosen[:objects]
    y0 = 0
    y1 = rows
    x0 = 0
    x1 = columns
    if rng.random() < 0.65 and min(rows, columns) > 64:  # a fixed window on the first object
        ys, xs = (labels[0] == chosen[0]).nonzero(as_tuple=True)
        side = int(max(ys.max() - ys.min(), xs.max() - xs.min(), 24) * rng.uniform(2, 4))
        cy = int(ys.float().mean())
        cx = int(xs.float().mean())
        y0 = max(0, cy - side // 2)
        x0 = max(0, cx - side // 2)
        y1 = min(rows, y0 + side)
        x1 = min(columns, x0 + side)
    images = (
        torch.from_numpy(np.ascontiguousarray(stack.frames[pick][:, y0:y1, x0:x1]))
        .permute(0, 3, 1, 2)
        .float()
    )
    yi = ((torch.arange(size) + 0.5) * (y1 - y0) / size).long() + y0
    xi = ((torch.arange(size) + 0.5) * (x1 - x0) / size).long() + x0
    small = labels[:, yi][:, :, xi]
    masks = torch.stack([small == k for k in chosen])
    keep = masks[:, 0].flatten(1).sum(1) >= 30
    if keep.any():
        return Clip(_resize(images, size).permute(0, 2, 3, 1), masks[keep])
    return None


class Motion:
    """A smooth path of affine maps and bends: where each output pixel of frame t looks in the
    still.
    """

    def __init__(self, rng: np.random.Generator, length: int, size: int, fast: float) -> None:
        steps = np.arange(length)
        self.shift = np.cumsum(
            rng.normal(0, 0.035 * fast, 2) + rng.normal(0, 0.012 * fast, (length, 2)), 0
        )
        self.shift -= self.shift[0]
        self.turn = rng.normal(0, 0.06 * fast) * steps
        self.scale = np.exp(rng.normal(0, 0.025 * fast) * steps)
        self.bend = [
            torch.from_numpy(smooth(rng, (size, size), rng.uniform(2, 5))) for _ in range(2)
        ]
        self.phase = rng.uniform(0, 2 * np.pi, 2)
        self.reach = 0.012 * fast * rng.random()
        self.wave = rng.uniform(0.3, 1.2)

    def at(self, t: int, size: int) -> tuple[Tensor, Tensor]:
        """Coordinates x, y from -0.5 to 0.5 of the view."""
        base = (torch.arange(size) + 0.5) / size - 0.5
        v, u = torch.meshgrid(base, base, indexing="ij")
        sway = [
            self.reach * (np.sin(self.wave * t + p) - np.sin(p)) * b
            for p, b in zip(self.phase, self.bend, strict=True)
        ]
        u = u - self.shift[t, 0] + sway[0]
        v = v - self.shift[t, 1] + sway[1]
        cos = np.cos(self.turn[t]) / self.scale[t]
        sin = np.sin(self.turn[t]) / self.scale[t]
        return cos * u - sin * v, sin * u + cos * v


def _look(
    scene: Prepared, plane: int, view: tuple[float, float, float, float], u: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Image and labels of a still at view coordinates; beyond its border the edge goes on,
    without labels.
    """
    rows, columns = scene.levels[0].shape[1:]
    cx, cy, wide, high = view
    x = cx + u * wide
    y = cy + v * high
    within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    x = x.clamp(0, columns - 0.01)
    y = y.clamp(0, rows - 0.01)
    level = int(
        np.clip(round(np.log2(max(np.sqrt(wide * high) / len(u), 1e-3))), 0, len(scene.levels) - 1)
    )
    labels = scene.planes[plane][y.long().clamp(0, rows - 1), x.long().clamp(0, columns - 1)]
    return _sample(scene.levels[level], x, y, rows, columns), torch.where(within, labels, 0)


def from_still(
    rng: np.random.Generator, below: Prepared, above: Prepared, length: int, size: int, objects: int
) -> Clip | None:
    """A still in motion; in most clips an object of another still moves over it, and in some it
    hides for a while.
    """
    plane, label, _, box, _ = below.objects[rng.integers(len(below.objects))]
    rows, columns = below.levels[0].shape[1:]
    side = max(box[2] - box[0], box[3] - box[1], 24) * rng.uniform(1.5, 4)
    wide = min(side, columns)
    high = min(side, rows)
    cx = np.clip((box[0] + box[2]) / 2, wide / 2, columns - wide / 2)
    cy = np.clip((box[1] + box[3]) / 2, high / 2, rows - high / 2)
    path = Motion(rng, length, size, rng.choice([0.3, 1.0, 1.6]))
    hop = Motion(rng, length, size, rng.choice([0.5, 1.0, 2.0]))
    over = rng.random() < 0.75
    plane2, label2, _, box2, _ = above.objects[rng.integers(len(above.objects))]
    size2 = max(box2[2] - box2[0], box2[3] - box2[1], 16) * rng.uniform(1.6, 5)
    view2 = ((box2[0] + box2[2]) / 2, (box2[1] + box2[3]) / 2, size2, size2)
    at2 = rng.uniform(-0.3, 0.3, 2)
    hide = range(*sorted(rng.integers(1, length + 1, 2))) if rng.random() < 0.3 else range(0)
    images = []
    maps = []
    for t in range(length):
        image, labels = _look(below, plane, (cx, cy, wide, high), *path.at(t, size))
        if over and t not in hide:
            u, v = hop.at(t, size)
            patch, seen = _look(above, plane2, view2, u - float(at2[0]), v - float(at2[1]))
            inside = (
                (seen == label2)
                & ((u - float(at2[0])).abs() < 0.5)
                & ((v - float(at2[1])).abs() < 0.5)
            )
            image = torch.where(inside, patch, image)
            labels = torch.where(inside, -1, labels)
        images.append(image)
        maps.append(labels)
    noisy = _jitter(rng, torch.cat(images, 1)).view(3, length, size, size).permute(1, 2, 3, 0)
    noisy = noisy + torch.from_numpy(rng.normal(0, rng.uniform(0, 5), noisy.shape)).float()
    labels = torch.stack(maps)
    found, area = torch.unique(labels[0], return_counts=True)
    known = {o[1] for o in below.objects if o[0] == plane} | {-1}
    seen = [
        int(k)
        for k, a in zip(found, area, strict=True)
        if int(k) in known and a >= max(30, 0.002 * size * size)
    ]
    if not seen:
        return None
    seen = sorted(seen, key=lambda k: (k != -1, k != label, rng.random()))[:objects]
    return Clip(noisy, torch.stack([labels == k for k in seen]))


class ClipSampler:
    """Draws clips: real volumes and videos, made-up volumes, stills in motion."""

    def __init__(
        self,
        stacks: list[Stack],
        made_up: list[Stack],
        stills: list[Prepared],
        made: list[Prepared],
        seed: int,
    ) -> None:
        self.stacks = stacks
        self.made_up = made_up
        self.stills = stills
        self.made = made
        sources = [s.source for s in stacks]
        weight = np.array([1 / np.sqrt(sources.count(s)) / len(set(sources)) for s in sources])
        self.weight = weight / weight.sum()
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def restart(self, step: int) -> None:
        """See `Sampler.restart`."""
        self.rng = np.random.default_rng((self.seed, step))

    def clip(self, length: int, size: int, objects: int) -> Clip:
        rng = self.rng
        while True:
            draw = rng.random()
            if draw < 0.3:
                found = from_stack(
                    rng,
                    self.stacks[rng.choice(len(self.stacks), p=self.weight)],
                    length,
                    size,
                    objects,
                )
            elif draw < 0.6:
                found = from_stack(
                    rng, self.made_up[rng.integers(len(self.made_up))], length, size, objects
                )
            else:
                pools = [self.stills if rng.random() < 0.65 else self.made for _ in range(2)]
                below, above = (pool[rng.integers(len(pool))] for pool in pools)
                found = from_still(rng, below, above, length, size, objects)
            if found is not None:
                return found


class ClipStream(IterableDataset):
    """One batch of clips a step, drawn by the number of the step; sizes as the settings say of that
    step.

    With `seconds` in the settings, sizes follow `steps` all the same: nobody knows here how late it
    is.
    """

    def __init__(self, sampler: ClipSampler, settings: Settings) -> None:
        self.sampler = sampler
        self.settings = settings
        self.first = 0

    def __iter__(self) -> Iterator[Clips]:
        info = get_worker_info()
        rank, of = (info.id, info.num_workers) if info else (0, 1)
        torch.set_num_threads(1)
        for step in itertools.count(self.first + rank, of):
            self.sampler.restart(step)
            share = min(step / self.settings.steps, 1.0)
            _, size, count = [s for s in self.settings.sizes if s[0] <= share][-1]
            length = int(self.sampler.rng.choice((3, 4, 5, 6, 8)))
            yield Clips.of([self.sampler.clip(length, size, 3) for _ in range(count)])
