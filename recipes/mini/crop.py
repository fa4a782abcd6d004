"""Answers as the product gives them: a crop of the frame, one decode, the logits pasted back."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.crop import Crop
from segscope.models.engine import WindowRule
from segscope.models.mini import MiniModel, normalise
from segscope.models.mini_layers import MiniPrompts

SHARES = WindowRule().click_shares


def at_click(x: float, y: float, share: float, frame_hw: tuple[int, int]) -> Crop:
    """A crop of `share` of the frame, of the frame's shape, around the centre of a pixel."""
    return Crop.share((x + 0.5, y + 0.5, x + 0.5, y + 0.5), frame_hw, share)


def ellipse(box: tuple[float, float, float, float], frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    y = np.arange(frame_hw[0])[:, None] + 0.5
    x = np.arange(frame_hw[1])[None] + 0.5
    return ((2 * x - x0 - x1) / max(x1 - x0, 1)) ** 2 + (
        (2 * y - y0 - y1) / max(y1 - y0, 1)
    ) ** 2 < 1


class Viewer:
    """One image and a model: answers prompts through crops."""

    def __init__(self, model: MiniModel, size: int, image: NDArray[np.uint8]) -> None:
        self.model = model
        self.size = size
        self.image = torch.from_numpy(np.array(image))
        self.frame_hw = (image.shape[0], image.shape[1])
        self.encoded: dict[Crop, list[Tensor]] = {}

    @torch.no_grad()
    def features(self, crops: list[Crop]) -> list[list[Tensor]]:
        new = [crop for crop in crops if crop not in self.encoded]
        if new:
            size = (self.size, self.size)
            pixels = []
            for crop in new:
                part = self.image[crop.rows, crop.columns].permute(2, 0, 1)[None].float()
                pixels.append(
                    F.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)
                )
            maps = self.model.encode(normalise(torch.cat(pixels).permute(0, 2, 3, 1)))
            for k, crop in enumerate(new):
                self.encoded[crop] = [m[k : k + 1] for m in maps]
        return [self.encoded[crop] for crop in crops]

    def _scaled(self, crop: Crop, xy: NDArray[np.float64]) -> Tensor:
        height, width = crop.size_hw
        scale = np.array([self.size / width, self.size / height])
        return torch.from_numpy((xy - [crop.x0, crop.y0]) * scale).float()

    @torch.no_grad()
    def answer(
        self,
        crop: Crop,
        points: NDArray[np.float64] | None = None,
        labels: NDArray[np.int64] | None = None,
        box: tuple[float, float, float, float] | None = None,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, NDArray[np.float32]]:
        """(4, S/4, S/4) logits and 4 predicted IoU. `points` are pixel centres (0, 0 first); `box`
        is in edges.
        """
        prompts = {}
        if points is not None and len(points):
            prompts["points"] = self._scaled(crop, points + 0.5)[None]
            prompts["labels"] = torch.from_numpy(labels)[None]
        if box is not None:
            prompts["boxes"] = self._scaled(crop, np.array(box).reshape(2, 2)).reshape(1, 4)
        if previous is not None:
            prompts["previous"] = previous[None, None]
        features = self.features([crop])[0]
        logits, iou, _ = self.model.decode(features, MiniPrompts(**prompts))
        return logits[0], iou[0].numpy()

    def paste(self, crop: Crop, logits: Tensor) -> NDArray[np.float32]:
        """Low-resolution logits of a crop as logits of the frame."""
        full = F.interpolate(logits[None, None], crop.size_hw, mode="bilinear", align_corners=False)
        return crop.paste(full[0, 0]).numpy()

    def cut(self, crop: Crop, logits: NDArray[np.float32]) -> Tensor:
        """Frame logits as earlier logits for a crop."""
        part = torch.from_numpy(np.ascontiguousarray(crop.cut(logits)))[None, None]
        size = (self.size // 4, self.size // 4)
        resized = F.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)
        return resized[0, 0]


def bounds(
    mask: NDArray[np.bool_], points: NDArray[np.float64] | None = None
) -> tuple[float, float, float, float]:
    """Box (edges) round a mask and points."""
    ys, xs = np.nonzero(mask)
    if points is not None and len(points):
        xs = np.concatenate([xs, points[:, 0]])
        ys = np.concatenate([ys, points[:, 1]])
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
