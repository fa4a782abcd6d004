"""Scenes as training wants them: tables of their objects, how often each is drawn, and stills for
clips.
"""

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

#: share of draws where a source would otherwise have more; one-shape sets get less
CAP = 0.12
CAPS = {
    "mri_cardiac_sunnybrook": 0.012,
    "mri_cardiac_sunnybrook_more": 0.02,
    "us_fetal_head_hc18": 0.02,
}
#: how often an object with its box's centre outside it (ring, wall, crescent) is drawn, to other
#: objects
HOLLOW = 3.0
#: real rings, walls and crowded cells, of which there are few
BOOST = {"em_sem_axons": 2.0, "mixed_permissive/mri_heart_hvsmr": 1.5, "phase_contrast_cells": 1.5}


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
    """Areas and boxes of the objects of a scene; vague is one that a box does not say: thin, all
    over the frame.
    """
    found = []
    often = []
    rows, columns = scene.image.shape[:2]
    for k, plane in enumerate(scene.planes):
        area = np.bincount(plane.ravel())
        for label, where in enumerate(ndimage.find_objects(plane.astype(np.int32)), 1):
            if where is None or area[label] < 24:
                continue
            y0 = where[0].start
            y1 = where[0].stop
            x0 = where[1].start
            x1 = where[1].stop
            high = y1 - y0
            wide = x1 - x0
            fill = area[label] / (high * wide)
            vague = (fill < 0.3 and high > 0.75 * rows and wide > 0.75 * columns) or fill < 0.12
            found.append((k, label, area[label], x0, y0, x1, y1, vague))
            hollow = plane[(y0 + y1) // 2, (x0 + x1) // 2] != label and not vague
            often.append(HOLLOW if hollow else 1.0)
    return Table(np.array(found, np.int64).reshape(-1, 8), np.array(often))


class Prepared:
    """A still with what clips need: image levels, areas and boxes of objects."""

    def __init__(self, scene: Scene) -> None:
        self.source = scene.source
        level = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)
        self.levels = [level]
        while min(level.shape[1:]) > 96:
            level = F.avg_pool2d(level[None].float(), 2)[0].round().to(torch.uint8)
            self.levels.append(level)
        self.planes = [
            torch.from_numpy(p.astype(np.int32 if p.max() > 32000 else np.int16))
            for p in scene.planes
        ]
        rows = tabulate(scene).rows.tolist()
        self.objects = [(k, n, a, (x0, y0, x1, y1), bool(v)) for k, n, a, x0, y0, x1, y1, v in rows]


def source_weights(scenes: list[Scene], tables: list[Table]) -> NDArray[np.float64]:
    """Probability of each scene: sources by the root of their objects (at most 4 each), capped."""
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
    weight = np.array(
        [
            each[s.source] * w / held[s.source] if w else 0
            for s, w in zip(scenes, worth, strict=True)
        ]
    )
    return weight / weight.sum()


def synthetic(seed: int) -> Scene:
    image, planes = made_up(np.random.default_rng(seed), 256)
    same = bool((planes[0] == planes[1]).all())
    return Scene(
        "synthetic",
        str(seed),
        image,
        planes[:1] if same else planes,
        ("made up",) * (1 if same else 2),
    )


def _jitter(rng: np.random.Generator, image: Tensor) -> Tensor:
    """Colour, contrast, blur and noise of a (3, S, S) image, 0 to 255."""
    if rng.random() < 0.15:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    elif rng.random() < 0.35:
        image = (
            image[torch.from_numpy(rng.permutation(3))]
            * torch.from_numpy(rng.uniform(0.75, 1.25, (3, 1, 1))).float()
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


def _sample(source: Tensor, x: Tensor, y: Tensor, rows: int, columns: int) -> Tensor:
    """Bilinear values of an image level at frame coordinates, converting only the part that is
    looked at.
    """
    high, wide = source.shape[1:]
    fx = x * (wide / columns) - 0.5
    fy = y * (high / rows) - 0.5
    x0 = int(max(fx.min().floor(), 0))
    x1 = int(min(fx.max().ceil() + 2, wide))
    y0 = int(max(fy.min().floor(), 0))
    y1 = int(min(fy.max().ceil() + 2, high))
    part = source[:, y0:y1, x0:x1].float()
    grid = torch.stack(
        [(fx - x0 + 0.5) / part.shape[2] * 2 - 1, (fy - y0 + 0.5) / part.shape[1] * 2 - 1], -1
    )[None].float()
    return F.grid_sample(
        part[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]
