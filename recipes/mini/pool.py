"""Scenes on the training device: crops of them with objects, drawn a batch at a time, on a CPU as
on a GPU.

Pixels and labels of all scenes lie flat, one after the other, at their own sizes; tables say where
each begins. Nothing here waits for the device, so that a GPU is never idle for want of a decision
on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from data import Scene
from numpy.typing import NDArray
from sampler import source_weights, tabulate
from torch import Generator, Tensor

OBJECTS = 4
PLANES = 4
LEVELS = 4
#: columns of the table of objects
SCENE, PLANE, LABEL, AREA, X0, Y0, X1, Y1, VAGUE = range(9)


@dataclass(eq=False)
class Batch:
    """B images with O objects each, object rows flattened to B * O.

    Attributes:
        images: (B, 3, S, S) float, 0 to 255.
        truth: (B * O, S/2, S/2) bool.
        boxes: (B * O, 4) tight boxes in input pixels.
        outside: (B * O,) area of the object outside the window, in pixels of `truth`.
        vague: (B * O,) bool, a box does not say what is meant (thin structures all over the frame);
            the answer to one teaches only what its predicted IoU should have been.
    """

    images: Tensor
    truth: Tensor
    boxes: Tensor
    outside: Tensor
    vague: Tensor


def levels(image: NDArray[np.uint8]) -> list[Tensor]:
    """(row, column, 3) uint8 images, each half as large as the one before."""
    out = [torch.from_numpy(np.array(image))]
    while len(out) < LEVELS and min(out[-1].shape[:2]) > 96:
        halved = F.avg_pool2d(out[-1].permute(2, 0, 1)[None].float(), 2)[0]
        out.append(halved.round().to(torch.uint8).permute(1, 2, 0))
    return out


class Pool:
    """Scenes to draw crops from.

    Attributes:
        pixels: (T, 3) uint8; places (N, LEVELS, 3) offset, rows, columns of each level in them.
        labels: (U,) int16; planes (N, PLANES) offset of each label plane.
        objects: (K, 9) float64, rows sorted by scene, plane and label, see SCENE to VAGUE; keys
            (K,) the same as one number; first and count (N,) rows of a scene.
        chances: (K,) how often each object is the one a crop is about.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pixels = self.labels = self.places = self.planes = self.objects = self.chances = (
            torch.empty(0)
        )

    @classmethod
    def of(cls, scenes: list[Scene], device: torch.device) -> Pool:
        """All of `scenes`, with the chances of sampler.source_weights."""
        made = cls(device)
        tables = [tabulate(scene) for scene in scenes]
        chance = source_weights(scenes, tables)
        pixels = []
        labels = []
        places = []
        planes = []
        rows = []
        chances = []
        at = label_at = 0
        for k, (scene, table) in enumerate(zip(scenes, tables, strict=True)):
            where = []
            for level in levels(scene.image):
                where.append((at, *level.shape[:2]))
                pixels.append(level.reshape(-1, 3))
                at += len(pixels[-1])
            places.append(where + [where[-1]] * (LEVELS - len(where)))
            offsets = []
            for plane in scene.planes[:PLANES]:
                offsets.append(label_at)
                labels.append(torch.from_numpy(plane.astype(np.int16)).reshape(-1))
                label_at += plane.size
            planes.append(offsets + offsets[-1:] * (PLANES - len(offsets)))
            kept = table.rows[table.rows[:, 0] < PLANES]
            rows.append(np.column_stack([np.full(len(kept), k), kept]))
            often = table.often[table.rows[:, 0] < PLANES]
            chances.append(chance[k] * often / max(often.sum(), 1e-9))
        made.pixels = torch.cat(pixels).to(device)
        made.labels = torch.cat(labels).to(device)
        made.places = torch.tensor(places).to(device)
        made.planes = torch.tensor(planes).to(device)
        made.objects = torch.from_numpy(np.concatenate(rows).astype(np.float64)).to(device)
        made.chances = torch.from_numpy(np.concatenate(chances)).to(device)
        made.index()
        return made

    def index(self) -> None:
        """Make what drawing looks things up in; after every change of the objects."""
        self.running = self.chances.cumsum(0)
        self.keys = _key(*(self.objects[:, k].long() for k in (SCENE, PLANE, LABEL)))
        scene = torch.arange(len(self.places), device=self.device, dtype=torch.float64)
        column = self.objects[:, SCENE].contiguous()
        self.first = torch.searchsorted(column, scene)
        self.count = torch.searchsorted(column, scene, right=True) - self.first

    def draw(self, rng: Generator, count: int, size: int) -> Batch:
        """`count` crops of `size` pixels with OBJECTS objects each (the main one again where there
        are fewer).
        """
        more = count + count // 3 + 2
        rand = lambda *shape: torch.rand(*shape, generator=rng, device=self.device)  # noqa: E731
        row = torch.searchsorted(self.running, rand(more).double() * self.running[-1]).clamp(
            max=len(self.objects) - 1
        )
        main = self.objects[row]
        scene = main[:, SCENE].long()
        rows = self.places[scene, 0, 1]
        columns = self.places[scene, 0, 2]
        x, y, scale = _view(rng, main, rows, columns, size)
        labels = self._labels(main, x, y, 0.0)
        least = max(30.0, 0.0015 * size**2)
        area = (labels == main[:, LABEL].int()[:, None, None]).flatten(1).sum(1)
        order = (area < least).int().sort(stable=True).indices[:count]
        order = torch.where(area[order] >= least, order, order[0])
        main, labels, x, y, scale = (part[order] for part in (main, labels, x, y, scale))
        images = self._pixels(rng, scene[order], x, y, scale)
        chosen = self._others(rng, main, labels, least)  # (count, OBJECTS) labels
        masks = self._masks(main, chosen, x, y).flatten(0, 1)
        known = self._find(main, chosen)[0].flatten(0, 1)
        boxes = tight_boxes(masks)
        part = F.avg_pool2d(masks[:, None].float(), 2)[:, 0]
        truth = part >= 0.5
        truth = torch.where(truth.flatten(1).any(1)[:, None, None], truth, part > 0)
        seen = masks.flatten(1).sum(1)
        zoom = scale.repeat_interleave(OBJECTS)
        outside = (known[:, AREA].float() / zoom**2 - seen).clamp(min=0) / 4
        sides = boxes[:, 2:] - boxes[:, :2]
        fills = (sides > 0.75 * size).all(1) & (seen < 0.3 * sides.prod(1))
        return Batch(jitter(rng, images), truth, boxes, outside, (known[:, VAGUE] > 0) | fills)

    def _labels(self, main: Tensor, x: Tensor, y: Tensor, shift: float) -> Tensor:
        """(n, S, S) labels under frame coordinates, or under the pixels that lie `shift` before
        them.
        """
        scene = main[:, SCENE].long()
        offset = self.planes[scene, main[:, PLANE].long()]
        place = self.places[scene, 0]
        rows = place[:, 1, None, None]
        columns = place[:, 2, None, None]
        xi = torch.minimum((x - shift).floor().long().clamp(min=0), columns - 1)
        yi = torch.minimum((y - shift).floor().long().clamp(min=0), rows - 1)
        return self.labels[offset[:, None, None] + yi * columns + xi].int()

    def _masks(self, main: Tensor, chosen: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(n, OBJECTS, S, S) masks, smooth where the view magnifies: each object interpolated
        between its pixels.
        """
        wx = (x - 0.5) - (x - 0.5).floor()
        wy = (y - 0.5) - (y - 0.5).floor()
        total = torch.zeros(*chosen.shape, *x.shape[1:], device=x.device)
        for down in (0.0, 1.0):
            for right in (0.0, 1.0):
                at = self._labels(main, x + right, y + down, 0.5)
                weight = (wx if right else 1 - wx) * (wy if down else 1 - wy)
                total += weight[:, None] * (at[:, None] == chosen[..., None, None].int())
        return total >= 0.5

    def _pixels(self, rng: Generator, scene: Tensor, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Bilinear (n, 3, S, S) float values at frame coordinates, of the level that suits the
        scale.
        """
        wobble = torch.rand(len(scene), generator=rng, device=self.device) * 0.55 - 0.3
        level = (scale.clamp(min=1e-3).log2() + wobble).round().long().clamp(0, LEVELS - 1)
        place = self.places[scene, level]
        full = self.places[scene, 0]
        offset, rows, columns = (place[:, k, None, None] for k in range(3))
        fx = x * (columns / full[:, 2, None, None]) - 0.5
        fy = y * (rows / full[:, 1, None, None]) - 0.5
        x0 = fx.floor()
        y0 = fy.floor()
        wx = (fx - x0)[..., None]
        wy = (fy - y0)[..., None]
        xs = [torch.minimum((x0.long() + k).clamp(min=0), columns - 1) for k in (0, 1)]
        ys = [
            torch.minimum((y0.long() + k).clamp(min=0), rows - 1) * columns + offset for k in (0, 1)
        ]
        upper = torch.lerp(
            self.pixels[ys[0] + xs[0]].float(), self.pixels[ys[0] + xs[1]].float(), wx
        )
        lower = torch.lerp(
            self.pixels[ys[1] + xs[0]].float(), self.pixels[ys[1] + xs[1]].float(), wx
        )
        return torch.lerp(upper, lower, wy).permute(0, 3, 1, 2)

    def _others(self, rng: Generator, main: Tensor, labels: Tensor, least: float) -> Tensor:
        """(n, OBJECTS) labels: the main one, two found under random pixels, one of the scene's
        table.
        """
        n = len(labels)
        flat = labels.flatten(1)
        at = torch.randint(flat.shape[1], (n, 2 * 6), generator=rng, device=self.device)
        under = flat.gather(1, at).view(n, 2, 6)
        good = (under > 0) & (under != main[:, None, None, LABEL])
        picked = under.gather(2, good.int().argmax(2, keepdim=True))[..., 0]
        scene = main[:, SCENE].long()
        spin = torch.rand(n, generator=rng, device=self.device)
        row = self.objects[self.first[scene] + (spin * self.count[scene]).long()]
        listed = torch.where(row[:, PLANE] == main[:, PLANE], row[:, LABEL], main[:, LABEL])
        others = torch.cat([picked.double(), listed[:, None]], 1)
        area = (labels[:, None] == others[..., None, None].int()).flatten(2).sum(2)
        usable = (area >= least) & (others > 0) & self._find(main, others)[1]
        return torch.cat(
            [main[:, LABEL, None], torch.where(usable, others, main[:, LABEL, None])], 1
        )

    def _find(self, main: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the objects of (n, M) labels in the planes of the main ones, and whether there
        are such.
        """
        keys = _key(main[:, SCENE, None].long(), main[:, PLANE, None].long(), labels.long())
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return self.objects[at], self.keys[at] == keys


class Ring(Pool):
    """Made-up scenes of one size; new ones take the place of the oldest."""

    SIDE = 256
    MOST = 24

    def __init__(self, capacity: int, device: torch.device) -> None:
        super().__init__(device)
        side = self.SIDE
        self.capacity = capacity
        self.filled = 0
        self.next = 0
        fine = side * side
        half = (side // 2) ** 2
        self.pixels = torch.zeros(capacity * (fine + half), 3, dtype=torch.uint8, device=device)
        self.labels = torch.zeros(capacity * 2 * fine, dtype=torch.int16, device=device)
        slot = torch.arange(capacity, device=device)
        zero = slot * (fine + half)
        full = torch.full_like(slot, side)
        large = torch.stack([zero, full, full], 1)
        small = torch.stack([zero + fine, full // 2, full // 2], 1)
        self.places = torch.stack([large, small, small, small], 1)
        start = slot * 2 * fine
        self.planes = torch.stack([start, start + fine, start + fine, start + fine], 1)
        self.objects = torch.zeros(capacity, self.MOST, 9, dtype=torch.float64, device=device)
        self.chances = torch.zeros(capacity, self.MOST, dtype=torch.float64, device=device)

    def put(self, images: Tensor, planes: Tensor, rows: Tensor, often: Tensor) -> None:
        """Take in n scenes: (n, 256, 256, 3) uint8, (n, 2, 256, 256) int16, (n, MOST, 8) and (n,
        MOST), see `pack`.
        """
        n = min(len(images), self.capacity - self.next)
        self._write(
            *(part[:n].to(self.device, non_blocking=True) for part in (images, planes, rows, often))
        )
        if n < len(images):
            self.put(images[n:], planes[n:], rows[n:], often[n:])

    def _write(self, images: Tensor, planes: Tensor, rows: Tensor, often: Tensor) -> None:
        n = len(images)
        side = self.SIDE
        slots = slice(self.next, self.next + n)
        half = (
            F.avg_pool2d(images.permute(0, 3, 1, 2).float(), 2)
            .round()
            .to(torch.uint8)
            .permute(0, 2, 3, 1)
        )
        both = torch.cat([images.reshape(n, -1, 3), half.reshape(n, -1, 3)], 1)
        each = both.shape[1]
        self.pixels[self.next * each : (self.next + n) * each] = both.reshape(-1, 3)
        span = 2 * side * side
        self.labels[self.next * span : (self.next + n) * span] = planes.reshape(-1)
        number = torch.arange(self.next, self.next + n, device=self.device, dtype=torch.float64)
        self.objects[slots] = torch.cat(
            [number[:, None, None].expand(-1, self.MOST, 1), rows.double()], 2
        )
        self.chances[slots] = often.double() / often.double().sum(1, keepdim=True).clamp(min=1e-9)
        self.filled = max(self.filled, self.next + n)
        self.next = (self.next + n) % self.capacity

    def view(self) -> Pool:
        """What is there now, ready to draw from."""
        out = Pool(self.device)
        out.pixels = self.pixels
        out.labels = self.labels
        out.places = self.places[: self.filled]
        out.planes = self.planes[: self.filled]
        out.objects = self.objects[: self.filled].flatten(0, 1)
        out.chances = self.chances[: self.filled].flatten()
        out.index()
        return out


def pack(scene: Scene, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """A scene of side Ring.SIDE as `Ring.put` takes it; None where it holds no object."""
    table = tabulate(scene)
    held = np.flatnonzero(table.rows[:, 0] < 2)
    if not len(held):
        return None
    if len(held) > Ring.MOST:
        held = np.sort(rng.choice(held, Ring.MOST, replace=False))
    rows = np.zeros((Ring.MOST, 8), np.float32)
    rows[len(held) :, :2] = 1, 65535  # sorts behind all real ones
    rows[: len(held)] = table.rows[held]
    often = np.zeros(Ring.MOST, np.float32)
    often[: len(held)] = table.often[held]
    planes = scene.planes[[0, -1]].astype(np.int16)
    return (
        torch.from_numpy(scene.image),
        torch.from_numpy(planes),
        torch.from_numpy(rows),
        torch.from_numpy(often),
    )


def _key(scene: Tensor, plane: Tensor, label: Tensor) -> Tensor:
    return (scene * PLANES + plane) * 65536 + label


def tight_boxes(masks: Tensor) -> Tensor:
    """(O, 4) x0, y0, x1, y1 of (O, row, column) masks that are not empty."""
    out = []
    for seen in (masks.any(1), masks.any(2)):  # columns, rows
        flags = seen.int()
        out += [flags.argmax(1), flags.shape[1] - flags.flip(1).argmax(1)]
    return torch.stack([out[0], out[2], out[1], out[3]], 1).float()


def _view(
    rng: Generator, main: Tensor, rows: Tensor, columns: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Frame coordinates x, y (n, size, size) of each view, and frame pixels per view pixel (n,).

    A window round the object as for boxes, of any size as for clicks, too near (the network has to
    know that it sees only a part), or the whole frame; shifted, turned, flipped, bent.
    """
    device = rows.device
    n = len(main)
    rand = lambda *shape: torch.rand(*shape, generator=rng, device=device)  # noqa: E731
    randn = lambda *shape: torch.randn(*shape, generator=rng, device=device)  # noqa: E731
    x0, y0, x1, y1 = (main[:, k].float() for k in (X0, Y0, X1, Y1))
    rows = rows.float()
    columns = columns.float()
    longest = torch.maximum(x1 - x0, y1 - y0).clamp(min=8)
    most = torch.maximum(rows, columns)
    draw = rand(n)
    u = rand(n)
    low = (0.7 * longest).clamp(min=16)
    high = torch.maximum(most, low + 1)
    side = torch.where(draw < 0.50, longest * (1.2 + 1.4 * u), low * (high / low) ** u)
    side = torch.where((draw >= 0.50) & (draw < 0.58), longest * 0.15 * 8.0**u, side)
    side = torch.where(draw >= 0.92, most, side)
    aspect = (0.15 * randn(n)).exp()
    wide = (side * aspect).clamp(min=16)
    tall = (side / aspect).clamp(min=16)
    slack = torch.where(rand(n) < 0.5, 0.3, 0.9)
    cx = (x0 + x1) / 2 + (rand(n) - 0.5) * (wide - (x1 - x0)).abs() * slack
    cy = (y0 + y1) / 2 + (rand(n) - 0.5) * (tall - (y1 - y0)).abs() * slack
    inside = rand(n) < 0.85  # as the product: the window stays within the frame
    wide = torch.where(inside, torch.minimum(wide, columns), wide)
    tall = torch.where(inside, torch.minimum(tall, rows), tall)
    cx = torch.where(inside, torch.maximum(torch.minimum(cx, columns - wide / 2), wide / 2), cx)
    cy = torch.where(inside, torch.maximum(torch.minimum(cy, rows - tall / 2), tall / 2), cy)
    turn = torch.where(rand(n) < 0.2, (rand(n) * 2 - 1) * torch.pi, 0.0)
    flip_x, flip_y = (torch.where(rand(n) < 0.5, -1.0, 1.0) for _ in range(2))
    base = (torch.arange(size, device=device) + 0.5) / size - 0.5
    across = base.expand(n, size, size)
    down = base[:, None].expand(n, size, size)
    swap = (rand(n) < 0.3)[:, None, None]
    across, down = torch.where(swap, down, across), torch.where(swap, across, down)
    bent = torch.where(rand(n) < 0.3, 0.05 * rand(n), 0.0)[:, None, None, None]
    bend = F.interpolate(randn(n, 2, 4, 4), (size, size), mode="bicubic", align_corners=True) * bent
    across = (across * flip_x[:, None, None] + bend[:, 0]) * wide[:, None, None]
    down = (down * flip_y[:, None, None] + bend[:, 1]) * tall[:, None, None]
    cos = turn.cos()[:, None, None]
    sin = turn.sin()[:, None, None]
    x = cx[:, None, None] + cos * across - sin * down
    y = cy[:, None, None] + sin * across + cos * down
    x = (columns[:, None, None] - (x.abs() - columns[:, None, None]).abs()).clamp(
        min=0
    )  # mirrored beyond the frame
    y = (rows[:, None, None] - (y.abs() - rows[:, None, None]).abs()).clamp(min=0)
    return x, y, (wide * tall).sqrt() / size


def jitter(rng: Generator, images: Tensor) -> Tensor:
    """Colour, curves, shading, blur, coarseness and noise of (n, 3, S, S) images, 0 to 255."""
    device = images.device
    n = len(images)
    size = images.shape[-1]
    rand = lambda *shape: torch.rand(*shape, generator=rng, device=device)  # noqa: E731
    randn = lambda *shape: torch.randn(*shape, generator=rng, device=device)  # noqa: E731
    often = lambda share: (rand(n) < share)[:, None, None, None]  # noqa: E731
    images = torch.where(often(0.15), images.mean(1, keepdim=True), images)
    mixed = images.gather(1, rand(n, 3).argsort(1)[:, :, None, None].expand_as(images))
    images = torch.where(often(0.3), mixed * (0.75 + 0.5 * rand(n, 3, 1, 1)), images)
    unit = images.clamp(0, 255) / 255
    unit = torch.where(often(0.35), unit ** (0.35 * randn(n, 1, 1, 1)).exp(), unit)
    knots = rand(n, 8).cumsum(1)  # a random rising curve; in some images any curve
    knots = torch.where(
        (rand(n) < 0.25)[:, None],
        rand(n, 8),
        (knots - knots[:, :1]) / (knots[:, -1:] - knots[:, :1]),
    )
    at = unit * 7
    low = at.floor().clamp(max=6)
    flat = low.long().flatten(1)
    curved = torch.lerp(
        knots.gather(1, flat), knots.gather(1, flat + 1), (at - low).flatten(1)
    ).view_as(unit)
    unit = torch.where(often(0.2), curved, unit)
    unit = torch.where(often(0.1), 1 - unit, unit)
    shade = F.interpolate(
        0.35 * randn(n, 1, 3, 3), (size, size), mode="bicubic", align_corners=True
    ).exp()
    images = 255 * torch.where(often(0.15), unit * shade, unit)
    images = torch.where(
        often(0.12), F.avg_pool2d(images, 3, 1, 1, count_include_pad=False), images
    )
    coarse = F.interpolate(
        F.avg_pool2d(images, 2), (size, size), mode="bilinear", align_corners=False
    )
    images = torch.where(often(0.08), coarse, images)
    return images + torch.where(often(0.25), 1 + 13 * rand(n, 1, 1, 1), 0.0) * randn(
        n, 1, size, size
    )
