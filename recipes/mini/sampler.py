"""Training crops: a window on a scene, some of its objects, and the simulated prompts on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from data import Scene
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segscope.phantom import scene as made_up
from segscope.simulate.clicks import corrective_click, interior_point, random_point

OBJECTS = 4
#: share of draws where a source would otherwise have more; one-shape sets get less
CAP, CAPS = 0.12, {"mri_cardiac_sunnybrook": 0.012, "mri_cardiac_sunnybrook_more": 0.02, "us_fetal_head_hc18": 0.02}
#: how often an object with its box's centre outside it (ring, wall, crescent) is drawn, to other objects
HOLLOW = 3.0
#: real rings, walls and crowded cells, of which there are few
BOOST = {"em_sem_axons": 2.0, "mixed_permissive/mri_heart_hvsmr": 1.5, "phase_contrast_cells": 1.5}


@dataclass(eq=False)
class Batch:
    """B pictures with O objects each, object rows flattened to B * O.

    Attributes:
        images: (B, S, S, 3) float, 0 to 255.
        truth: (B * O, S/2, S/2) bool.
        boxes: (B * O, 4) tight boxes in input pixels.
        outside: (B * O,) area of the object outside the window, in pixels of `truth`.
        vague: (B * O,) bool, a box does not say what is meant (thin structures all over the frame); the answer to one
            teaches only what its predicted IoU should have been.
    """

    images: Tensor
    truth: Tensor
    boxes: Tensor
    outside: Tensor
    vague: Tensor


@dataclass(eq=False)
class Table:
    """Objects of a scene.

    Attributes:
        rows: (K, 8) plane, label, area, x0, y0, x1, y1, vague; sorted by plane and label.
        often: (K,) how often each is drawn, to the others.
    """

    rows: NDArray[np.int64]
    often: NDArray[np.float64]


def tabulate(scene: Scene) -> Table:
    """Areas and boxes of the objects of a scene; vague is one that a box does not say: thin, all over the frame."""
    found, often = [], []
    rows, columns = scene.image.shape[:2]
    for k, plane in enumerate(scene.planes):
        area = np.bincount(plane.ravel())
        for label, where in enumerate(ndimage.find_objects(plane.astype(np.int32)), 1):
            if where is None or area[label] < 24:
                continue
            y0, y1, x0, x1 = where[0].start, where[0].stop, where[1].start, where[1].stop
            high, wide = y1 - y0, x1 - x0
            fill = area[label] / (high * wide)
            vague = (fill < 0.3 and high > 0.75 * rows and wide > 0.75 * columns) or fill < 0.12
            found.append((k, label, area[label], x0, y0, x1, y1, vague))
            hollow = plane[(y0 + y1) // 2, (x0 + x1) // 2] != label and not vague
            often.append(HOLLOW if hollow else 1.0)
    return Table(np.array(found, np.int64).reshape(-1, 8), np.array(often))


class Prepared:
    """A scene with what sampling needs: image levels, areas and boxes of objects, and how often each is drawn."""

    def __init__(self, scene: Scene) -> None:
        self.source = scene.source
        level = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)
        self.levels = [level]
        while min(level.shape[1:]) > 96:
            level = F.avg_pool2d(level[None].float(), 2)[0].round().to(torch.uint8)
            self.levels.append(level)
        self.planes = [torch.from_numpy(p.astype(np.int32 if p.max() > 32000 else np.int16)) for p in scene.planes]
        table = tabulate(scene)
        self.objects = [(k, n, a, (x0, y0, x1, y1), bool(v)) for k, n, a, x0, y0, x1, y1, v in table.rows.tolist()]
        self.often = table.often


def source_weights(scenes: list[Scene], tables: list[Table]) -> NDArray[np.float64]:
    """Probability of each scene: sources by the root of their objects (at most 4 a scene), capped."""
    sources = sorted({s.source for s in scenes})
    counts = dict.fromkeys(sources, 0)
    for s, table in zip(scenes, tables, strict=True):
        counts[s.source] += min(len(table.rows), 4)
    share = np.sqrt([counts[s] for s in sources]) * [BOOST.get(s, 1.0) for s in sources]
    for _ in range(3):
        share = np.minimum(share / share.sum(), [CAPS.get(s, CAP) for s in sources])
    each = dict(zip(sources, share, strict=True))
    worth = np.array([t.often.max(initial=0.0) for t in tables])
    held = {s: sum(w for x, w in zip(scenes, worth, strict=True) if x.source == s) for s in sources}
    weight = np.array([each[s.source] * w / held[s.source] if w else 0 for s, w in zip(scenes, worth, strict=True)])
    return weight / weight.sum()


def synthetic(seed: int) -> Scene:
    image, planes = made_up(np.random.default_rng(seed), 256)
    same = bool((planes[0] == planes[1]).all())
    return Scene("synthetic", str(seed), image, planes[:1] if same else planes, ("made up",) * (1 if same else 2))


def _window(
    rng: np.random.Generator, box: tuple[int, int, int, int], frame_hw: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Centre x, y and sides of the view: round the object as for boxes, or of any size as for clicks."""
    rows, columns = frame_hw
    x0, y0, x1, y1 = box
    longest = max(x1 - x0, y1 - y0, 8)
    draw = rng.random()
    if draw < 0.50:
        side = longest * rng.uniform(1.2, 2.6)
    elif draw < 0.60:  # too near: the network has to know that it sees only a part
        side = longest * np.exp(rng.uniform(np.log(0.15), np.log(1.2)))
    elif draw < 0.92:
        low = max(0.7 * longest, 16)
        side = np.exp(rng.uniform(np.log(low), np.log(max(rows, columns, low + 1))))
    else:
        side = float(max(rows, columns))
    aspect = np.exp(rng.normal(0, 0.15))
    wide, high = max(side * aspect, 16), max(side / aspect, 16)
    spare = rng.uniform(-0.5, 0.5, 2) * np.abs([wide - (x1 - x0), high - (y1 - y0)]) * rng.choice([0.3, 0.9])
    cx, cy = (x0 + x1) / 2 + spare[0], (y0 + y1) / 2 + spare[1]
    if rng.random() < 0.85:  # as the product: the window stays within the frame
        wide, high = min(wide, columns), min(high, rows)
        cx, cy = np.clip(cx, wide / 2, columns - wide / 2), np.clip(cy, high / 2, rows - high / 2)
    return cx, cy, wide, high


def _jitter(rng: np.random.Generator, image: Tensor) -> Tensor:
    """Colour, contrast, blur and noise of a (3, S, S) picture, 0 to 255."""
    if rng.random() < 0.15:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    elif rng.random() < 0.35:
        image = (
            image[torch.from_numpy(rng.permutation(3))] * torch.from_numpy(rng.uniform(0.75, 1.25, (3, 1, 1))).float()
        )
    if rng.random() < 0.4:
        image = 255 * (image.clamp(0, 255) / 255) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.1:
        image = 255 - image
    if rng.random() < 0.25:
        image = image + float(rng.uniform(1, 14)) * torch.from_numpy(
            rng.standard_normal((1, *image.shape[1:]), dtype=np.float32)
        )
    if rng.random() < 0.12:
        image = F.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0]
    return image


def crop(
    rng: np.random.Generator, scene: Prepared, size: int
) -> tuple[Tensor, list[tuple[Tensor, Tensor, float, bool]]] | None:
    """One view of `scene`: the picture, and (truth, box, area outside, vague) of up to OBJECTS objects."""
    plane, label, _, box, _ = scene.objects[rng.choice(len(scene.objects), p=scene.often / scene.often.sum())]
    rows, columns = scene.levels[0].shape[1:]
    cx, cy, wide, high = _window(rng, box, (rows, columns))
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else 0.0
    flip_x, flip_y = rng.choice([-1.0, 1.0], 2)
    base = (torch.arange(size) + 0.5) / size - 0.5
    v, u = torch.meshgrid(base * high * flip_y, base * wide * flip_x, indexing="ij")
    x, y = cx + np.cos(turn) * u - np.sin(turn) * v, cy + np.sin(turn) * u + np.cos(turn) * v
    x, y = columns - (x.abs() - columns).abs(), rows - (y.abs() - rows).abs()  # mirrored beyond the frame
    if rng.random() < 0.3:
        x, y = x.T, y.T
    xi, yi = x.long().clamp(0, columns - 1), y.long().clamp(0, rows - 1)
    labels = scene.planes[plane][yi, xi]
    level = int(
        np.clip(
            round(np.log2(max(np.sqrt(wide * high) / size, 1e-3)) + rng.uniform(-0.3, 0.25)), 0, len(scene.levels) - 1
        )
    )
    source = scene.levels[level]
    image = _sample(source, x, y, rows, columns)
    objects = _objects(rng, scene, plane, label, labels, size / wide * size / high)
    return (_jitter(rng, image), objects) if objects else None


def _sample(source: Tensor, x: Tensor, y: Tensor, rows: int, columns: int) -> Tensor:
    """Bilinear values of an image level at frame coordinates, converting only the part that is looked at."""
    high, wide = source.shape[1:]
    fx, fy = x * (wide / columns) - 0.5, y * (high / rows) - 0.5
    x0, x1 = int(max(fx.min().floor(), 0)), int(min(fx.max().ceil() + 2, wide))
    y0, y1 = int(max(fy.min().floor(), 0)), int(min(fy.max().ceil() + 2, high))
    part = source[:, y0:y1, x0:x1].float()
    grid = torch.stack([(fx - x0 + 0.5) / part.shape[2] * 2 - 1, (fy - y0 + 0.5) / part.shape[1] * 2 - 1], -1)[
        None
    ].float()
    return F.grid_sample(part[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def _objects(
    rng: np.random.Generator, scene: Prepared, plane: int, label: int, labels: Tensor, scale: float
) -> list[tuple[Tensor, Tensor, float, bool]]:
    size = labels.shape[0]
    known = {o[1]: o for o in scene.objects if o[0] == plane}
    found, area = torch.unique(labels, return_counts=True)
    seen = {
        int(k): int(a)
        for k, a in zip(found, area, strict=True)
        if int(k) in known and int(a) >= max(30, 0.0015 * size**2)
    }
    order = [label] if label in seen else []
    others = [k for k in seen if k != label]
    order += [others[i] for i in rng.permutation(len(others))[: OBJECTS - len(order)]]
    out = []
    for k in order:
        mask = labels == k
        ys, xs = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        box = torch.tensor([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]).float()
        truth = F.avg_pool2d(mask[None].float(), 2)[0] >= 0.5
        if not truth.any():
            continue
        outside = max(known[k][2] * scale - seen[k], 0.0) / 4
        fills = bool(((box[2:] - box[:2]) > 0.75 * size).all()) and seen[k] < 0.3 * float((box[2:] - box[:2]).prod())
        out.append((truth, box, outside, known[k][4] or fills))
    return out


class Sampler:
    """Draws batches from real scenes and made-up ones; all randomness comes from `rng`."""

    def __init__(self, real: list[Prepared], made: list[Prepared], share_real: float, seed: int) -> None:
        self.pools = ((real, source_weights(real)), (made, source_weights(made)))
        self.share_real, self.seed = share_real, seed
        self.rng = np.random.default_rng(seed)

    def restart(self, step: int) -> None:
        """Draw from here on what step `step` draws, whatever was drawn before: resumed runs see the same pictures."""
        self.rng = np.random.default_rng((self.seed, step))

    def batch(self, count: int, size: int) -> Batch:
        images, rows = [], []
        while len(images) < count:
            pool, weight = self.pools[0 if self.rng.random() < self.share_real else 1]
            drawn = crop(self.rng, pool[self.rng.choice(len(pool), p=weight)], size)
            if drawn is None:
                continue
            image, objects = drawn
            images.append(image)
            rows += [objects[k % len(objects)] for k in range(OBJECTS)]
        return Batch(
            torch.stack(images).permute(0, 2, 3, 1),
            torch.stack([r[0] for r in rows]),
            torch.stack([r[1] for r in rows]),
            torch.tensor([r[2] for r in rows], dtype=torch.float32),
            torch.tensor([r[3] for r in rows]),
        )


@dataclass(eq=False)
class First:
    """First prompts of O objects: a box, a mask to start from, a scribble (several clicks), or one click.

    Attributes:
        points, labels: (O, P, 2) and (O, P); label -10 is no click.
        boxes, has_box: (O, 4) and (O,).
        hints, has_hint: (O, 1, S/4, S/4) logits of a mask that somebody gave, and (O,).
        lone: (O,) bool, one click and nothing else.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor
    has_box: Tensor
    hints: Tensor
    has_hint: Tensor
    lone: Tensor


SCRIBBLED = 6  # clicks that stand for a scribble
SHARE_HINT, SHARE_SCRIBBLE = 0.08, 0.06


def first_prompts(rng: np.random.Generator, batch: Batch, share_box: float) -> First:
    """Something about each object; boxes loosened, masks misshapen."""
    size, count = 2 * batch.truth.shape[-1], len(batch.truth)
    draw = rng.random(count)
    boxed, hinted = draw < share_box, draw > 1 - SHARE_HINT
    scribbled = (draw <= 1 - SHARE_HINT) & (draw > 1 - SHARE_HINT - SHARE_SCRIBBLE)
    loose = torch.from_numpy(rng.choice([0.0, 0.07, 0.15], count))[:, None].float()
    sides = (batch.boxes[:, 2:] - batch.boxes[:, :2]).repeat(1, 2)
    boxes = batch.boxes + loose * sides * torch.from_numpy(rng.uniform(-1, 1, (count, 4))).float()
    boxes = boxes.clamp(0, size)
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    points, labels = torch.zeros(count, SCRIBBLED, 2), torch.full((count, SCRIBBLED), -10)
    hints = torch.zeros(count, 1, size // 4, size // 4)
    clicked = np.zeros(count, bool)
    for k, truth in enumerate(batch.truth.numpy()):
        if hinted[k]:
            hints[k] = _misshapen(rng, truth)
        elif scribbled[k]:
            line = _line(rng, truth)
            points[k, : len(line)], labels[k, : len(line)] = torch.from_numpy(2 * line + 1).float(), 1
        elif not boxed[k] or rng.random() < 0.04:
            x, y = interior_point(truth) if rng.random() < 0.5 else random_point(truth, rng)
            points[k, 0], labels[k, 0] = torch.tensor([2 * x + 1, 2 * y + 1]), 1
            clicked[k] = not boxed[k]
    used = int((labels >= 0).any(0).sum()) or 1
    given = (torch.from_numpy(flags) for flags in (boxed, hinted, clicked))
    has_box, has_hint, lone = given
    return First(points[:, :used], labels[:, :used], boxes, has_box, hints, has_hint, lone)


def _misshapen(rng: np.random.Generator, truth: NDArray[np.bool_]) -> Tensor:
    """Logits +-10 at half the resolution of a mask, eroded, dilated and shifted by up to an eighth of its size."""
    reach = max(1, int(0.125 * np.sqrt(truth.sum())))
    steps, mask = int(rng.integers(0, reach + 1)), truth
    if steps:
        change = ndimage.binary_erosion if rng.random() < 0.5 else ndimage.binary_dilation
        mask = change(truth, iterations=steps)
        mask = mask if mask.any() else truth
    if rng.random() < 0.3:
        mask = np.roll(mask, rng.integers(-reach, reach + 1, 2), (0, 1))
    low = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(mask))[None].float(), 2)
    return torch.where(low >= 0.5, 10.0, -10.0)


def _line(rng: np.random.Generator, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Up to SCRIBBLED pixels (x, y) inside a mask on a line between two of its pixels."""
    ends = np.array([random_point(truth, rng) for _ in range(2)])
    along = ends[0] + np.linspace(0, 1, SCRIBBLED)[:, None] * (ends[1] - ends[0])
    x, y = np.rint(along).astype(int).T
    return along[truth[y, x]]


def add_clicks(points: Tensor, labels: Tensor, answer: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """One corrective click an object more; `answer` and `truth` (O, S/2, S/2) bool."""
    more, signs = [], []
    for guess, mask in zip(answer.numpy(), truth.numpy(), strict=True):
        x, y, positive = corrective_click(guess, mask)
        more.append([2 * x + 1, 2 * y + 1])
        signs.append(int(positive))
    return torch.cat([points, torch.tensor(more)[:, None]], 1), torch.cat([labels, torch.tensor(signs)[:, None]], 1)
