"""Answers as the product gives them: a window on the frame, one decode, the logits pasted back.

A view is (x0, y0, x1, y1) in frame pixels; the network sees it squashed to its square input.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.models.mini import MiniModel, normalise

View = tuple[int, int, int, int]
MARGIN = 1.8
SHARES = (1.0, 0.5, 0.25, 0.125)


def around(
    box: tuple[float, float, float, float], frame_hw: tuple[int, int], margin: float = MARGIN
) -> View:
    """A square view of `margin` times the longer side of `box`, pushed into the frame and cut to
    it.
    """
    x0, y0, x1, y1 = box
    side = max(margin * max(x1 - x0, y1 - y0), 16)
    return _inside((x0 + x1) / 2, (y0 + y1) / 2, side, side, frame_hw)


def at_click(x: float, y: float, share: float, frame_hw: tuple[int, int]) -> View:
    """A view of `share` of the frame, of the frame's shape, round a click."""
    return _inside(
        x + 0.5, y + 0.5, max(share * frame_hw[1], 16), max(share * frame_hw[0], 16), frame_hw
    )


def _inside(cx: float, cy: float, wide: float, high: float, frame_hw: tuple[int, int]) -> View:
    rows, columns = frame_hw
    wide = min(int(np.ceil(wide)), columns)
    high = min(int(np.ceil(high)), rows)
    x0 = int(np.clip(round(cx - wide / 2), 0, columns - wide))
    y0 = int(np.clip(round(cy - high / 2), 0, rows - high))
    return x0, y0, x0 + wide, y0 + high


def ellipse(box: tuple[float, float, float, float], frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    y = np.arange(frame_hw[0])[:, None] + 0.5
    x = np.arange(frame_hw[1])[None] + 0.5
    return ((2 * x - x0 - x1) / max(x1 - x0, 1)) ** 2 + (
        (2 * y - y0 - y1) / max(y1 - y0, 1)
    ) ** 2 < 1


class Viewer:
    """One image and a model: answers prompts through views."""

    def __init__(self, model: MiniModel, size: int, image: NDArray[np.uint8]) -> None:
        self.model = model
        self.size = size
        self.image = torch.from_numpy(np.array(image))
        self.frame_hw = image.shape[:2]
        self.kept: dict[View, list[Tensor]] = {}

    @torch.no_grad()
    def features(self, views: list[View]) -> list[list[Tensor]]:
        fresh = [v for v in views if v not in self.kept]
        if fresh:
            parts = [
                self.image[y0:y1, x0:x1].permute(2, 0, 1)[None].float() for x0, y0, x1, y1 in fresh
            ]
            small = [
                F.interpolate(
                    p, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
                )
                for p in parts
            ]
            maps = self.model.encode(normalise(torch.cat(small).permute(0, 2, 3, 1)))
            for k, view in enumerate(fresh):
                self.kept[view] = [m[k : k + 1] for m in maps]
        return [self.kept[v] for v in views]

    def _scaled(self, view: View, xy: NDArray[np.float64]) -> Tensor:
        x0, y0, x1, y1 = view
        return torch.from_numpy(
            (xy - [x0, y0]) * [self.size / (x1 - x0), self.size / (y1 - y0)]
        ).float()

    @torch.no_grad()
    def answer(
        self,
        view: View,
        points: NDArray[np.float64] | None = None,
        labels: NDArray[np.int64] | None = None,
        box: tuple[float, float, float, float] | None = None,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, NDArray[np.float32]]:
        """(4, S/4, S/4) logits and 4 predicted IoU. `points` are pixel centres (0, 0 first); `box`
        is in edges.
        """
        given = {}
        if points is not None and len(points):
            given = {
                "points": self._scaled(view, points + 0.5)[None],
                "labels": torch.from_numpy(labels)[None],
            }
        if box is not None:
            given["boxes"] = self._scaled(view, np.array(box).reshape(2, 2)).reshape(1, 4)
        if previous is not None:
            given["previous"] = previous[None, None]
        logits, iou, _ = self.model.decode(self.features([view])[0], **given)
        return logits[0], iou[0].numpy()

    def paste(self, view: View, logits: Tensor) -> NDArray[np.float32]:
        """Low-resolution logits of a view as logits of the frame, -10 outside."""
        x0, y0, x1, y1 = view
        out = np.full(self.frame_hw, -10, np.float32)
        big = F.interpolate(
            logits[None, None], (y1 - y0, x1 - x0), mode="bilinear", align_corners=False
        )
        out[y0:y1, x0:x1] = big[0, 0].numpy()
        return out

    def cut(self, view: View, logits: NDArray[np.float32]) -> Tensor:
        """Frame logits as earlier logits for a view."""
        x0, y0, x1, y1 = view
        part = torch.from_numpy(logits[y0:y1, x0:x1])[None, None]
        return F.interpolate(
            part, (self.size // 4,) * 2, mode="bilinear", antialias=True, align_corners=False
        )[0, 0]


def bounds(
    mask: NDArray[np.bool_], points: NDArray[np.float64] | None = None
) -> tuple[float, float, float, float]:
    """Box (edges) round a mask and points."""
    ys, xs = np.nonzero(mask)
    if points is not None and len(points):
        xs = np.concatenate([xs, points[:, 0]])
        ys = np.concatenate([ys, points[:, 1]])
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
